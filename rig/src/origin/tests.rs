use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpStream, UdpSocket},
    time::Instant,
};

use super::{http::Answer, udp::UdpOrigin, *};

const LINE: &[u8] = b"vnet=red\n";
const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

fn origin(habit: impl Fn(&Connection) -> io::Result<Ending> + Send + Sync + 'static) -> Origin {
    let mut origin = Origin::idle(ANY.into(), habit);
    origin.resume().expect("some port is free");
    origin
}

fn greeted(origin: &Origin) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(origin.address())?;
    let mut greeting = [0; LINE.len()];
    stream.read_exact(&mut greeting)?;
    assert_eq!(greeting, LINE);
    Ok(stream)
}

#[test]
fn the_echo_greets_echoes_and_ends_after_its_client() {
    let origin = origin(habits::greets(LINE));
    let mut stream = greeted(&origin).expect("it serves");
    stream.write_all(b"hello").expect("it reads");
    stream.shutdown(Shutdown::Write).expect("it is open");
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("it ends in order");
    assert_eq!(back, b"hello");
}

#[test]
fn death_resets_what_is_open_and_refuses_what_is_new() {
    let mut origin = origin(habits::greets(LINE));
    let mut stream = greeted(&origin).expect("it serves");
    origin.die();
    let error = stream.read(&mut [0]).expect_err("it is dead");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let error = TcpStream::connect(origin.address()).expect_err("it is dead");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(origin.endings(), [Ending::Reset]);
    origin.resume().expect("nobody took its address");
    greeted(&origin).expect("it is back");
}

#[test]
fn death_resets_whoever_is_not_read_from_too() {
    let mut origin = origin(|mut stream| {
        io::copy(&mut io::repeat(7), &mut stream)?;
        Ok(Ending::Clean)
    });
    let mut stream = TcpStream::connect(origin.address()).expect("it serves");
    stream.read_exact(&mut [0; 100]).expect("it pours");
    let began = Instant::now();
    origin.die();
    assert!(began.elapsed() < DYING, "the connection is closed");
    let error = io::copy(&mut stream, &mut io::sink()).expect_err("it is dead");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn who_stops_ends_what_is_open_in_order_and_who_refuses_goes_on_serving() {
    let mut origin = origin(habits::greets(LINE));
    let mut stream = greeted(&origin).expect("it serves");
    origin.refuse_new();
    assert!(TcpStream::connect(origin.address()).is_err(), "nobody listens");
    stream.write_all(b"hello").expect("it reads");
    stream.read_exact(&mut [0; 5]).expect("it goes on");
    origin.stop();
    assert_eq!(stream.read(&mut [0]).expect("an end is no error"), 0);
}

#[test]
fn http_connections_die_with_a_reset_too() {
    let mut origin = origin(|stream| http::serve(stream, |_| Answer::ok(LINE)));
    let mut stream = TcpStream::connect(origin.address()).expect("it serves");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").expect("it reads");
    let mut answer = Vec::new();
    while !answer.ends_with(LINE) {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("it answers");
        answer.extend(byte);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    origin.die();
    let error = stream.read(&mut [0]).expect_err("it is dead");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn payloads_are_answered_until_the_origin_stops_and_again_when_it_is_back() {
    let mut origin = UdpOrigin::idle(ANY.into(), |payload| vec![payload.to_vec(), b"more".to_vec()]);
    origin.resume().expect("some port is free");
    let client = UdpSocket::bind(ANY).expect("some port is free");
    client.connect(origin.address()).expect("it has an address");
    let mut buffer = [0; 512];
    let mut next = || client.recv(&mut buffer).map(|length| buffer[..length].to_vec());
    client.send(b"hello").expect("it serves");
    assert_eq!([next().expect("it answers"), next().expect("twice")], [&b"hello"[..], b"more"]);
    assert_eq!(origin.sources(), 1);

    origin.stop();
    client.send(b"hello").expect("nobody has said anything yet");
    assert_eq!(next().expect_err("it is gone").kind(), ErrorKind::ConnectionRefused);
    origin.resume().expect("nobody took its address");
    client.send(b"hello").expect("it serves");
    assert_eq!(next().expect("it answers"), b"hello");
}

//! How an edge ends: nobody who is connected sees a request fail, and whoever waits for something is told.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use underpass_tests::harness::{
    Edge, Service, World, client, http,
    origin::{self, habits},
    process::Signal,
    wait,
};

/// A request on a connection that is kept, and the head of its answer.
fn ask(mut stream: &TcpStream) -> String {
    stream.write_all(b"GET /who HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is open");
    let (mut got, mut byte) = (Vec::new(), [0]);
    while !got.ends_with(b"\r\n\r\n") {
        stream
            .read_exact(&mut byte)
            .unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&got)));
        got.push(byte[0]);
    }
    let head = String::from_utf8(got).expect("text").to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).expect("the whole body");
    head
}

fn is_last(head: &str) -> bool {
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    head.contains("connection: close\r\n")
}

fn web(world: &World) -> (Edge, origin::Origin) {
    let (origin, _code) = habits::http(world.free(), "web");
    (world.edge("edge-1").service(&Service::http("web").direct(origin.address())).start(), origin)
}

fn is_answered(at: SocketAddr) -> bool {
    http::get(at, "/who").is_some_and(|answer| answer.code == 200)
}

fn is_refused(at: SocketAddr) -> bool {
    client::connect(at).is_err()
}

#[test]
fn whoever_is_connected_when_an_edge_ends_is_answered_once_more_and_told() {
    let world = World::new();
    let (mut edge, _origin) = web(&world);
    let at = edge.listener("web");
    let connect = || client::connect(at).expect("it listens");
    let (asked, fresh): (Vec<_>, Vec<_>) = (0..5).map(|_| (connect(), connect())).unzip();
    assert!(asked.iter().all(|stream| !is_last(&ask(stream))));
    let idle = connect();
    let _ = ask(&idle);
    edge.process.signal(Signal::TERM);
    wait::soon_true("nothing new to be taken", || is_refused(at));
    for stream in asked.iter().chain(&fresh) {
        assert!(is_last(&ask(stream)), "it is told that this was the last");
        let (rest, end) = client::read_all(stream);
        assert!(rest.is_empty() && end.is_ok(), "{end:?}");
    }
    // Who does not ask sees a clean end before long, and holds nobody up.
    let (rest, end) = client::read_all(&idle);
    assert!(rest.is_empty() && end.is_ok(), "{end:?}");
    assert_eq!(edge.process.wait(Duration::from_secs(3)).code(), Some(0));
}

#[test]
fn a_client_of_a_websocket_is_told_that_the_edge_goes_away() {
    let world = World::new();
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: y\r\n\r\n";
    let origin = origin::Origin::start(world.free(), move |mut stream| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        stream.write_all(upgrade.as_bytes())?;
        // It hears the client's own goodbye, and ends as servers do.
        let mut goodbye = [0; 8];
        stream.read_exact(&mut goodbye)?;
        assert_eq!(goodbye[..2], [0x88, 0x82]);
        Ok(origin::Ending::Clean)
    });
    let mut edge = world.edge("edge-1").service(&Service::http("web").direct(origin.address())).start();
    let mut stream = client::connect(edge.listener("web")).expect("it listens");
    let head = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("open");
    let (mut got, mut byte) = (Vec::new(), [0]);
    while !got.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        got.push(byte[0]);
    }
    assert!(got.starts_with(b"HTTP/1.1 101 "));
    edge.process.signal(Signal::TERM);
    let mut close = [0; 4];
    stream.read_exact(&mut close).expect("a frame");
    assert_eq!(close, [0x88, 0x02, 0x03, 0xe9], "1001: going away");
    stream.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]).expect("open");
    let (rest, end) = client::read_all(&stream);
    assert!(rest.is_empty() && end.is_ok(), "{rest:?} {end:?}");
    drop(stream);
    assert_eq!(edge.process.wait(Duration::from_secs(3)).code(), Some(0), "its grace period is 30 s");
}

#[test]
fn an_edge_that_others_balance_over_goes_on_until_they_have_noticed() {
    let world = World::new();
    let (origin, _code) = habits::http(world.free(), "web");
    let file = world.edge("edge-1").pre_stop("2s").service(&Service::http("web").direct(origin.address()));
    let mut edge = file.start();
    let stream = client::connect(edge.listener("web")).expect("it listens");
    edge.process.signal(Signal::TERM);
    let unready = || http::get(edge.file.admin, "/readyz").is_some_and(|answer| answer.code == 503);
    wait::soon_true("it to say that it is not ready", unready);
    let began = std::time::Instant::now();
    let mut served = 0;
    while !is_last(&ask(&stream)) {
        served += 1;
        let _ = http::get(edge.listener("web"), "/who");
    }
    assert!(served > 1 && began.elapsed() > Duration::from_secs(1), "{served} in {:?}", began.elapsed());
    assert_eq!(edge.process.wait(Duration::from_secs(3)).code(), Some(0));
}

#[test]
fn a_socket_that_was_handed_down_keeps_clients_while_the_edge_is_started_again() {
    let world = World::new();
    let (origin, _code) = habits::http(world.free(), "web");
    let file = world.edge("edge-1").service(&Service::http("web").direct(origin.address()));
    let at = file.listen("web");
    let socket = TcpListener::bind(at).expect("free");
    let unused = UdpSocket::bind(world.free()).expect("free");
    let unused_at = unused.local_addr().expect("bound");
    let mut edge = file.given(vec![socket.into(), unused.into()]).start();
    let _ = edge.process.wait_log(&["this socket was handed down", &format!("UDP {unused_at}")]);
    assert!(is_answered(at));
    assert_eq!(edge.process.terminate(Duration::from_secs(3)).code(), Some(0));
    // Nobody is refused meanwhile.
    let waiting = client::connect(at).expect("its socket is there");
    edge.crash_and_restart();
    let _ = ask(&waiting);
}

use std::{
    future::poll_fn,
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use quinn::{
    AsyncUdpSocket,
    udp::{RecvMeta, Transmit},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task,
};

use super::*;
use crate::{Network, Socket, Unreachables};

const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn kind(done: io::Result<Socket>) -> Option<io::ErrorKind> {
    done.err().map(|e| e.kind())
}

/// Both ends of a connection from one host to another.
async fn pair(from: &MemoryHost, to: &MemoryHost, ip: IpAddr) -> (Socket, Socket) {
    let listener = to.listen((ip, 0).into()).expect("free");
    let address = listener.local_addr().expect("bound");
    let (near, far) = tokio::join!(from.dial(address), listener.accept());
    (near.expect("listening"), far.expect("dialled").0)
}

#[tokio::test]
async fn a_dial_reaches_who_listens_and_both_see_each_other() {
    let network = MemoryNetwork::new(1);
    let (a, b) = (network.host(A), network.host(B));
    let listener = b.listen(at("0.0.0.0:80")).expect("free");
    let (near, far) = tokio::join!(a.dial(at("192.0.2.2:80")), listener.accept());
    let (mut near, (mut far, source)) = (near.expect("listening"), far.expect("dialled"));
    assert_eq!(source.ip(), A);
    assert_eq!(near.local_addr().ok(), Some(source));
    assert_eq!(near.peer_addr().ok(), Some(at("192.0.2.2:80")));
    assert_eq!(far.local_addr().ok(), Some(at("192.0.2.2:80")));
    near.write_all(b"there").await.expect("room");
    near.shutdown().await.expect("open");
    let mut heard = String::new();
    far.read_to_string(&mut heard).await.expect("open");
    far.write_all(b"and back").await.expect("room");
    drop(far);
    near.read_to_string(&mut heard).await.expect("open");
    assert_eq!(heard, "thereand back");
}

#[tokio::test]
async fn a_dial_that_cannot_succeed_says_why() {
    let network = MemoryNetwork::new(1);
    let (a, b) = (network.host(A), network.host(B));
    let closed = b.listen(at("192.0.2.2:80")).expect("free");
    drop(closed);
    let _loopback = b.listen(at("127.0.0.1:81")).expect("free");
    assert_eq!(kind(a.dial(at("192.0.2.2:80")).await), Some(io::ErrorKind::ConnectionRefused));
    assert_eq!(kind(a.dial(at("192.0.2.2:81")).await), Some(io::ErrorKind::ConnectionRefused), "a loopback is private");
    assert_eq!(kind(a.dial(at("127.0.0.1:81")).await), Some(io::ErrorKind::ConnectionRefused), "and each host's own");
    assert_eq!(kind(a.dial(at("192.0.2.3:80")).await), Some(io::ErrorKind::HostUnreachable));
    assert_eq!(kind(b.dial(at("127.0.0.1:81")).await), None);
}

#[test]
fn only_a_free_address_of_the_host_can_be_bound() {
    let a = MemoryNetwork::new(1).host(A);
    let _taken = a.listen(at("0.0.0.0:80")).expect("free");
    let error = |address| a.listen(address).err().map(|e| (e.kind(), e.to_string()));
    let (taken, text) = error(at("192.0.2.1:80")).expect("taken");
    assert_eq!(taken, io::ErrorKind::AddrInUse);
    assert!(text.starts_with("cannot listen on TCP 192.0.2.1:80"), "{text}");
    assert_eq!(error(at("192.0.2.2:81")).expect("another host's").0, io::ErrorKind::AddrNotAvailable);
    assert!(a.bind_quic(at("192.0.2.1:80"), &Unreachables::default()).is_ok(), "ports of UDP are others");
    assert!(a.listen(at("[::]:0")).is_ok());
}

#[tokio::test]
async fn networks_with_the_same_addresses_never_mix() {
    let (one, two, between) = (MemoryNetwork::new(1), MemoryNetwork::new(2), MemoryNetwork::new(3));
    let (in_one, in_two) = (between.host(A), between.host(B));
    in_one.join(&one, at("10.0.0.1:0").ip());
    in_two.join(&two, at("10.0.0.1:0").ip());
    let server = two.host(at("10.0.0.2:0").ip());
    let _listener = server.listen(at("10.0.0.2:80")).expect("free");
    assert_eq!(kind(in_two.dial(at("10.0.0.2:80")).await), None);
    assert_eq!(kind(in_one.dial(at("10.0.0.2:80")).await), Some(io::ErrorKind::HostUnreachable));
}

#[tokio::test]
async fn a_socket_works_as_well_on_another_runtime() {
    let network = MemoryNetwork::new(1);
    let (mut near, far) = pair(&network.host(A), &network.host(B), B).await;
    let parked = far.park().expect("running");
    let echo = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let mut far = parked.land().expect("running");
            let mut heard = [0; 5];
            far.read_exact(&mut heard).await.expect("open");
            far.write_all(&heard).await.expect("room");
        });
    });
    near.write_all(b"hello").await.expect("room");
    let mut back = String::new();
    near.read_to_string(&mut back).await.expect("open");
    assert_eq!(back, "hello");
    echo.join().expect("no panic");
}

#[tokio::test]
async fn a_writer_waits_for_a_slow_reader() {
    let network = MemoryNetwork::new(1);
    let (mut near, mut far) = pair(&network.host(A), &network.host(B), B).await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 4]).collect();
    let expected = sent.clone();
    let writing = task::spawn(async move {
        near.write_all(&sent).await.expect("open");
        near.abort_when_sent(Duration::from_secs(60)).await;
    });
    let mut heard = vec![0; expected.len()];
    far.read_exact(&mut heard).await.expect("nothing is lost before it is sent");
    assert!(heard == expected);
    assert_eq!(far.read(&mut heard).await.map_err(|e| e.kind()), Err(io::ErrorKind::ConnectionReset));
    writing.await.expect("no panic");
}

#[tokio::test]
async fn a_cut_holds_connections_and_dials_until_it_is_healed() {
    let network = MemoryNetwork::new(1);
    let (a, b) = (network.host(A), network.host(B));
    let (near, mut far) = pair(&a, &b, B).await;
    let listener = b.listen(at("192.0.2.2:80")).expect("free");
    network.cut(A, B);
    near.try_write(&[IoSlice::new(b"held")]).expect("room");
    let mut dial = a.dial(at("192.0.2.2:80"));
    assert!(poll_fn(|cx| Poll::Ready(dial.as_mut().poll(cx).is_pending())).await);
    let mut bytes = bytes::BytesMut::with_capacity(10);
    assert_eq!(far.try_read(&mut bytes).map_err(|e| e.kind()), Err(io::ErrorKind::WouldBlock));
    network.heal(A, B);
    let mut heard = [0; 4];
    far.read_exact(&mut heard).await.expect("open");
    assert_eq!(&heard, b"held");
    dial.await.expect("listening");
    listener.accept().await.expect("dialled");
}

#[tokio::test]
async fn a_cut_one_way_leaves_the_other_open() {
    let network = MemoryNetwork::new(1);
    let (near, far) = pair(&network.host(A), &network.host(B), B).await;
    network.cut_one_way(A, B);
    near.try_write(&[IoSlice::new(b"held")]).expect("room");
    far.try_write(&[IoSlice::new(b"open")]).expect("room");
    let mut bytes = bytes::BytesMut::with_capacity(10);
    assert_eq!(near.try_read(&mut bytes).map_err(|e| e.kind()), Ok(4));
    assert_eq!(far.try_read(&mut bytes).map_err(|e| e.kind()), Err(io::ErrorKind::WouldBlock));
}

#[tokio::test]
async fn connections_nobody_accepted_are_reset_with_their_listener() {
    let network = MemoryNetwork::new(1);
    let (a, b) = (network.host(A), network.host(B));
    let listener = b.listen(at("192.0.2.2:80")).expect("free");
    let mut near = a.dial(at("192.0.2.2:80")).await.expect("listening");
    drop(listener);
    near.broken().await;
    assert_eq!(near.read(&mut [0; 1]).await.map_err(|e| e.kind()), Err(io::ErrorKind::ConnectionReset));
}

fn send(socket: &Arc<dyn AsyncUdpSocket>, to: SocketAddr, contents: &[u8], segment_size: Option<usize>) {
    let transmit = Transmit { destination: to, ecn: None, contents, segment_size, src_ip: None };
    socket.try_send(&transmit).expect("a send never fails");
}

async fn receive(socket: &Arc<dyn AsyncUdpSocket>) -> (Vec<u8>, RecvMeta) {
    let (mut buffer, mut meta) = (vec![0; 2000], [RecvMeta::default()]);
    let got = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta)).await;
    assert_eq!(got.expect("open"), 1);
    buffer.truncate(meta[0].len);
    (buffer, meta[0])
}

#[tokio::test]
async fn datagrams_go_both_ways_also_between_the_families() {
    let network = MemoryNetwork::new(1);
    let (a, b) = (network.host(A), network.host(B));
    let client = a.bind_quic(at("[::]:0"), &Unreachables::default()).expect("free");
    let server = b.bind_quic(at("0.0.0.0:7843"), &Unreachables::default()).expect("free");
    send(&client, at("[::ffff:192.0.2.2]:7843"), b"onetwo3", Some(3));
    for part in [&b"one"[..], b"two", b"3"] {
        let (bytes, meta) = receive(&server).await;
        assert_eq!((&bytes[..], meta.addr.ip(), meta.dst_ip), (part, A, Some(B)));
        send(&server, meta.addr, b"back", None);
    }
    let (bytes, meta) = receive(&client).await;
    assert_eq!((&bytes[..], meta.addr), (&b"back"[..], at("[::ffff:192.0.2.2]:7843")), "as it was dialled");
    assert_eq!((a.dropped(), b.dropped()), (Dropped::default(), Dropped::default()));
}

#[tokio::test]
async fn a_datagram_that_does_not_arrive_is_counted_by_why() {
    let network = MemoryNetwork::new(1);
    let (a, b) = (network.host(A), network.host(B));
    let client = a.bind_quic(at("0.0.0.0:0"), &Unreachables::default()).expect("free");
    let server = b.bind_quic(at("192.0.2.2:7843"), &Unreachables::default()).expect("free");
    let to = at("192.0.2.2:7843");
    send(&client, at("192.0.2.3:7843"), b"no such host", None);
    send(&client, at("192.0.2.2:7844"), b"nobody there", None);
    send(&client, to, &[0; 1_473], None);
    network.cut_one_way(A, B);
    send(&client, to, b"into the dark", None);
    network.heal(A, B);
    for _ in 0..4_100 {
        send(&client, to, b"too many", None);
    }
    assert_eq!(a.dropped(), Dropped { cut: 1, lost: 0, full: 4, too_large: 1, unreachable: 2 });
    assert_eq!(receive(&server).await.0, b"too many");
}

#[test]
fn the_dice_lose_about_the_share_asked_for_and_the_same_ones_for_the_same_seed() {
    let lost = |seed| {
        let network = MemoryNetwork::new(seed);
        let (a, b) = (network.host(A), network.host(B));
        let (client, server) = (
            a.bind_quic(at("0.0.0.0:0"), &Unreachables::default()),
            b.bind_quic(at("0.0.0.0:7843"), &Unreachables::default()),
        );
        let (client, _server) = (client.expect("free"), server.expect("free"));
        network.lose(A, B, 0.25);
        (0..1000).for_each(|_| send(&client, at("192.0.2.2:7843"), b"x", None));
        a.dropped().lost
    };
    assert!((200..300).contains(&lost(7)), "{}", lost(7));
    assert_eq!(lost(7), lost(7));
}

#[test]
fn a_host_says_so_where_nobody_is_bound_unless_its_way_back_is_cut() {
    let network = MemoryNetwork::new(1);
    let (a, _b) = (network.host(A), network.host(B));
    let heard = Unreachables::default();
    let (watch, nowhere) = (heard.watch(at("192.0.2.2:7843")), heard.watch(at("192.0.2.9:7843")));
    let socket = a.bind_quic(at("0.0.0.0:0"), &heard).expect("free");
    let send = |to| {
        let transmit =
            Transmit { destination: at(to), ecn: None, contents: b"hello", segment_size: None, src_ip: None };
        socket.try_send(&transmit).expect("a send never waits");
    };
    send("192.0.2.2:7843");
    send("192.0.2.9:7843");
    network.cut_one_way(B, A);
    send("192.0.2.2:7843");
    assert_eq!((watch.count(), nowhere.count()), (1, 0));
}

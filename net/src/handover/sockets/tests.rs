use std::{
    future::poll_fn,
    io::IoSliceMut,
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use quinn::udp::RecvMeta;
use tokio::time;

use super::*;
use crate::{Batch, handover::Passing};

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What a successor gets.
fn successor(of: &Sockets) -> (Sockets, Shares) {
    let (handed, shares) = of.hand_over().expect("sockets that are open");
    let successor = Sockets::default();
    successor.divide_by(of.number() + 1, |_| None);
    handed.into_iter().for_each(|handed| successor.take_over(handed).expect("a socket"));
    (successor, shares)
}

async fn receive(front: &Front, batch: &mut Batch) -> Vec<(SocketAddr, Vec<u8>)> {
    time::timeout(Duration::from_secs(10), front.receive(batch)).await.expect("in time").expect("a socket");
    batch.payloads().map(|(peer, payload)| (peer.source, payload.to_vec())).collect()
}

#[tokio::test]
async fn a_socket_that_was_given_serves_again_and_again() {
    let listener = TcpListener::bind(LOOPBACK).expect("a port of loopback");
    let udp = UdpSocket::bind(LOOPBACK).expect("a port of loopback");
    let (at, udp_at) = (listener.local_addr().expect("bound"), udp.local_addr().expect("bound"));
    let given = Sockets::default();
    given.take((Some(SocketKind::Tcp), true), (listener.into(), Vec::new())).expect("bound");
    given.take((None, true), (udp.into(), Vec::new())).expect("bound");
    assert_eq!(given.unused(), [format!("TCP {at}"), format!("UDP {udp_at}")]);
    for _ in 0..2 {
        // It waits in the socket until somebody listens.
        let waiting = TcpStream::connect(at).expect("it is bound");
        let listener = given.listen(at).expect("it is there");
        let (_, source) = listener.accept().await.expect("it waits");
        assert_eq!(Some(source), waiting.local_addr().ok());
    }
    let front = given.bind_udp(udp_at).expect("it is there");
    assert_eq!(front.local_addr().ok(), Some(udp_at));
    assert!(given.unused().is_empty());
    let other = given.listen(LOOPBACK).expect("others are bound");
    assert_ne!(other.local_addr().ok(), Some(at));
}

#[test]
fn all_addresses_are_all_of_whichever_family() {
    let same =
        |bound: &str, asked: &str| is_same(bound.parse().expect("an address"), asked.parse().expect("an address"));
    assert!(same("[::]:80", "0.0.0.0:80") && same("10.0.0.1:80", "10.0.0.1:80"));
    assert!(!same("[::]:80", "[::]:81") && !same("0.0.0.0:80", "10.0.0.1:80"));
}

#[tokio::test]
async fn a_listener_that_is_handed_over_loses_nobody_who_waits() {
    let before = Sockets::default();
    let listener = before.listen(LOOPBACK).expect("a port of loopback");
    let at = listener.local_addr().expect("bound");
    let waiting = TcpStream::connect(at).expect("it is bound");
    let (after, _shares) = successor(&before);
    let again = after.listen(at).expect("it is there");
    drop(listener);
    let (_, source) = again.accept().await.expect("it waits");
    assert_eq!(Some(source), waiting.local_addr().ok());
    // What is not wanted again is not kept from others.
    drop(again);
    after.settle();
    TcpListener::bind(at).expect("the port is free");
}

#[tokio::test]
async fn what_nobody_here_knows_is_asked_of_the_process_before_and_comes_back() {
    let before = Sockets::default();
    let old = before.bind_udp(LOOPBACK).expect("a port of loopback");
    let at = old.local_addr().expect("bound");
    let (after, mut shares) = successor(&before);
    let new = after.bind_udp(at).expect("it is there");
    shares.give_way(SocketKind::Udp).expect("a relay");
    shares.settle();
    let client = UdpSocket::bind(LOOPBACK).expect("a port of loopback");
    let source = client.local_addr().expect("bound");
    let (mut here, mut there) = (Batch::default(), Batch::default());
    for round in 0..3_u8 {
        client.send_to(&[round], at).expect("room");
        assert_eq!(receive(&new, &mut here).await, [(source, vec![round])]);
        let (peer, payload) = here.payloads().next().expect("one");
        assert_eq!(new.pass_on(&here, peer, payload), Passing::Passed);
        assert_eq!(receive(&old, &mut there).await, [(source, vec![round])]);
        let (peer, payload) = there.payloads().next().expect("one");
        assert_eq!(old.pass_on(&there, peer, payload), Passing::Passed);
        assert_eq!(receive(&new, &mut here).await, [(source, vec![round])]);
        let (peer, payload) = here.payloads().next().expect("one");
        assert_eq!(new.pass_on(&here, peer, payload), Passing::Alone, "it has been given back");
    }
    // Nothing is left there.
    client.send_to(b"late", at).expect("room");
    assert_eq!(receive(&new, &mut here).await.len(), 1);
    let (peer, payload) = here.payloads().next().expect("one");
    assert_eq!(new.pass_on(&here, peer, payload), Passing::Passed);
    assert!(old.leave());
    let nothing = time::timeout(Duration::from_millis(50), new.receive(&mut here)).await;
    assert!(nothing.is_err(), "that is no payload");
    client.send_to(b"later", at).expect("room");
    assert_eq!(receive(&new, &mut here).await, [(source, b"later".to_vec())]);
    let (peer, payload) = here.payloads().next().expect("one");
    assert_eq!(new.pass_on(&here, peer, payload), Passing::Alone);
    assert_eq!(receive(&old, &mut there).await, [(source, b"late".to_vec())]);
    let (peer, payload) = there.payloads().next().expect("one");
    assert_eq!(old.pass_on(&there, peer, payload), Passing::Passed);
    let over = time::timeout(Duration::from_secs(10), old.receive(&mut there)).await.expect("in time");
    assert_eq!(over.expect_err("all").kind(), io::ErrorKind::UnexpectedEof);
    drop(old);
    assert_eq!(receive(&new, &mut here).await, [(source, b"late".to_vec())]);
}

#[tokio::test]
async fn a_process_whose_successor_fails_reads_again_itself() {
    let before = Sockets::default();
    let old = before.bind_udp(LOOPBACK).expect("a port of loopback");
    let at = old.local_addr().expect("bound");
    let client = UdpSocket::bind(LOOPBACK).expect("a port of loopback");
    let mut batch = Batch::default();
    for taken in [false, true] {
        let (after, mut shares) = successor(&before);
        let new = taken.then(|| after.bind_udp(at).expect("it is there"));
        shares.give_way(SocketKind::Udp).expect("a relay");
        drop((after, new));
        client.send_to(b"for whoever is left", at).expect("room");
        assert_eq!(receive(&old, &mut batch).await.len(), 1);
    }
}

#[tokio::test]
async fn of_several_processes_before_each_is_asked_once() {
    let mut all = vec![(Sockets::default(), Shares::default())];
    let mut fronts = vec![all[0].0.bind_udp(LOOPBACK).expect("a port of loopback")];
    let at = fronts[0].local_addr().expect("bound");
    for _ in 0..2 {
        let (next, mut shares) = successor(&all.last().expect("one").0);
        fronts.push(next.bind_udp(at).expect("it is there"));
        shares.give_way(SocketKind::Udp).expect("a relay");
        shares.settle();
        all.push((next, shares));
    }
    let client = UdpSocket::bind(LOOPBACK).expect("a port of loopback");
    let mut batch = Batch::default();
    client.send_to(b"whose?", at).expect("room");
    // The last reads it, asks the one before, then the first, and knows then that it is its own.
    for (front, expected) in
        [(2, Passing::Passed), (1, Passing::Passed), (2, Passing::Passed), (0, Passing::Passed), (2, Passing::Alone)]
    {
        assert_eq!(receive(&fronts[front], &mut batch).await.len(), 1);
        let (peer, payload) = batch.payloads().next().expect("one");
        assert_eq!(fronts[front].pass_on(&batch, peer, payload), expected, "by {front}");
    }
    // One that ends breaks nothing between the others.
    fronts.remove(1);
    client.send_to(b"whose?", at).expect("room");
    for (front, expected) in [(1, Passing::Passed), (0, Passing::Passed), (1, Passing::Alone)] {
        assert_eq!(receive(&fronts[front], &mut batch).await.len(), 1);
        let (peer, payload) = batch.payloads().next().expect("one");
        assert_eq!(fronts[front].pass_on(&batch, peer, payload), expected, "by {front}");
    }
    // Where the last fails, nobody reads any more, and all the others hear so.
    let orphaned = all[0].0.orphaned();
    assert!(!orphaned.is_cancelled());
    fronts.remove(1);
    let nothing = time::timeout(Duration::from_millis(50), fronts[0].receive(&mut batch)).await;
    assert!(nothing.is_err() && orphaned.is_cancelled());
}

async fn packet(socket: &dyn AsyncUdpSocket) -> Option<Vec<u8>> {
    let (mut buffer, mut meta) = (vec![0; 2048], [RecvMeta::default()]);
    let received = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta));
    let count = time::timeout(Duration::from_millis(200), received).await.ok()?.expect("a socket");
    (count > 0).then(|| buffer[..meta[0].len].to_vec())
}

/// The generation is a packet's first byte; nine begins something.
fn first(packet: &[u8]) -> Option<u8> {
    packet.first().copied().filter(|first| *first != 9)
}

#[tokio::test]
async fn a_process_that_is_to_take_over_gets_its_part_and_takes_nothing_before_it_has() {
    let before = Sockets::default();
    before.divide_by(0, first);
    let old = before.bind_quic(LOOPBACK, &Unreachables::default()).expect("a port of loopback");
    let at = old.local_addr().expect("bound");
    let (handed, mut shares) = before.hand_over().expect("it is open");
    let after = Sockets::default();
    after.divide_by(1, first);
    handed.into_iter().for_each(|handed| after.take_over(handed).expect("a socket"));
    assert_eq!(after.tunnel_left(), Some(at));
    let new = after.bind_quic(at, &Unreachables::default()).expect("it is there");
    assert_eq!(after.tunnel_left(), None);
    shares.give_way(SocketKind::Quic).expect("a relay");
    let client = UdpSocket::bind(LOOPBACK).expect("a port of loopback");
    // The old one reads, whatever the new one does, or does not.
    for number in [0, 1, 9, 0] {
        client.send_to(&[number], at).expect("room");
    }
    assert_eq!(packet(&*old).await, Some(vec![0]));
    assert_eq!(packet(&*old).await, Some(vec![0]));
    assert_eq!(packet(&*new).await, Some(vec![1]));
    assert_eq!(packet(&*new).await, Some(vec![9]), "what begins is for the one that is to last");
    client.send_to(&[0], at).expect("room");
    assert_eq!(packet(&*new).await, None);
    assert_eq!(packet(&*old).await, Some(vec![0]));
    // Then the new one reads.
    shares.settle();
    after.begin();
    assert!(after.has_predecessors() && !before.has_predecessors());
    for number in [0, 1, 9] {
        client.send_to(&[number], at).expect("room");
    }
    assert_eq!(packet(&*new).await, Some(vec![1]));
    assert_eq!(packet(&*new).await, Some(vec![9]));
    assert_eq!(packet(&*old).await, Some(vec![0]));
    drop(old);
    client.send_to(&[0], at).expect("room");
    assert_eq!(packet(&*new).await, Some(vec![0]), "it is for this one to say that nobody knows it");
    assert_eq!(packet(&*new).await, None);
    assert!(!after.has_predecessors());
}

#[tokio::test]
async fn a_process_that_fails_before_it_has_taken_over_leaves_all_to_the_one_before() {
    let before = Sockets::default();
    before.divide_by(0, first);
    let old = before.bind_quic(LOOPBACK, &Unreachables::default()).expect("a port of loopback");
    let at = old.local_addr().expect("bound");
    let (handed, mut shares) = before.hand_over().expect("it is open");
    shares.give_way(SocketKind::Quic).expect("a relay");
    drop(handed);
    let client = UdpSocket::bind(LOOPBACK).expect("a port of loopback");
    for number in [0, 1, 9] {
        client.send_to(&[number], at).expect("room");
        assert_eq!(packet(&*old).await, Some(vec![number]));
    }
}

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::DuplexStream;

use super::*;
use crate::{health::OriginKey, model::Via, offramp::Sender};

const SOON: Duration = Duration::from_secs(5);

fn key(speech: Speech) -> Key {
    let address: protocol::id::Target = "10.0.0.1:80".parse().expect("a target");
    Key { origin: OriginKey(7), address, via: Via::Direct, speech }
}

/// A connection of HTTP/1 that is ready, and the origin's side of it.
async fn http1() -> (Upstream, DuplexStream) {
    let (near, far) = tokio::io::duplex(1024);
    let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await.expect("a connection");
    let driving = tokio::spawn(async move { drop(connection.await) }).abort_handle();
    sender.ready().await.expect("open");
    (Upstream::new(Sender::Http1(sender, driving), None), far)
}

/// A connection of HTTP/2 whose origin takes so many streams, and the origin's side of it.
async fn http2(streams: usize) -> (Upstream, DuplexStream) {
    let (near, far) = tokio::io::duplex(1024);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(near)).await.expect("a connection");
    let driving = tokio::spawn(async move { drop(connection.await) }).abort_handle();
    (Upstream::new(Sender::Http2(sender, driving), Some(Arc::new(streams.into()))), far)
}

fn kept(turn: Turn) -> Option<Upstream> {
    match turn {
        Turn::Kept(upstream, _) => Some(upstream),
        Turn::Open(_) | Turn::Wait(_) => None,
    }
}

fn opening(turn: Turn) -> Option<Opening> {
    match turn {
        Turn::Open(opening) => Some(opening),
        Turn::Kept(..) | Turn::Wait(_) => None,
    }
}

#[tokio::test]
async fn an_idle_connection_is_used_again_until_its_time_is_over() {
    let (idle, key) = (Arc::new(Idle::default()), key(Speech::Http1));
    for (said, limit) in [(None, 4_000), (Some("timeout=2"), 1_000), (Some("timeout=60"), 4_000)] {
        let (mut upstream, _far) = http1().await;
        let said =
            said.map(|said| (http::header::HeaderName::from_static("keep-alive"), said.parse().expect("a value")));
        upstream.heed(&said.into_iter().collect());
        idle.keep(key.clone(), upstream);
        let now = Instant::now();
        let again = kept(idle.turn(&key, now + Duration::from_millis(limit - 50), Wish::Any)).expect("kept");
        assert!(again.reused);
        idle.keep(key.clone(), again);
        assert!(kept(idle.turn(&key, Instant::now() + Duration::from_millis(limit + 50), Wish::Any)).is_none());
    }
}

#[tokio::test]
async fn a_pool_says_how_long_connections_are_kept() {
    let (idle, key) = (Arc::new(Idle::default()), key(Speech::Http1));
    let (upstream, _far) = http1().await;
    idle.keep(key.clone(), upstream.kept_for(Some(Duration::from_secs(60))));
    assert!(kept(idle.turn(&key, Instant::now() + Duration::from_secs(59), Wish::Any)).is_some());
    let (upstream, _far) = http1().await;
    idle.keep(key.clone(), upstream.kept_for(Some(Duration::ZERO)));
    assert!(kept(idle.turn(&key, Instant::now(), Wish::Any)).is_none(), "none is kept");
}

#[tokio::test]
async fn what_retires_takes_no_new_request_however_busy_it_is_and_ends_none() {
    let idle = Arc::new(Idle::default());
    let now = Instant::now();
    let before = now + Duration::from_secs(29);
    let then = now + Duration::from_secs(30);
    let retiring = |upstream: Upstream| upstream.retiring(Some(then)).kept_for(Some(Duration::from_secs(3_600)));

    let alone = key(Speech::Http1);
    let (upstream, _far) = http1().await;
    idle.keep(alone.clone(), retiring(upstream));
    let upstream = kept(idle.turn(&alone, before, Wish::Any)).expect("it is in time");
    idle.keep(alone.clone(), upstream);
    assert!(kept(idle.turn(&alone, then, Wish::Any)).is_none(), "its use does not prolong it");

    let many = key(Speech::H2c);
    let (upstream, _far) = http2(100).await;
    let upstream = retiring(upstream);
    opening(idle.turn(&many, now, Wish::Any)).expect("nobody is here").made(&upstream);
    let part = kept(idle.turn(&many, before, Wish::Any)).expect("it is in time");
    assert!(opening(idle.turn(&many, then, Wish::Any)).is_some(), "there would be room");
    assert!(!part.is_closed(), "a request that is on its way goes on");
}

#[tokio::test]
async fn who_wants_a_new_connection_gets_none_that_was_idle() {
    let (idle, key) = (Arc::new(Idle::default()), key(Speech::Http1));
    let (upstream, _far) = http1().await;
    idle.keep(key.clone(), upstream);
    assert!(kept(idle.turn(&key, Instant::now(), Wish::New)).is_none());
    assert!(kept(idle.turn(&key, Instant::now(), Wish::Any)).is_some());
}

#[tokio::test]
async fn requests_share_the_connection_with_the_most_room_and_one_is_opened_when_none_has_any() {
    let (idle, key) = (Arc::new(Idle::default()), key(Speech::H2c));
    let now = Instant::now();
    let mut parts = Vec::new();
    let mut fars = Vec::new();
    for connections in 1..=3 {
        let opening = opening(idle.turn(&key, now, Wish::Any)).expect("no room is left");
        let (upstream, far) = http2(2).await;
        opening.made(&upstream);
        parts.push(upstream);
        fars.push(far);
        parts.push(kept(idle.turn(&key, now, Wish::Any)).expect("room for one more"));
        assert_eq!(parts.len(), connections * 2);
    }
    // The first has room for two again, the others for none.
    parts.drain(..2);
    let again = kept(idle.turn(&key, now, Wish::Any)).expect("room");
    assert_eq!((again.busy(), again.free()), (1, 1));
    again.declined();
    assert!(opening(idle.turn(&key, now, Wish::Any)).is_some(), "it has less room than its origin says");
    let (upstream, _far) = http2(usize::MAX).await;
    opening(idle.turn(&key, now, Wish::Any)).expect("no room is left").made(&upstream);
    assert!(kept(idle.turn(&key, now, Wish::Any)).is_some());
    upstream.ends();
    assert!(opening(idle.turn(&key, now, Wish::Any)).is_some(), "it ends");
}

#[tokio::test]
async fn who_comes_while_one_is_opened_waits_for_it_and_opens_one_if_that_fails() {
    let (idle, key) = (Arc::new(Idle::default()), key(Speech::H2c));
    let now = Instant::now();
    let first = opening(idle.turn(&key, now, Wish::Any)).expect("nobody is here");
    let Turn::Wait(awaited) = idle.turn(&key, now, Wish::Any) else { panic!("one is being opened") };
    let (upstream, _far) = http2(100).await;
    first.made(&upstream);
    assert!(idle.wait(&key, awaited, SOON).await.is_none(), "asks again");
    assert!(kept(idle.turn(&key, now, Wish::Any)).is_some());
    upstream.ends();

    let first = opening(idle.turn(&key, now, Wish::Any)).expect("nobody is here");
    let waiting = || match idle.turn(&key, now, Wish::Any) {
        Turn::Wait(awaited) => awaited,
        Turn::Kept(..) | Turn::Open(_) => panic!("one is being opened"),
    };
    let (one, two) = (waiting(), waiting());
    drop(first);
    let (one, two) = (idle.wait(&key, one, SOON).await, idle.wait(&key, two, SOON).await);
    assert!(one.is_some() && two.is_some(), "nobody waits in vain for one after the other");
}

#[tokio::test]
async fn there_is_a_most_of_them() {
    let (idle, key) = (Arc::new(Idle::default()), key(Speech::H2c));
    let now = Instant::now();
    let mut held = Vec::new();
    for _ in 0..SHARED_MAX {
        let (upstream, far) = http2(1).await;
        opening(idle.turn(&key, now, Wish::Any)).expect("full, all of them").made(&upstream);
        held.push((upstream, far));
    }
    let waits = kept(idle.turn(&key, now, Wish::Any)).expect("waits for a stream");
    assert_eq!((waits.busy(), waits.free()), (2, 0));
    let next = kept(idle.turn(&key, now, Wish::Any)).expect("waits for another's");
    assert_eq!(next.busy(), 2, "where the fewest wait");
}

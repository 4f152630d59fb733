use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time,
};

use super::*;

const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
/// A head that says another frame follows.
const OPEN_HEAD: &[u8] = &[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82];

type Ended = oneshot::Receiver<(DuplexStream, End)>;

fn watched(first: &[u8]) -> (DuplexStream, Watched<DuplexStream>, Ended, Arc<Talk>) {
    let (client, server) = duplex(64 * 1024);
    let talk = Arc::new(Talk::default());
    let (watched, ended) = Watched::new(server, first.into(), talk.clone(), 0);
    (client, watched, ended, talk)
}

/// Reads until it fails; time is paused, so waiting takes none.
async fn fails(watched: &mut Watched<DuplexStream>) -> Vec<u8> {
    let mut all = Vec::new();
    let mut bytes = [0; 1024];
    while let Ok(read) = watched.read(&mut bytes).await {
        assert!(read > 0, "it fails before the client ends");
        all.extend_from_slice(&bytes[..read]);
    }
    all
}

fn why(mut ended: Ended) -> End {
    ended.try_recv().expect("it came back").1
}

#[tokio::test(start_paused = true)]
async fn what_is_in_order_passes_as_it_is() {
    let (mut client, mut watched, _ended, _talk) = watched(SETTINGS);
    client.write_all(PING).await.expect("room");
    let mut got = vec![0; SETTINGS.len() + PING.len()];
    watched.read_exact(&mut got).await.expect("all of it");
    assert_eq!(got, [SETTINGS, PING].concat());
    watched.write_all(PING).await.expect("room");
    let mut back = vec![0; PING.len()];
    client.read_exact(&mut back).await.expect("all of it");
    assert_eq!(back, PING);
}

#[tokio::test(start_paused = true)]
async fn too_much_of_something_is_told_to_the_client_and_passes_no_more() {
    let (mut client, mut watched, ended, _talk) = watched(SETTINGS);
    client.write_all(&PING.repeat(101)).await.expect("room");
    let passed = fails(&mut watched).await;
    assert!(passed.len() < SETTINGS.len() + PING.len() * 101);
    assert_eq!(why(ended), End::Abuse(Abuse::Pings));
    let mut goodbye = vec![0; 22];
    client.read_exact(&mut goodbye).await.expect("a frame");
    assert_eq!(goodbye, frames::go_away(0, 11, "pings"));
    assert!(watched.write_all(b"more").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_is_never_written_into_another_frame() {
    let (mut client, mut watched, ended, _talk) = watched(SETTINGS);
    watched.write_all(&PING[..5]).await.expect("room");
    client.write_all(&PING.repeat(101)).await.expect("room");
    let _ = fails(&mut watched).await;
    drop(ended);
    drop(watched);
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.expect("the end");
    assert_eq!(got, &PING[..5]);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_head_is_not_reset_by_its_bytes() {
    let (mut client, mut watched, ended, _talk) = watched(SETTINGS);
    let started = Instant::now();
    let dribble = async {
        client.write_all(OPEN_HEAD).await.expect("room");
        for _ in 0..20 {
            time::sleep(Duration::from_secs(1)).await;
            // A CONTINUATION frame without an end.
            client.write_all(&[0, 0, 1, 9, 0, 0, 0, 0, 1, 0x84]).await.expect("room");
        }
    };
    tokio::select! {
        _ = fails(&mut watched) => {}
        () = dribble => unreachable!("the deadline comes first"),
    }
    assert_eq!(why(ended), End::Abuse(Abuse::SlowHead));
    assert_eq!(started.elapsed().as_secs(), HEAD_WAIT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_begins_is_ended() {
    let (_client, mut watched, ended, _talk) = watched(b"");
    let started = Instant::now();
    let _ = fails(&mut watched).await;
    assert_eq!((why(ended), started.elapsed()), (End::Abuse(Abuse::SlowHead), HEAD_WAIT));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_unless_a_request_is_under_way() {
    let (_client, mut watched, ended, talk) = watched(SETTINGS);
    let under_way = talk.under_way();
    assert!(time::timeout(IDLE_WAIT * 3, fails(&mut watched)).await.is_err(), "a request is under way");
    drop(under_way);
    let started = Instant::now();
    let _ = fails(&mut watched).await;
    assert_eq!(why(ended), End::Idle);
    assert!(started.elapsed() <= IDLE_WAIT);
}

#[tokio::test(start_paused = true)]
async fn resets_that_the_edge_is_made_to_send_end_it_too() {
    let (mut client, mut watched, ended, _talk) = watched(SETTINGS);
    let reset = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 1];
    assert!(watched.write_all(&reset.repeat(501)).await.is_err());
    assert_eq!(why(ended), End::Abuse(Abuse::ProvokedResets));
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.expect("the end");
    assert!(got.ends_with(b"provoked_resets"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_its_answer_slowly_is_not_idle() {
    let (mut client, watched, ended, _talk) = watched(SETTINGS);
    let (mut reading, mut writing) = tokio::io::split(watched);
    let part = [&[0, 0x40, 0, 0, 0, 0, 0, 0, 1][..], &[0; 16_384]].concat();
    let started = Instant::now();
    let serving = tokio::spawn(async move { while reading.read(&mut [0; 64]).await.is_ok() {} });
    for _ in 0..10 {
        time::sleep(IDLE_WAIT / 2).await;
        writing.write_all(&part).await.expect("the connection lives");
        client.read_exact(&mut vec![0; part.len()]).await.expect("it is taken");
    }
    serving.await.expect("no panic");
    assert_eq!(why(ended), End::Idle, "once nothing is left to take");
    assert!(started.elapsed() <= IDLE_WAIT * 7);
}

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time,
};

use super::*;
use crate::offramp::Sacrificed;

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn guarded() -> (DuplexStream, Guard<DuplexStream>, Arc<Talk>) {
    let (client, server) = duplex(64 * 1024);
    let talk = Arc::new(Talk::default());
    (client, Guard::http1(server, BytesMut::new(), talk.clone()), talk)
}

async fn read(guard: &mut Guard<DuplexStream>) -> Vec<u8> {
    let mut bytes = vec![0; 64 * 1024];
    let read = guard.read(&mut bytes).await.expect("no error");
    bytes.truncate(read);
    bytes
}

/// True if nothing more passes for a long while. Time is paused, so a while takes no time.
async fn is_held(guard: &mut Guard<DuplexStream>) -> bool {
    time::timeout(Duration::from_secs(1), read(guard)).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn messages_pass_one_after_the_other() {
    let (mut client, mut guard, _talk) = guarded();
    let body = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";
    client.write_all(&[b"\r\n", HEAD, body, HEAD].concat()).await.expect("room");
    let mut all = Vec::new();
    while all.len() < 2 * HEAD.len() + body.len() {
        all.extend(read(&mut guard).await);
    }
    assert_eq!(all, [HEAD, body, HEAD].concat(), "the empty line before the first is not passed on");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_head_is_not_reset_by_its_bytes() {
    let (mut client, mut guard, talk) = guarded();
    let started = Instant::now();
    let dribble = async {
        for byte in HEAD.iter().chain(HEAD).chain(HEAD) {
            client.write_all(&[*byte & 0x7f]).await.expect("room");
            time::sleep(Duration::from_secs(1)).await;
        }
    };
    let passed = tokio::select! {
        passed = read(&mut guard) => passed,
        () = dribble => unreachable!("the deadline comes first"),
    };
    assert_eq!(passed, STAND_IN);
    assert_eq!(talk.refused(0), Some(Fault::HEAD_TIMEOUT));
    assert_eq!(started.elapsed().as_secs(), HEAD_WAIT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_unless_a_request_is_under_way() {
    let (mut client, mut guard, talk) = guarded();
    client.write_all(HEAD).await.expect("room");
    assert_eq!(read(&mut guard).await, HEAD);
    let under_way = talk.under_way();
    assert!(time::timeout(IDLE_WAIT * 3, read(&mut guard)).await.is_err(), "a request is under way");
    drop(under_way);
    let started = Instant::now();
    assert_eq!(read(&mut guard).await, b"");
    assert!(started.elapsed() <= IDLE_WAIT);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_as_idle_as_one_between_requests() {
    let (_client, mut guard, _talk) = guarded();
    let started = Instant::now();
    assert_eq!(read(&mut guard).await, b"");
    assert_eq!(started.elapsed().as_secs(), IDLE_WAIT.as_secs());
    let (_client, guard, _talk) = guarded();
    let (mut guard, started) = (guard.idle_after(IDLE_WAIT * 3), Instant::now());
    assert_eq!(read(&mut guard).await, b"");
    assert_eq!(started.elapsed().as_secs(), IDLE_WAIT.as_secs() * 3);
}

#[tokio::test(start_paused = true)]
async fn a_few_empty_lines_before_any_head_are_forgiven() {
    let (mut client, mut guard, talk) = guarded();
    client.write_all(&[HEAD, b"\r\n", HEAD].concat()).await.expect("room");
    assert_eq!(read(&mut guard).await, HEAD);
    assert_eq!(read(&mut guard).await, HEAD);
    client.write_all(&[&b"\r\n".repeat(EMPTY_LINES_MAX), HEAD].concat()).await.expect("room");
    assert_eq!(read(&mut guard).await, HEAD);
    for piece in b"\r\n".repeat(EMPTY_LINES_MAX).chunks(5) {
        client.write_all(piece).await.expect("room");
        assert!(is_held(&mut guard).await, "however they come");
    }
    client.write_all(&[b"\r\n", HEAD].concat()).await.expect("room");
    assert_eq!(read(&mut guard).await, STAND_IN);
    assert_eq!(talk.refused(3), Some(Fault::REQUEST_LINE), "and not one more");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_said_its_end_is_answered() {
    let (mut client, mut guard, talk) = guarded();
    client.write_all(HEAD).await.expect("room");
    client.shutdown().await.expect("open");
    assert_eq!(read(&mut guard).await, HEAD);
    assert!(is_held(&mut guard).await, "its request is not begun with yet");
    let under_way = talk.under_way();
    for _ in 0..5 {
        guard.write_all(b"some").await.expect("room");
        guard.flush().await.expect("open");
        assert!(time::timeout(HALF_CLOSED_WAIT - Duration::from_secs(1), read(&mut guard)).await.is_err(), "it moves");
    }
    let over = async {
        time::sleep(Duration::from_millis(100)).await;
        drop(under_way);
    };
    let (end, ()) = tokio::join!(read(&mut guard), over);
    assert_eq!(end, b"", "all has been said");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_is_not_waited_for() {
    let (mut client, mut guard, talk) = guarded();
    client.write_all(HEAD).await.expect("room");
    drop(client);
    assert_eq!(read(&mut guard).await, HEAD);
    let (_under_way, started) = (talk.under_way(), Instant::now());
    assert_eq!(read(&mut guard).await, b"");
    assert_eq!(started.elapsed().as_secs(), HALF_CLOSED_WAIT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_refused_head_is_replaced_and_nothing_behind_it_passes() {
    let (mut client, mut guard, talk) = guarded();
    client.write_all(&[HEAD, b"GET / HTTP/1.1\r\nhost : a\r\n\r\n", HEAD].concat()).await.expect("room");
    assert_eq!(read(&mut guard).await, HEAD);
    assert_eq!(read(&mut guard).await, STAND_IN);
    assert!(is_held(&mut guard).await);
    assert_eq!((talk.refused(0), talk.refused(1)), (None, Some(Fault::FIELD_NAME)));
}

#[tokio::test(start_paused = true)]
async fn a_bad_chunk_breaks_the_body() {
    let (mut client, mut guard, talk) = guarded();
    let head = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    client.write_all(head).await.expect("room");
    assert_eq!(read(&mut guard).await, head);
    client.write_all(b"0x1\r\n").await.expect("room");
    assert!(guard.read(&mut [0; 10]).await.is_err());
    assert_eq!(talk.broken_body(), Some(Fault::CHUNK));
}

#[tokio::test(start_paused = true)]
async fn what_follows_an_upgrade_is_held_until_it_is_released() {
    let (mut client, mut guard, _talk) = guarded();
    let head = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    client.write_all(&[&head[..], b"frames"].concat()).await.expect("room");
    assert_eq!(read(&mut guard).await, head);
    assert!(is_held(&mut guard).await);
    guard.release();
    assert_eq!(read(&mut guard).await, b"frames");
    client.write_all(b"more").await.expect("room");
    assert_eq!(read(&mut guard).await, b"more");
}

#[tokio::test(start_paused = true)]
async fn a_body_goes_before_what_is_held() {
    let (mut client, mut guard, _talk) = guarded();
    let head = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: tcp\r\ncontent-length: 2\r\n\r\n";
    client.write_all(&[&head[..], b"hiframes"].concat()).await.expect("room");
    assert_eq!(read(&mut guard).await, head);
    assert_eq!(read(&mut guard).await, b"hi");
    assert!(is_held(&mut guard).await);
    guard.release();
    assert_eq!(read(&mut guard).await, b"frames");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_given_up() {
    let (_client, server) = duplex(16);
    let mut guard = Guard::http1(server, BytesMut::new(), Arc::default());
    let started = Instant::now();
    assert!(guard.write_all(&[0; 1000]).await.is_err());
    assert_eq!(started.elapsed().as_secs(), STALL_WAIT.as_secs());
    let (_client, server) = duplex(16);
    let mut guard = Guard::http1(server, BytesMut::new(), Arc::default()).patient(STALL_WAIT * 5);
    let started = Instant::now();
    assert!(guard.write_all(&[0; 1000]).await.is_err());
    assert_eq!(started.elapsed().as_secs(), STALL_WAIT.as_secs() * 5);
    assert!(guard.talk.is_given_up());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_reset_when_its_flow_is_sacrificed_unless_it_has_all_of_its_answer() {
    for (has_all, patience) in [(false, Duration::ZERO), (true, STALL_WAIT)] {
        let (_client, server) = duplex(16);
        let talk = Arc::new(Talk::default());
        let mut guard = Guard::http1(server, BytesMut::new(), talk.clone());
        let flow = Sacrificed::default();
        talk.reads_from(Some(flow.clone()));
        let under_way = talk.under_way();
        let started = Instant::now();
        let sacrificing = async {
            time::sleep(Duration::from_secs(1)).await;
            if has_all {
                under_way.has_all();
            }
            flow.say();
        };
        let (written, ()) = tokio::join!(guard.write_all(&[0; 1000]), sacrificing);
        assert!(written.is_err());
        assert_eq!(started.elapsed().as_secs(), patience.max(Duration::from_secs(1)).as_secs());
        assert_eq!(talk.is_given_up(), has_all);
    }
}

#[tokio::test(start_paused = true)]
async fn interim_answers_go_between_whole_answers_only() {
    let (mut client, mut guard, talk) = guarded();
    guard.write_all(b"first").await.expect("room");
    talk.interim(b"interim");
    assert!(is_held(&mut guard).await);
    guard.write_all(b" half ").await.expect("room");
    guard.flush().await.expect("flushed");
    assert!(is_held(&mut guard).await);
    guard.write_all(b" second").await.expect("room");
    let mut got = vec![0; 25];
    client.read_exact(&mut got).await.expect("all of it");
    assert_eq!(got, b"first half interim second");
}

use std::{future::Future, time::Duration};

use bytes::Bytes;
use tokio::{io::AsyncWriteExt, time};

use super::*;
use crate::{
    control::{Goodbye, Renew},
    error::{CloseCode, Reason, StreamCode},
    limits::DER_MAX,
    pair::Pair,
    splice::Stream,
};

async fn within<T>(work: impl Future<Output = T>) -> T {
    time::timeout(Duration::from_secs(10), work).await.expect("done in time")
}

fn goodbye(grace_ms: u32) -> Message {
    Message::Goodbye(Goodbye { grace_ms })
}

/// A raw stream of the edge, and the reader at the connector.
async fn reader(pair: &Pair) -> (Stream, ControlReader) {
    let (edge, (_, recv)) = pair.raw_stream().await;
    (Stream::new(edge), ControlReader::new(recv))
}

#[tokio::test]
async fn frames_come_whole_however_they_were_cut() {
    let pair = Pair::new().await;
    let (mut edge, mut reader) = reader(&pair).await;
    let messages =
        [goodbye(1), Message::Renew(Renew { csr: vec![5; DER_MAX] }), Message::Ignored(0x8123), goodbye(2), goodbye(3)];
    let bytes: Vec<u8> = messages.iter().flat_map(Message::encode).collect();
    let writing = async {
        let (small, rest) = bytes.split_at(20);
        for byte in small {
            edge.send.write_all(&[*byte]).await.expect("a live link");
            tokio::task::yield_now().await;
        }
        for piece in rest.chunks(1021) {
            edge.send.write_all(piece).await.expect("a live link");
        }
    };
    let reading = async {
        let mut read = Vec::new();
        for _ in &messages {
            read.push(reader.next().await.expect("a message"));
        }
        read
    };
    let ((), read) = within(async { tokio::join!(writing, reading) }).await;
    assert_eq!(read, messages);
}

#[tokio::test]
async fn what_may_be_ignored_is_passed_over_where_an_answer_is_awaited() {
    let pair = Pair::new().await;
    let (mut edge, mut reader) = reader(&pair).await;
    for message in [Message::Ignored(0x8123), Message::Ignored(0xffff), goodbye(7)] {
        edge.send.write_all(&message.encode()).await.expect("a live link");
    }
    assert_eq!(within(reader.next_known()).await.expect("a message"), goodbye(7));
}

#[tokio::test]
async fn a_read_that_is_given_up_loses_nothing() {
    let pair = Pair::new().await;
    let (mut edge, mut reader) = reader(&pair).await;
    let frame = Message::Renew(Renew { csr: (0..=255).collect() }).encode();
    for piece in frame.chunks(7) {
        edge.send.write_all(piece).await.expect("a live link");
        // Polled as often as there is something to poll for, and dropped each time before the frame is whole.
        for _ in 0..10 {
            tokio::select! {
                biased;
                read = reader.next() => {
                    assert_eq!(read.expect("a message").encode(), frame);
                    return;
                }
                () = tokio::task::yield_now() => {}
            }
        }
    }
    assert_eq!(within(reader.next()).await.expect("a message").encode(), frame);
}

#[tokio::test]
async fn an_end_within_or_between_frames_is_told() {
    let pair = Pair::new().await;
    for sent in [0, 3, 6, 9] {
        let (mut edge, mut reader) = reader(&pair).await;
        edge.send.write_all(&goodbye(1).encode()[..sent]).await.expect("a live link");
        edge.send.finish().expect("not finished yet");
        assert!(matches!(within(reader.next()).await, Err(WireError::Ended)), "after {sent} bytes");
    }
    let (mut edge, mut reader) = reader(&pair).await;
    edge.send.write_all(&goodbye(1).encode()[..7]).await.expect("a live link");
    edge.send.reset_unknown(42);
    assert!(matches!(within(reader.next()).await, Err(WireError::Cut(42))));
}

#[tokio::test]
async fn an_oversized_frame_is_refused_at_its_head_and_closes_the_link() {
    let pair = Pair::new().await;
    let (mut edge, mut reader) = reader(&pair).await;
    edge.send.write_all(&[0, 1, 0, 1, 0, 1]).await.expect("a live link");
    let error = within(reader.next()).await.expect_err("65,537 bytes are too many");
    assert!(matches!(error, WireError::Decode(DecodeError::TooLong { length: 65_537, .. })), "{error}");
    pair.connector.close(CloseCode::Protocol, &error.to_string());
    let told = within(pair.edge.closed()).await.to_string();
    let words = "a body of 65537 bytes is announced, at most 65536 are allowed";
    assert_eq!(told, format!("closed by the peer (protocol_error): {words}"));
}

#[tokio::test]
async fn a_malformed_or_unknown_frame_is_a_coded_error() {
    let pair = Pair::new().await;
    for frame in [&[0, 4, 0, 0, 0, 1, 9][..], &[0, 99, 0, 0, 0, 0]] {
        let (mut edge, mut reader) = reader(&pair).await;
        edge.send.write_all(frame).await.expect("a live link");
        assert!(matches!(within(reader.next()).await, Err(WireError::Decode(_))));
    }
}

#[tokio::test]
async fn what_follows_a_header_stays_for_the_splice() {
    let pair = Pair::new().await;
    let (mut edge, mut connector) = pair.stream().await;
    let open = Open::Tcp(crate::stream::OpenTcp {
        vnet: "prod".parse().expect("a name"),
        target: "10.0.0.1:80".parse().expect("a target"),
        wait: Duration::from_secs(1),
        flow: None,
    });
    edge.send.write_chunk(Bytes::from([&open.encode()[..], b"GET /"].concat())).await.expect("a live link");
    assert_eq!(within(read_open(&mut connector.recv)).await.expect("a header"), open);
    let mut first = [0; 5];
    connector.recv.fill(&mut first).await.expect("the client's bytes");
    assert_eq!(&first, b"GET /");
    let reply = Reply::Refused { reason: Reason::PolicyDenied, text: "not allowed".to_owned() };
    connector.send.write_chunk(reply.encode()).await.expect("a live link");
    assert_eq!(within(read_reply(&mut edge.recv)).await.expect("a reply"), reply);
}

#[tokio::test]
async fn a_header_that_is_too_long_cut_or_withheld_is_told_apart() {
    let pair = Pair::new().await;
    let (mut edge, mut connector) = pair.stream().await;
    edge.send.write_all(&[2, 4, 1]).await.expect("a live link");
    let read = within(read_open(&mut connector.recv)).await;
    assert!(matches!(read, Err(WireError::Decode(DecodeError::TooLong { length: 1025, limit: 1024 }))));
    connector.cut(StreamCode::BadHeader);
    assert!(matches!(within(read_reply(&mut edge.recv)).await, Err(WireError::Cut(4))));

    let (mut edge, mut connector) = pair.stream().await;
    edge.send.write_all(&[2, 0, 9, 1]).await.expect("a live link");
    edge.send.finish().expect("open");
    assert!(matches!(within(read_open(&mut connector.recv)).await, Err(WireError::Ended)));
}

#[tokio::test]
async fn a_lost_link_is_told_as_such() {
    let pair = Pair::new().await;
    let (mut edge, mut reader) = reader(&pair).await;
    pair.connector.close(CloseCode::Done, "");
    assert!(matches!(within(reader.next()).await, Err(WireError::Lost(_))));
    within(pair.edge.closed()).await;
    let written = within(write_message(&mut edge.send, &goodbye(1))).await;
    assert!(matches!(written, Err(WireError::Lost(_))));
}

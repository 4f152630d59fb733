use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time,
};

use super::*;
use crate::{error::CloseCode, pair::Pair, splice::Stream};

async fn within<T>(work: impl Future<Output = T>) -> T {
    time::timeout(Duration::from_secs(10), work).await.expect("done in time")
}

/// What a reader of bytes makes of it.
async fn read_as_bytes(recv: &mut Inflow) -> (Vec<u8>, Result<usize, io::ErrorKind>) {
    let mut bytes = Vec::new();
    let read = within(recv.read_to_end(&mut bytes)).await;
    (bytes, read.map_err(|error| error.kind()))
}

/// What a reader of pieces makes of it.
async fn read_as_pieces(recv: &mut Inflow) -> (Vec<u8>, Result<(), Cut>) {
    let mut bytes = Vec::new();
    loop {
        match within(recv.read_chunk(1024)).await {
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            Ok(None) => return (bytes, Ok(())),
            Err(cut) => return (bytes, Err(cut)),
        }
    }
}

async fn says(stream: &mut Stream, bytes: &[u8]) {
    stream.send.write_all(bytes).await.expect("a live link");
}

/// A reset, as a splice tells it: a stop, and the end of data once that has arrived.
async fn is_reset(stream: &mut Stream, peer: &Stream) {
    stream.recv.stop(StreamCode::Reset).expect("the peer may still speak");
    assert!(matches!(within(peer.send.stopped()).await, Taken::Stopped(_)));
    stream.send.finish().expect("open");
}

#[tokio::test]
async fn a_clean_end_is_an_end() {
    let pair = Pair::new().await;
    let (mut edge, mut connector) = pair.stream().await;
    says(&mut connector, b"whole").await;
    connector.send.finish().expect("open");
    assert_eq!(read_as_bytes(&mut edge.recv).await, (b"whole".to_vec(), Ok(5)));
    assert_eq!(read_as_pieces(&mut edge.recv).await, (vec![], Ok(())), "and stays one");
}

#[tokio::test]
async fn a_clean_end_behind_our_own_is_an_end() {
    let pair = Pair::new().await;
    let (mut edge, mut connector) = pair.stream().await;
    edge.send.finish().expect("open");
    assert_eq!(read_as_pieces(&mut connector.recv).await, (vec![], Ok(())));
    assert_eq!(within(edge.send.stopped()).await, Taken::Whole);
    says(&mut connector, b"whole").await;
    connector.send.finish().expect("open");
    assert_eq!(read_as_pieces(&mut edge.recv).await, (b"whole".to_vec(), Ok(())));
}

#[tokio::test]
async fn an_end_behind_a_stop_is_a_cut_whoever_reads() {
    let pair = Pair::new().await;
    for _ in 0..3 {
        let (mut edge, mut connector) = pair.stream().await;
        says(&mut connector, b"half").await;
        is_reset(&mut connector, &edge).await;
        assert_eq!(read_as_bytes(&mut edge.recv).await, (b"half".to_vec(), Err(io::ErrorKind::ConnectionReset)));
        assert_eq!(read_as_pieces(&mut edge.recv).await, (vec![], Err(Cut::Peer(StreamCode::Reset))), "for good");

        let (mut edge, mut connector) = pair.stream().await;
        says(&mut connector, b"half").await;
        is_reset(&mut connector, &edge).await;
        assert_eq!(read_as_pieces(&mut edge.recv).await, (b"half".to_vec(), Err(Cut::Peer(StreamCode::Reset))));

        let (mut edge, mut connector) = pair.stream().await;
        says(&mut connector, b"half").await;
        is_reset(&mut connector, &edge).await;
        let read = within(edge.recv.fill(&mut [0; 5])).await;
        assert!(matches!(read, Err(Cut::Peer(StreamCode::Reset))), "{read:?}");
    }
}

#[tokio::test]
async fn a_link_that_dies_is_no_end_unless_the_end_had_come() {
    let pair = Pair::new().await;
    let (mut open, mut from_open) = pair.stream().await;
    let (mut whole, mut from_whole) = pair.stream().await;
    says(&mut from_open, b"half").await;
    says(&mut from_whole, b"whole").await;
    from_whole.send.finish().expect("open");
    assert_eq!(within(from_whole.send.stopped()).await, Taken::Whole, "all of it has arrived");
    pair.connector.close(CloseCode::Done, "");
    within(pair.edge.closed()).await;
    let (_, end) = read_as_pieces(&mut open.recv).await;
    assert!(matches!(end, Err(Cut::Lost(_))), "{end:?}");
    assert_eq!(read_as_pieces(&mut whole.recv).await, (b"whole".to_vec(), Ok(())));
}

//! The two directions between a socket and a stream, each until its own end. What an end means for the other direction is
//! the splice's affair.

use std::{
    io::{self, IoSlice},
    pin::pin,
    time::Duration,
};

use bytes::{Buf, Bytes};
use net::Socket;
use quinn::{SendStream, StoppedError, VarInt, WriteError};
use tokio::{select, time};

use super::{Stuck, arena::read_next, progress::Progress};
use crate::{
    error::StreamCode,
    inflow::{Cut, Inflow},
};

/// Chunks taken from a stream and written to a socket at a time.
pub(super) const CHUNKS: usize = 16;

/// How one direction came to its end.
pub(super) enum End {
    Finished,
    LocalRead,
    LocalWrite,
    Remote(StreamCode),
    Stalled,
    Lost,
}

/// Local to peer.
pub(super) async fn upload(
    socket: &Socket,
    send: &mut SendStream,
    mut first: Bytes,
    last_wait: Duration,
    progress: &Progress,
) -> End {
    let mut stopped = pin!(send.stopped());
    loop {
        let bytes = if first.is_empty() {
            select! {
                biased;
                stop = &mut stopped => return stop_end(stop),
                read = read_next(socket) => match read {
                    Ok(bytes) => bytes,
                    Err(_) => return End::LocalRead,
                },
            }
        } else {
            std::mem::take(&mut first)
        };
        if bytes.is_empty() {
            // The kernel tells a reset once; after that, a broken connection reads as one that has ended.
            if progress.is_reset() {
                return End::LocalRead;
            }
            let _ = send.finish();
            // The peer may still have to say that its side was reset; once it has everything, it says so by other means.
            return stop_end(stopped.await);
        }
        let length = bytes.len();
        match write_while_wanted(socket, send, bytes, last_wait).await {
            Some(Ok(())) => progress.add_sent(length),
            Some(Err(WriteError::Stopped(code))) => return End::Remote(StreamCode::from_wire(code.into_inner())),
            Some(Err(WriteError::ConnectionLost(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected)) => {
                return End::Lost;
            }
            None => return End::LocalRead,
        }
    }
}

/// Writes to the peer. If the local side is reset while the peer takes nothing, waits a last while only: `None`.
async fn write_while_wanted(
    socket: &Socket,
    send: &mut SendStream,
    bytes: Bytes,
    last_wait: Duration,
) -> Option<Result<(), WriteError>> {
    let mut write = pin!(send.write_chunk(bytes));
    select! {
        biased;
        done = &mut write => return Some(done),
        () = socket.broken() => {}
    }
    time::timeout(last_wait, write).await.ok()
}

fn stop_end(stop: Result<Option<VarInt>, StoppedError>) -> End {
    match stop {
        Ok(Some(code)) => End::Remote(StreamCode::from_wire(code.into_inner())),
        Ok(None) => End::Finished,
        Err(_) => End::Lost,
    }
}

/// Peer to local.
pub(super) async fn download(recv: &mut Inflow, socket: &Socket, stuck: &Stuck, progress: &Progress) -> End {
    let mut chunks: [Bytes; CHUNKS] = Default::default();
    loop {
        let count = match recv.read_chunks(&mut chunks).await {
            Ok(Some(count)) => count,
            Ok(None) => return End::Finished,
            Err(Cut::Peer(code)) => return End::Remote(code),
            Err(Cut::Lost(_)) => return End::Lost,
        };
        let mut first = 0;
        while first < count {
            match write_some(socket, &chunks[first..count]) {
                Ok(written) => {
                    progress.add_received(written);
                    first += advance(&mut chunks[first..count], written);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(end) = wait_for_reader(socket, stuck, progress).await {
                        return end;
                    }
                }
                Err(_) => return End::LocalWrite,
            }
        }
    }
}

fn write_some(socket: &Socket, chunks: &[Bytes]) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); CHUNKS];
    for (slice, chunk) in slices.iter_mut().zip(chunks) {
        *slice = IoSlice::new(chunk);
    }
    socket.try_write(&slices[..chunks.len()])
}

/// Drops `written` bytes from the front of the chunks; says how many chunks are gone.
fn advance(chunks: &mut [Bytes], mut written: usize) -> usize {
    let mut gone = 0;
    for chunk in chunks {
        if written < chunk.len() {
            chunk.advance(written);
            break;
        }
        written -= chunk.len();
        *chunk = Bytes::new();
        gone += 1;
    }
    gone
}

async fn wait_for_reader(socket: &Socket, stuck: &Stuck, progress: &Progress) -> Result<(), End> {
    let _waiting = stuck.enter();
    let mut wait = stuck.patience();
    loop {
        match time::timeout(wait, socket.writable()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(_)) => return Err(End::LocalWrite),
            // A slow reader is its own affair until it costs others their share of the link, or the writer is gone.
            Err(_) if stuck.is_short() || progress.is_reset() => return Err(End::Stalled),
            // From here on it is reset soon after that becomes so.
            Err(_) => wait = stuck.patience() / 10,
        }
    }
}

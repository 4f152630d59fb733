//! The two directions between a socket and a stream, each until its own end. What an end means for the other direction is
//! the splice's affair.

use std::{
    io::{self, IoSlice},
    pin::pin,
    time::Duration,
};

use bytes::{Buf, Bytes};
use net::Socket;
use tokio::{select, sync::Notify, time};

use super::{arena::read_next, progress::Progress};
use crate::{
    error::StreamCode,
    inflow::{Cut, Inflow},
    link::{SendStream, Taken, WriteError},
    windows::{Reader, Writer},
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
    (send, writer): (&mut SendStream, &mut Writer),
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
        let written = select! {
            biased;
            written = write_while_wanted(socket, write(send, writer, bytes, progress), last_wait) => written,
            stop = &mut stopped => return stop_end(stop),
        };
        match written {
            Some(Ok(())) => {}
            Some(Err(WriteError::Stopped(code))) => return End::Remote(StreamCode::from_wire(code)),
            Some(Err(WriteError::Lost(_) | WriteError::Ended)) => return End::Lost,
            None => return End::LocalRead,
        }
    }
}

/// Writes to the peer as much at a time as its reader allows.
async fn write(
    send: &mut SendStream,
    writer: &mut Writer,
    mut bytes: Bytes,
    progress: &Progress,
) -> Result<(), WriteError> {
    while !bytes.is_empty() {
        let piece = bytes.split_to(bytes.len().min(writer.room().await));
        let length = piece.len();
        send.write_chunk(piece).await?;
        writer.sent(length);
        progress.add_sent(length);
    }
    Ok(())
}

/// Writes to the peer. If the local side is reset while the peer takes nothing, waits a last while only: `None`.
async fn write_while_wanted(
    socket: &Socket,
    write: impl Future<Output = Result<(), WriteError>>,
    last_wait: Duration,
) -> Option<Result<(), WriteError>> {
    let mut write = pin!(write);
    select! {
        biased;
        done = &mut write => return Some(done),
        () = socket.broken() => {}
    }
    time::timeout(last_wait, write).await.ok()
}

fn stop_end(taken: Taken) -> End {
    match taken {
        Taken::Stopped(code) => End::Remote(code),
        Taken::Whole => End::Finished,
        Taken::Lost => End::Lost,
    }
}

/// What a flow's peer is told of the local reader, and what becomes of a reader that takes too little.
pub(super) struct Taking<'a> {
    pub(super) reader: Reader,
    pub(super) unwanted: &'a Notify,
    /// How long the last bytes may take after a reset.
    pub(super) last_wait: Duration,
}

/// Peer to local.
pub(super) async fn download(recv: &mut Inflow, socket: &Socket, taking: &Taking<'_>, progress: &Progress) -> End {
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
                    taking.reader.take(written);
                    first += advance(&mut chunks[first..count], written);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(end) = wait_for_reader(socket, taking, progress).await {
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

async fn wait_for_reader(socket: &Socket, taking: &Taking<'_>, progress: &Progress) -> Result<(), End> {
    taking.reader.pause();
    loop {
        let ready = select! {
            biased;
            () = taking.unwanted.notified() => return Err(End::Stalled),
            ready = time::timeout(taking.last_wait, socket.writable()) => ready,
        };
        match ready {
            Ok(Ok(())) => break,
            Ok(Err(_)) => return Err(End::LocalWrite),
            // A slow reader is its own affair until it costs others what they need, or the writer is gone.
            Err(_) if progress.is_reset() => return Err(End::Stalled),
            Err(_) => {}
        }
    }
    // Sacrificed in this very moment: no window will come any more.
    if taking.reader.resume() { Ok(()) } else { Err(End::Stalled) }
}

//! Carries bytes between a socket and a stream until both directions have ended. The same code runs on both sides of a
//! link: "local" is the client at an edge and the origin at a connector.
//!
//! Each direction ends alone. A reset crosses as a stop code and the end of data: the far side delivers what it has, then
//! closes hard.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::pin,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use net::Socket;
use quinn::{ReadError, RecvStream, SendStream, StoppedError, VarInt, WriteError};
use tokio::{select, time};

use crate::{
    error::StreamCode,
    limits::{LAST_BYTES_WAIT, STALL_AFTER, STUCK_MAX},
    wire,
};

/// Room a read is offered at least.
const READ_MIN: usize = 64 * 1024;
/// Room taken from the allocator at a time; many reads share it.
const READ_BLOCK: usize = 256 * 1024;
/// Chunks taken from a stream and written to a socket at a time.
const CHUNKS: usize = 16;

thread_local! {
    /// Reads of all flows of a worker land here one after the other, so an idle flow holds no buffer.
    static ARENA: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// Both halves of a QUIC stream.
#[derive(Debug)]
pub struct Stream {
    /// Towards the peer.
    pub send: SendStream,
    /// From the peer.
    pub recv: RecvStream,
}

impl Stream {
    /// Gives up both directions.
    pub fn cut(&mut self, code: StreamCode) {
        wire::cut(&mut self.send, &mut self.recv, code);
    }
}

/// How many flows of a link wait for a reader that takes nothing. Each may hold a stream's whole window of the link's.
#[derive(Debug, Default)]
pub struct Stuck(AtomicUsize);

impl Stuck {
    /// True when the stuck flows may hold more than half of the link's receive window.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.0.load(Ordering::Relaxed) > STUCK_MAX
    }

    fn enter(&self) -> StuckGuard<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        StuckGuard(self)
    }
}

struct StuckGuard<'a>(&'a Stuck);

impl Drop for StuckGuard<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a splice carried and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Bytes from the socket to the stream.
    pub sent: u64,
    /// Bytes from the stream to the socket.
    pub received: u64,
    /// Why it is over.
    pub ended: Ended,
}

/// Why a splice is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    /// Both directions came to their end.
    Finished,
    /// The local peer reset its connection.
    LocalReset,
    /// The peer on the other side of the link reset its connection.
    RemoteReset,
    /// The reader on either side took nothing while the link's window ran short.
    Stalled,
    /// The link died.
    LinkLost,
    /// Nothing was carried for the idle limit.
    Idle,
}

impl Ended {
    /// The word for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::LocalReset => "local_reset",
            Self::RemoteReset => "remote_reset",
            Self::Stalled => "stalled",
            Self::LinkLost => "link_lost",
            Self::Idle => "idle",
        }
    }
}

/// Reads what a socket holds into the worker's arena. Empty: the end of data.
///
/// # Errors
/// `WouldBlock` if there is nothing; else the connection's error.
pub fn read_some(socket: &Socket) -> io::Result<Bytes> {
    ARENA.with_borrow_mut(|arena| {
        if arena.capacity() - arena.len() < READ_MIN {
            arena.reserve(READ_BLOCK);
        }
        socket.try_read(arena)?;
        Ok(arena.split().freeze())
    })
}

/// Reads as [`read_some`], waiting for the first byte, the end or an error.
///
/// # Errors
/// The connection's error.
pub async fn read_next(socket: &Socket) -> io::Result<Bytes> {
    loop {
        socket.readable().await?;
        match read_some(socket) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

/// Each count has one writer, so nothing need be locked.
fn add(total: &AtomicU64, bytes: u64) {
    total.store(count(total) + bytes, Ordering::Relaxed);
}

fn count(total: &AtomicU64) -> u64 {
    total.load(Ordering::Relaxed)
}

/// How one direction came to its end.
enum End {
    Finished,
    Local,
    Remote(StreamCode),
    Stalled,
    Lost,
}

/// How to splice.
#[derive(Debug, Default)]
pub struct Manner {
    /// Bytes of the socket that were read already and go first.
    pub first: Bytes,
    /// Close when neither direction carries a byte for this long.
    pub idle: Option<Duration>,
}

/// Carries until both directions have ended; closes the socket and the stream as their ends demand.
pub async fn splice(socket: Socket, mut stream: Stream, stuck: &Stuck, manner: Manner) -> Carried {
    let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
    let ended = carry(&socket, &mut stream, stuck, manner, (&sent, &received)).await;
    match ended {
        Ended::Finished => {}
        Ended::LocalReset => tell_reset(&mut stream),
        // The peer's end of data has been delivered to the socket: once the kernel has sent it, the reset may follow.
        Ended::RemoteReset => socket.abort_when_sent(LAST_BYTES_WAIT).await,
        Ended::Stalled => {
            stream.cut(StreamCode::Stalled);
            socket.abort();
        }
        Ended::LinkLost | Ended::Idle => {
            stream.cut(StreamCode::Reset);
            socket.abort();
        }
    }
    Carried { sent: count(&sent), received: count(&received), ended }
}

async fn carry(
    socket: &Socket,
    stream: &mut Stream,
    stuck: &Stuck,
    manner: Manner,
    (sent, received): (&AtomicU64, &AtomicU64),
) -> Ended {
    let mut up = pin!(upload(socket, &mut stream.send, manner.first, sent));
    let mut down = pin!(download(&mut stream.recv, socket, stuck, received));
    let mut idle = pin!(run_idle(manner.idle, sent, received));
    let (mut up_open, mut down_open, mut reset) = (true, true, false);
    while up_open || down_open {
        let end = select! {
            end = &mut up, if up_open => { up_open = false; end }
            end = &mut down, if down_open => { down_open = false; end }
            // A reset shows on reads; once the client's data has ended, only this tells.
            () = socket.broken(), if !up_open && !reset => End::Local,
            () = &mut idle => return Ended::Idle,
        };
        match end {
            End::Finished => {}
            // The peer's side was reset. What it sent before must still be delivered.
            End::Remote(StreamCode::Reset | StreamCode::Cancelled | StreamCode::BadHeader) if down_open => reset = true,
            End::Remote(StreamCode::Stalled) | End::Stalled => return Ended::Stalled,
            End::Remote(_) => return Ended::RemoteReset,
            End::Local => return Ended::LocalReset,
            End::Lost => return Ended::LinkLost,
        }
    }
    if reset { Ended::RemoteReset } else { Ended::Finished }
}

/// Local to peer.
async fn upload(socket: &Socket, send: &mut SendStream, mut first: Bytes, sent: &AtomicU64) -> End {
    let mut stopped = pin!(send.stopped());
    loop {
        let bytes = if first.is_empty() {
            select! {
                read = read_next(socket) => match read {
                    Ok(bytes) => bytes,
                    Err(_) => return End::Local,
                },
                stop = &mut stopped => return stop_end(stop),
            }
        } else {
            std::mem::take(&mut first)
        };
        if bytes.is_empty() {
            let _ = send.finish();
            // The peer may still have to say that its side was reset; once it has everything, it says so by other means.
            return stop_end(stopped.await);
        }
        let length = bytes.len() as u64;
        match send.write_chunk(bytes).await {
            Ok(()) => add(sent, length),
            Err(WriteError::Stopped(code)) => return End::Remote(StreamCode::from_wire(code.into_inner())),
            Err(WriteError::ConnectionLost(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected) => {
                return End::Lost;
            }
        }
    }
}

fn stop_end(stop: Result<Option<VarInt>, StoppedError>) -> End {
    match stop {
        Ok(Some(code)) => End::Remote(StreamCode::from_wire(code.into_inner())),
        Ok(None) => End::Finished,
        Err(_) => End::Lost,
    }
}

/// Peer to local.
async fn download(recv: &mut RecvStream, socket: &Socket, stuck: &Stuck, received: &AtomicU64) -> End {
    let mut chunks: [Bytes; CHUNKS] = Default::default();
    loop {
        let count = match recv.read_chunks(&mut chunks).await {
            Ok(Some(count)) => count,
            Ok(None) => {
                socket.shutdown_write();
                return End::Finished;
            }
            Err(ReadError::Reset(code)) => return End::Remote(StreamCode::from_wire(code.into_inner())),
            Err(ReadError::ConnectionLost(_)) => return End::Lost,
            Err(ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected) => {
                return End::Lost;
            }
        };
        let mut first = 0;
        while first < count {
            match write_some(socket, &chunks[first..count]) {
                Ok(written) => {
                    add(received, written as u64);
                    first += advance(&mut chunks[first..count], written);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(end) = wait_for_reader(socket, stuck).await {
                        return end;
                    }
                }
                Err(_) => return End::Local,
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

async fn wait_for_reader(socket: &Socket, stuck: &Stuck) -> Result<(), End> {
    let _waiting = stuck.enter();
    loop {
        match time::timeout(STALL_AFTER, socket.writable()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(_)) => return Err(End::Local),
            // A slow reader is its own affair until it costs others their share of the link.
            Err(_) if stuck.is_short() => return Err(End::Stalled),
            Err(_) => {}
        }
    }
}

async fn run_idle(limit: Option<Duration>, sent: &AtomicU64, received: &AtomicU64) {
    let Some(limit) = limit else { return std::future::pending().await };
    let mut before = (count(sent), count(received));
    loop {
        time::sleep(limit).await;
        let now = (count(sent), count(received));
        if now == before {
            return;
        }
        before = now;
    }
}

/// Carries between two sockets, without a tunnel: the first is local, the second remote. Ends as [`splice`] does.
pub async fn relay(local: Socket, remote: Socket, manner: Manner) -> Carried {
    let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
    let ended = {
        let mut up = pin!(copy(&local, &remote, manner.first, &sent));
        let mut down = pin!(copy(&remote, &local, Bytes::new(), &received));
        let mut idle = pin!(run_idle(manner.idle, &sent, &received));
        let (mut up_open, mut down_open) = (true, true);
        loop {
            let broken = select! {
                end = &mut up, if up_open => { up_open = false; end.map(|read| if read { Ended::LocalReset } else { Ended::RemoteReset }) }
                end = &mut down, if down_open => { down_open = false; end.map(|read| if read { Ended::RemoteReset } else { Ended::LocalReset }) }
                () = local.broken(), if !up_open => Some(Ended::LocalReset),
                () = remote.broken(), if !down_open => Some(Ended::RemoteReset),
                () = &mut idle => Some(Ended::Idle),
            };
            match broken {
                Some(ended) => break ended,
                None if !up_open && !down_open => break Ended::Finished,
                None => {}
            }
        }
    };
    match ended {
        Ended::Finished => {}
        Ended::LocalReset => remote.abort_when_sent(LAST_BYTES_WAIT).await,
        Ended::RemoteReset => local.abort_when_sent(LAST_BYTES_WAIT).await,
        Ended::Stalled | Ended::LinkLost | Ended::Idle => {
            local.abort();
            remote.abort();
        }
    }
    Carried { sent: count(&sent), received: count(&received), ended }
}

/// One direction between two sockets. `None`: it came to its end. Else whether reading (true) or writing broke.
async fn copy(from: &Socket, to: &Socket, first: Bytes, total: &AtomicU64) -> Option<bool> {
    let mut bytes = first;
    loop {
        while !bytes.is_empty() {
            match to.try_write(&[IoSlice::new(&bytes)]) {
                Ok(written) => {
                    add(total, written as u64);
                    bytes.advance(written);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if to.writable().await.is_err() {
                        return Some(false);
                    }
                }
                Err(_) => return Some(false),
            }
        }
        match read_next(from).await {
            Ok(read) if read.is_empty() => {
                to.shutdown_write();
                return None;
            }
            Ok(read) => bytes = read,
            Err(_) => return Some(true),
        }
    }
}

/// A reset crosses as a stop code, then the end of data.
fn tell_reset(stream: &mut Stream) {
    let code = VarInt::from_u32(StreamCode::Reset as u32);
    match stream.recv.stop(code) {
        Ok(()) => drop(stream.send.finish()),
        // The peer's data had ended, so it no longer hears a stop: only cutting our own direction tells it.
        Err(_) => drop(stream.send.reset(code)),
    }
}

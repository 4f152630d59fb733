//! A byte stream as flows see it: readiness, non-blocking reads and writes, half-close, and a hard close. From the
//! operating system, or in memory.

use std::{
    io::{self, IoSlice},
    net::{Shutdown, SocketAddr},
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::BufMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use crate::{files, info, memory, unread::Unread};

/// A peer that vanished without a word is noticed after about this long (keep-alive probes of the kernel).
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Bytes the kernel may hold of a connection that it has not sent yet. More would let a reader that takes nothing look like a
/// quick one, and make it wait longer for what comes behind.
const UNSENT_MAX: u32 = 64 * 1024;

/// One TCP connection, bound to the runtime it is polled on.
#[derive(Debug)]
pub struct Socket(Over);

/// A [`Socket`] between two runtimes: taken from one worker, not yet landed on another.
#[derive(Debug)]
pub struct Parked(ParkedOver);

#[derive(Debug)]
enum Over {
    Os(TcpStream, Unread),
    Memory(memory::Stream),
}

#[derive(Debug)]
enum ParkedOver {
    Os(std::net::TcpStream, Unread),
    Memory(memory::Stream),
}

impl Socket {
    /// Wraps a connected stream: no Nagle delay, kernel keep-alive on, little unsent, little unread.
    ///
    /// # Errors
    /// What the kernel says of the socket options; usually that the peer is gone already.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 4))?;
        socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
        let unread = Unread::of(&stream);
        Ok(Self(Over::Os(stream, unread)))
    }

    pub(crate) fn in_memory(stream: memory::Stream) -> Self {
        Self(Over::Memory(stream))
    }

    /// Waits until a read may bring bytes, the end, or an error.
    ///
    /// # Errors
    /// Only if the runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        match &self.0 {
            Over::Os(stream, _) => stream.readable().await,
            Over::Memory(stream) => {
                stream.readable().await;
                Ok(())
            }
        }
    }

    /// Reads what is there into the spare room of `buffer`; 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there; else the connection's error.
    pub fn try_read(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        match &self.0 {
            Over::Os(stream, unread) => stream.try_read_buf(buffer).inspect(|read| unread.taken(stream, *read)),
            Over::Memory(stream) => stream.try_read(buffer),
        }
    }

    /// Waits until a write may take bytes, or fail.
    ///
    /// # Errors
    /// Only if the runtime is shutting down.
    pub async fn writable(&self) -> io::Result<()> {
        match &self.0 {
            Over::Os(stream, _) => stream.writable().await,
            Over::Memory(stream) => {
                stream.writable().await;
                Ok(())
            }
        }
    }

    /// Writes as much as the kernel takes.
    ///
    /// # Errors
    /// `WouldBlock` if it takes nothing; else the connection's error.
    pub fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.0 {
            Over::Os(stream, _) => stream.try_write_vectored(slices),
            Over::Memory(stream) => stream.try_write(slices),
        }
    }

    /// Waits until the connection is broken in both directions: a reset that no read or write would show yet.
    pub async fn broken(&self) {
        match &self.0 {
            Over::Os(stream, _) => os_broken(stream).await,
            Over::Memory(stream) => stream.broken().await,
        }
    }

    /// Whether it is one of the last files that the process may open, which are not for public traffic.
    #[must_use]
    pub fn is_of_the_reserve(&self) -> bool {
        match &self.0 {
            Over::Os(stream, _) => files::is_reserved(stream.as_fd()),
            Over::Memory(_) => false,
        }
    }

    /// Sends the end of data; reading goes on.
    pub fn shutdown_write(&self) {
        match &self.0 {
            // The peer may have reset already; then there is nothing left to end.
            Over::Os(stream, _) => drop(SockRef::from(stream).shutdown(Shutdown::Write)),
            Over::Memory(stream) => stream.shutdown_write(),
        }
    }

    /// From here on every close is a hard one, the kernel's own too should this process be killed: so nobody takes what has
    /// come so far for the whole.
    pub fn close_hard(&self) {
        self.set_linger(Some(Duration::ZERO));
    }

    /// From here on a close is the end of what was written, and loses none of it.
    pub fn close_softly(&self) {
        self.set_linger(None);
    }

    /// Bytes that the peer's system has acknowledged, as far as this one knows; it grows while somebody reads there.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        match &self.0 {
            Over::Os(stream, _) => info::acknowledged(stream),
            Over::Memory(_) => 0,
        }
    }

    fn set_linger(&self, linger: Option<Duration>) {
        match &self.0 {
            // Refused only for a connection that is gone.
            Over::Os(stream, _) => drop(SockRef::from(stream).set_linger(linger)),
            Over::Memory(_) => {}
        }
    }

    /// Closes hard: the peer sees a reset, not an end. Bytes the kernel has not sent yet are lost.
    pub fn abort(self) {
        match self.0 {
            Over::Os(stream, _) => drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO))),
            Over::Memory(stream) => stream.abort(),
        }
    }

    /// Closes hard once the kernel has sent what it holds, or `wait` has passed.
    pub async fn abort_when_sent(self, wait: Duration) {
        let (stream, unread) = match self.0 {
            Over::Os(stream, unread) => (stream, unread),
            Over::Memory(stream) => return stream.abort_when_sent(wait).await,
        };
        // From here on every close is a hard one, even if this future is dropped.
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        // With a low-water mark of one byte, the kernel calls the socket writable only when nothing is unsent. The
        // socket is registered anew, because the old registration remembers readiness from before the mark was set.
        let marked = SockRef::from(&stream).set_tcp_notsent_lowat(1);
        let Ok(Ok(anew)) = marked.map(|()| Self(Over::Os(stream, unread)).park().and_then(Parked::land)) else {
            return;
        };
        let _ = tokio::time::timeout(wait, anew.writable()).await;
        anew.abort();
    }

    /// The other end.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Over::Os(stream, _) => stream.peer_addr(),
            Over::Memory(stream) => Ok(stream.peer_addr()),
        }
    }

    /// This end.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Over::Os(stream, _) => stream.local_addr(),
            Over::Memory(stream) => Ok(stream.local_addr()),
        }
    }

    /// Takes the socket off its runtime, to land on another.
    ///
    /// # Errors
    /// If the runtime is shutting down.
    pub fn park(self) -> io::Result<Parked> {
        Ok(Parked(match self.0 {
            Over::Os(stream, unread) => ParkedOver::Os(stream.into_std()?, unread),
            Over::Memory(stream) => ParkedOver::Memory(stream),
        }))
    }
}

async fn os_broken(stream: &TcpStream) {
    loop {
        match stream.ready(Interest::ERROR).await {
            Ok(ready) if ready.is_error() || (ready.is_read_closed() && ready.is_write_closed()) => return,
            Ok(_) => tokio::task::yield_now().await,
            Err(_) => return,
        }
    }
}

impl Parked {
    /// Lands on the current runtime.
    ///
    /// # Errors
    /// If the runtime cannot watch one more descriptor.
    pub fn land(self) -> io::Result<Socket> {
        Ok(Socket(match self.0 {
            ParkedOver::Os(stream, unread) => Over::Os(TcpStream::from_std(stream)?, unread),
            ParkedOver::Memory(stream) => Over::Memory(stream),
        }))
    }
}

/// For protocols that are spoken rather than carried.
impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Over::Os(stream, unread) => {
                let before = buffer.filled().len();
                let read = Pin::new(&mut *stream).poll_read(cx, buffer);
                unread.taken(stream, buffer.filled().len() - before);
                read
            }
            Over::Memory(stream) => stream.poll_read(cx, buffer).map_ok(drop),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Over::Os(stream, _) => Pin::new(stream).poll_write_vectored(cx, slices),
            Over::Memory(stream) => stream.poll_write(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is kept back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown_write();
        Poll::Ready(Ok(()))
    }
}

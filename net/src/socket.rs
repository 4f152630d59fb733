//! A byte stream as flows see it: readiness, non-blocking reads and writes, half-close, and a hard close.

use std::{
    io::{self, IoSlice},
    net::{Shutdown, SocketAddr},
    time::Duration,
};

use bytes::BufMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::{io::Interest, net::TcpStream};

/// A peer that vanished without a word is noticed after about this long (keep-alive probes of the kernel).
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// One TCP connection, bound to the runtime it is polled on.
#[derive(Debug)]
pub struct Socket(TcpStream);

/// A [`Socket`] between two runtimes: taken from one worker, not yet landed on another.
#[derive(Debug)]
pub struct Parked(std::net::TcpStream);

impl Socket {
    /// Wraps a connected stream: no Nagle delay, kernel keep-alive on.
    ///
    /// # Errors
    /// What the kernel says of the socket options; usually that the peer is gone already.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        SockRef::from(&stream)
            .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 4))?;
        Ok(Self(stream))
    }

    /// Waits until a read may bring bytes, the end, or an error.
    ///
    /// # Errors
    /// Only if the runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    /// Reads what is there into the spare room of `buffer`; 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there; else the connection's error.
    pub fn try_read(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        self.0.try_read_buf(buffer)
    }

    /// Waits until a write may take bytes, or fail.
    ///
    /// # Errors
    /// Only if the runtime is shutting down.
    pub async fn writable(&self) -> io::Result<()> {
        self.0.writable().await
    }

    /// Writes as much as the kernel takes.
    ///
    /// # Errors
    /// `WouldBlock` if it takes nothing; else the connection's error.
    pub fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    /// Waits until the connection is broken in both directions: a reset that no read or write would show yet.
    pub async fn broken(&self) {
        loop {
            match self.0.ready(Interest::ERROR).await {
                Ok(ready) if ready.is_error() || (ready.is_read_closed() && ready.is_write_closed()) => return,
                Ok(_) => tokio::task::yield_now().await,
                Err(_) => return,
            }
        }
    }

    /// Sends the end of data; reading goes on.
    pub fn shutdown_write(&self) {
        // The peer may have reset already; then there is nothing left to end.
        let _ = SockRef::from(&self.0).shutdown(Shutdown::Write);
    }

    /// Closes hard: the peer sees a reset, not an end. Bytes the kernel has not sent yet are lost.
    pub fn abort(self) {
        let _ = SockRef::from(&self.0).set_linger(Some(Duration::ZERO));
    }

    /// Closes hard once the kernel has sent what it holds, or `wait` has passed.
    pub async fn abort_when_sent(self, wait: Duration) {
        // From here on every close is a hard one, even if this future is dropped.
        let _ = SockRef::from(&self.0).set_linger(Some(Duration::ZERO));
        // With a low-water mark of one byte, the kernel calls the socket writable only when nothing is unsent. The
        // socket is registered anew, because the old registration remembers readiness from before the mark was set.
        let marked = SockRef::from(&self.0).set_tcp_notsent_lowat(1);
        let Ok(Ok(anew)) = marked.map(|()| self.park().and_then(Parked::land)) else { return };
        let _ = tokio::time::timeout(wait, anew.writable()).await;
        anew.abort();
    }

    /// The other end.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    /// This end.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Takes the socket off its runtime, to land on another.
    ///
    /// # Errors
    /// If the runtime is shutting down.
    pub fn park(self) -> io::Result<Parked> {
        self.0.into_std().map(Parked)
    }

    /// The stream itself, for protocols that are spoken rather than carried.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        self.0
    }
}

impl Parked {
    /// Lands on the current runtime.
    ///
    /// # Errors
    /// If the runtime cannot watch one more descriptor.
    pub fn land(self) -> io::Result<Socket> {
        TcpStream::from_std(self.0).map(Socket)
    }
}

//! An opened way as a stream of bytes that HTTP is spoken over: a stream of a link, a connection of our own, or TLS over
//! either.

use std::{
    io,
    net::Ipv4Addr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use net::Socket;
use protocol::{
    error::StreamCode,
    splice::Stream,
    windows::{Account, Reader, Writer},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::{Carrier, Sacrificed, why::is_unasked};
use crate::{model::Held, tunnel::Link};

/// What HTTP is spoken over.
pub enum Wire {
    /// A stream of a link.
    Tunnel(TunnelWire),
    /// A connection of our own.
    Direct(Socket, Sink),
    /// TLS over one of the others.
    Tls(Box<TlsStream<Wire>>),
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tunnel(_) => "Wire(tunnel)",
            Self::Direct(..) => "Wire(direct)",
            Self::Tls(_) => "Wire(tls)",
        })
    }
}

impl From<Carrier> for Wire {
    fn from(carrier: Carrier) -> Self {
        match carrier {
            Carrier::Tunnel(stream, link, held) => Self::Tunnel(TunnelWire::new(stream, &link, held)),
            Carrier::Direct(socket) => Self::Direct(socket, Sink::default()),
        }
    }
}

/// An origin that takes no more may still have an answer to read, so what it does not take is thrown away.
#[derive(Debug, Default)]
pub struct Sink {
    manners: Manners,
    /// The write that failed was told of a reset, which no read will be told of again.
    reset: bool,
}

/// What is seen of an origin's manners over one connection; clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Manners(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    deaf: AtomicBool,
    babbles: AtomicBool,
}

impl Manners {
    /// True if the origin takes no more: what is sent there is thrown away.
    #[must_use]
    pub fn is_deaf(&self) -> bool {
        self.0.deaf.load(Ordering::Relaxed)
    }

    /// True if the origin spoke before it was asked: it is no HTTP server.
    #[must_use]
    pub fn babbles(&self) -> bool {
        self.0.babbles.load(Ordering::Relaxed)
    }

    fn turn_deaf(&self) {
        self.0.deaf.store(true, Ordering::Relaxed);
    }

    /// Notes how the connection's own task has ended.
    pub(super) fn met(&self, error: &hyper::Error) {
        self.0.babbles.fetch_or(is_unasked(error), Ordering::Relaxed);
    }
}

impl Sink {
    fn is_open(&self) -> bool {
        self.manners.is_deaf()
    }

    fn of(&mut self, written: Poll<io::Result<usize>>, whole: usize) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error)) => {
                self.reset |= error.kind() != io::ErrorKind::BrokenPipe;
                self.manners.turn_deaf();
                Poll::Ready(Ok(whole))
            }
            done @ (Poll::Ready(Ok(_)) | Poll::Pending) => done,
        }
    }
}

/// Reads what a connection of our own still has, to its end or to its reset.
fn read_direct(
    (socket, sink): (&mut Socket, &Sink),
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let before = buf.filled().len();
    ready!(Pin::new(socket).poll_read(cx, buf))?;
    if sink.reset && buf.filled().len() == before && buf.remaining() > 0 {
        return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
    }
    Poll::Ready(Ok(()))
}

/// A stream of a link. Dropped before its end it is cut, so that nobody takes a part for the whole.
#[derive(Debug)]
pub struct TunnelWire {
    /// Whoever speaks over it may not ask for a long time, so others must be able to cut it.
    stream: Arc<Mutex<Stream>>,
    reader: Reader,
    writer: Writer,
    sacrificed: Sacrificed,
    stopped: Option<Stopped>,
    ended: bool,
    sink: Sink,
    _held: Held,
}

/// Completes when the origin takes no more.
struct Stopped(Pin<Box<dyn Future<Output = ()> + Send>>);

impl std::fmt::Debug for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stopped")
    }
}

impl Drop for TunnelWire {
    fn drop(&mut self) {
        if !self.ended {
            self.stream().cut(StreamCode::Reset);
        }
    }
}

impl TunnelWire {
    fn new(stream: Stream, link: &Link, held: Held) -> Self {
        let number = stream.number();
        let stream = Arc::new(Mutex::new(stream));
        let shared = Arc::downgrade(&stream);
        let sacrificed = Sacrificed::default();
        let word = sacrificed.clone();
        // Nobody is on it yet; a kept connection serves many.
        let reader = link.windows.reader(number, Ipv4Addr::UNSPECIFIED.into(), move || {
            if let Some(stream) = shared.upgrade() {
                lock(&stream).cut(StreamCode::Stalled);
            }
            word.say();
        });
        let writer = link.windows.writer(number, 0);
        Self { stream, reader, writer, sacrificed, stopped: None, ended: false, sink: Sink::default(), _held: held }
    }

    fn stream(&self) -> MutexGuard<'_, Stream> {
        lock(&self.stream)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.reader.resume() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream().recv).poll_read(cx, buf))?;
        let taken = buf.filled().len() - before;
        if taken > 0 {
            self.reader.take(taken);
            self.reader.pause();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.sink.is_open() {
            return Poll::Ready(Ok(buf.len()));
        }
        let Poll::Ready(room) = self.writer.poll_room(cx) else {
            // No window will come if the origin takes no more.
            ready!(self.poll_stopped(cx));
            self.sink.manners.turn_deaf();
            return Poll::Ready(Ok(buf.len()));
        };
        let piece = &buf[..buf.len().min(room)];
        let written = AsyncWrite::poll_write(Pin::new(&mut self.stream().send), cx, piece);
        if let Poll::Ready(Ok(written)) = written {
            self.writer.sent(written);
        }
        self.sink.of(written, buf.len())
    }

    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { stream, stopped, .. } = self;
        let stopped = stopped.get_or_insert_with(|| {
            let stopped = lock(stream).send.stopped();
            Stopped(Box::pin(async move {
                let _ = stopped.await;
            }))
        });
        stopped.0.as_mut().poll(cx)
    }
}

fn lock(stream: &Mutex<Stream>) -> MutexGuard<'_, Stream> {
    // Nothing panics under it.
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    /// How its link counts it; absent if direct.
    pub fn account(&self) -> Option<Account> {
        let Self::Tunnel(wire) = self else { return None };
        Some(wire.reader.account())
    }

    /// What is seen of its origin's manners.
    pub fn manners(&self) -> Manners {
        match self {
            Self::Tunnel(TunnelWire { sink, .. }) | Self::Direct(_, sink) => sink.manners.clone(),
            Self::Tls(stream) => stream.get_ref().0.manners(),
        }
    }

    /// From here on every close of it is a hard one, until its end is said.
    pub fn close_hard(&self) {
        match self {
            // The link's own end is no end of its streams; and TLS has an end of its own.
            Self::Tunnel(_) | Self::Tls(_) => {}
            Self::Direct(socket, _) => socket.close_hard(),
        }
    }

    /// Says when its link has sacrificed it.
    pub fn sacrificed(&self) -> Sacrificed {
        match self {
            Self::Tunnel(wire) => wire.sacrificed.clone(),
            Self::Direct(..) => Sacrificed::default(),
            Self::Tls(stream) => stream.get_ref().0.sacrificed(),
        }
    }

    /// Closes it hard.
    pub fn abort(self) {
        match self {
            // Cut when dropped, unless our own end was said before; then what may still come is refused.
            Self::Tunnel(_) => {}
            Self::Direct(socket, _) => socket.abort(),
            Self::Tls(stream) => stream.into_inner().0.abort(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(wire) => wire.poll_read(cx, buf),
            Self::Direct(socket, sink) => read_direct((socket, sink), cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Direct(_, sink) if sink.is_open() => Poll::Ready(Ok(buf.len())),
            Self::Tunnel(wire) => wire.poll_write(cx, buf),
            Self::Direct(stream, sink) => {
                let written = Pin::new(stream).poll_write(cx, buf);
                sink.of(written, buf.len())
            }
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(wire) => AsyncWrite::poll_flush(Pin::new(&mut wire.stream().send), cx),
            Self::Direct(stream, _) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(wire) => {
                wire.ended = true;
                AsyncWrite::poll_shutdown(Pin::new(&mut wire.stream().send), cx)
            }
            Self::Direct(stream, _) => {
                stream.close_softly();
                Pin::new(stream).poll_shutdown(cx)
            }
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use socket2::SockRef;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// Both ends of a connection of our own.
    async fn direct() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let dialled = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        let (origin, _) = listener.accept().await.expect("it was dialled");
        (Wire::Direct(Socket::new(dialled).expect("a connection"), Sink::default()), origin)
    }

    /// Writes until nothing is taken any more.
    async fn write_in_vain(wire: &mut Wire) {
        let manners = wire.manners();
        while !manners.is_deaf() {
            wire.write_all(b"more").await.expect("what is not taken is thrown away");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_reset_that_a_write_was_told_of_is_the_end_of_no_answer() {
        let (mut wire, mut origin) = direct().await;
        origin.write_all(b"a part").await.expect("room");
        SockRef::from(&origin).set_linger(Some(Duration::ZERO)).expect("an option");
        drop(origin);
        write_in_vain(&mut wire).await;
        let mut got = Vec::new();
        let ended = wire.read_to_end(&mut got).await.map_err(|error| error.kind());
        assert_eq!((got.as_slice(), ended), (&b"a part"[..], Err(io::ErrorKind::ConnectionReset)));
    }

    #[tokio::test]
    async fn an_answer_that_has_ended_is_whole_whatever_else_was_to_be_sent() {
        let (mut wire, mut origin) = direct().await;
        origin.write_all(b"all of it").await.expect("room");
        origin.shutdown().await.expect("an end");
        let mut got = Vec::new();
        wire.read_to_end(&mut got).await.expect("an end");
        drop(origin);
        write_in_vain(&mut wire).await;
        assert_eq!(got, b"all of it");
    }
}

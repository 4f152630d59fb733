//! An opened way as a stream of bytes that HTTP is spoken over: a stream of a link, a connection of our own, or TLS over
//! either.

use std::{
    io,
    net::Ipv4Addr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

use super::{Carrier, Sacrificed};
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
    open: bool,
}

impl Sink {
    fn of(&mut self, written: Poll<io::Result<usize>>, whole: usize) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(_)) => {
                self.open = true;
                Poll::Ready(Ok(whole))
            }
            done @ (Poll::Ready(Ok(_)) | Poll::Pending) => done,
        }
    }
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
        if self.sink.open {
            return Poll::Ready(Ok(buf.len()));
        }
        let Poll::Ready(room) = self.writer.poll_room(cx) else {
            // No window will come if the origin takes no more.
            ready!(self.poll_stopped(cx));
            self.sink.open = true;
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
            Stopped(Box::pin(async move { drop(stopped.await) }))
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
            Self::Direct(stream, _) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Direct(_, sink) if sink.open => Poll::Ready(Ok(buf.len())),
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
            Self::Direct(stream, _) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

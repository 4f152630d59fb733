//! An opened way as a stream of bytes that HTTP is spoken over: a stream of a link, a connection of our own, or TLS over
//! either.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use net::Socket;
use protocol::{error::StreamCode, splice::Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::Carrier;
use crate::model::Held;

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
            Carrier::Tunnel(stream, _link, held) => {
                Self::Tunnel(TunnelWire { stream, ended: false, sink: Sink::default(), _held: held })
            }
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
    stream: Stream,
    ended: bool,
    sink: Sink,
    _held: Held,
}

impl Drop for TunnelWire {
    fn drop(&mut self) {
        if !self.ended {
            self.stream.cut(StreamCode::Reset);
        }
    }
}

impl Wire {
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
            Self::Tunnel(wire) => Pin::new(&mut wire.stream.recv).poll_read(cx, buf),
            Self::Direct(stream, _) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tunnel(wire) if wire.sink.open => Poll::Ready(Ok(buf.len())),
            Self::Direct(_, sink) if sink.open => Poll::Ready(Ok(buf.len())),
            Self::Tunnel(wire) => {
                let written = AsyncWrite::poll_write(Pin::new(&mut wire.stream.send), cx, buf);
                wire.sink.of(written, buf.len())
            }
            Self::Direct(stream, sink) => {
                let written = Pin::new(stream).poll_write(cx, buf);
                sink.of(written, buf.len())
            }
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(wire) => AsyncWrite::poll_flush(Pin::new(&mut wire.stream.send), cx),
            Self::Direct(stream, _) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tunnel(wire) => {
                wire.ended = true;
                AsyncWrite::poll_shutdown(Pin::new(&mut wire.stream.send), cx)
            }
            Self::Direct(stream, _) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

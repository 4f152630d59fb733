//! A client's connection as bytes: plain or with TLS ended here, and how long it is heard out at its end.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use net::Socket;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    time,
};
use tokio_rustls::server::TlsStream;

use super::stall::Line;

/// What an HTTP/2 client says first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long, and for how many bytes, a client is heard out that was answered before it had said everything: a connection
/// closed over unread bytes would take the answer with it, and a stream that is let go of would be reset.
pub(crate) const LINGER_WAIT: Duration = Duration::from_secs(2);
pub(crate) const LINGER_BYTES: usize = 16 * 1024 * 1024;
/// How long a client may take to hear that it is to go.
pub(crate) const FAREWELL: Duration = Duration::from_millis(500);

/// A client's connection, as it came.
#[derive(Debug)]
pub(crate) enum ClientIo {
    /// Plain TCP.
    Plain(Socket),
    /// TLS, ended here.
    Tls(Box<TlsStream<Socket>>),
}

impl ClientIo {
    /// Closes it hard: the client sees a reset, not an end.
    pub(crate) fn abort(self) {
        match self {
            Self::Plain(socket) => socket.abort(),
            Self::Tls(stream) => stream.into_inner().0.abort(),
        }
    }
}

/// Reads and forgets what the client still says.
pub(crate) async fn linger(mut client: impl AsyncRead + Unpin) {
    let mut left = LINGER_BYTES;
    let mut bytes = vec![0; 16 * 1024];
    let reading = async {
        while let Ok(read @ 1..) = client.read(&mut bytes).await {
            left = left.saturating_sub(read);
            if left == 0 {
                return;
            }
        }
    };
    let _ = time::timeout(LINGER_WAIT, reading).await;
}

impl ClientIo {
    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl Line for ClientIo {
    fn taken(&self) -> u64 {
        self.socket().acknowledged()
    }

    fn close_hard(&self, hard: bool) {
        if hard { self.socket().close_hard() } else { self.socket().close_softly() }
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

//! A stream of HTTP/2 that carries another protocol.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that are written to a stream at a time.
const WRITE: usize = 16 * 1024;

/// A stream that carries another protocol. Dropped before its end has been said it is reset.
#[derive(Debug)]
pub(crate) struct Duplex {
    writer: SendStream<Bytes>,
    reader: RecvStream,
    read: Bytes,
    ended: bool,
}

impl Duplex {
    /// Of both directions of a stream.
    pub(crate) fn new(writer: SendStream<Bytes>, reader: RecvStream) -> Self {
        Self { writer, reader, read: Bytes::new(), ended: false }
    }

    /// The client is to learn that something broke.
    pub(crate) fn abort(mut self) {
        self.writer.send_reset(Reason::CANCEL);
    }

    /// Waits until some of `wanted` bytes may be written.
    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        self.writer.reserve_capacity(wanted);
        while self.writer.capacity() == 0 {
            match ready!(self.writer.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        Poll::Ready(Ok(self.writer.capacity().min(wanted)))
    }
}

impl AsyncRead for Duplex {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.read.is_empty() {
            match ready!(this.reader.poll_data(cx)).transpose().map_err(io::Error::other)? {
                Some(bytes) => this.read = bytes,
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = this.read.len().min(buf.remaining());
        buf.put_slice(&this.read[..count]);
        this.read.advance(count);
        // Fails for a stream that is over, which takes nothing any more.
        let _ = this.reader.flow_control().release_capacity(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(this.poll_room(cx, bytes.len().min(WRITE)))?;
        this.writer.send_data(Bytes::copy_from_slice(&bytes[..room]), false).map_err(io::Error::other)?;
        // What was asked for and not used is another stream's.
        this.writer.reserve_capacity(0);
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.ended, true) {
            this.writer.send_data(Bytes::new(), true).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }
}

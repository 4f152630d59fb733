//! The two directions of a stream, and how each of them can end.
//!
//! What its bytes mean is the wire's affair, and how much a flow may have on its way is that of its windows.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::io::{AsyncWrite, ReadBuf};

use super::{Lost, transport::quic};
use crate::error::StreamCode;

/// The direction of a stream that we write. Dropped, it ends as if finished.
#[derive(Debug)]
pub struct SendStream(pub(super) SendOver);

/// The direction of a stream that the peer writes. Dropped before its end, it tells the peer that no more is wanted.
#[derive(Debug)]
pub struct RecvStream(pub(super) RecvOver);

#[derive(Debug)]
pub(super) enum SendOver {
    Quic(quic::SendStream),
}

#[derive(Debug)]
pub(super) enum RecvOver {
    Quic(quic::RecvStream),
}

/// Why nothing more can be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The peer takes no more, with this code.
    #[error("the peer takes no more of the stream (code {0})")]
    Stopped(u64),
    /// The connection is gone.
    #[error("link lost: {0}")]
    Lost(Lost),
    /// This side has finished or cut it.
    #[error("the stream has ended on this side")]
    Ended,
}

/// Why nothing more can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The peer cut it, with this code.
    #[error("the peer cut the stream (code {0})")]
    Cut(u64),
    /// The connection is gone.
    #[error("link lost: {0}")]
    Lost(Lost),
    /// This side has stopped it.
    #[error("the stream was stopped on this side")]
    Ended,
}

/// The direction has ended already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream has ended already")]
pub struct StreamEnded;

/// What became of what we wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The peer has all of it, to its end; or this side has cut it.
    Whole,
    /// The peer takes no more of it.
    Stopped(StreamCode),
    /// The connection was gone before that.
    Lost,
}

impl SendStream {
    /// Its number among the streams of its connection that the same side opened.
    #[must_use]
    pub fn number(&self) -> u64 {
        match &self.0 {
            SendOver::Quic(stream) => stream.number(),
        }
    }

    /// Its turn among streams that have something to send: a higher one goes first.
    ///
    /// # Errors
    /// [`StreamEnded`].
    pub fn set_priority(&self, priority: i32) -> Result<(), StreamEnded> {
        match &self.0 {
            SendOver::Quic(stream) => stream.set_priority(priority),
        }
    }

    /// Writes so many of the bytes. It takes bytes or waits, never both: dropping it loses nothing.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn write(&mut self, bytes: &[u8]) -> impl Future<Output = Result<usize, WriteError>> {
        match &mut self.0 {
            SendOver::Quic(stream) => stream.write(bytes),
        }
    }

    /// Writes the bytes, without a copy. Dropped, it has written a part that nobody knows.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn write_chunk(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), WriteError>> {
        match &mut self.0 {
            SendOver::Quic(stream) => stream.write_chunk(bytes),
        }
    }

    /// Writes so many bytes of the chunks, without a copy, and takes them off their front. Dropping it loses nothing.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn write_chunks(&mut self, chunks: &mut [Bytes]) -> impl Future<Output = Result<usize, WriteError>> {
        match &mut self.0 {
            SendOver::Quic(stream) => stream.write_chunks(chunks),
        }
    }

    /// Nothing follows.
    ///
    /// # Errors
    /// [`StreamEnded`].
    pub fn finish(&mut self) -> Result<(), StreamEnded> {
        match &mut self.0 {
            SendOver::Quic(stream) => stream.finish(),
        }
    }

    /// Nothing follows, and what was written need not arrive.
    ///
    /// # Errors
    /// [`StreamEnded`].
    pub fn reset(&mut self, code: StreamCode) -> Result<(), StreamEnded> {
        match &mut self.0 {
            SendOver::Quic(stream) => stream.reset(code),
        }
    }

    /// Waits until the peer takes no more, or has taken all. It is no part of the stream: it may outlive it.
    pub fn stopped(&self) -> impl Future<Output = Taken> + Send + Sync + use<> {
        match &self.0 {
            SendOver::Quic(stream) => stream.stopped(),
        }
    }
}

impl AsyncWrite for SendStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            SendOver::Quic(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            SendOver::Quic(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            SendOver::Quic(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl RecvStream {
    /// Reads into the buffer; `None` is an end. Dropping it loses nothing.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&mut self, buffer: &mut [u8]) -> impl Future<Output = Result<Option<usize>, ReadError>> {
        match &mut self.0 {
            RecvOver::Quic(stream) => stream.read(buffer),
        }
    }

    /// The next piece of at most `max` bytes, without a copy; `None` is an end. Dropping it loses nothing.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read_chunk(&mut self, max: usize) -> impl Future<Output = Result<Option<Bytes>, ReadError>> {
        match &mut self.0 {
            RecvOver::Quic(stream) => stream.read_chunk(max),
        }
    }

    /// The next pieces, so many of `chunks`, without a copy; `None` is an end. Dropping it loses nothing.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read_chunks(&mut self, chunks: &mut [Bytes]) -> impl Future<Output = Result<Option<usize>, ReadError>> {
        match &mut self.0 {
            RecvOver::Quic(stream) => stream.read_chunks(chunks),
        }
    }

    /// Reads into the buffer; an end adds nothing to it.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<(), ReadError>> {
        match &mut self.0 {
            RecvOver::Quic(stream) => stream.poll_read(cx, buffer),
        }
    }

    /// Tells the peer that no more is wanted, and why.
    ///
    /// # Errors
    /// [`StreamEnded`]: the peer no longer hears it.
    pub fn stop(&mut self, code: StreamCode) -> Result<(), StreamEnded> {
        match &mut self.0 {
            RecvOver::Quic(stream) => stream.stop(code),
        }
    }
}

/// As its link's log calls it.
impl fmt::Display for RecvStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            RecvOver::Quic(stream) => stream.fmt(f),
        }
    }
}

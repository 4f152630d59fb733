//! The two directions of a stream of QUIC.
//!
//! What waits is the library's own future with its error turned: an `async fn` around it would keep what it was given twice, in
//! each flow.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt, TryFutureExt};
use quinn::{ClosedStream, VarInt};
use tokio::io::{AsyncWrite, ReadBuf};

use crate::{
    error::StreamCode,
    link::{self, ReadError, RecvOver, SendOver, StreamEnded, Taken, WriteError},
};

/// The direction that we write.
#[derive(Debug)]
pub(in crate::link) struct SendStream(quinn::SendStream);

/// The direction that the peer writes.
#[derive(Debug)]
pub(in crate::link) struct RecvStream(quinn::RecvStream);

impl From<quinn::SendStream> for link::SendStream {
    fn from(stream: quinn::SendStream) -> Self {
        Self(SendOver::Quic(SendStream(stream)))
    }
}

impl From<quinn::RecvStream> for link::RecvStream {
    fn from(stream: quinn::RecvStream) -> Self {
        Self(RecvOver::Quic(RecvStream(stream)))
    }
}

impl From<quinn::WriteError> for WriteError {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::Stopped(code) => Self::Stopped(code.into_inner()),
            quinn::WriteError::ConnectionLost(error) => Self::Lost(error.into()),
            // Nothing is sent before the handshake is done.
            quinn::WriteError::ClosedStream | quinn::WriteError::ZeroRttRejected => Self::Ended,
        }
    }
}

impl From<quinn::ReadError> for ReadError {
    fn from(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::Reset(code) => Self::Cut(code.into_inner()),
            quinn::ReadError::ConnectionLost(error) => Self::Lost(error.into()),
            // Everything is read in order, and nothing is sent before the handshake is done.
            quinn::ReadError::ClosedStream
            | quinn::ReadError::IllegalOrderedRead
            | quinn::ReadError::ZeroRttRejected => Self::Ended,
        }
    }
}

impl From<ClosedStream> for StreamEnded {
    fn from(_: ClosedStream) -> Self {
        Self
    }
}

impl SendStream {
    pub(in crate::link) fn number(&self) -> u64 {
        self.0.id().index()
    }

    pub(in crate::link) fn set_priority(&self, priority: i32) -> Result<(), StreamEnded> {
        Ok(self.0.set_priority(priority)?)
    }

    pub(in crate::link) fn write(&mut self, bytes: &[u8]) -> impl Future<Output = Result<usize, WriteError>> {
        self.0.write(bytes).map_err(WriteError::from)
    }

    pub(in crate::link) fn write_chunk(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), WriteError>> {
        self.0.write_chunk(bytes).map_err(WriteError::from)
    }

    pub(in crate::link) fn write_chunks(
        &mut self,
        chunks: &mut [Bytes],
    ) -> impl Future<Output = Result<usize, WriteError>> {
        self.0.write_chunks(chunks).map(|written| Ok(written?.bytes))
    }

    pub(in crate::link) fn finish(&mut self) -> Result<(), StreamEnded> {
        Ok(self.0.finish()?)
    }

    pub(in crate::link) fn reset(&mut self, code: StreamCode) -> Result<(), StreamEnded> {
        Ok(self.0.reset(VarInt::from_u32(code as u32))?)
    }

    pub(in crate::link) fn stopped(&self) -> impl Future<Output = Taken> + Send + Sync + use<> {
        self.0.stopped().map(|stopped| match stopped {
            Ok(Some(code)) => Taken::Stopped(StreamCode::from_wire(code.into_inner())),
            Ok(None) => Taken::Whole,
            Err(_) => Taken::Lost,
        })
    }
}

impl AsyncWrite for SendStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.get_mut().0), cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.get_mut().0), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.get_mut().0), cx)
    }
}

impl RecvStream {
    pub(in crate::link) fn read(
        &mut self,
        buffer: &mut [u8],
    ) -> impl Future<Output = Result<Option<usize>, ReadError>> {
        self.0.read(buffer).map_err(ReadError::from)
    }

    pub(in crate::link) fn read_chunk(&mut self, max: usize) -> impl Future<Output = Result<Option<Bytes>, ReadError>> {
        self.0.read_chunk(max, true).map(|read| Ok(read?.map(|chunk| chunk.bytes)))
    }

    pub(in crate::link) fn read_chunks(
        &mut self,
        chunks: &mut [Bytes],
    ) -> impl Future<Output = Result<Option<usize>, ReadError>> {
        self.0.read_chunks(chunks).map_err(ReadError::from)
    }

    pub(in crate::link) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), ReadError>> {
        self.0.poll_read_buf(cx, buffer).map_err(ReadError::from)
    }

    pub(in crate::link) fn stop(&mut self, code: StreamCode) -> Result<(), StreamEnded> {
        Ok(self.0.stop(VarInt::from_u32(code as u32))?)
    }
}

impl fmt::Display for RecvStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.id().fmt(f)
    }
}

#[cfg(test)]
impl link::SendStream {
    /// Cuts it with a code that we do not have.
    pub(crate) fn reset_unknown(&mut self, code: u32) {
        match &mut self.0 {
            SendOver::Quic(SendStream(stream)) => stream.reset(VarInt::from_u32(code)).expect("open"),
        }
    }
}

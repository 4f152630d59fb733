//! What a peer sends on a stream of a link. It ends cleanly, or something cut it; nobody who reads can take one for the
//! other.
//!
//! A reset crosses as a stop code ahead of an end of data, so the end alone says nothing: the code is asked for before
//! any end is told. Nothing here hands out the stream's own reader.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use crate::{
    error::StreamCode,
    link::{Lost, ReadError, RecvStream, SendStream, StreamEnded, Taken},
};

/// Whether the peer has said that it takes no more of our own direction, and with which code.
type Stopped = dyn Future<Output = Taken> + Send + Sync;

/// The direction of a stream that the peer writes.
pub struct Inflow {
    recv: RecvStream,
    at: At,
}

/// How far it has come.
enum At {
    Open(Pin<Box<Stopped>>),
    Ended(Result<(), Cut>),
}

/// Why nothing more comes of what the peer has not ended cleanly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cut {
    /// The peer cut it, and all that it sent before has been read.
    #[error("the peer cut the stream ({0:?})")]
    Peer(StreamCode),
    /// The link died.
    #[error("link lost: {0}")]
    Lost(Lost),
}

impl From<Cut> for io::Error {
    fn from(cut: Cut) -> Self {
        let kind = match cut {
            Cut::Peer(_) => io::ErrorKind::ConnectionReset,
            Cut::Lost(_) => io::ErrorKind::NotConnected,
        };
        Self::new(kind, cut)
    }
}

impl From<ReadError> for Cut {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Cut(code) => Self::Peer(StreamCode::from_wire(code)),
            ReadError::Lost(error) => Self::Lost(error),
            // We have stopped it ourselves: whatever comes is not the whole.
            ReadError::Ended => Self::Peer(StreamCode::Reset),
        }
    }
}

impl fmt::Debug for Inflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inflow({})", self.recv)
    }
}

impl Inflow {
    /// What comes on the stream whose other direction is `send`.
    #[must_use]
    pub fn new(recv: RecvStream, send: &SendStream) -> Self {
        Self { recv, at: At::Open(Box::pin(send.stopped())) }
    }

    /// The next pieces, so many of `chunks`; `None` is a clean end. Dropping it loses nothing.
    ///
    /// # Errors
    /// [`Cut`], behind all that came before it.
    pub async fn read_chunks(&mut self, chunks: &mut [Bytes]) -> Result<Option<usize>, Cut> {
        match self.recv.read_chunks(chunks).await {
            Ok(Some(count)) => Ok(Some(count)),
            Ok(None) => self.end().map(|()| None),
            Err(error) => Err(self.broken(error)),
        }
    }

    /// The next piece of at most `max` bytes; `None` is a clean end. Dropping it loses nothing.
    ///
    /// # Errors
    /// [`Cut`], behind all that came before it.
    pub async fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, Cut> {
        match self.recv.read_chunk(max).await {
            Ok(Some(chunk)) => Ok(Some(chunk)),
            Ok(None) => self.end().map(|()| None),
            Err(error) => Err(self.broken(error)),
        }
    }

    /// Fills a buffer; false if the stream ends before it is full.
    ///
    /// # Errors
    /// [`Cut`].
    pub async fn fill(&mut self, buffer: &mut [u8]) -> Result<bool, Cut> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.recv.read(&mut buffer[filled..]).await {
                Ok(Some(read)) => filled += read,
                Ok(None) => {
                    self.end()?;
                    return Ok(false);
                }
                Err(error) => return Err(self.broken(error)),
            }
        }
        Ok(true)
    }

    /// Tells the peer that no more is wanted, and why.
    ///
    /// # Errors
    /// All has come already, or it was cut: the peer no longer hears it.
    pub fn stop(&mut self, code: StreamCode) -> Result<(), StreamEnded> {
        self.recv.stop(code)
    }

    /// Judges an end of data.
    fn end(&mut self) -> Result<(), Cut> {
        let At::Open(stopped) = &mut self.at else { return self.ended() };
        // The stop was sent well ahead of the end, so it is here by now if there is one. A link that died since takes
        // nothing away from what has come whole.
        let ended = match stopped.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Taken::Stopped(code)) => Err(Cut::Peer(code)),
            Poll::Pending | Poll::Ready(Taken::Whole | Taken::Lost) => Ok(()),
        };
        self.at = At::Ended(ended);
        self.ended()
    }

    fn broken(&mut self, error: ReadError) -> Cut {
        let cut = Cut::from(error);
        self.at = At::Ended(Err(cut.clone()));
        cut
    }

    fn ended(&self) -> Result<(), Cut> {
        match &self.at {
            At::Open(_) => Ok(()),
            At::Ended(ended) => ended.clone(),
        }
    }
}

/// A clean end reads as an end of data, and everything else as an error.
impl AsyncRead for Inflow {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let At::Ended(ended) = &this.at {
            return Poll::Ready(ended.clone().map_err(io::Error::from));
        }
        let before = buffer.filled().len();
        match ready!(this.recv.poll_read(cx, buffer)) {
            Ok(()) if buffer.filled().len() > before || buffer.remaining() == 0 => Poll::Ready(Ok(())),
            Ok(()) => Poll::Ready(this.end().map_err(io::Error::from)),
            Err(error) => Poll::Ready(Err(this.broken(error).into())),
        }
    }
}

#[cfg(test)]
mod tests;

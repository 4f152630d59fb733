//! A request's body as it comes from a client, in either version of HTTP.
//!
//! A body of HTTP/2 that nobody asks for any more goes back to the task of its stream, which hears the client out: a stream
//! that is let go of before the client has ended it is reset, and the client may take that for a failure.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http::StatusCode;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;

use super::{duplex::Duplex, interim::Interim, rest::ClientBody};
use crate::listener::http::message::boxed::BoxError;

/// The body of a client's request.
#[derive(Debug)]
pub(crate) enum Received {
    /// As hyper reads it from an HTTP/1 connection.
    Http1(ClientBody),
    /// On a stream of HTTP/2.
    Http2(Inflow),
    /// None: the request asks for another protocol on its stream, which is had here once the client has been told.
    Switch(Option<oneshot::Receiver<Duplex>>),
}

/// A body on a stream of HTTP/2.
#[derive(Debug)]
pub(crate) struct Inflow {
    rest: Option<Rest>,
    back: Option<oneshot::Sender<Rest>>,
    /// The client waits for this word before it sends.
    word: Option<Interim>,
}

impl Inflow {
    /// A body of which so much was announced, and where its rest comes back. A client that waits for `word` is told once
    /// the body is asked for.
    pub(crate) fn new(
        stream: RecvStream,
        announced: Option<u64>,
        word: Option<Interim>,
    ) -> (Self, oneshot::Receiver<Rest>) {
        let (back, rest) = oneshot::channel();
        (Self { rest: Some(Rest::new(stream, announced)), back: Some(back), word }, rest)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let polled = rest.poll_frame(cx);
        let word = self.word.take();
        // Who sends already does not wait.
        if let (Some(word), true) = (word, polled.is_pending()) {
            word.tell(StatusCode::CONTINUE, &http::HeaderMap::new());
        }
        polled.map_err(Into::into)
    }
}

impl Drop for Inflow {
    fn drop(&mut self) {
        let rest = self.rest.take().filter(|rest| !rest.is_over());
        if let (Some(rest), Some(back)) = (rest, self.back.take()) {
            // Whose stream is over needs no rest.
            let _ = back.send(rest);
        }
    }
}

/// What a client has still to say on its stream.
#[derive(Debug)]
pub(crate) struct Rest {
    stream: RecvStream,
    /// Bytes still to come, if that was announced.
    left: Option<u64>,
    /// What was looked at before it was asked for.
    seen: Option<Option<Result<Bytes, h2::Error>>>,
    data_ended: bool,
}

impl Rest {
    /// All that comes on a stream.
    pub(crate) fn new(stream: RecvStream, announced: Option<u64>) -> Self {
        let left = if stream.is_end_stream() { Some(0) } else { announced };
        Self { stream, left, seen: None, data_ended: false }
    }

    /// True if every announced byte has come, and only the end is missing.
    pub(crate) fn is_whole(&self) -> bool {
        self.left == Some(0)
    }

    /// True if nothing more comes.
    fn is_over(&self) -> bool {
        self.seen.is_none() && self.stream.is_end_stream()
    }

    /// Completes once something is here, which stays where it is.
    fn poll_here(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.seen.is_none() && !self.data_ended {
            self.seen = Some(ready!(self.stream.poll_data(cx)));
        }
        Poll::Ready(())
    }

    /// What comes next; nothing behind the end.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_ended {
            ready!(self.poll_here(cx));
            match self.seen.take().flatten().transpose()? {
                Some(bytes) => {
                    // Fails for a stream that is over, which takes nothing any more.
                    let _ = self.stream.flow_control().release_capacity(bytes.len());
                    self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                None => self.data_ended = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

impl Received {
    /// Completes once some of it is here, or its end, without asking the client for it.
    pub(crate) fn poll_here(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(body) if body.is_here() => Poll::Ready(()),
            // Whoever waits has something else to wait for.
            Self::Http1(_) => Poll::Pending,
            Self::Http2(body) => body.rest.as_mut().map_or(Poll::Ready(()), |rest| rest.poll_here(cx)),
            Self::Switch(_) => Poll::Ready(()),
        }
    }
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Http2(body) => body.poll_frame(cx),
            Self::Switch(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.rest.as_ref().is_none_or(Rest::is_over),
            Self::Switch(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => {
                let left = body.rest.as_ref().and_then(|rest| rest.left);
                left.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            Self::Switch(_) => SizeHint::with_exact(0),
        }
    }
}

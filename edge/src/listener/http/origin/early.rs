//! An origin's answer as it comes, to its exact end. A small one is held back until it is whole, so that what breaks
//! behind its head can still be answered from elsewhere.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Response, Version, header};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time;

use crate::listener::http::message::grammar;

/// The largest answer that is held back.
const SMALL_MAX: u64 = 64 * 1024;
/// How long it is; what has come by then goes out, and the rest as it comes.
const HOLD_WAIT: Duration = Duration::from_millis(50);

/// An answer's body, of which a beginning may have been read already.
#[derive(Debug)]
pub(crate) struct Early {
    frames: VecDeque<Frame<Bytes>>,
    rest: Incoming,
    is_http2: bool,
}

/// How an answer's body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// As the library says.
    #[error(transparent)]
    Hyper(#[from] hyper::Error),
    /// The library takes a stream that is over without an error for one that has ended. Ended it has with END_STREAM alone
    /// (RFC 9113 section 8.1), or, since nothing is missing then, with the last byte of its length.
    #[error("the origin has left its stream before the end of its answer")]
    Unended,
}

/// True if an answer says that it is small.
pub(crate) fn is_small(answer: &HeaderMap) -> bool {
    let length = answer.get(header::CONTENT_LENGTH);
    length.and_then(|length| grammar::length(length.as_bytes())).is_some_and(|length| length <= SMALL_MAX)
}

impl Early {
    /// An answer of which nothing has been read.
    pub(crate) fn of(answer: Response<Incoming>) -> Response<Self> {
        let is_http2 = answer.version() == Version::HTTP_2;
        answer.map(|rest| Self { frames: VecDeque::new(), rest, is_http2 })
    }

    /// Reads until the body is whole or the time is over.
    ///
    /// # Errors
    /// The body broke off: nobody was told anything of it yet.
    pub(crate) async fn hold(mut self) -> Result<Self, Broken> {
        match time::timeout(HOLD_WAIT, self.fill()).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Ok(self),
        }
    }

    /// Dropping it loses nothing.
    async fn fill(&mut self) -> Result<(), Broken> {
        while !self.rest.is_end_stream() {
            let Some(frame) = poll_fn(|cx| self.poll_rest(cx)).await else { return Ok(()) };
            self.frames.push_back(frame?);
        }
        Ok(())
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = ready!(Pin::new(&mut self.rest).poll_frame(cx));
        if frame.is_none() && self.is_http2 && !self.is_whole() {
            return Poll::Ready(Some(Err(Broken::Unended)));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_whole(&self) -> bool {
        self.rest.is_end_stream() || self.rest.size_hint().exact() == Some(0)
    }
}

impl HttpBody for Early {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        match this.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => this.poll_rest(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let here: usize = self.frames.iter().filter_map(Frame::data_ref).map(Buf::remaining).sum();
        let (here, rest) = (here as u64, self.rest.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(here.saturating_add(rest.lower()));
        if let Some(upper) = rest.upper() {
            hint.set_upper(here.saturating_add(upper));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_a_small_length_is_small() {
        let says = |length: &str| {
            is_small(&[(header::CONTENT_LENGTH, length.parse().expect("a value"))].into_iter().collect())
        };
        assert!(says("0") && says("65536"));
        assert!(!says("65537") && !says("+1"));
        assert!(!is_small(&HeaderMap::new()), "it may never end");
    }
}

//! A small answer, held back until it is whole, so that what breaks behind its head can still be answered from elsewhere.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time;

use super::head;

/// The largest answer that is held back.
const SMALL_MAX: u64 = 64 * 1024;
/// How long it is; what has come by then goes out, and the rest as it comes.
const HOLD_WAIT: Duration = Duration::from_millis(50);

/// An answer's body, of which a beginning may have been read already.
#[derive(Debug)]
pub(super) struct Early {
    frames: VecDeque<Frame<Bytes>>,
    rest: Incoming,
}

impl From<Incoming> for Early {
    fn from(rest: Incoming) -> Self {
        Self { frames: VecDeque::new(), rest }
    }
}

/// True if an answer says that it is small.
pub(super) fn is_small(answer: &HeaderMap) -> bool {
    let length = answer.get(header::CONTENT_LENGTH);
    length.and_then(|length| head::length(length.as_bytes())).is_some_and(|length| length <= SMALL_MAX)
}

impl Early {
    /// Reads until the body is whole or the time is over.
    ///
    /// # Errors
    /// The body broke off: nobody was told anything of it yet.
    pub(super) async fn hold(rest: Incoming) -> Result<Self, hyper::Error> {
        let mut early = Self::from(rest);
        match time::timeout(HOLD_WAIT, early.fill()).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Ok(early),
        }
    }

    /// Dropping it loses nothing.
    async fn fill(&mut self) -> Result<(), hyper::Error> {
        while !self.rest.is_end_stream() {
            let Some(frame) = self.rest.frame().await else { return Ok(()) };
            self.frames.push_back(frame?);
        }
        Ok(())
    }
}

impl HttpBody for Early {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        match this.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Pin::new(&mut this.rest).poll_frame(cx),
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

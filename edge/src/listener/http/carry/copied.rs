//! A body that is remembered while it is handed over, so that a small one can be had again once all of it has come.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::listener::http::message::boxed::BoxError;

/// Most bytes that are remembered.
const COPY_MAX: usize = 64 * 1024;

/// What was remembered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<State>>);

#[derive(Debug)]
enum State {
    Coming(Vec<Bytes>),
    Whole(Vec<Bytes>),
    /// It was too long, had trailers, or broke off.
    Forgotten,
}

impl Default for State {
    fn default() -> Self {
        Self::Coming(Vec::new())
    }
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of the body, if all of it came and was small.
    pub(crate) fn whole(&self) -> Option<Bytes> {
        match &*self.state() {
            State::Whole(pieces) => Some(pieces.concat().into()),
            State::Coming(_) | State::Forgotten => None,
        }
    }

    fn note(&self, frame: &Frame<Bytes>) {
        let mut state = self.state();
        if let (State::Coming(pieces), Some(data)) = (&mut *state, frame.data_ref()) {
            pieces.push(data.clone());
            if pieces.iter().map(Bytes::len).sum::<usize>() <= COPY_MAX {
                return;
            }
        }
        *state = State::Forgotten;
    }

    fn end(&self) {
        let mut state = self.state();
        if let State::Coming(pieces) = &mut *state {
            *state = State::Whole(std::mem::take(pieces));
        }
    }
}

/// A body that is remembered.
#[derive(Debug)]
pub(crate) struct Copied<B> {
    body: B,
    memory: Memory,
}

impl<B> Copied<B> {
    /// Remembers this body there.
    pub(crate) fn new(body: B, memory: Memory) -> Self {
        Self { body, memory }
    }
}

impl<B: HttpBody<Data = Bytes, Error = BoxError> + Unpin> HttpBody for Copied<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => this.memory.note(frame),
            Some(Err(_)) => *this.memory.state() = State::Forgotten,
            None => this.memory.end(),
        }
        // A body of known length is not asked again behind its last byte.
        if this.body.is_end_stream() || this.body.size_hint().exact() == Some(0) {
            this.memory.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    type Frames = Vec<Result<Frame<Bytes>, BoxError>>;

    async fn remembered(frames: Frames, taken: usize) -> Option<Bytes> {
        let memory = Memory::default();
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let mut body = Copied::new(body, memory.clone());
        for _ in 0..taken {
            let _ = body.frame().await;
        }
        memory.whole()
    }

    fn data(bytes: &'static [u8]) -> Result<Frame<Bytes>, BoxError> {
        Ok(Frame::data(Bytes::from_static(bytes)))
    }

    #[tokio::test]
    async fn what_came_whole_is_had_again() {
        assert_eq!(remembered(vec![data(b"one"), data(b"two")], 3).await, Some("onetwo".into()));
        assert_eq!(remembered(vec![data(b"one"), data(b"two")], 2).await, None, "more may come");
        assert_eq!(remembered(vec![], 1).await, Some(Bytes::new()));
    }

    #[tokio::test]
    async fn what_is_long_or_not_only_bytes_is_forgotten() {
        static LONG: [u8; COPY_MAX] = [7; COPY_MAX];
        assert!(remembered(vec![data(&LONG)], 2).await.is_some());
        assert_eq!(remembered(vec![data(&LONG), data(b"x")], 3).await, None);
        assert_eq!(remembered(vec![data(b"x"), Ok(Frame::trailers(HeaderMap::new()))], 3).await, None);
        assert_eq!(remembered(vec![data(b"x"), Err("broken".into())], 3).await, None);
    }
}

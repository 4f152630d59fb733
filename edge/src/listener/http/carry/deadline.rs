//! What is over at a fixed time, whatever has come of it by then.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use crate::listener::http::message::{boxed::BoxError, fault::Fault};

/// What takes the place of the rest.
type Late<B> = Box<dyn FnOnce(B) -> Result<Frame<Bytes>, BoxError> + Send>;

/// A body with a deadline.
pub(crate) struct Timed<B> {
    body: Option<(B, Late<B>)>,
    until: Pin<Box<Sleep>>,
}

impl<B> Timed<B> {
    /// A body that is over at `until`; what `late` makes of it then is its last frame.
    pub(crate) fn new(
        body: B,
        until: Instant,
        late: impl FnOnce(B) -> Result<Frame<Bytes>, BoxError> + Send + 'static,
    ) -> Self {
        Self { body: Some((body, Box::new(late))), until: Box::pin(sleep_until(until)) }
    }
}

impl<B: HttpBody<Data = Bytes, Error = BoxError> + Unpin> HttpBody for Timed<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.body.is_some() && this.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(this.body.take().map(|(body, late)| late(body)));
        }
        match &mut this.body {
            Some((body, _)) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    /// Unknown: it may be cut short.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The outcome, unless the call's time is over before it.
pub(crate) async fn within<T>(
    until: Option<Instant>,
    outcome: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    match until {
        Some(until) => timeout_at(until, outcome).await.unwrap_or(Err(Fault::GRPC_DEADLINE)),
        None => outcome.await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_has_come_by_the_deadline_is_kept_and_the_rest_replaced() {
        let frames = futures_util::stream::unfold(0, |sent| async move {
            if sent == 1 {
                std::future::pending::<()>().await;
            }
            Some((Ok(Frame::data(Bytes::from_static(b"early"))), sent + 1))
        });
        let until = Instant::now() + Duration::from_secs(1);
        let trailers = |_| {
            Ok(Frame::trailers(HeaderMap::from_iter([("x".parse().expect("a name"), "y".parse().expect("a value"))])))
        };
        let body = Timed::new(StreamBody::new(Box::pin(frames)), until, trailers);
        let whole = body.collect().await.expect("no error");
        assert_eq!(Instant::now(), until);
        assert_eq!(whole.trailers().expect("those of the deadline")["x"], "y");
        assert_eq!(whole.to_bytes(), "early");
    }
}

//! Bodies on their way: the request's, which may not dawdle, and the answer's, whose exact end frees its connection.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    drain,
    early::Early,
    fault::Fault,
    fields,
    guard::UnderWay,
    idle::Idle,
    owed::Debt,
    received::Received,
    record::Record,
    upstream::{BoxError, Key, Upstream},
};
use crate::model::Held;

/// How far a body may fall behind the slowest pace that is borne; nothing is saved up beyond it.
const GRACE: Duration = Duration::from_secs(30);
/// The slowest pace, in bytes a second.
const SLOWEST: u64 = 500;
/// How long an origin may leave `Expect: 100-continue` unanswered before the body is sent all the same.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// What is known of a request's body while it is sent.
#[derive(Debug, Default)]
pub(super) struct Upload {
    /// It was asked for.
    pub(super) begun: AtomicBool,
    /// It came too slowly.
    pub(super) too_slow: AtomicBool,
    /// It broke off.
    pub(super) broken: AtomicBool,
    /// All of it was taken.
    pub(super) ended: AtomicBool,
}

/// A client's request body.
#[derive(Debug)]
pub(super) struct Uploading {
    body: Received,
    upload: Arc<Upload>,
    bytes: Arc<AtomicU64>,
    pace: Option<Pace>,
    /// Opens when the origin says 100, or answers nothing for a while.
    gate: Option<Gate>,
}

#[derive(Debug)]
struct Pace {
    /// How long the next wait may be.
    left: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

/// Holds a body back.
pub(super) struct Gate {
    open: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    /// A gate that opens at this word, or after a while.
    pub(super) fn new(mut word: watch::Receiver<bool>) -> Self {
        let open = async move {
            let said = async {
                // A sender that is gone says nothing more: the final answer has come, and nobody asks for the body.
                if word.wait_for(|open| *open).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let _ = tokio::time::timeout(CONTINUE_WAIT, said).await;
        };
        Self { open: Box::pin(open) }
    }
}

impl Uploading {
    /// A body with its counters; `paced`: it may not dawdle.
    pub(super) fn new(body: Received, upload: Arc<Upload>, bytes: Arc<AtomicU64>, paced: bool) -> Self {
        let pace = paced.then(Pace::new);
        Self { body, upload, bytes, pace, gate: None }
    }

    /// Held back by a gate.
    pub(super) fn behind(mut self, gate: Option<Gate>) -> Self {
        self.gate = gate;
        self
    }
}

impl Pace {
    fn new() -> Self {
        Self { left: GRACE, waiting: None }
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.left;
        let (_, sleep) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(sleep_until(now + left)))
        });
        sleep.as_mut().poll(cx)
    }

    fn came(&mut self, bytes: u64) {
        if let Some((since, _)) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        let earned = Duration::from_millis(bytes.saturating_mul(1000) / SLOWEST);
        self.left = (self.left + earned).min(GRACE);
    }
}

impl HttpBody for Uploading {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Some(gate) = &mut this.gate {
            ready!(gate.open.as_mut().poll(cx));
            this.gate = None;
        }
        this.upload.begun.store(true, Ordering::Relaxed);
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            if let Some(pace) = &mut this.pace {
                ready!(pace.poll_late(cx));
                this.upload.too_slow.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(Fault::BODY_TIMEOUT.into())));
            }
            return Poll::Pending;
        };
        let frame = match frame {
            None => {
                this.upload.ended.store(true, Ordering::Relaxed);
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                this.upload.broken.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(error)));
            }
            Some(Ok(frame)) => frame,
        };
        let length = frame.data_ref().map_or(0, |d| d.remaining() as u64);
        this.bytes.fetch_add(length, Ordering::Relaxed);
        if let Some(pace) = &mut this.pace {
            pace.came(length);
        }
        // A body of known length is not asked again behind its last byte.
        if this.body.is_end_stream() || this.body.size_hint().exact() == Some(0) {
            this.upload.ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(without_forbidden(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn without_forbidden(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(fields::trailers(&trailers)),
        Err(frame) => frame,
    }
}

/// What an answer's body holds until it has ended.
#[derive(Debug)]
pub(super) struct Exchange {
    /// The connection, for the next request.
    pub(super) upstream: Option<(Upstream, Key, Arc<Idle>)>,
    /// What is told of the request.
    pub(super) record: Record,
    /// The client is owed its end.
    pub(super) debt: Option<Debt>,
    /// The request counts on its origin for so long.
    pub(super) _held: Option<Held>,
    /// And on its connection.
    pub(super) _under_way: Option<UnderWay>,
}

/// An origin's answer on its way to the client.
#[derive(Debug)]
pub(super) struct Answering {
    body: Early,
    upload: Arc<Upload>,
    exchange: Option<Exchange>,
    early: Option<Upstream>,
}

impl Answering {
    /// An answer whose end is awaited.
    pub(super) fn new(body: Early, upload: Arc<Upload>, exchange: Exchange) -> Self {
        let mut answering = Self { body, upload, exchange: Some(exchange), early: None };
        answering.end_if_over();
        answering
    }

    /// It is given up, for this reason.
    pub(super) fn give_up(mut self, reason: &'static str) {
        if let Some(exchange) = &mut self.exchange {
            exchange.record.reason = Some(reason);
            // What takes its place is a whole answer.
            exchange.debt.take().into_iter().for_each(Debt::paid);
        }
    }

    fn end_if_over(&mut self) {
        if self.body.is_end_stream() {
            self.end();
        }
    }

    /// The answer has ended exactly.
    fn end(&mut self) {
        let Some(mut exchange) = self.exchange.take() else { return };
        exchange.record.finished = true;
        exchange.debt.take().into_iter().for_each(Debt::paid);
        let Some((upstream, key, idle)) = exchange.upstream.take() else { return };
        if self.upload.ended.load(Ordering::Relaxed) {
            idle.keep(key, upstream);
        } else {
            // The origin has answered without hearing the request out: the rest of it must not become another's.
            // Closed when the answer has been handed over.
            self.early = Some(upstream);
        }
    }
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        drain::asked();
        match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            None => {
                this.end();
                Poll::Ready(None)
            }
            Some(Ok(frame)) => {
                if let (Some(data), Some(exchange)) = (frame.data_ref(), &mut this.exchange) {
                    exchange.record.down += data.remaining() as u64;
                }
                this.end_if_over();
                drain::handed();
                Poll::Ready(Some(Ok(without_forbidden(frame))))
            }
            Some(Err(error)) => {
                if let Some(exchange) = &mut this.exchange {
                    exchange.record.reason = Some("connection_reset");
                }
                this.exchange = None;
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let unended = self.exchange.as_mut().and_then(|e| e.upstream.take()).map(|(upstream, ..)| upstream);
        unended.into_iter().chain(self.early.take()).for_each(Upstream::abort);
    }
}

#[cfg(test)]
mod tests;

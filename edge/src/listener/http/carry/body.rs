//! Bodies on their way: the request's, which may not dawdle, and the answer's, whose exact end frees its connection.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use protocol::error::Reason;
use protocol::splice::Count;
use tokio::{sync::watch, time::Instant};

use super::{
    drain,
    pace::{Pace, Patience},
    record::Record,
};
use crate::listener::http::client::{owed::Debt, received::Received, talk::UnderWay};
use crate::listener::http::message::{boxed::BoxError, fault::Fault, fields, grpc};
use crate::listener::http::origin::{
    early::Early,
    failed,
    idle::Idle,
    upstream::{Key, Upstream},
};
use crate::{
    listener::flows::Seat,
    offramp::{Why, whole},
};

/// How long an origin may leave `Expect: 100-continue` unanswered before the body is sent all the same.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// What is known of a request's body while it is sent.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    /// It was asked for.
    pub(crate) begun: AtomicBool,
    /// The client's next bytes are waited for.
    pub(crate) awaited: AtomicBool,
    /// It came too slowly.
    pub(crate) too_slow: AtomicBool,
    /// It broke off.
    pub(crate) broken: AtomicBool,
    /// All of it was taken.
    pub(crate) ended: AtomicBool,
    /// When the last of it came.
    heard: Mutex<Option<Instant>>,
}

impl Upload {
    /// When the client's last bytes came, or its end.
    pub(crate) fn heard(&self) -> Option<Instant> {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hears(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.awaited.store(false, Ordering::Relaxed);
    }

    /// True if its client is why it did not come to its end.
    fn is_given_up(&self) -> bool {
        self.too_slow.load(Ordering::Relaxed) || self.broken.load(Ordering::Relaxed)
    }
}

/// A client's request body.
#[derive(Debug)]
pub(crate) struct Uploading {
    body: Received,
    upload: Arc<Upload>,
    count: Count,
    pace: Option<Pace>,
    /// Opens when the origin says 100, or answers nothing for a while, or the client does not wait.
    gate: Option<Gate>,
}

/// Holds a body back.
pub(crate) struct Gate {
    open: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    /// A gate that opens at this word, or after a while.
    pub(crate) fn new(mut word: watch::Receiver<bool>) -> Self {
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
    /// A body with its counters, which may dawdle no longer than this.
    pub(crate) fn new(body: Received, upload: Arc<Upload>, count: Count, patience: Option<Patience>) -> Self {
        let pace = patience.map(Pace::new);
        Self { body, upload, count, pace, gate: None }
    }

    /// Held back by a gate.
    pub(crate) fn behind(mut self, gate: Option<Gate>) -> Self {
        self.gate = gate;
        self
    }
}

impl HttpBody for Uploading {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Some(gate) = &mut this.gate {
            // Who sends unasked is not waiting.
            if this.body.poll_here(cx).is_pending() {
                ready!(gate.open.as_mut().poll(cx));
            }
            this.gate = None;
        }
        this.upload.begun.store(true, Ordering::Relaxed);
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            this.upload.awaited.store(true, Ordering::Relaxed);
            if let Some(pace) = &mut this.pace {
                ready!(pace.poll_late(cx));
                this.upload.too_slow.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(Fault::BODY_TIMEOUT.into())));
            }
            return Poll::Pending;
        };
        this.upload.hears();
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
        this.count.add_sent(length);
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
pub(crate) struct Exchange {
    /// The connection, for the next request.
    pub(crate) upstream: Option<(Upstream, Key, Arc<Idle>)>,
    /// What is told of the request.
    pub(crate) record: Record,
    /// The client is owed its end.
    pub(crate) debt: Option<Debt>,
    /// The request counts on its origin for so long.
    pub(crate) _seat: Option<Seat>,
    /// And on its connection.
    pub(crate) under_way: Option<UnderWay>,
}

impl Exchange {
    /// Why its connection has broken.
    fn why_broken(&self) -> Reason {
        self.upstream.as_ref().map_or(Reason::ConnectionReset, |(upstream, ..)| upstream.why_broken())
    }

    /// True if its flow was ended for the sake of others.
    fn is_sacrificed(&self) -> bool {
        self.upstream.as_ref().is_some_and(|(upstream, ..)| upstream.sacrificed().is_said())
    }
}

/// An origin's answer on its way to the client.
#[derive(Debug)]
pub(crate) struct Answering {
    body: Early,
    upload: Arc<Upload>,
    exchange: Option<Exchange>,
    early: Option<Upstream>,
    /// It broke off, which is told once what came before has gone out.
    broken: Option<BoxError>,
    /// A gRPC call is told in words of its own that it has failed, behind whatever has come of the answer.
    grpc: Grpc,
}

/// Whether an answer is to a gRPC call over HTTP/2, and whether that was told its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grpc {
    No,
    Call,
    Told,
}

impl Answering {
    /// An answer whose end is awaited.
    pub(crate) fn new(body: Early, upload: Arc<Upload>, exchange: Exchange, grpc: Grpc) -> Self {
        let mut answering = Self { body, upload, exchange: Some(exchange), early: None, broken: None, grpc };
        answering.end_if_over();
        answering
    }

    /// It is given up, and this is why.
    pub(crate) fn give_up(mut self, fault: Fault) {
        if let Some(exchange) = &mut self.exchange {
            exchange.record.fault(fault);
            // What takes its place is a whole answer.
            exchange.debt.take().into_iter().for_each(Debt::paid);
        }
    }

    fn end_if_over(&mut self) {
        if self.body.is_end_stream() {
            self.end();
        }
    }

    /// Notes a client that was given up: it took nothing for too long or too little, or sent nothing.
    fn note_client(&mut self) {
        let too_slow = self.upload.too_slow.load(Ordering::Relaxed);
        if let Some(exchange) = &mut self.exchange {
            let given_up = exchange.under_way.as_ref().is_some_and(UnderWay::is_given_up);
            exchange.record.client_timeout |= too_slow || given_up || drain::is_given_up();
            exchange.record.stalled |= exchange.is_sacrificed();
        }
    }

    /// The answer has ended exactly.
    fn end(&mut self) {
        let Some(mut exchange) = self.exchange.take() else { return };
        exchange.record.finished = true;
        exchange.debt.take().into_iter().for_each(Debt::paid);
        exchange.under_way.iter().for_each(UnderWay::has_all);
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
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if this.grpc == Grpc::Told {
            return Poll::Ready(None);
        }
        drain::asked();
        match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            None => {
                this.end();
                Poll::Ready(None)
            }
            Some(Ok(frame)) => {
                if let (Some(data), Some(exchange)) = (frame.data_ref(), &mut this.exchange) {
                    exchange.record.story.count.add_received(data.remaining() as u64);
                }
                this.end_if_over();
                drain::handed();
                Poll::Ready(Some(Ok(without_forbidden(frame))))
            }
            Some(Err(error)) => {
                let client_is_why = this.upload.is_given_up();
                let blamed = this.exchange.as_mut().filter(|exchange| !client_is_why && !exchange.is_sacrificed());
                if let Some(exchange) = blamed {
                    let why = exchange.why_broken();
                    exchange.record.story.cause.failed(Why::new(why, whole(&error)));
                    // An origin that has ended the call itself has said why.
                    if this.grpc == Grpc::Call && failed::origins_code(&error).is_none() {
                        this.grpc = Grpc::Told;
                        exchange.debt.take().into_iter().for_each(Debt::paid);
                        this.exchange = None;
                        return Poll::Ready(Some(Ok(Frame::trailers(grpc::failed(Fault::lost(why))))));
                    }
                }
                this.note_client();
                this.exchange = None;
                this.broken = Some(error.into());
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if self.size_hint().exact() == Some(0) {
            // Whoever has all that was announced asks no more, even if the origin has not said its end yet.
            self.end();
        }
        self.note_client();
        let unended = self.exchange.as_mut().and_then(|e| e.upstream.take()).map(|(upstream, ..)| upstream);
        unended.into_iter().chain(self.early.take()).for_each(Upstream::abort);
    }
}

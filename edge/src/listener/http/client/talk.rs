//! What stands between a client's bytes and hyper, and what serves its requests, tell each other.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::time::{Instant, sleep_until};

use crate::listener::http::message::fault::Fault;
use crate::offramp::Sacrificed;

/// What the guard and the service of one connection tell each other.
#[derive(Debug, Default)]
pub(crate) struct Talk(Mutex<Told>);

#[derive(Debug)]
struct Told {
    /// When the last request was over, or the connection began.
    idle_since: Instant,
    /// Heads that have passed to the service, and requests that it has begun with.
    heads: u64,
    begun: u64,
    /// Bytes of a body have come behind the last head.
    body_is_here: bool,
    refused: Option<(u64, Fault)>,
    broken_body: Option<Fault>,
    under_way: usize,
    interim: BytesMut,
    reader: Option<Waker>,
    /// The client took nothing for too long.
    given_up: bool,
    /// The answer that is under way has no other end than the connection's.
    ends_by_close: bool,
    /// Of the flow that the answer comes over.
    sacrificed: Sacrificed,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            idle_since: Instant::now(),
            heads: 0,
            begun: 0,
            body_is_here: false,
            refused: None,
            broken_body: None,
            under_way: 0,
            interim: BytesMut::new(),
            reader: None,
            given_up: false,
            ends_by_close: false,
            sacrificed: Sacrificed::default(),
        }
    }
}

impl Talk {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with the request at this position, if it was refused.
    pub(crate) fn refused(&self, position: u64) -> Option<Fault> {
        self.told().refused.filter(|(at, _)| *at == position).map(|(_, fault)| fault)
    }

    /// What was wrong with the framing of a body.
    pub(crate) fn broken_body(&self) -> Option<Fault> {
        self.told().broken_body
    }

    /// A head was refused: the request at its position is answered with the fault.
    pub(crate) fn refuse(&self, fault: Fault) {
        let mut told = self.told();
        told.refused = Some((told.heads, fault));
    }

    /// A head has passed.
    pub(crate) fn pass_head(&self) {
        let mut told = self.told();
        told.heads += 1;
        told.body_is_here = false;
    }

    /// Bytes of the body behind that head are here already.
    pub(crate) fn body_came(&self) {
        self.told().body_is_here = true;
    }

    /// True if bytes of the body came along with the last head.
    pub(crate) fn body_is_here(&self) -> bool {
        self.told().body_is_here
    }

    /// The framing of a body is wrong.
    pub(crate) fn break_body(&self, fault: Fault) {
        self.told().broken_body = Some(fault);
    }

    /// Who reads is woken when there is something to be written, or nothing to be waited for.
    pub(crate) fn listen(&self, cx: &Context<'_>) {
        self.told().reader = Some(cx.waker().clone());
    }

    /// Writes the interim answers that wait.
    pub(crate) fn poll_interim(&self, mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>) -> Poll<io::Result<()>> {
        let mut told = self.told();
        while !told.interim.is_empty() {
            let written = ready!(write(&told.interim))?;
            told.interim.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// The client takes nothing, and its connection is given up.
    pub(crate) fn give_up(&self) {
        self.told().given_up = true;
    }

    /// True if that is why the connection ends.
    pub(crate) fn is_given_up(&self) -> bool {
        self.told().given_up
    }

    /// The answer that begins has neither length nor chunks: it is the last, and ends where the connection does.
    pub(crate) fn end_by_close(&self) {
        self.told().ends_by_close = true;
    }

    /// True if a close would be the end of an answer.
    pub(crate) fn is_ended_by_close(&self) -> bool {
        self.told().ends_by_close
    }

    /// From now on what is answered comes over this flow; absent: over none.
    pub(crate) fn reads_from(&self, flow: Option<Sacrificed>) {
        self.told().sacrificed = flow.unwrap_or_default();
    }

    /// Says when the flow has been sacrificed that the answer comes over.
    pub(crate) fn sacrificed(&self) -> Sacrificed {
        self.told().sacrificed.clone()
    }

    /// Queues an interim answer.
    pub(crate) fn interim(&self, head: &[u8]) {
        let mut told = self.told();
        told.interim.extend_from_slice(head);
        if let Some(reader) = told.reader.take() {
            reader.wake();
        }
    }

    /// True while a request is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.told().under_way > 0
    }

    /// True while a request of HTTP/1 is under way, from the moment its head has passed.
    pub(crate) fn awaits_answer(&self) -> bool {
        let told = self.told();
        told.heads > told.begun || told.under_way > 0
    }

    /// True if no request has been under way for so long.
    pub(crate) fn is_idle_for(&self, long: Duration) -> bool {
        self.idle_until(long) <= Instant::now() && !self.is_busy()
    }

    /// True while nothing was ever asked.
    pub(crate) fn is_fresh(&self) -> bool {
        let told = self.told();
        told.heads == 0 && told.refused.is_none()
    }

    /// When the connection will have been idle for so long, if nothing comes before.
    pub(crate) fn idle_until(&self, limit: Duration) -> Instant {
        let told = self.told();
        let since = if told.under_way > 0 { Instant::now() } else { told.idle_since };
        since + limit
    }

    /// Completes once no request has been under way for so long.
    pub(crate) async fn idle(&self, limit: Duration) {
        loop {
            let until = self.idle_until(limit);
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    /// Counts a request as under way until dropped.
    pub(crate) fn under_way(self: &Arc<Self>) -> UnderWay {
        let mut told = self.told();
        told.under_way += 1;
        told.begun += 1;
        drop(told);
        UnderWay(self.clone())
    }
}

/// A request under way; without one the connection is idle.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Talk>);

impl UnderWay {
    /// Its answer has ended exactly: the flow it came over is not its own any more.
    pub(crate) fn has_all(&self) {
        self.0.reads_from(None);
    }

    /// True if its client took nothing for so long that it was given up.
    pub(crate) fn is_given_up(&self) -> bool {
        self.0.is_given_up()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut told = self.0.told();
        told.under_way -= 1;
        told.idle_since = Instant::now();
        if let (0, Some(reader)) = (told.under_way, told.reader.take()) {
            reader.wake();
        }
    }
}

//! One attempt at one place: over a connection that is there, or a new one; and once more if that connection was at fault.

use std::{
    mem,
    time::{Duration, Instant},
};

use http::Response;
use hyper::body::Incoming;
use protocol::error::Reason;
use tokio::time;

use super::{DELIVERIES_MAX, Fault, Forward, Placing, Sending};
use crate::listener::http::origin::{
    budget::Budget,
    early::{self, Broken, Early},
    failed::{Again, Failed, Left},
    idle::{Turn, Wish},
    upstream::{Key, Upstream},
};
use crate::{
    listener::placing::Place,
    offramp::{First, Speech, Why, whole},
};

/// A connection that was idle for this long is looked at before it is used: its end may be here and unread.
const LOOK_AFTER: Duration = Duration::from_millis(50);

/// Where a request is tried, and what pays for trying once more.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) placing: &'a Placing<'a>,
    pub(super) place: &'a Place,
    pub(super) budget: &'a Budget,
}

/// A failed attempt over one connection.
struct Lost {
    failed: Failed,
    /// The connection had been used before.
    reused: bool,
}

impl Forward<'_> {
    /// Sends to a place, and once more over another connection if the first was at fault: never a third time.
    pub(super) async fn attempt(
        &mut self,
        at: At<'_>,
        sending: &mut Sending,
    ) -> Result<(Response<Early>, Upstream, Key), Failed> {
        // Settings that have left the catalog, and with them this place.
        let gone = || Why::new(Reason::NoRoute, "the settings that led there are not in force any more");
        let key = self.key(at.place).ok_or_else(|| self.met(gone(), Failed::Unsent))?;
        let lost = match self.try_over(at, (&key, Wish::Any), sending).await {
            Ok((response, upstream)) => return Ok((response, upstream, key)),
            Err(lost) => lost,
        };
        let may = match lost.failed.again(self.left(sending), lost.reused) {
            Again::No => false,
            Again::Free | Again::Paid if self.deliveries >= DELIVERIES_MAX => false,
            Again::Free => true,
            Again::Paid => !mem::replace(&mut self.paid, true) && at.budget.retry(Instant::now()),
        };
        if !may || self.upload_fault().is_some() {
            return Err(lost.failed);
        }
        let tried = self.try_over(at, (&key, Wish::New), sending).await;
        tried.map(|(response, upstream)| (response, upstream, key)).map_err(|lost| lost.failed)
    }

    /// Whose connections may be used there.
    fn key(&self, place: &Place) -> Option<Key> {
        let speech = self.connection.shared.offramp.speech(&place.pool.upstream)?;
        let speech = if self.asked.switch.is_some() { Speech::in_http1(speech) } else { speech };
        Some(Key { origin: place.path.origin, address: place.origin.address.clone(), via: place.path.via, speech })
    }

    /// What is left of the request.
    pub(super) fn left(&self, sending: &Sending) -> Left {
        match sending {
            Sending::Whole(_) if self.repeatable => Left::Repeatable,
            Sending::Whole(_) | Sending::Stream(_) | Sending::Untouched(_) => Left::Whole,
            Sending::Gone => Left::Nothing,
        }
    }

    async fn try_over(
        &mut self,
        at: At<'_>,
        (key, wish): (&Key, Wish),
        sending: &mut Sending,
    ) -> Result<(Response<Early>, Upstream), Lost> {
        let mut upstream = self.connect(at, key, wish).await.map_err(|failed| Lost { failed, reused: false })?;
        let reused = upstream.reused;
        self.record.request.reused = reused;
        let answered = match self.exchange(&mut upstream, at.place, sending).await {
            Ok(response) => self.hold(response, &mut upstream, self.left(sending)).await,
            Err(failed) => Err(failed),
        };
        let failed = match answered {
            Ok(response) => return Ok((response, upstream)),
            Err(failed) => failed,
        };
        self.deliveries += u32::from(failed.is_doubtful());
        if let (Sending::Gone, Some(whole)) = (&*sending, self.memory.whole()) {
            *sending = Sending::Whole(whole);
        }
        match failed {
            Failed::Declined(_) => upstream.declined(),
            // What the client broke off says nothing about the connection.
            Failed::Unsent(_) | Failed::Overtaken(_) | Failed::Broken(_) if self.upload_fault().is_none() => {
                upstream.ends();
            }
            Failed::Unsent(_) | Failed::Overtaken(_) | Failed::Broken(_) | Failed::Sent(_) | Failed::Final(_) => {}
        }
        upstream.abort();
        Err(Lost { failed, reused })
    }

    /// A connection that is there, or a new one.
    async fn connect(&mut self, at: At<'_>, key: &Key, wish: Wish) -> Result<Upstream, Failed> {
        if self.asked.switch.is_some() {
            // It has a connection for itself: it ends with it, and holds up nobody who shares it.
            return self.open(at, key).await;
        }
        let connection = self.connection;
        let idle = &connection.worker.idle;
        let until = Instant::now() + at.place.pool.connect_timeout;
        let opening = loop {
            match idle.turn(key, Instant::now(), wish) {
                Turn::Kept(upstream, unused) if unused < LOOK_AFTER => return Ok(upstream),
                Turn::Kept(upstream, _) => {
                    // Whatever has come for it is read while others have their turn.
                    tokio::task::yield_now().await;
                    if upstream.is_good(Instant::now()) {
                        return Ok(upstream);
                    }
                }
                Turn::Open(opening) => break opening,
                Turn::Wait(awaited) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if let Some(opening) = idle.wait(key, awaited, left).await {
                        break opening;
                    }
                }
            }
        };
        let upstream = self.open(at, key).await?;
        opening.made(&upstream);
        Ok(upstream)
    }

    async fn open(&mut self, at: At<'_>, key: &Key) -> Result<Upstream, Failed> {
        let (began, opening) = (Instant::now(), at.place.opening());
        let offramp = &self.connection.shared.offramp;
        let opened = async {
            // No client's bytes go along: they follow as a request.
            let opened = offramp.open(opening, &mut First::none()).await.map_err(Why::from)?;
            let left = opening.wait.saturating_sub(began.elapsed());
            Upstream::over(key, opened, opening.origin, left).await
        };
        let opened = tokio::select! {
            biased;
            opened = opened => opened,
            // It was sent before, and has no more time for another try.
            () = self.too_late(at.place), if self.begun.is_some() => return Err(Failed::Final(Fault::ORIGIN_TIMEOUT)),
        };
        let upstream = opened.map_err(|why| self.met(why, Failed::Unsent))?;
        at.placing.opened(at.place);
        Ok(upstream.kept_for(at.place.pool.upstream_idle_timeout))
    }

    /// The origin's time is over: counted from when the request was first sent, however often that was, or from when the
    /// last of it came from the client.
    pub(super) async fn too_late(&self, place: &Place) {
        let begun = self.begun.unwrap_or_else(time::Instant::now);
        let due = || self.upload.heard().map_or(begun, |heard| heard.max(begun)) + place.pool.response_timeout;
        loop {
            time::sleep_until(due()).await;
            if self.upload.awaited.load(std::sync::atomic::Ordering::Relaxed) {
                // While the client is waited for, the origin has nothing to answer. What comes meanwhile counts anew.
                time::sleep(place.pool.response_timeout).await;
            } else if due() <= time::Instant::now() {
                return;
            }
        }
    }

    /// Holds a small answer back until it is whole, if the request may still be answered from elsewhere.
    async fn hold(
        &mut self,
        response: Response<Incoming>,
        upstream: &mut Upstream,
        left: Left,
    ) -> Result<Response<Early>, Failed> {
        upstream.heed(response.headers());
        let (parts, body) = Early::of(response).into_parts();
        if left != Left::Repeatable || !early::is_small(&parts.headers) {
            return Ok(Response::from_parts(parts, body));
        }
        let body = tokio::select! {
            biased;
            held = body.hold() => held.map_err(|broken| self.broken(&broken, upstream))?,
            () = upstream.suspected() => return Err(self.met(Why::suspect(), Failed::Sent)),
        };
        Ok(Response::from_parts(parts, body))
    }

    /// The failure of an answer that broke off before anybody was told of it.
    fn broken(&mut self, broken: &Broken, upstream: &Upstream) -> Failed {
        match broken {
            Broken::Hyper(error) => self.lost(error, upstream),
            Broken::Unended => self.met(Why::new(Reason::ConnectionReset, whole(broken)), Failed::Sent),
        }
    }
}

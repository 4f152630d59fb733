//! One attempt at one place: over a connection that is there, or a new one; and once more if that connection was at fault.

use std::{
    mem,
    time::{Duration, Instant},
};

use http::Response;
use hyper::body::Incoming;
use protocol::error::Reason;
use tokio::time;

use super::{Fault, Forward, Sending, Upload};
use crate::listener::http::origin::{
    early::{self, Broken, Early},
    failed::Failed,
    idle::{Turn, Wish},
    upstream::{Key, Upstream},
};
use crate::{
    balancer::{
        NoPlace,
        retry::{Again, DELIVERIES_MAX, Delivered, Left},
    },
    listener::flow::{
        attempts::{Attempt, Miss, Missed},
        placing::Place,
        story::Story,
    },
    offramp::{First, Speech, Why, whole},
};

/// A connection that was idle for this long is looked at before it is used: its end may be here and unread.
const LOOK_AFTER: Duration = Duration::from_millis(50);

/// A failed attempt over one connection.
struct Lost {
    failed: Failed,
    /// The connection had been used before.
    reused: bool,
}

/// What an attempt that goes well comes to.
type Answer = (Response<Early>, Upstream, Key);

impl Attempt for Forward<'_> {
    type Opened = Answer;
    type Over = Fault;

    async fn at(&mut self, place: &Place) -> Result<Answer, Missed<Fault>> {
        let failed = match self.send(place).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        if let Some(fault) = self.upload_fault() {
            return Err(Missed::Over(fault));
        }
        let (reason, delivered) = failed.delivered().map_err(Missed::Over)?;
        // Only what has not left says that the origin did not accept.
        let is_told = delivered == Delivered::Nothing;
        Err(Missed::Here(Miss { reason, delivered, left: self.left(), is_told }))
    }

    fn story(&mut self) -> &mut Story {
        &mut self.record.story
    }

    fn no_place(&mut self, no: &NoPlace, last: Option<Reason>) -> Fault {
        last.map_or_else(|| Fault::no_place(no.reason), Fault::lost)
    }

    fn not_again(&mut self, missed: &Miss) -> Fault {
        Fault::lost(missed.reason)
    }
}

impl Forward<'_> {
    /// Sends to a place, and once more over another connection if the first was at fault: never a third time.
    async fn send(&mut self, place: &Place) -> Result<Answer, Failed> {
        // Settings that have left the catalog, and with them this place.
        let gone = || Why::new(Reason::NoRoute, "the settings that led there are not in force any more");
        let key = self.key(place).ok_or_else(|| self.met(gone(), Failed::Unsent))?;
        let lost = match self.try_over(place, (&key, Wish::Any)).await {
            Ok((response, upstream)) => return Ok((response, upstream, key)),
            Err(lost) => lost,
        };
        let may = match lost.failed.again(self.left(), lost.reused) {
            Again::Free | Again::Paid if self.record.story.deliveries >= DELIVERIES_MAX => false,
            Again::Paid if mem::replace(&mut self.paid, true) => false,
            again @ (Again::No | Again::Free | Again::Paid) => place.budget.allows(again, Instant::now()),
        };
        if !may || self.upload_fault().is_some() {
            return Err(lost.failed);
        }
        let tried = self.try_over(place, (&key, Wish::New)).await;
        tried.map(|(response, upstream)| (response, upstream, key)).map_err(|lost| lost.failed)
    }

    /// Whose connections may be used there.
    fn key(&self, place: &Place) -> Option<Key> {
        let speech = self.connection.shared.offramp.speech(&place.pool.upstream)?;
        let speech = if self.asked.switch.is_some() { Speech::in_http1(speech) } else { speech };
        Some(Key { origin: place.path.origin, address: place.origin.address.clone(), via: place.path.via, speech })
    }

    /// What is left of the request.
    pub(super) fn left(&self) -> Left {
        match &self.sending {
            Sending::Whole(_) if self.repeatable => Left::Repeatable,
            Sending::Whole(_) | Sending::Stream(_) | Sending::Untouched(_) => Left::Whole,
            Sending::Gone => Left::Nothing,
        }
    }

    async fn try_over(
        &mut self,
        place: &Place,
        (key, wish): (&Key, Wish),
    ) -> Result<(Response<Early>, Upstream), Lost> {
        let mut upstream = self.connect(place, key, wish).await.map_err(|failed| Lost { failed, reused: false })?;
        let reused = upstream.reused;
        self.record.request.reused = reused;
        let answered = match self.exchange(&mut upstream, place).await {
            Ok(response) => self.hold(response, &mut upstream, self.left()).await,
            Err(failed) => Err(failed),
        };
        let failed = match answered {
            Ok(response) => return Ok((response, upstream)),
            Err(failed) => failed,
        };
        let is_doubtful = failed.delivered().is_ok_and(|(_, delivered)| delivered == Delivered::Something);
        self.record.story.deliveries += u32::from(is_doubtful);
        if let (Sending::Gone, Some(whole)) = (&self.sending, self.memory.whole()) {
            self.sending = Sending::Whole(whole);
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
    async fn connect(&mut self, place: &Place, key: &Key, wish: Wish) -> Result<Upstream, Failed> {
        if self.asked.switch.is_some() {
            // It has a connection for itself: it ends with it, and holds up nobody who shares it.
            return self.open(place, key).await;
        }
        let connection = self.connection;
        let idle = &connection.worker.idle;
        let until = Instant::now() + place.pool.connect_timeout;
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
        let upstream = self.open(place, key).await?;
        opening.made(&upstream);
        Ok(upstream)
    }

    async fn open(&mut self, place: &Place, key: &Key) -> Result<Upstream, Failed> {
        let (began, opening) = (Instant::now(), place.opening(self.record.story.id));
        let offramp = &self.connection.shared.offramp;
        let opened = async {
            // No client's bytes go along: they follow as a request.
            let opened = offramp.open(opening, &mut First::none()).await.map_err(Why::from)?;
            let left = opening.wait.saturating_sub(began.elapsed());
            Upstream::over(key, opened, opening.origin, left).await
        };
        let begun = self.begun;
        let too_late = too_late(&self.upload, begun, place);
        let opened = tokio::select! {
            biased;
            opened = opened => opened,
            // It was sent before, and has no more time for another try.
            () = too_late, if begun.is_some() => return Err(Failed::Final(Fault::ORIGIN_TIMEOUT)),
        };
        let upstream = opened.map_err(|why| self.met(why, Failed::Unsent))?;
        place.report(&self.connection.shared, Ok(()));
        Ok(upstream.kept_for(place.pool.upstream_idle_timeout))
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

/// The origin's time is over: counted from when the request was first sent, however often that was, or from when the
/// last of it came from the client.
pub(super) async fn too_late(upload: &Upload, begun: Option<time::Instant>, place: &Place) {
    let begun = begun.unwrap_or_else(time::Instant::now);
    let due = || upload.heard().map_or(begun, |heard| heard.max(begun)) + place.pool.response_timeout;
    loop {
        time::sleep_until(due()).await;
        if upload.awaited.load(std::sync::atomic::Ordering::Relaxed) {
            // While the client is waited for, the origin has nothing to answer. What comes meanwhile counts anew.
            time::sleep(place.pool.response_timeout).await;
        } else if due() <= time::Instant::now() {
            return;
        }
    }
}

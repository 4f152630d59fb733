//! What is told of a flow of any kind, a TCP flow, a UDP session or an HTTP request, when it is over: one line of the access log,
//! and its counters.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use api::{
    explain::{Attempt, Considered, Flow},
    millis,
};
use certs::rotation::Utc;
use http::{Method, StatusCode, Version};
use protocol::{
    error::Reason,
    splice::{Count, Ended},
};
use tracing::{field, info};

use super::{cause::Cause, placing::Place, told::Told};
use crate::{
    balancer::{NoPlace, TRIES_MAX},
    listener::recent::{Recent, SLOW},
    metrics::{FlowEnd, Metrics},
    model::{FlowId, Listener},
    offramp::Why,
};

/// How a flow of any kind ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::listener) enum End {
    /// No origin took it.
    Refused,
    /// The edge ended, or was told to cut what flows.
    Cut,
    /// It was carried, to this end.
    Carried(Ended),
    /// It made room for a newer session.
    Evicted,
    /// Its listener was closed.
    Closed,
    /// The origin's host or network says that nobody is there.
    Unreachable,
    /// The client took or sent nothing for too long.
    ClientTimeout,
    /// The client went away before the end.
    ClientGone,
    /// The answer broke off.
    Broken,
}

impl End {
    /// The word for logs and metrics.
    pub(in crate::listener) fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Cut => "cut",
            Self::Carried(ended) => ended.as_str(),
            Self::Evicted => "evicted",
            Self::Closed => "closed",
            Self::Unreachable => "unreachable",
            Self::ClientTimeout => "client_timeout",
            Self::ClientGone => "client_gone",
            Self::Broken => "broken",
        }
    }
}

/// What one kind of flow has to tell and others have not.
#[derive(Debug, Clone, Copy)]
pub(in crate::listener) enum Kind<'a> {
    /// A TCP flow.
    Flow,
    /// A UDP session.
    Session {
        /// How often it went on elsewhere.
        moved: u32,
        /// Payloads to the origin, and from it.
        packets: Packets,
    },
    /// An HTTP request.
    Request(&'a Request),
}

/// What an HTTP request has to tell.
#[derive(Debug)]
pub(in crate::listener) struct Request {
    /// How it asks.
    pub(in crate::listener) method: Method,
    /// In which version.
    pub(in crate::listener) version: Version,
    /// Whom it was for.
    pub(in crate::listener) host: Option<String>,
    /// The path as it goes on.
    pub(in crate::listener) path: String,
    /// The connection had carried requests before.
    pub(in crate::listener) reused: bool,
    /// The status the client was told.
    pub(in crate::listener) status: Option<StatusCode>,
    /// How long the head of the answer took.
    pub(in crate::listener) first_byte: Option<Duration>,
}

/// Payloads to the origin, and from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::listener) struct Packets {
    /// To the origin.
    pub(in crate::listener) up: u64,
    /// From it.
    pub(in crate::listener) down: u64,
}

/// A flow that has come.
#[derive(Debug)]
pub(in crate::listener) struct Arrival {
    /// What it is called.
    pub(in crate::listener) id: FlowId,
    /// Where it came.
    pub(in crate::listener) listener: Arc<Listener>,
    /// Its client.
    pub(in crate::listener) source: SocketAddr,
    /// When.
    pub(in crate::listener) started: Instant,
}

/// A flow, as far as it has come.
#[derive(Debug)]
pub(in crate::listener) struct Story {
    metrics: Metrics,
    recent: Arc<Recent>,
    pub(in crate::listener) id: FlowId,
    pub(in crate::listener) listener: Arc<Listener>,
    source: SocketAddr,
    started: Instant,
    /// Nobody sent it: it is traced. It counts nowhere, and nothing is remembered of it.
    is_traced: bool,
    /// What did not go well at once; nothing is kept of a flow that does.
    odd: Odd,
    /// How often it was placed.
    attempts: u32,
    /// How often it was sent, and nobody knows what came of it.
    pub(in crate::listener) deliveries: u32,
    /// Where it went last.
    place: Option<Told>,
    /// How long its origin took to accept; absent: none has, or that is not told of its kind.
    connect: Option<Duration>,
    /// Why it ended.
    pub(in crate::listener) cause: Cause,
    /// What it has carried so far, for its listener as well.
    pub(in crate::listener) count: Count,
}

/// What is remembered of a flow that does not go well at once.
#[derive(Debug, Default)]
struct Odd {
    /// Places at which it was tried in vain.
    missed: Vec<Attempt>,
    waited: Duration,
    /// There was no place for it.
    unplaced: bool,
    considered: Vec<Considered>,
}

impl Story {
    /// A flow that has come just now, or some time ago.
    pub(in crate::listener) fn new(metrics: &Metrics, recent: &Arc<Recent>, arrival: Arrival) -> Self {
        let Arrival { id, listener, source, started } = arrival;
        let count = Count::adding_to(metrics.totals(&listener.name));
        let (metrics, cause) = (metrics.clone(), Cause::default());
        Self {
            metrics,
            recent: recent.clone(),
            id,
            listener,
            source,
            started,
            is_traced: false,
            odd: Odd::default(),
            attempts: 0,
            deliveries: 0,
            place: None,
            connect: None,
            cause,
            count,
        }
    }

    /// Of a flow that the edge itself sends on its way, to see how far it comes.
    pub(in crate::listener) fn traced(self) -> Self {
        Self { is_traced: true, count: Count::default(), ..self }
    }

    /// Since when it has been here.
    pub(in crate::listener) fn started(&self) -> Instant {
        self.started
    }

    /// How often it was placed.
    pub(in crate::listener) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// It was for this address, and goes there or nowhere.
    pub(in crate::listener) fn is_for(&mut self, destination: SocketAddr) {
        self.place = Some(Told::of_destination(destination));
    }

    /// It is tried at a place.
    pub(in crate::listener) fn tried(&mut self, place: &Place) {
        self.attempts += 1;
        self.place = Some(place.told());
        place.seat.counts(&self.count);
    }

    /// There is none for it; this was weighed.
    pub(in crate::listener) fn no_place(&mut self, no: &NoPlace, considered: Vec<Considered>) {
        self.cause.no_place(no);
        (self.odd.unplaced, self.odd.considered) = (true, considered);
    }

    /// It has waited for a place, so long in all.
    pub(in crate::listener) fn waited(&mut self, waited: Duration) {
        self.odd.waited = waited;
    }

    /// The place that it was tried at does not take it.
    pub(in crate::listener) fn missed(&mut self, reason: Reason) {
        if self.odd.missed.len() < TRIES_MAX {
            let code = reason.as_str();
            self.odd.missed.push(Attempt {
                failed_after_ms: Some(millis(self.started.elapsed())),
                reason: Some(code.to_owned()),
                detail: self.cause.words_of(code).map(Into::into),
                ..self.place.as_ref().map(Told::attempt).unwrap_or_default()
            });
        }
    }

    /// That came to nothing.
    pub(in crate::listener) fn failed(&mut self, why: Why) {
        self.cause.failed(why);
    }

    /// The origin has accepted, after so long.
    pub(in crate::listener) fn opened(&mut self, connect: Duration) {
        self.connect = Some(connect);
        self.cause.heals();
    }

    /// It is over.
    pub(in crate::listener) fn tell(&self, end: End, kind: Kind<'_>) {
        let (taken, ended) = (self.started.elapsed(), end.as_str());
        let (word, session, request) = match kind {
            Kind::Flow => ("flow", None, None),
            Kind::Session { moved, packets } => ("session", Some((moved, packets)), None),
            Kind::Request(request) => ("request", None, Some(request)),
        };
        let status = request.and_then(|r| r.status).map(|status| status.as_u16());
        if !self.is_traced {
            self.count_end(kind, (ended, status, taken));
        }
        let (place, detail) = (self.place.as_ref(), self.cause.words());
        if !self.is_traced {
            self.remember((taken, ended), word, request);
        }
        info!(
            target: "access",
            id = %self.id,
            listener = %self.listener.name,
            traced = self.is_traced.then_some(true),
            source = %self.source,
            method = request.map(|r| field::display(&r.method)),
            host = request.and_then(|r| r.host.as_deref()),
            path = request.map(|r| &r.path[..]),
            version = request.map(|r| field::debug(r.version)),
            status,
            pool = place.map(|p| &p.pool[..]),
            origin = place.map(|p| &p.origin[..]),
            connector = place.and_then(|p| p.connector.as_deref()),
            link = place.and_then(|p| p.link.as_deref()),
            attempts = self.attempts,
            moved = session.map(|(moved, _)| moved),
            reused = request.map(|r| r.reused),
            connect_ms = self.connect.map(millis),
            first_byte_ms = request.and_then(|r| r.first_byte).map(millis),
            duration_ms = millis(taken),
            packets_up = session.map(|(_, packets)| packets.up),
            packets_down = session.map(|(_, packets)| packets.down),
            bytes_up = self.count.sent(),
            bytes_down = self.count.received(),
            ended,
            reason = self.cause.code(),
            detail = detail.as_deref(),
            "{word}"
        );
    }

    fn count_end(&self, kind: Kind<'_>, (ended, status, taken): (&'static str, Option<u16>, Duration)) {
        match kind {
            Kind::Flow | Kind::Session { .. } => {
                self.metrics.flow_ended(&FlowEnd { listener: &self.listener.name, ended });
            }
            Kind::Request(_) => self.metrics.request_ended(&self.listener.name, status, taken),
        }
    }

    /// Keeps it for whoever asks, if it did not go well at once.
    fn remember(&self, (taken, ended): (Duration, &'static str), kind: &'static str, request: Option<&Request>) {
        let because = self.because(taken, request);
        if because.is_empty() {
            return;
        }
        let Odd { missed, waited, unplaced, considered } = &self.odd;
        let last = self.place.as_ref().filter(|_| !unplaced && self.attempts as usize > missed.len());
        // Where it is now has taken it, or is where it failed for good.
        let reason = self.cause.code().filter(|_| self.connect.is_none());
        let last = last.map(|place| Attempt { reason: reason.map(str::to_owned), ..place.attempt() });
        self.recent.add(Flow {
            flow: self.id.to_string(),
            because: because.into_iter().map(str::to_owned).collect(),
            kind: kind.to_owned(),
            ended_at: Utc(SystemTime::now()).to_string(),
            listener: self.listener.name.to_string(),
            source: self.source.to_string(),
            method: request.map(|request| request.method.to_string()),
            host: request.and_then(|request| request.host.clone()),
            path: request.map(|request| request.path.clone()),
            status: request.and_then(|request| request.status).map(|status| status.as_u16()),
            attempts: missed.iter().cloned().chain(last).collect(),
            waited_ms: (!waited.is_zero()).then(|| millis(*waited)),
            connect_ms: self.connect.map(millis),
            first_byte_ms: request.and_then(|request| request.first_byte).map(millis),
            duration_ms: millis(taken),
            ended: ended.to_owned(),
            reason: self.cause.code().map(str::to_owned),
            detail: self.cause.words().map(Into::into),
            considered: considered.clone(),
        });
    }

    /// Why it is kept; nothing: it went well at once, or no place was ever asked for.
    fn because(&self, taken: Duration, request: Option<&Request>) -> Vec<&'static str> {
        let answered = request.map_or(self.connect, |request| request.first_byte.or(Some(taken)));
        let is_placed = self.attempts > 0;
        let reasons = [
            (self.odd.unplaced, "refused"),
            (!self.odd.missed.is_empty(), "retried"),
            (!self.odd.waited.is_zero(), "waited"),
            (is_placed && answered.is_some_and(|answered| answered > SLOW), "slow"),
            (is_placed && !self.odd.unplaced && self.cause.code().is_some(), "failed"),
        ];
        reasons.into_iter().filter_map(|(is_so, word)| is_so.then_some(word)).collect()
    }
}

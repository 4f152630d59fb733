//! One TCP flow: place, open, splice; place again while nothing can be delivered twice.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use net::Socket;
use protocol::{
    error::Reason,
    splice::{self, Carried, Ended, Manner},
};
use tokio::time;
use tracing::info;

use super::{PATIENCE, Shared};
use crate::{
    balancer::{Ask, Placed, Tried},
    health::{PathKey, Report, view::HealthView},
    metrics::{FlowEnd, RefusedFlow},
    model::{FlowKey, Held, Listener, Origin, Pool, Via},
    offramp::{Carrier, Failure, First, Opened, Opening},
};

/// A flow from its accept on.
#[derive(Debug)]
pub(super) struct Flow {
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    key: FlowKey,
    started: Instant,
    place: Option<Place>,
    _held: Held,
}

/// Where a flow was placed, taken out of the view.
#[derive(Debug)]
struct Place {
    pool: Arc<Pool>,
    origin: Arc<Origin>,
    path: PathKey,
    worker: usize,
    /// The flow counts on its origin for as long as it lives.
    held: Held,
    /// And on its link from now on, until the stream itself does: flows that arrive together must see each other.
    _on_link: Held,
}

/// What is told of a flow when it is over.
#[derive(Debug, Default)]
struct Story {
    attempts: u32,
    connect: Option<Duration>,
    /// Client bytes that travelled with the open, before anything was spliced.
    sent_with_open: u64,
    pool: Option<Arc<Pool>>,
    origin: Option<Arc<Origin>>,
    link: Option<String>,
    connector: Option<String>,
    carried: Option<Carried>,
    reason: Option<Reason>,
}

impl Flow {
    /// A flow that has just arrived; it is placed at once, so that it can run where its link is.
    pub(super) fn new(shared: Arc<Shared>, listener: Arc<Listener>, source: SocketAddr, held: Held) -> Self {
        let mut flow =
            Self { shared, listener, key: FlowKey { source }, started: Instant::now(), place: None, _held: held };
        let view = flow.shared.view.borrow().clone();
        flow.place = flow.find(&view, &Tried::default()).ok();
        flow
    }

    /// The worker of the link it is placed on.
    pub(super) fn worker(&self) -> usize {
        self.place.as_ref().map_or(0, |p| p.worker)
    }

    fn find(&self, view: &HealthView, tried: &Tried) -> Result<Place, Option<Reason>> {
        // The view may be of an older or a newer catalog than the listener: only the name holds in both.
        let known = view.catalog.listeners.iter().find(|l| l.name == self.listener.name);
        let current = known.ok_or(Some(Reason::TunnelDown))?;
        let ask = Ask { view, load_balancer: current.load_balancer, flow: &self.key, tried, now: Instant::now() };
        match self.shared.balancer.place(&ask, &mut rand::rng()) {
            Ok(placed) => Ok(self.take(&placed)),
            Err(no) => Err(no.reason),
        }
    }

    /// The flow's listener as a view knows it. A listener accepts before the first view that knows it is published.
    fn listener_in<'v>(&self, view: &'v HealthView) -> Option<&'v Listener> {
        view.catalog.listeners.iter().find(|l| l.name == self.listener.name).map(|l| &**l)
    }

    fn take(&self, placed: &Placed<'_>) -> Place {
        let worker = match placed.path.via {
            Via::Link(id) => self.shared.offramp.worker_of(id).unwrap_or(0),
            // No link ties it to a worker.
            Via::Direct => rand::random_range(0..self.shared.workers.count()),
        };
        Place {
            pool: placed.pool.pool.clone(),
            origin: placed.origin.origin.clone(),
            path: PathKey { pool: placed.pool.pool.name.clone(), origin: placed.origin.key, via: placed.path.via },
            worker,
            held: placed.origin.hold(),
            _on_link: placed.path.load.hold(),
        }
    }

    /// Carries the flow to its end.
    pub(super) async fn run(mut self, client: Socket) {
        let mut story = Story::default();
        let cut = self.shared.cut.clone();
        let opened = self.open(&client, &mut story).await;
        match opened {
            Ok((opened, first, held)) => {
                story.connect = Some(opened.connect);
                let totals = self.shared.metrics.totals(&self.listener.name);
                totals.sent.fetch_add(story.sent_with_open, Ordering::Relaxed);
                let manner = Manner { first, idle: self.listener.idle_timeout, totals: Some(totals) };
                let _flow = self.shared.metrics.flow(&self.listener.name);
                let carrying = carry(client, opened.carrier, manner);
                story.carried = tokio::select! {
                    carried = carrying => Some(carried),
                    () = cut.cancelled() => None,
                };
                drop(held);
            }
            Err(refused) => {
                self.shared.metrics.refused_flow(&self.listener.name, refused);
                client.abort();
            }
        }
        self.tell(&story);
    }

    /// Places and opens until one path has accepted.
    async fn open(&mut self, client: &Socket, story: &mut Story) -> Result<(Opened, bytes::Bytes, Held), RefusedFlow> {
        let mut tried = Tried::default();
        let mut first = First::of(client, self.listener.replay);
        loop {
            let place = match self.place.take() {
                Some(place) => place,
                None => self.find_patiently(&tried, story).await?,
            };
            story.attempts += 1;
            story.note(&place, &self.shared);
            let opening =
                Opening { origin: &place.origin, via: place.path.via, wait: place.pool.connect_timeout, priority: 0 };
            let failure = match self.shared.offramp.open(opening, &mut first).await {
                Ok(opened) => {
                    self.report(&place, Ok(()));
                    story.reason = None;
                    story.sent_with_open = first.sent() as u64;
                    return Ok((opened, first.unsent(), place.held));
                }
                Err(failure) => failure,
            };
            let (reason, again) = match failure {
                Failure::Refused(reason, _) => (reason, true),
                Failure::Unanswered(reason) => (reason, first.may_be_placed_again()),
                Failure::ClientGone => return Err(RefusedFlow::ClientGone),
            };
            story.reason = Some(reason);
            self.report(&place, Err(reason));
            if !again {
                return Err(RefusedFlow::NotReplayable);
            }
            match reason {
                // The origin's own answer: it is the same on every path.
                Reason::ConnectRefused | Reason::ConnectionReset => tried.origin(place.path.origin, reason),
                Reason::NoRoute
                | Reason::TunnelDown
                | Reason::LinkLost
                | Reason::PolicyDenied
                | Reason::ConnectTimeout
                | Reason::NetworkUnreachable
                | Reason::TlsUntrusted
                | Reason::TlsNameMismatch
                | Reason::TlsHandshake
                | Reason::HttpTimeout
                | Reason::HttpInvalid
                | Reason::CodeMismatch
                | Reason::BodyMismatch
                | Reason::UdpNoAnswer
                | Reason::IcmpTimeout
                | Reason::DnsFailed
                | Reason::PassiveFailures
                | Reason::ConnectorOverloaded => tried.path(place.path.origin, place.path.via, reason),
            }
        }
    }

    /// Finds a place, waiting a while for one if there is none.
    async fn find_patiently(&mut self, tried: &Tried, story: &mut Story) -> Result<Place, RefusedFlow> {
        let mut views = self.shared.view.clone();
        let until = time::Instant::from_std(self.started + PATIENCE);
        loop {
            let view = views.borrow_and_update().clone();
            match self.find(&view, tried) {
                Ok(place) => return Ok(place),
                Err(reason) => {
                    story.reason = story.reason.or(reason);
                    // Links come back, and so does a view that lags behind; an origin's own refusal is an answer.
                    let may_change = self.listener_in(&view).is_none()
                        || matches!(story.reason, Some(Reason::TunnelDown | Reason::LinkLost));
                    if !may_change {
                        return Err(RefusedFlow::NoPlace);
                    }
                }
            }
            match time::timeout_at(until, views.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(RefusedFlow::NoPlace),
            }
        }
    }

    fn report(&self, place: &Place, connect: Result<(), Reason>) {
        if place.pool.monitor.is_some() {
            self.shared.reports.tell(Report { path: place.path.clone(), connect });
        }
    }

    /// One line a flow, and its counters.
    fn tell(&self, story: &Story) {
        let spliced = story.carried.unwrap_or(Carried { sent: 0, received: 0, ended: Ended::LinkLost });
        let carried = Carried { sent: story.sent_with_open + spliced.sent, ..spliced };
        let ended = match (story.connect, story.carried) {
            (None, _) => "refused",
            (Some(_), None) => "cut",
            (Some(_), Some(carried)) => carried.ended.as_str(),
        };
        self.shared.metrics.flow_ended(&FlowEnd { listener: &self.listener.name, ended });
        let name = |o: &Option<Arc<Pool>>| o.as_ref().map(|p| p.name.to_string());
        info!(
            target: "access",
            listener = %self.listener.name,
            source = %self.key.source,
            pool = name(&story.pool),
            origin = story.origin.as_ref().map(|o| o.name.to_string()),
            connector = story.connector,
            link = story.link,
            attempts = story.attempts,
            connect_ms = story.connect.map(millis),
            duration_ms = millis(self.started.elapsed()),
            bytes_up = carried.sent,
            bytes_down = carried.received,
            ended,
            reason = story.reason.map(Reason::as_str),
            "flow"
        );
    }
}

impl Story {
    fn note(&mut self, place: &Place, shared: &Shared) {
        self.pool = Some(place.pool.clone());
        self.origin = Some(place.origin.clone());
        (self.link, self.connector) = match place.path.via {
            Via::Direct => (None, None),
            Via::Link(id) => (Some(id.to_string()), shared.offramp.connector_of(id).map(|c| c.to_string())),
        };
    }
}

async fn carry(client: Socket, carrier: Carrier, manner: Manner) -> Carried {
    match carrier {
        Carrier::Tunnel(stream, link, _held) => splice::splice(client, stream, &link.stuck, manner).await,
        Carrier::Direct(origin) => splice::relay(client, origin, manner).await,
    }
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

//! Finds a place for one request, and another when it failed.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use http::{HeaderMap, HeaderValue};
use protocol::error::Reason;
use tokio::time;

use super::{affinity::Purpose, fault::Fault, record::Told, request::Asked};
use crate::{
    balancer::{Ask, Placed, Tried},
    health::{PathKey, Report, view::HealthView},
    listener::{PATIENCE, Shared},
    model::{Affinity, FlowKey, Held, Listener, Origin, Pool, Via},
    routing,
};

/// Where a request was placed, taken out of the view.
#[derive(Debug)]
pub(super) struct Place {
    /// The pool.
    pub(super) pool: Arc<Pool>,
    /// The origin in it.
    pub(super) origin: Arc<Origin>,
    /// The way there.
    pub(super) path: PathKey,
    /// The request counts on its origin for as long as it lives.
    pub(super) held: Held,
    /// What the client is to be told, so that it comes back here.
    pub(super) cookie: Option<HeaderValue>,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client<'a> {
    /// Its address.
    pub(super) source: SocketAddr,
    /// What it sent.
    pub(super) headers: &'a HeaderMap,
    /// It came over TLS.
    pub(super) tls: bool,
}

/// The search for places of one request.
#[derive(Debug)]
pub(super) struct Placing<'a> {
    shared: &'a Shared,
    listener: &'a Listener,
    asked: &'a Asked,
    client: Client<'a>,
    flow: FlowKey,
    tried: Tried,
    until: time::Instant,
}

impl<'a> Placing<'a> {
    /// For a request of this client.
    pub(super) fn new(shared: &'a Shared, listener: &'a Listener, asked: &'a Asked, client: Client<'a>) -> Self {
        let until = time::Instant::now() + PATIENCE;
        Self {
            shared,
            listener,
            asked,
            client,
            flow: FlowKey { source: client.source },
            tried: Tried::default(),
            until,
        }
    }

    /// Finds a place, waiting a while for one if there is none and that may change.
    pub(super) async fn find(&mut self) -> Result<Place, Fault> {
        let mut views = self.shared.view.clone();
        loop {
            let view = views.borrow_and_update().clone();
            let reason = match self.find_in(&view) {
                Ok(place) => return Ok(place),
                Err(reason) => reason,
            };
            let known = self.known_in(&view).is_some();
            // Links come back, and so does a view that lags behind; an origin's own refusal is an answer.
            let may_change = !known || matches!(reason, Some(Reason::TunnelDown | Reason::LinkLost));
            if !may_change || !matches!(time::timeout_at(self.until, views.changed()).await, Ok(Ok(()))) {
                return Err(self.give_up(reason));
            }
        }
    }

    fn give_up(&self, reason: Option<Reason>) -> Fault {
        match self.tried.last() {
            Some(reason) => Fault::lost(reason),
            None => Fault::no_place(reason),
        }
    }

    /// The listener as a view knows it: only the name holds in both.
    fn known_in<'v>(&self, view: &'v HealthView) -> Option<&'v Listener> {
        view.catalog.listeners.iter().find(|l| l.name == self.listener.name).map(|l| &**l)
    }

    fn find_in(&self, view: &HealthView) -> Result<Place, Option<Reason>> {
        let current = self.known_in(view).ok_or(Some(Reason::TunnelDown))?;
        let host = self.asked.host.as_ref().map_or("", |h| &h.host);
        let load_balancer = routing::load_balancer(current, host, &self.asked.path);
        let ask = Ask { view, load_balancer, flow: &self.flow, tried: &self.tried, now: Instant::now() };
        let balancer = view.catalog.load_balancers.get(load_balancer);
        let Some((lb, Affinity::Cookie { ttl })) = balancer.map(|lb| (lb, lb.session_affinity)) else {
            let placed = self.shared.balancer.place(&ask, &mut rand::rng()).map_err(|no| no.reason)?;
            return Ok(take(&placed, None));
        };
        let (sealer, purpose) = (&self.shared.http.sealer, Purpose { balancer: &lb.name, now: SystemTime::now() });
        let bound = sealer.read(self.client.headers, purpose);
        if let Some(placed) = bound.and_then(|key| self.shared.balancer.place_on(&ask, key, &mut rand::rng())) {
            return Ok(take(&placed, None));
        }
        let placed = self.shared.balancer.place(&ask, &mut rand::rng()).map_err(|no| no.reason)?;
        Ok(take(&placed, sealer.write(purpose, placed.origin.key, ttl, self.client.tls)))
    }

    /// The origin has accepted.
    pub(super) fn opened(&self, place: &Place) {
        self.report(place, Ok(()));
    }

    /// The way there failed.
    pub(super) fn failed(&mut self, place: &Place, reason: Reason) {
        self.report(place, Err(reason));
        self.avoid(place, reason);
    }

    /// Something behind the accept failed: placed elsewhere, and no word on the path's health.
    pub(super) fn avoid(&mut self, place: &Place, reason: Reason) {
        match reason {
            // The origin's own answer: it is the same on every path.
            Reason::ConnectRefused | Reason::ConnectionReset | Reason::TlsUntrusted | Reason::TlsNameMismatch => {
                self.tried.origin(place.path.origin, reason);
            }
            Reason::NoRoute
            | Reason::TunnelDown
            | Reason::LinkLost
            | Reason::PolicyDenied
            | Reason::ConnectTimeout
            | Reason::NetworkUnreachable
            | Reason::TlsHandshake
            | Reason::HttpTimeout
            | Reason::HttpInvalid
            | Reason::CodeMismatch
            | Reason::BodyMismatch
            | Reason::UdpNoAnswer
            | Reason::IcmpTimeout
            | Reason::DnsFailed
            | Reason::PassiveFailures
            | Reason::ConnectorOverloaded => self.tried.path(place.path.origin, place.path.via, reason),
        }
    }

    fn report(&self, place: &Place, connect: Result<(), Reason>) {
        if place.pool.monitor.is_some() {
            self.shared.reports.tell(Report { path: place.path.clone(), connect });
        }
    }

    /// A place, as logs name it.
    pub(super) fn told(&self, place: &Place) -> Told {
        let (link, connector) = match place.path.via {
            Via::Direct => (None, None),
            Via::Link(id) => (Some(id.to_string()), self.shared.offramp.connector_of(id).map(|c| c.to_string())),
        };
        Told { pool: place.pool.name.to_string(), origin: place.origin.name.to_string(), link, connector }
    }
}

fn take(placed: &Placed<'_>, cookie: Option<HeaderValue>) -> Place {
    Place {
        pool: placed.pool.pool.clone(),
        origin: placed.origin.origin.clone(),
        path: PathKey { pool: placed.pool.pool.name.clone(), origin: placed.origin.key, via: placed.path.via },
        held: placed.origin.hold(),
        cookie,
    }
}

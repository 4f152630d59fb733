//! Finds a place for one request: by the listener's rules, and by what its cookie says.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use http::{HeaderMap, HeaderValue};
use protocol::error::Reason;

use crate::listener::http::message::{affinity::Purpose, fault::Fault, request::Asked};
use crate::listener::http::origin::budget::Budget;
use crate::{
    balancer::NoPlace,
    health::view::HealthView,
    listener::{
        placing::{Place, Search},
        shared::Shared,
    },
    model::{Affinity, Listener},
    routing,
};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client<'a> {
    /// Its address.
    pub(crate) source: SocketAddr,
    /// What it sent.
    pub(crate) headers: &'a HeaderMap,
    /// It came over TLS.
    pub(crate) tls: bool,
}

/// A place for a request.
#[derive(Debug)]
pub(crate) struct Found {
    /// The place.
    pub(crate) place: Place,
    /// What the client is to be told, so that it comes back there.
    pub(crate) cookie: Option<HeaderValue>,
    /// What pays for sending it once more.
    pub(crate) budget: Arc<Budget>,
}

/// The search for places of one request.
#[derive(Debug)]
pub(crate) struct Placing<'a> {
    search: Search<'a>,
    asked: &'a Asked,
    client: Client<'a>,
}

impl<'a> Placing<'a> {
    /// For a request of this client.
    pub(crate) fn new(shared: &'a Shared, listener: &'a Listener, asked: &'a Asked, client: Client<'a>) -> Self {
        Self { search: Search::new(shared, listener, client.source), asked, client }
    }

    /// Finds a place; else why there is none, and what the client is told.
    pub(crate) async fn find(&self) -> Result<Found, (NoPlace, Fault)> {
        let found = self.search.find_by(|view, listener| self.find_in(view, listener)).await;
        found.map_err(|no| {
            let fault = self.search.last().map_or_else(|| Fault::no_place(no.reason), Fault::lost);
            (no, fault)
        })
    }

    fn find_in(&self, view: &HealthView, listener: &Listener) -> Result<Found, NoPlace> {
        let shared = self.search.shared();
        let host = self.asked.host.as_ref().map_or("", |h| &h.host);
        let balancer = view.balancer(routing::load_balancer(listener, host, &self.asked.path.ruled));
        let ask = self.search.ask(view, balancer.ok_or_else(|| NoPlace::because(Some(Reason::NoRoute)))?);
        let lb = &ask.balancer.balancer;
        let budget = shared.http.budgets.of(&lb.name, &view.catalog.load_balancers, Instant::now());
        let Affinity::Cookie { ttl } = lb.session_affinity else {
            let placed = shared.balancer.place(&ask, &mut rand::rng())?;
            return Ok(Found { place: Place::take(&placed), cookie: None, budget });
        };
        let (sealer, purpose) = (&shared.http.sealer, Purpose { balancer: &lb.name, now: SystemTime::now() });
        let bound = sealer.read(self.client.headers, purpose);
        if let Some(placed) = bound.and_then(|key| shared.balancer.place_on(&ask, key, &mut rand::rng())) {
            return Ok(Found { place: Place::take(&placed), cookie: None, budget });
        }
        let placed = shared.balancer.place(&ask, &mut rand::rng())?;
        let cookie = sealer.write(purpose, placed.origin.key, ttl, self.client.tls);
        Ok(Found { place: Place::take(&placed), cookie, budget })
    }

    /// The origin has accepted.
    pub(crate) fn opened(&self, place: &Place) {
        self.search.opened(place);
    }

    /// The way there failed.
    pub(crate) fn failed(&mut self, place: &Place, reason: Reason) {
        self.search.failed(place, reason);
    }

    /// Something behind the accept failed: placed elsewhere, and no word on the path's health.
    pub(crate) fn avoid(&mut self, place: &Place, reason: Reason) {
        self.search.avoid(place, reason);
    }
}

//! `/api/v1/status` of a connector: everything `underpass status` prints of one, as JSON. Field names are an interface.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use certs::rotation::Utc;
use protocol::{control::RouteClaim, id::Target, liveness::LinkState};
use serde::Serialize;

use super::View;
use crate::link::LinkStatus;

/// The whole status.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    /// Absent before it has joined.
    connector: Option<String>,
    replica: Option<String>,
    version: &'static str,
    certificate_expires: Option<String>,
    flows: i64,
    edges: Vec<Edge>,
}

#[derive(Debug, Serialize)]
struct Edge {
    address: String,
    /// As it calls itself.
    edge: Option<String>,
    links: Vec<Link>,
    routes: Vec<Route>,
    refused_routes: Vec<Route>,
}

#[derive(Debug, Serialize)]
struct Link {
    slot: u16,
    state: &'static str,
    remote: Option<String>,
    rtt_ms: Option<f64>,
    since: Option<String>,
    /// Why it is not up.
    reason: Option<String>,
}

#[derive(Debug, Serialize, PartialEq)]
struct Route {
    vnet: String,
    cidr: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Status {
    pub(super) fn of(view: &View) -> Self {
        let identity = view.renewal.get().map(|renewal| renewal.identity());
        let peer = identity.as_ref().map(|identity| identity.peer());
        let mut edges: BTreeMap<Target, Edge> = BTreeMap::new();
        for (target, slot, status) in view.links.all() {
            let edge = edges.entry(target.clone()).or_insert_with(|| Edge::new(&target));
            edge.add(slot, &status);
        }
        Self {
            connector: peer.map(|peer| peer.connector.to_string()),
            replica: peer.map(|peer| peer.replica.to_string()),
            version: env!("CARGO_PKG_VERSION"),
            certificate_expires: peer.map(|peer| Utc(peer.lifetime.not_after).to_string()),
            flows: view.metrics.open_flows(),
            edges: edges.into_values().collect(),
        }
    }
}

impl Edge {
    fn new(target: &Target) -> Self {
        let (links, routes, refused_routes) = (Vec::new(), Vec::new(), Vec::new());
        Self { address: target.to_string(), edge: None, links, routes, refused_routes }
    }

    fn add(&mut self, slot: u16, status: &LinkStatus) {
        match status {
            LinkStatus::Dialling(why) => {
                let reason = why.clone();
                self.links.push(Link { slot, state: "dialling", remote: None, rtt_ms: None, since: None, reason });
            }
            LinkStatus::Registered { edge, state, refused, about } => {
                self.edge = Some(edge.clone());
                let state = match state {
                    LinkState::Up => "up",
                    LinkState::Suspect => "suspect",
                    LinkState::Dead => "dead",
                };
                let (remote, rtt) = (about.connection.remote_address(), about.connection.rtt());
                let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
                let (remote, rtt_ms) = (Some(remote.to_string()), Some(millis(rtt)));
                self.links.push(Link {
                    slot,
                    state,
                    remote,
                    rtt_ms,
                    since: Some(Utc(about.since).to_string()),
                    reason: None,
                });
                about.accepted.iter().for_each(|claim| note(&mut self.routes, claim, None));
                refused.iter().for_each(|r| note(&mut self.refused_routes, &r.route, Some(r.reason.clone())));
            }
        }
    }
}

/// Every link of an edge says the same, most likely.
fn note(routes: &mut Vec<Route>, claim: &RouteClaim, reason: Option<String>) {
    let route = Route { vnet: claim.vnet.clone(), cidr: claim.cidr.clone(), reason };
    if !routes.contains(&route) {
        routes.push(route);
    }
}

/// Milliseconds with three decimals.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

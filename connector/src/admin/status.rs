//! What `/api/v1/status` tells, taken from the link slots; its fields are those of [`api::connector`].

use std::{collections::BTreeMap, net::SocketAddr, time::SystemTime};

use api::{
    RefusedRoute, Route,
    connector::{Edge, Link, Reload, Status},
    millis, words,
};
use certs::rotation::Utc;
use protocol::{id::Target, liveness::LinkState};

use super::View;
use crate::{
    link::{About, LinkStatus},
    reloads::Outcome,
};

/// All of it.
pub(super) fn status(view: &View) -> Status {
    let identity = view.renewal.get().map(|renewal| renewal.identity());
    let peer = identity.as_ref().map(|identity| identity.peer());
    let mut edges: BTreeMap<Target, Edge> = BTreeMap::new();
    for (target, slot, status) in view.links.all() {
        let edge =
            edges.entry(target.clone()).or_insert_with(|| Edge { address: target.to_string(), ..Edge::default() });
        add(edge, slot, &status);
        if let Some(link) = edge.links.last_mut() {
            link.state_since = view.links.since(&target, slot).map(|since| Utc(since).to_string());
        }
    }
    Status {
        connector: peer.map(|peer| peer.connector.to_string()),
        replica: peer.map(|peer| peer.replica.to_string()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        certificate_expires: peer.map(|peer| Utc(peer.lifetime.not_after).to_string()),
        now: Some(Utc(SystemTime::now()).to_string()),
        flows: u64::try_from(view.metrics.open_flows()).unwrap_or(0),
        reload: view.reloads.last().map(|outcome| reload(&outcome)),
        edges: edges.into_values().collect(),
    }
}

fn reload(Outcome { at, mistakes, restart }: &Outcome) -> Reload {
    Reload {
        at: Utc(*at).to_string(),
        applied: mistakes.is_empty(),
        mistakes: mistakes.clone(),
        restart: restart.iter().map(|key| (*key).to_owned()).collect(),
    }
}

fn add(shown: &mut Edge, slot: u16, status: &LinkStatus) {
    match status {
        LinkStatus::Dialling(why) => {
            let (reason, code) = why.as_ref().map(|why| (why.text.clone(), why.code.to_string())).unzip();
            shown.links.push(Link { slot, state: words::LinkState::Dialling, reason, code, ..Link::default() });
        }
        LinkStatus::Registered { edge, state, refused, about } => {
            shown.edge = Some(edge.clone());
            shown.links.push(registered(slot, *state, about));
            for claim in &about.accepted {
                note(&mut shown.routes, Route { vnet: claim.vnet.clone(), cidr: claim.cidr.clone() });
            }
            for refused in refused {
                let (vnet, cidr) = (refused.route.vnet.clone(), refused.route.cidr.clone());
                let reason = Some(refused.reason.clone());
                note(&mut shown.refused_routes, RefusedRoute { vnet, cidr, reason });
            }
        }
    }
}

fn registered(slot: u16, state: LinkState, about: &About) -> Link {
    let remote = about.connection.remote_address();
    Link {
        slot,
        state: match state {
            LinkState::Up => words::LinkState::Up,
            LinkState::Suspect => words::LinkState::Suspect,
            LinkState::Dead => words::LinkState::Dead,
        },
        remote: Some(SocketAddr::new(remote.ip().to_canonical(), remote.port()).to_string()),
        rtt_ms: Some(millis(about.connection.rtt())),
        since: Some(Utc(about.since).to_string()),
        state_since: None,
        reason: None,
        code: None,
    }
}

/// Every link of an edge says the same, most likely.
fn note<T: PartialEq>(said: &mut Vec<T>, one: T) {
    if !said.contains(&one) {
        said.push(one);
    }
}

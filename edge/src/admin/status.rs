//! What `/api/v1/status` tells, taken from the views; its fields are those of [`api::edge`].

use std::{sync::Arc, time::SystemTime};

use api::{
    RefusedRoute, Route,
    edge::{Certificate, Link, Listener, LoadBalancer, Origin, Path, Pool, Stages, Status, Tunnel},
    millis, words,
};
use certs::rotation::Utc;
use protocol::{control, error::Reason, id::Name, liveness::LinkState};

use super::drain;
use crate::{
    health::view::{BalancerHealth, BalancerView, Health, HealthView, OriginView, PathView, PoolHealth, PoolView},
    listener::ListenerState,
    model::{self, Drains, Leads, ListenProtocol, Subject, Via},
    tls,
    tunnel::{self, LinksView, TunnelHealth, TunnelView},
};

/// What there is to be told of.
pub(super) struct Now<'a> {
    pub(super) view: &'a HealthView,
    pub(super) links: &'a LinksView,
    pub(super) listeners: &'a [Arc<ListenerState>],
    pub(super) drains: &'a Drains,
}

/// All of it, of an edge that is not ready for these reasons.
pub(super) fn status(name: &Name, unready: Vec<String>, now: &Now<'_>) -> Status {
    let Now { view, links, listeners, drains } = *now;
    let pools = || view.pools.iter();
    Status {
        edge: name.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        catalog_version: view.catalog.version,
        unready,
        reload: None,
        tunnels: links.tunnels.iter().map(|t| of_tunnel(t, drains)).collect(),
        origins: pools().flat_map(|p| p.origins.iter().map(|o| of_origin(&p.pool.name, o, drains))).collect(),
        pools: pools().map(|p| of_pool(p, drains)).collect(),
        load_balancers: view.load_balancers.iter().map(|lb| of_balancer(view, lb, drains)).collect(),
        listeners: listeners.iter().map(|l| of_listener(l, drains)).collect(),
    }
}

fn of_tunnel(tunnel: &TunnelView, drains: &Drains) -> Tunnel {
    let refused = |refused: &control::RefusedRoute| {
        let control::RouteClaim { vnet, cidr } = refused.route.clone();
        RefusedRoute { vnet, cidr, reason: Some(refused.reason.clone()) }
    };
    let route = |r: &model::Route| Route { vnet: r.vnet.to_string(), cidr: r.cidr.to_string() };
    Tunnel {
        connector: tunnel.connector.to_string(),
        health: match tunnel.health {
            TunnelHealth::Healthy => words::TunnelHealth::Healthy,
            TunnelHealth::Degraded => words::TunnelHealth::Degraded,
            TunnelHealth::Down => words::TunnelHealth::Down,
            TunnelHealth::Inactive => words::TunnelHealth::Inactive,
        },
        links: tunnel.links.iter().map(|l| of_link(l, drains)).collect(),
        routes: tunnel.routes.iter().map(route).collect(),
        refused_routes: tunnel.refused.iter().map(refused).collect(),
        drain: drain::of(drains, &Subject::Connector(tunnel.connector.clone())),
    }
}

fn of_link(link: &tunnel::Link, drains: &Drains) -> Link {
    let replica = || Subject::Replica { connector: link.connector.clone(), replica: link.replica.clone() };
    Link {
        id: link.id.to_string(),
        replica: link.replica.to_string(),
        slot: link.slot,
        state: Some(match link.state() {
            _ if link.is_draining() => words::LinkState::Draining,
            LinkState::Up => words::LinkState::Up,
            LinkState::Suspect => words::LinkState::Suspect,
            LinkState::Dead => words::LinkState::Dead,
        }),
        remote: link.remote().to_string(),
        software: link.software.clone(),
        rtt_ms: Some(millis(link.rtt())),
        streams: link.load.streams(),
        since: Some(Utc(link.since).to_string()),
        certificate_expires: Some(Utc(link.expires()).to_string()),
        drain: drain::of(drains, &replica()),
    }
}

fn of_origin(pool: &Name, view: &OriginView, drains: &Drains) -> Origin {
    let subject = Subject::Origin { pool: pool.clone(), origin: view.origin.name.clone() };
    Origin {
        pool: pool.to_string(),
        origin: view.origin.name.to_string(),
        vnet: view.origin.vnet.as_ref().map(Name::to_string),
        address: view.origin.address.to_string(),
        weight: view.origin.weight,
        health: of_health(view.health),
        reason: view.reason().map(word),
        detail: view.detail().map(|words| words.to_string()),
        flows: view.flows(),
        drain: drain::of(drains, &subject),
        paths: view.paths.iter().map(of_path).collect(),
    }
}

fn of_path(path: &PathView) -> Path {
    Path {
        link: match path.via() {
            Via::Link(id) => Some(id.to_string()),
            Via::Direct => None,
        },
        connector: path.way.connector().map(Name::to_string),
        health: of_health(path.health),
        rtt_ms: path.last.map(|t| millis(t.total)),
        stages_ms: path.last.map_or_else(Stages::default, |t| Stages {
            connect: t.connect.map(millis),
            tls: t.tls.map(millis),
            first_byte: t.first_byte.map(millis),
        }),
        interval_ms: path.interval.map(millis),
        reason: path.reason.map(word),
        detail: path.detail.as_ref().map(ToString::to_string),
        checked_at: path.last.map(|t| Utc(t.checked_at).to_string()),
    }
}

fn of_pool(view: &PoolView, drains: &Drains) -> Pool {
    Pool {
        pool: view.pool.name.to_string(),
        health: match view.health {
            PoolHealth::Healthy => words::PoolHealth::Healthy,
            PoolHealth::Degraded => words::PoolHealth::Degraded,
            PoolHealth::Critical => words::PoolHealth::Critical,
            PoolHealth::Unknown => words::PoolHealth::Unknown,
        },
        healthy_origins: view.origins.iter().filter(|o| o.health == Health::Healthy).count(),
        origins: view.origins.len(),
        drain: drain::of(drains, &Subject::Pool(view.pool.name.clone())),
    }
}

fn of_listener(state: &ListenerState, drains: &Drains) -> Listener {
    let settings = state.listener();
    Listener {
        listener: settings.name.to_string(),
        address: state.address.to_string(),
        protocol: match settings.protocol {
            ListenProtocol::Tcp => words::Protocol::Tcp,
            ListenProtocol::Udp => words::Protocol::Udp,
            ListenProtocol::Http => words::Protocol::Http,
            ListenProtocol::Https => words::Protocol::Https,
        },
        vnet: match &settings.leads {
            Leads::LoadBalancer(_) => None,
            Leads::Destination { vnet } => Some(vnet.to_string()),
        },
        flows: state.flows(),
        drain: drain::of(drains, &Subject::Listener(settings.name.clone())),
        certificates: state.certificates().iter().map(|certificate| of_certificate(certificate)).collect(),
    }
}

fn of_certificate(certificate: &tls::Certificate) -> Certificate {
    Certificate {
        file: certificate.file().display().to_string(),
        names: certificate.names(),
        expires: Utc(certificate.ends()).to_string(),
        state: certificate.term(SystemTime::now()).as_str().to_owned(),
    }
}

fn of_health(health: Health) -> words::Health {
    match health {
        Health::Healthy => words::Health::Healthy,
        Health::Unhealthy => words::Health::Unhealthy,
        Health::Unknown => words::Health::Unknown,
    }
}

fn of_balancer(view: &HealthView, lb: &BalancerView, drains: &Drains) -> LoadBalancer {
    LoadBalancer {
        load_balancer: lb.balancer.name.to_string(),
        health: match lb.health {
            BalancerHealth::Healthy => words::PoolHealth::Healthy,
            BalancerHealth::Degraded => words::PoolHealth::Degraded,
            BalancerHealth::Critical => words::PoolHealth::Critical,
        },
        serving_pool: lb.serving_pool.map(|at| view.pools[at].pool.name.to_string()),
        drain: drain::of(drains, &Subject::LoadBalancer(lb.balancer.name.clone())),
    }
}

fn word(reason: Reason) -> String {
    reason.as_str().to_owned()
}

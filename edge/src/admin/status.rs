//! What `/api/v1/status` tells, taken from the views; its fields are those of [`api::edge`].

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use api::{
    RefusedRoute, Route,
    edge::{Certificate, Link, Listener, LoadBalancer, Origin, Path, Pool, Stages, Status, Tunnel},
    millis, words,
};
use certs::rotation::Utc;
use protocol::{control, error::Reason, id::Name, liveness::LinkState};

use super::drain;
use crate::{
    health::{
        code_of,
        view::{BalancerHealth, BalancerView, Health, HealthView, OriginView, PathView, PoolHealth, PoolView},
    },
    listener::ListenerState,
    metrics::Metrics,
    model::{self, Drains, Leads, ListenProtocol, Subject, Via},
    tls,
    tunnel::{self, LinksView, TunnelHealth, TunnelView},
};

/// What it is told of.
pub(super) struct Told<'a> {
    /// The edge's name.
    pub(super) name: &'a Name,
    /// Why it is not ready.
    pub(super) unready: Vec<String>,
    /// Health.
    pub(super) view: &'a HealthView,
    /// Links.
    pub(super) links: &'a LinksView,
    /// What is open.
    pub(super) listeners: &'a [Arc<ListenerState>],
    /// What takes nothing new.
    pub(super) drains: &'a Drains,
    /// What was counted.
    pub(super) metrics: &'a Metrics,
}

/// When it is told, by both clocks.
#[derive(Debug, Clone, Copy)]
struct Now {
    instant: Instant,
    time: SystemTime,
}

impl Now {
    /// Since when something is, as the wall clock has it: to the nearest second, so that it is the same each time.
    fn since(self, since: Instant) -> String {
        let time = self.time - self.instant.saturating_duration_since(since);
        Utc(time + Duration::from_millis(500)).to_string()
    }
}

/// All of it.
pub(super) fn status(told: Told<'_>) -> Status {
    let Told { name, unready, view, links, listeners, drains, metrics } = told;
    let now = Now { instant: Instant::now(), time: SystemTime::now() };
    let pools = || view.pools.iter();
    Status {
        edge: name.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        catalog_version: view.catalog.version,
        now: Some(now.since(now.instant)),
        unready,
        reload: None,
        tunnels: links.tunnels.iter().map(|t| of_tunnel(t, drains, now)).collect(),
        origins: pools().flat_map(|p| p.origins.iter().map(|o| of_origin(&p.pool.name, o, (drains, now)))).collect(),
        pools: pools().map(|p| of_pool(p, drains, now)).collect(),
        load_balancers: view.load_balancers.iter().map(|lb| of_balancer(view, lb, (drains, now))).collect(),
        listeners: listeners.iter().map(|l| of_listener(l, drains, metrics)).collect(),
    }
}

fn of_tunnel(tunnel: &TunnelView, drains: &Drains, now: Now) -> Tunnel {
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
        since: Some(now.since(tunnel.health_since)),
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

fn of_origin(pool: &Name, view: &OriginView, (drains, now): (&Drains, Now)) -> Origin {
    let subject = Subject::Origin { pool: pool.clone(), origin: view.origin.name.clone() };
    Origin {
        pool: pool.to_string(),
        origin: view.origin.name.to_string(),
        vnet: view.origin.vnet.as_ref().map(Name::to_string),
        address: view.origin.address.to_string(),
        weight: view.origin.weight,
        health: of_health(view.health),
        since: Some(now.since(view.since)),
        reason: view.reason().map(word),
        code: view.reason().map(code),
        stage: view.reason().map(stage),
        detail: view.detail().map(|words| words.to_string()),
        flows: view.flows(),
        drain: drain::of(drains, &subject),
        paths: view.paths.iter().map(|path| of_path(path, now)).collect(),
    }
}

fn of_path(path: &PathView, now: Now) -> Path {
    Path {
        link: match path.via() {
            Via::Link(id) => Some(id.to_string()),
            Via::Direct => None,
        },
        connector: path.way.connector().map(Name::to_string),
        health: of_health(path.health),
        since: path.since.map(|since| now.since(since)),
        rtt_ms: path.last.map(|t| millis(t.total)),
        stages_ms: path.last.map_or_else(Stages::default, |t| Stages {
            connect: t.connect.map(millis),
            tls: t.tls.map(millis),
            first_byte: t.first_byte.map(millis),
        }),
        interval_ms: path.interval.map(millis),
        reason: path.reason.map(word),
        code: path.reason.map(code),
        stage: path.reason.map(stage),
        detail: path.detail.as_ref().map(ToString::to_string),
        checked_at: path.last.map(|t| Utc(t.checked_at).to_string()),
    }
}

fn of_pool(view: &PoolView, drains: &Drains, now: Now) -> Pool {
    Pool {
        pool: view.pool.name.to_string(),
        health: match view.health {
            PoolHealth::Healthy => words::PoolHealth::Healthy,
            PoolHealth::Degraded => words::PoolHealth::Degraded,
            PoolHealth::Critical => words::PoolHealth::Critical,
            PoolHealth::Unknown => words::PoolHealth::Unknown,
        },
        since: Some(now.since(view.since)),
        healthy_origins: view.origins.iter().filter(|o| o.health == Health::Healthy).count(),
        origins: view.origins.len(),
        drain: drain::of(drains, &Subject::Pool(view.pool.name.clone())),
    }
}

fn of_listener(state: &ListenerState, drains: &Drains, metrics: &Metrics) -> Listener {
    let settings = state.listener();
    let carried = metrics.totals(&settings.name);
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
        refused: metrics.refused(&settings.name),
        bytes_up: carried.sent.load(Ordering::Relaxed),
        bytes_down: carried.received.load(Ordering::Relaxed),
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

fn of_balancer(view: &HealthView, lb: &BalancerView, (drains, now): (&Drains, Now)) -> LoadBalancer {
    LoadBalancer {
        load_balancer: lb.balancer.name.to_string(),
        health: match lb.health {
            BalancerHealth::Healthy => words::PoolHealth::Healthy,
            BalancerHealth::Degraded => words::PoolHealth::Degraded,
            BalancerHealth::Critical => words::PoolHealth::Critical,
        },
        since: Some(now.since(lb.since)),
        serving_pool: lb.serving_pool.map(|at| view.pools[at].pool.name.to_string()),
        drain: drain::of(drains, &Subject::LoadBalancer(lb.balancer.name.clone())),
    }
}

fn word(reason: Reason) -> String {
    reason.as_str().to_owned()
}

fn code(reason: Reason) -> String {
    code_of(reason).to_string()
}

fn stage(reason: Reason) -> String {
    reason.stage().to_owned()
}

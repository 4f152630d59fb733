//! `/api/v1/status`: everything `underpass status` prints, as JSON. Field names are an interface.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use certs::rotation::Utc;
use protocol::{control::RouteClaim, error::Reason, id::Name, liveness::LinkState};
use serde::Serialize;

use crate::{
    health::view::{BalancerHealth, Health, HealthView, OriginView, PathView, PoolHealth},
    listener::{Certificate, ListenerState},
    model::{ListenProtocol, Via},
    tunnel::{Link, LinksView, TunnelHealth, TunnelView},
};

/// The whole status.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    edge: String,
    version: &'static str,
    catalog_version: u64,
    unready: Vec<String>,
    tunnels: Vec<Tunnel>,
    origins: Vec<Origin>,
    pools: Vec<Pool>,
    load_balancers: Vec<LoadBalancer>,
    listeners: Vec<Listener>,
}

#[derive(Debug, Serialize)]
struct Tunnel {
    connector: String,
    health: &'static str,
    links: Vec<LinkStatus>,
    routes: Vec<RouteStatus>,
    refused_routes: Vec<RefusedRoute>,
}

#[derive(Debug, Serialize)]
struct LinkStatus {
    id: String,
    replica: String,
    slot: u16,
    state: &'static str,
    remote: String,
    software: String,
    rtt_ms: f64,
    streams: usize,
    since: String,
    certificate_expires: String,
}

#[derive(Debug, Serialize)]
struct RouteStatus {
    vnet: String,
    cidr: String,
}

#[derive(Debug, Serialize)]
struct RefusedRoute {
    vnet: String,
    cidr: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Origin {
    pool: String,
    origin: String,
    vnet: Option<String>,
    address: String,
    weight: f64,
    health: &'static str,
    reason: Option<&'static str>,
    detail: Option<String>,
    flows: usize,
    paths: Vec<PathStatus>,
}

#[derive(Debug, Serialize)]
struct PathStatus {
    link: Option<String>,
    connector: Option<String>,
    health: &'static str,
    rtt_ms: Option<f64>,
    stages_ms: Stages,
    interval_ms: Option<f64>,
    reason: Option<&'static str>,
    detail: Option<String>,
    checked_at: Option<String>,
}

#[derive(Debug, Serialize, Default)]
struct Stages {
    #[serde(skip_serializing_if = "Option::is_none")]
    connect: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Pool {
    pool: String,
    health: &'static str,
    healthy_origins: usize,
    origins: usize,
}

#[derive(Debug, Serialize)]
struct LoadBalancer {
    load_balancer: String,
    health: &'static str,
    serving_pool: Option<String>,
}

#[derive(Debug, Serialize)]
struct Listener {
    listener: String,
    address: String,
    protocol: &'static str,
    flows: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct Shown {
    file: String,
    names: Vec<String>,
    expires: String,
    state: &'static str,
}

impl Status {
    pub(super) fn of(name: &Name, view: &HealthView, links: &LinksView, listeners: &[Arc<ListenerState>]) -> Self {
        let pools = || view.pools.iter();
        Self {
            edge: name.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            catalog_version: view.catalog.version,
            unready: Vec::new(),
            tunnels: links.tunnels.iter().map(|t| tunnel(t)).collect(),
            origins: pools().flat_map(|p| p.origins.iter().map(|o| origin(&p.pool.name, o))).collect(),
            pools: pools().map(|p| pool(p)).collect(),
            load_balancers: view
                .catalog
                .load_balancers
                .iter()
                .zip(&view.load_balancers)
                .map(|(lb, shown)| LoadBalancer {
                    load_balancer: lb.name.to_string(),
                    health: balancer_word(shown.health),
                    serving_pool: shown.serving_pool.map(|at| view.pools[at].pool.name.to_string()),
                })
                .collect(),
            listeners: listeners.iter().map(|l| listener(l)).collect(),
        }
    }
}

impl Status {
    /// Of an edge that is not ready for these reasons.
    pub(super) fn unready(self, reasons: Vec<String>) -> Self {
        Self { unready: reasons, ..self }
    }
}

fn tunnel(tunnel: &TunnelView) -> Tunnel {
    let refused = |r: &protocol::control::RefusedRoute| {
        let RouteClaim { vnet, cidr } = r.route.clone();
        RefusedRoute { vnet, cidr, reason: r.reason.clone() }
    };
    let route = |r: &crate::model::Route| RouteStatus { vnet: r.vnet.to_string(), cidr: r.cidr.to_string() };
    Tunnel {
        connector: tunnel.connector.to_string(),
        health: match tunnel.health {
            TunnelHealth::Healthy => "healthy",
            TunnelHealth::Degraded => "degraded",
            TunnelHealth::Down => "down",
            TunnelHealth::Inactive => "inactive",
        },
        links: tunnel.links.iter().map(|l| link(l)).collect(),
        routes: tunnel.routes.iter().map(route).collect(),
        refused_routes: tunnel.refused.iter().map(refused).collect(),
    }
}

fn link(link: &Link) -> LinkStatus {
    LinkStatus {
        id: link.id.to_string(),
        replica: link.replica.to_string(),
        slot: link.slot,
        state: match link.state() {
            _ if link.is_draining() => "draining",
            LinkState::Up => "up",
            LinkState::Suspect => "suspect",
            LinkState::Dead => "dead",
        },
        remote: link.remote().to_string(),
        software: link.software.clone(),
        rtt_ms: millis(link.rtt()),
        streams: link.load.streams(),
        since: Utc(link.since).to_string(),
        certificate_expires: Utc(link.expires()).to_string(),
    }
}

fn origin(pool: &Name, view: &OriginView) -> Origin {
    Origin {
        pool: pool.to_string(),
        origin: view.origin.name.to_string(),
        vnet: view.origin.vnet.as_ref().map(Name::to_string),
        address: view.origin.address.to_string(),
        weight: view.origin.weight,
        health: health_word(view.health),
        reason: view.reason().map(Reason::as_str),
        detail: view.detail().map(|words| words.to_string()),
        flows: view.flows(),
        paths: view.paths.iter().map(path).collect(),
    }
}

fn path(path: &PathView) -> PathStatus {
    PathStatus {
        link: match path.via {
            Via::Link(id) => Some(id.to_string()),
            Via::Direct => None,
        },
        connector: path.connector.as_ref().map(Name::to_string),
        health: health_word(path.health),
        rtt_ms: path.last.map(|t| millis(t.total)),
        stages_ms: path.last.map_or_else(Stages::default, |t| Stages {
            connect: t.connect.map(millis),
            tls: t.tls.map(millis),
            first_byte: t.first_byte.map(millis),
        }),
        interval_ms: path.interval.map(millis),
        reason: path.reason.map(Reason::as_str),
        detail: path.detail.as_ref().map(ToString::to_string),
        checked_at: path.last.map(|t| Utc(t.checked_at).to_string()),
    }
}

fn pool(view: &crate::health::view::PoolView) -> Pool {
    Pool {
        pool: view.pool.name.to_string(),
        health: match view.health {
            PoolHealth::Healthy => "healthy",
            PoolHealth::Degraded => "degraded",
            PoolHealth::Critical => "critical",
            PoolHealth::Unknown => "unknown",
        },
        healthy_origins: view.origins.iter().filter(|o| o.health == Health::Healthy).count(),
        origins: view.origins.len(),
    }
}

fn listener(state: &ListenerState) -> Listener {
    let settings = state.listener();
    Listener {
        listener: settings.name.to_string(),
        address: state.address.to_string(),
        protocol: match settings.protocol {
            ListenProtocol::Tcp => "tcp",
            ListenProtocol::Udp => "udp",
            ListenProtocol::Http => "http",
            ListenProtocol::Https => "https",
        },
        flows: state.flows(),
        certificates: state.certificates().iter().map(|certificate| shown(certificate)).collect(),
    }
}

fn shown(certificate: &Certificate) -> Shown {
    Shown {
        file: certificate.file().display().to_string(),
        names: certificate.names(),
        expires: Utc(certificate.ends()).to_string(),
        state: certificate.term(SystemTime::now()).as_str(),
    }
}

fn health_word(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
        Health::Unknown => "unknown",
    }
}

fn balancer_word(health: BalancerHealth) -> &'static str {
    match health {
        BalancerHealth::Healthy => "healthy",
        BalancerHealth::Degraded => "degraded",
        BalancerHealth::Critical => "critical",
    }
}

/// Milliseconds with three decimals.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

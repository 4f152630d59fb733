//! Of an edge.

use serde::{Deserialize, Serialize};

use crate::{
    RefusedRoute, Route,
    drain::Drain,
    reload::LastReload,
    words::{Health, LinkState, PoolHealth, Protocol, TunnelHealth},
};

/// Everything an edge tells of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "EdgeStatus"))]
#[serde(default)]
pub struct Status {
    /// Its name.
    pub edge: String,
    /// Its release.
    pub version: String,
    /// Counts reloads, from 1.
    pub catalog_version: u64,
    /// When this was told, RFC 3339, by the clock that all its times go by.
    pub now: Option<String>,
    /// Why it is not ready; empty when it is.
    pub unready: Vec<String>,
    /// How the last reload went; none if there was none.
    pub reload: Option<LastReload>,
    /// Of every connector that has a grant or a link.
    pub tunnels: Vec<Tunnel>,
    /// Of every pool.
    pub origins: Vec<Origin>,
    /// All of them.
    pub pools: Vec<Pool>,
    /// All of them.
    pub load_balancers: Vec<LoadBalancer>,
    /// Those that are open.
    pub listeners: Vec<Listener>,
}

/// All links of one connector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Tunnel {
    /// Its name.
    pub connector: String,
    /// Of all links together.
    pub health: TunnelHealth,
    /// Since when its health is that, RFC 3339.
    pub since: Option<String>,
    /// Those there are.
    pub links: Vec<Link>,
    /// What it reaches.
    pub routes: Vec<Route>,
    /// What it claims in vain.
    pub refused_routes: Vec<RefusedRoute>,
    /// Why it takes nothing new; none: it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
}

/// One link of one replica.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "EdgeLink"))]
#[serde(default)]
pub struct Link {
    /// Its name at this edge.
    pub id: String,
    /// Which of the connector's processes.
    pub replica: String,
    /// Which of the replica's links.
    pub slot: u16,
    /// Whether it carries; an edge of the first releases does not say.
    pub state: Option<LinkState>,
    /// Where it comes from, as IP:PORT.
    pub remote: String,
    /// What the connector calls itself.
    pub software: String,
    /// Round trip, milliseconds.
    pub rtt_ms: Option<f64>,
    /// Streams it carries now.
    pub streams: usize,
    /// When it registered, RFC 3339.
    pub since: Option<String>,
    /// When its certificate ends, RFC 3339.
    pub certificate_expires: Option<String>,
    /// Why its replica takes nothing new; none if that does, or if the whole connector is drained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
}

/// One origin of one pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Origin {
    /// The pool's name.
    pub pool: String,
    /// Its own.
    pub origin: String,
    /// The address space; none if it is reached without a tunnel.
    pub vnet: Option<String>,
    /// HOST:PORT.
    pub address: String,
    /// Share of what the pool is given, beside the others'.
    pub weight: f64,
    /// Over all paths.
    pub health: Health,
    /// Since when its health is that, RFC 3339.
    pub since: Option<String>,
    /// Why not healthy.
    pub reason: Option<String>,
    /// The code of that reason, which `docs/errors.md` has more about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How far it got: `route`, `tunnel`, `permit`, `resolve`, `connect`, `tls` or `answer` is what failed.
    pub stage: Option<String>,
    /// What was met, in words.
    pub detail: Option<String>,
    /// Flows it has now.
    pub flows: usize,
    /// Why it takes nothing new; none: it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// Every way to it.
    pub paths: Vec<Path>,
}

/// One way to an origin, and what its probes found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Path {
    /// The link it goes over; none if there is no tunnel.
    pub link: Option<String>,
    /// Whose link that is.
    pub connector: Option<String>,
    /// As the last probes found it.
    pub health: Health,
    /// Since when its health is that, RFC 3339; only of one that is probed.
    pub since: Option<String>,
    /// How long the last probe took, milliseconds.
    pub rtt_ms: Option<f64>,
    /// Where that time went.
    pub stages_ms: Stages,
    /// From one probe to the next, milliseconds.
    pub interval_ms: Option<f64>,
    /// Why not healthy.
    pub reason: Option<String>,
    /// The code of that reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What failed, as of an origin.
    pub stage: Option<String>,
    /// What was met, in words.
    pub detail: Option<String>,
    /// When it was probed last, RFC 3339.
    pub checked_at: Option<String>,
}

/// Parts of a probe, milliseconds each; absent where there is no such part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Stages {
    /// Until the origin accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<f64>,
    /// Until TLS with it stood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<f64>,
    /// Until the first byte of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<f64>,
}

impl Stages {
    /// Those there were, in their order.
    pub fn known(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let all = [("connect", self.connect), ("tls", self.tls), ("first_byte", self.first_byte)];
        all.into_iter().filter_map(|(stage, time)| Some((stage, time?)))
    }
}

/// One pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Pool {
    /// Its name.
    pub pool: String,
    /// Of all its origins together.
    pub health: PoolHealth,
    /// Since when its health is that, RFC 3339.
    pub since: Option<String>,
    /// How many are healthy.
    pub healthy_origins: usize,
    /// How many there are.
    pub origins: usize,
    /// Why it takes nothing new; none: it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
}

/// One load balancer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LoadBalancer {
    /// Its name.
    pub load_balancer: String,
    /// Of all its pools together.
    pub health: PoolHealth,
    /// Since when its health is that, RFC 3339.
    pub since: Option<String>,
    /// The pool that takes new flows; none if none can.
    pub serving_pool: Option<String>,
    /// Why it takes nothing new; none: it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
}

/// One listener.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Listener {
    /// Its name.
    pub listener: String,
    /// Where it listens, as IP:PORT.
    pub address: String,
    /// With its clients.
    pub protocol: Protocol,
    /// In which its flows go each to the address that it was for; none if they go to a load balancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vnet: Option<String>,
    /// Flows it has now.
    pub flows: usize,
    /// Why it takes nothing new; none: it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// Connections that reached no origin, since the edge started.
    pub refused: u64,
    /// Bytes carried from clients, since the edge started.
    pub bytes_up: u64,
    /// Bytes carried to clients.
    pub bytes_down: u64,
    /// What it shows to clients; only of one that speaks TLS.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
}

/// A certificate that a listener shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Certificate {
    /// Where it was read.
    pub file: String,
    /// For whom it is good.
    pub names: Vec<String>,
    /// When it ends, RFC 3339.
    pub expires: String,
    /// Whether it ends soon, or has.
    pub state: String,
}

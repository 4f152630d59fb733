//! The edge's status as it crosses the admin endpoint. Lenient: what an older edge does not say is absent, what a newer
//! one says beyond this is passed over.

use std::collections::BTreeMap;

use serde::Deserialize;

/// All of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::commands) struct Report {
    pub(super) edge: String,
    pub(super) version: String,
    pub(super) catalog_version: u64,
    pub(super) unready: Vec<String>,
    pub(super) tunnels: Vec<Tunnel>,
    pub(super) origins: Vec<Origin>,
    pub(super) pools: Vec<Pool>,
    pub(super) load_balancers: Vec<LoadBalancer>,
    pub(super) listeners: Vec<Listener>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tunnel {
    pub(super) connector: String,
    pub(super) health: String,
    pub(super) links: Vec<Link>,
    pub(super) routes: Vec<Route>,
    pub(super) refused_routes: Vec<Route>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Link {
    pub(super) id: String,
    pub(super) replica: String,
    pub(super) remote: String,
    pub(super) state: Option<String>,
    pub(super) rtt_ms: Option<f64>,
    pub(super) streams: u64,
    pub(super) since: Option<String>,
}

/// A route, or a refused claim of one with its reason.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Route {
    pub(super) vnet: String,
    pub(super) cidr: String,
    pub(super) reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Origin {
    pub(super) pool: String,
    pub(super) origin: String,
    pub(super) vnet: Option<String>,
    pub(super) address: String,
    pub(super) health: String,
    pub(super) reason: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) flows: u64,
    pub(super) paths: Vec<Path>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Path {
    pub(super) link: Option<String>,
    pub(super) connector: Option<String>,
    pub(super) health: String,
    pub(super) rtt_ms: Option<f64>,
    pub(super) stages_ms: BTreeMap<String, Option<f64>>,
    pub(super) reason: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) checked_at: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pool {
    pub(super) pool: String,
    pub(super) health: String,
    pub(super) healthy_origins: u64,
    pub(super) origins: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoadBalancer {
    pub(super) load_balancer: String,
    pub(super) health: String,
    pub(super) serving_pool: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Listener {
    pub(super) listener: String,
    pub(super) address: String,
    pub(super) protocol: String,
    pub(super) flows: u64,
}

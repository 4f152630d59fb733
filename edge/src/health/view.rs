//! The published view of health: what the balancer, the admin endpoint and status read. One snapshot, whole.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, SystemTime},
};

use protocol::error::Reason;

use crate::model::{Catalog, LinkLoad, Origin, Pool, Via};

/// Health of a path or an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// Probes succeed.
    Healthy,
    /// Probes fail.
    Unhealthy,
    /// Not probed yet, or no monitor.
    Unknown,
}

/// Health of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolHealth {
    /// Every origin is healthy.
    Healthy,
    /// Enough origins are healthy, not all.
    Degraded,
    /// Fewer healthy origins than `minimum_origins`.
    Critical,
    /// No monitor, or no result yet.
    Unknown,
}

/// Health of a load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BalancerHealth {
    /// Every pool is healthy (or has no monitor).
    Healthy,
    /// Some pool is not.
    Degraded,
    /// No pool is usable: the fallback pool serves, or nothing.
    Critical,
}

/// Everything placement needs, made anew whenever the catalog, a link, a route or a path's health changes.
#[derive(Debug, Default)]
pub struct HealthView {
    /// The catalog the rest belongs to.
    pub catalog: Arc<Catalog>,
    /// Same order as [`Catalog::pools`].
    pub pools: Vec<PoolView>,
    /// Same order as [`Catalog::load_balancers`].
    pub load_balancers: Vec<BalancerView>,
}

/// A pool and its origins.
#[derive(Debug)]
pub struct PoolView {
    /// As configured.
    pub pool: Arc<Pool>,
    /// Computed from its origins.
    pub health: PoolHealth,
    /// Same order as [`Pool::origins`].
    pub origins: Vec<OriginView>,
}

/// An origin and the ways to it.
#[derive(Debug)]
pub struct OriginView {
    /// As configured.
    pub origin: Arc<Origin>,
    /// Computed from its paths.
    pub health: Health,
    /// Flows open to it from this edge; survives view changes.
    pub flows: Arc<AtomicUsize>,
    /// Every link whose routes cover it, or one direct path. Empty: `no_route` or `tunnel_down`.
    pub paths: Vec<PathView>,
    /// Why `paths` is empty.
    pub unreachable: Option<Reason>,
}

/// One way to an origin.
#[derive(Debug)]
pub struct PathView {
    /// Which way.
    pub via: Via,
    /// Connector that holds the link; absent for a direct path.
    pub connector: Option<protocol::id::Name>,
    /// Load and state of the link; a fresh one for a direct path.
    pub load: Arc<LinkLoad>,
    /// By its own probes.
    pub health: Health,
    /// Why it is unhealthy.
    pub reason: Option<Reason>,
    /// The last probe.
    pub last: Option<ProbeTimes>,
    /// The interval in force, longer than the monitor's when the link's probe cap stretches it.
    pub interval: Option<Duration>,
}

/// When a probe ran and what its stages took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProbeTimes {
    /// When it ended.
    pub checked_at: SystemTime,
    /// All of it.
    pub total: Duration,
    /// The origin's accept, as the connector (or the edge, if direct) saw it.
    pub connect: Option<Duration>,
    /// From the request to the first byte of the answer.
    pub first_byte: Option<Duration>,
}

/// A load balancer.
#[derive(Debug)]
pub struct BalancerView {
    /// Computed from its pools.
    pub health: BalancerHealth,
    /// Index into [`HealthView::pools`] of the pool a new flow would go to with steering `off`.
    pub serving_pool: Option<usize>,
}

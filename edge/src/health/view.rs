//! The published view of health: what the balancer, the admin endpoint and status read. One snapshot, whole.
//!
//! Data and what can be read off it. How it comes about is the roll-up's business.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use protocol::{
    error::Reason,
    id::{Host, Name},
};

use super::key::{BalancerKey, OriginKey};
use crate::{
    model::{Answers, Catalog, Held, LinkLoad, LoadBalancer, Origin, Pool, Via},
    offramp::Way,
};

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
    /// Fewer than `minimum_origins` are healthy or may yet turn out to be.
    Critical,
    /// No monitor, or it takes origins without a result to reach `minimum_origins`. Serves; with a monitor, only while no
    /// other pool is known to be well.
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

/// Everything placement needs, made anew whenever the catalog, a link, a route or a path's health changes. What is the same
/// in two views is shared by them.
#[derive(Debug, Default)]
pub struct HealthView {
    /// Which view this is, counted from the first.
    pub number: u64,
    /// The catalog the rest belongs to.
    pub catalog: Arc<Catalog>,
    /// Same order as [`Catalog::pools`].
    pub pools: Vec<Arc<PoolView>>,
    /// Same order as [`Catalog::load_balancers`].
    pub load_balancers: Vec<Arc<BalancerView>>,
}

/// A pool and its origins.
#[derive(Debug)]
pub struct PoolView {
    /// As configured.
    pub pool: Arc<Pool>,
    /// Computed from its origins.
    pub health: PoolHealth,
    /// Since when that is so.
    pub since: Instant,
    /// Same order as [`Pool::origins`].
    pub origins: Vec<Arc<OriginView>>,
    /// All of them take nothing new, for its sake.
    pub drained: bool,
}

/// An origin and the ways to it.
#[derive(Debug)]
pub struct OriginView {
    /// As configured.
    pub origin: Arc<Origin>,
    /// Stands for where it is: hashing, and what was tried, go by it.
    pub key: OriginKey,
    /// Computed from its paths.
    pub health: Health,
    /// Since when that is so.
    pub since: Instant,
    /// Flows open to it from this edge; survives view changes.
    pub flows: Arc<AtomicUsize>,
    /// When it last answered a session; survives view changes.
    pub answers: Arc<Answers>,
    /// Every link whose routes cover it, or one direct path. Empty: `no_route` or `tunnel_down`.
    pub paths: Vec<PathView>,
    /// Why `paths` is empty.
    pub unreachable: Option<Reason>,
    /// Since when that is because no link is up.
    pub down_since: Option<Instant>,
    /// Since when it takes nothing new, for its own sake or its pool's.
    pub drained: Option<Instant>,
}

/// One way to an origin.
#[derive(Debug)]
pub struct PathView {
    /// What it leads over.
    pub way: Way,
    /// Load and state of the link; of its own for a direct path. Survives view changes.
    pub load: Arc<LinkLoad>,
    /// By its own probes.
    pub health: Health,
    /// Since when that is so; of a path that nobody probes it is not known.
    pub since: Option<Instant>,
    /// Why it is unhealthy.
    pub reason: Option<Reason>,
    /// What was met, in words.
    pub detail: Option<Arc<str>>,
    /// Found by its own probes or live traffic; until then its health is what its origin was last found to be.
    pub proven: bool,
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
    /// The TLS handshake; absent without TLS.
    pub tls: Option<Duration>,
    /// From the request to the first byte of the answer.
    pub first_byte: Option<Duration>,
}

/// A load balancer, its pools found.
#[derive(Debug)]
pub struct BalancerView {
    /// As configured.
    pub balancer: Arc<LoadBalancer>,
    /// Stands for its name: affinity goes by it.
    pub key: BalancerKey,
    /// Indices into [`HealthView::pools`], in the order of [`LoadBalancer::pools`].
    pub pools: Vec<usize>,
    /// Index into [`HealthView::pools`].
    pub fallback_pool: Option<usize>,
    /// Computed from its pools.
    pub health: BalancerHealth,
    /// Since when that is so.
    pub since: Instant,
    /// Index into [`HealthView::pools`] of the pool a new flow would go to with steering `off`.
    pub serving_pool: Option<usize>,
    /// It takes nothing new.
    pub drained: bool,
}

impl HealthView {
    /// The load balancer of this name.
    #[must_use]
    pub fn balancer(&self, name: &Name) -> Option<&BalancerView> {
        self.load_balancers.iter().map(Arc::as_ref).find(|lb| lb.balancer.name == *name)
    }
}

impl BalancerView {
    /// Its pools, in order.
    pub fn pools<'v>(&self, view: &'v HealthView) -> impl Iterator<Item = &'v PoolView> + Clone {
        self.pools.iter().map(|at| &*view.pools[*at])
    }

    /// The pool that serves when no other can.
    #[must_use]
    pub fn fallback_pool<'v>(&self, view: &'v HealthView) -> Option<&'v PoolView> {
        self.fallback_pool.map(|at| &*view.pools[at])
    }

    /// All of them, the one that serves when no other can at the end.
    pub fn all_pools<'v>(&self, view: &'v HealthView) -> impl Iterator<Item = &'v PoolView> + Clone {
        self.pools(view).chain(self.fallback_pool(view))
    }
}

impl PoolView {
    /// Its origins, in order.
    pub fn origins(&self) -> impl Iterator<Item = &OriginView> + Clone {
        self.origins.iter().map(Arc::as_ref)
    }

    /// True if new flows may be placed on it: it is not critical, and an origin that takes new flows is not unhealthy.
    #[must_use]
    pub fn serves(&self) -> bool {
        let can = |origin: &OriginView| origin.takes_new() && origin.health != Health::Unhealthy;
        self.health != PoolHealth::Critical && self.origins().any(can)
    }

    /// True if it serves and that is no mere hope: an origin that takes new flows is healthy, or nobody asks.
    #[must_use]
    pub fn serves_surely(&self) -> bool {
        let is_well = |origin: &OriginView| origin.takes_new() && origin.health == Health::Healthy;
        self.serves() && (self.pool.monitor.is_none() || self.is_known() && self.origins().any(is_well))
    }

    /// True if its health does not hang on origins without a result.
    #[must_use]
    pub fn is_known(&self) -> bool {
        match self.health {
            PoolHealth::Healthy | PoolHealth::Degraded | PoolHealth::Critical => true,
            PoolHealth::Unknown => false,
        }
    }

    /// True if a new flow could at least be sent on its way, as on a fallback pool whatever its health.
    #[must_use]
    pub fn can_be_tried(&self) -> bool {
        let can = |origin: &OriginView| origin.takes_new() && origin.paths.iter().any(|path| path.load.is_placeable());
        self.origins().any(can)
    }

    /// Flows open to its origins.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.origins().map(OriginView::flows).sum()
    }
}

impl PathView {
    /// Which way it leads.
    #[must_use]
    pub fn via(&self) -> Via {
        self.way.via()
    }

    /// True if something speaks against it.
    #[must_use]
    pub fn is_unhealthy(&self) -> bool {
        self.health == Health::Unhealthy
    }
}

impl OriginView {
    /// True if it takes flows of clients that are not bound to it: it has a weight, and is not drained.
    #[must_use]
    pub fn takes_new(&self) -> bool {
        self.origin.weight > 0.0 && self.drained.is_none()
    }

    /// Flows open to it.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.flows.load(Ordering::Relaxed)
    }

    /// Counts one flow as open until the guard is dropped.
    #[must_use]
    pub fn hold(&self) -> Held {
        Held::new(&self.flows)
    }

    /// Why it does not serve, as far along the way as anything got; absent while a path is healthy or unknown.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        if self.health != Health::Unhealthy {
            return None;
        }
        // Reasons are numbered along the way: route, tunnel, policy, connect, answer.
        self.unreachable.or_else(|| self.paths.iter().filter_map(|path| path.reason).max())
    }

    /// What was met where that reason comes from.
    #[must_use]
    pub fn detail(&self) -> Option<Arc<str>> {
        let reason = self.reason()?;
        if self.unreachable == Some(reason) {
            let (vnet, address) = (self.origin.vnet.as_ref().map_or("", Name::as_str), &self.origin.address);
            // A name is asked of whichever connector serves its VNet.
            let text = match (&address.host, reason) {
                (Host::Ip(_), Reason::NoRoute) => {
                    format!("no connector is granted a route of VNet {vnet} that covers {address}")
                }
                (Host::Ip(_), _) => {
                    format!("a route of VNet {vnet} covers {address}, and no link that serves it is up and takes flows")
                }
                (Host::Name(name), Reason::NoRoute) => {
                    format!("no connector is granted a route of VNet {vnet}, so none can be asked for {name}")
                }
                (Host::Name(name), _) => {
                    format!(
                        "no link of a connector that serves VNet {vnet} is up and takes flows, so none can be asked for {name}"
                    )
                }
            };
            return Some(text.into());
        }
        self.paths.iter().find(|path| path.reason == Some(reason)).and_then(|path| path.detail.clone())
    }
}

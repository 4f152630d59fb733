//! What is asked about a flow, and what is answered: a place, or why there is none.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::HeaderMap;
use protocol::error::Reason;

use super::tried::Tried;
use crate::{
    health::{
        OriginKey,
        view::{BalancerView, HealthView, OriginView, PathView, PoolView},
    },
    model::{FlowKey, Origin, Pool},
};

/// One flow that needs a place.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'v, 'a> {
    /// The view of this moment, for the whole decision.
    pub view: &'v HealthView,
    /// The load balancer, of the same view: [`route`](super::route) finds it.
    pub balancer: &'v BalancerView,
    /// Whose flow it is.
    pub flow: &'a FlowKey<'a>,
    /// The origin that the client is to stay on by a cookie of this load balancer.
    pub cookie: Option<OriginKey>,
    /// What the client sent, where that is known.
    pub headers: Option<&'a HeaderMap>,
    /// The place that the flow has to leave: its origin is kept if another path leads there.
    pub near: Option<Near<'a>>,
    /// Where it was tried already.
    pub tried: &'a Tried,
    /// The time.
    pub now: Instant,
}

/// Where a flow is that has to leave its path, by what it was placed on.
#[derive(Debug, Clone, Copy)]
pub struct Near<'a> {
    /// Its pool.
    pub pool: &'a Arc<Pool>,
    /// Its origin.
    pub origin: &'a Arc<Origin>,
}

/// Where a flow goes. Borrowed from the view, so that placing touches no shared counter; clone what must outlive it.
#[derive(Debug, Clone, Copy)]
pub struct Placed<'v> {
    /// The load balancer that placed it.
    pub balancer: &'v BalancerView,
    /// Its pool.
    pub pool: &'v PoolView,
    /// Its origin.
    pub origin: &'v OriginView,
    /// The way there.
    pub path: &'v PathView,
    /// Why this pool and origin.
    pub by: PlacedBy,
    /// The client is to get a cookie that keeps it on the origin, for so long.
    pub cookie: Option<Duration>,
}

/// What led to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlacedBy {
    /// The client is bound to the origin.
    Affinity,
    /// The load balancer's and the pool's steering.
    Steering,
    /// No usable pool had a place for it.
    Fallback,
}

impl PlacedBy {
    /// The word for whoever asked.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Affinity => "affinity",
            Self::Steering => "steering",
            Self::Fallback => "fallback",
        }
    }
}

/// No origin can take the flow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no origin can take the flow: {}", reason.map_or("none takes new flows", Reason::as_str))]
pub struct NoPlace {
    /// Why the last attempt failed; without one, why the origin that is nearest to serving does not. Absent if origins
    /// are well but take no new flows: their weight is 0, they are drained, or their pool is critical.
    pub reason: Option<Reason>,
    /// What was met at that origin; who made the attempt knows more of it.
    pub detail: Option<Arc<str>>,
    /// If that is because no link is up: since when none has been, of all that lead to its origins.
    pub down_since: Option<Instant>,
}

impl NoPlace {
    /// For this reason, and nothing more is known here.
    #[must_use]
    pub fn because(reason: Option<Reason>) -> Self {
        Self { reason, detail: None, down_since: None }
    }
}

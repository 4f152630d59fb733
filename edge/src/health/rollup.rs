//! Makes the view: paths from routes and links, then path → origin → pool → load balancer; whole, or only where something
//! has changed. Pure.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, atomic::AtomicUsize},
    time::Instant,
};

use net::Network;
use protocol::{
    error::Reason,
    id::{LinkId, Name},
};

use super::{
    key::{BalancerKey, OriginKey},
    state::PathReport,
    view::{BalancerHealth, BalancerView, Health, HealthView, OriginView, PathView, PoolHealth, PoolView},
};
use crate::{
    model::{Catalog, Drains, LinkLoad, LoadBalancer, Origin, Pool, Subject, Via},
    offramp::Way,
    routing::RouteTable,
    tunnel::Link,
};

/// Names a path of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PathAt {
    /// Index into [`Catalog::pools`].
    pub pool: usize,
    /// Index into [`Pool::origins`].
    pub origin: usize,
    /// Which way.
    pub via: Via,
}

/// Names an origin of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// Index into [`Catalog::pools`].
    pub pool: usize,
    /// Index into [`Pool::origins`].
    pub origin: usize,
}

/// Everything a view is made of.
#[derive(Debug)]
pub struct Sources<'a, L, P> {
    /// The view before: open flows are carried over from it, by the names of pool and origin.
    pub previous: &'a HealthView,
    /// The catalog in force.
    pub catalog: &'a Arc<Catalog>,
    /// What takes nothing new.
    pub drains: &'a Drains,
    /// Which links lead where.
    pub routes: &'a RouteTable,
    /// A link by its number; `None` if it is gone.
    pub link: L,
    /// What direct paths lead over.
    pub network: &'a Arc<dyn Network>,
    /// The time.
    pub now: Instant,
    /// What is known of a path of a monitored pool; `None` if it was not probed yet.
    pub path: P,
}

impl HealthView {
    /// Makes the view of this moment.
    #[must_use]
    pub fn build<L, P>(sources: &Sources<'_, L, P>) -> Self
    where
        L: Fn(LinkId) -> Option<Arc<Link>>,
        P: Fn(PathAt) -> Option<PathReport>,
    {
        let kept = Kept::of(sources.previous, sources.catalog);
        let pools: Vec<_> =
            (0..).zip(&sources.catalog.pools).map(|(at, pool)| Arc::new(pool_view(sources, &kept, at, pool))).collect();
        let places: HashMap<_, _> = (0..).zip(&pools).map(|(at, pool): (usize, _)| (&pool.pool.name, at)).collect();
        let find = |name: &Name| places.get(name).copied();
        let of = |lb: &Arc<LoadBalancer>| {
            let (own, fallback) =
                (lb.pools.iter().filter_map(find).collect(), lb.fallback_pool.as_ref().and_then(find));
            let drained = sources.drains.has(&Subject::LoadBalancer(lb.name.clone()));
            let before = sources.previous.balancer(&lb.name).map(|before| (before.health, before.since));
            let view = balancer_view(lb, (own, fallback), &pools, (before, sources.now));
            Arc::new(BalancerView { drained, ..view })
        };
        let load_balancers = sources.catalog.load_balancers.iter().map(of).collect();
        Self { number: sources.previous.number + 1, catalog: sources.catalog.clone(), pools, load_balancers }
    }

    /// The view before, with these origins of the same catalog made anew; all else is shared with it.
    #[must_use]
    pub fn renew<L, P>(sources: &Sources<'_, L, P>, origins: &BTreeSet<At>) -> Self
    where
        L: Fn(LinkId) -> Option<Arc<Link>>,
        P: Fn(PathAt) -> Option<PathReport>,
    {
        let (before, mut pools) = (sources.previous, sources.previous.pools.clone());
        let touched: BTreeSet<_> = origins.iter().map(|at| at.pool).collect();
        for pool in &touched {
            let PoolView { pool: configured, origins: old, health: was, since, drained } = &*before.pools[*pool];
            let mut of_pool = old.clone();
            for at in origins.range(At { pool: *pool, origin: 0 }..At { pool: pool + 1, origin: 0 }) {
                of_pool[at.origin] = Arc::new(origin_view(sources, Some(&old[at.origin]), *at));
            }
            let health = pool_health(configured, &of_pool);
            let since = unchanged(health, (Some((*was, *since)), sources.now));
            let (pool_settings, drained) = (configured.clone(), *drained);
            pools[*pool] = Arc::new(PoolView { pool: pool_settings, health, since, origins: of_pool, drained });
        }
        let balancer = |before: &Arc<BalancerView>| {
            let is_touched = before.pools.iter().chain(&before.fallback_pool).any(|pool| touched.contains(pool));
            if !is_touched {
                return before.clone();
            }
            let was = (Some((before.health, before.since)), sources.now);
            let view = balancer_view(&before.balancer, (before.pools.clone(), before.fallback_pool), &pools, was);
            Arc::new(BalancerView { drained: before.drained, ..view })
        };
        let load_balancers = before.load_balancers.iter().map(balancer).collect();
        Self { number: before.number + 1, catalog: before.catalog.clone(), pools, load_balancers }
    }
}

/// The open flows of the view before, findable by name, or by position while the catalog is the same.
enum Kept<'a> {
    SamePlaces(&'a HealthView),
    ByName { pools: HashMap<&'a Name, &'a PoolView>, origins: HashMap<(&'a Name, &'a Name), &'a OriginView> },
}

impl<'a> Kept<'a> {
    fn of(previous: &'a HealthView, catalog: &Arc<Catalog>) -> Self {
        if Arc::ptr_eq(&previous.catalog, catalog) {
            return Self::SamePlaces(previous);
        }
        let of_pool = |pool: &'a Arc<PoolView>| {
            pool.origins.iter().map(move |origin| ((&pool.pool.name, &origin.origin.name), &**origin))
        };
        let pools = previous.pools.iter().map(|pool| (&pool.pool.name, &**pool)).collect();
        Self::ByName { pools, origins: previous.pools.iter().flat_map(of_pool).collect() }
    }

    fn find(&self, at: (usize, usize), names: (&'a Name, &'a Name)) -> Option<&'a OriginView> {
        match self {
            Self::SamePlaces(previous) => {
                previous.pools.get(at.0).and_then(|pool| pool.origins.get(at.1)).map(Arc::as_ref)
            }
            Self::ByName { origins, .. } => origins.get(&names).copied(),
        }
    }

    fn pool(&self, at: usize, name: &'a Name) -> Option<&'a PoolView> {
        match self {
            Self::SamePlaces(previous) => previous.pools.get(at).map(Arc::as_ref),
            Self::ByName { pools, .. } => pools.get(name).copied(),
        }
    }
}

fn pool_view<'a, L, P>(sources: &Sources<'a, L, P>, kept: &Kept<'a>, at: usize, pool: &'a Arc<Pool>) -> PoolView
where
    L: Fn(LinkId) -> Option<Arc<Link>>,
    P: Fn(PathAt) -> Option<PathReport>,
{
    let view_of = |(index, origin): (usize, &'a Arc<Origin>)| {
        let before = kept.find((at, index), (&pool.name, &origin.name));
        Arc::new(origin_view(sources, before, At { pool: at, origin: index }))
    };
    let origins: Vec<_> = pool.origins.iter().enumerate().map(view_of).collect();
    let drained = sources.drains.has(&Subject::Pool(pool.name.clone()));
    let (health, before) = (pool_health(pool, &origins), kept.pool(at, &pool.name));
    let since = unchanged(health, (before.map(|before| (before.health, before.since)), sources.now));
    PoolView { pool: pool.clone(), health, since, origins, drained }
}

fn origin_view<L, P>(sources: &Sources<'_, L, P>, before: Option<&OriginView>, at: At) -> OriginView
where
    L: Fn(LinkId) -> Option<Arc<Link>>,
    P: Fn(PathAt) -> Option<PathReport>,
{
    let pool = &sources.catalog.pools[at.pool];
    let origin = &pool.origins[at.origin];
    let monitored = pool.monitor.is_some();
    let drained = sources.drains.origin(&pool.name, &origin.name);
    let At { pool, origin: index } = at;
    let report = |via| if monitored { (sources.path)(PathAt { pool, origin: index, via }) } else { None };
    let (paths, unreachable) = match ways_to(sources, origin, before) {
        Ok(ways) => (ways.into_iter().map(|way| path_view(way, &report)).collect(), None),
        Err(reason) => (Vec::new(), Some(reason)),
    };
    let flows = before.map_or_else(|| Arc::new(AtomicUsize::new(0)), |before| before.flows.clone());
    let answers = before.map(|before| before.answers.clone()).unwrap_or_default();
    let health = origin_health(&paths);
    let is_down = unreachable == Some(Reason::TunnelDown);
    let down_since = is_down.then(|| before.and_then(|before| before.down_since).unwrap_or(sources.now));
    let since = unchanged(health, (before.map(|before| (before.health, before.since)), sources.now));
    let (origin, key) = (origin.clone(), OriginKey::of(origin));
    OriginView { origin, key, health, since, flows, answers, paths, unreachable, down_since, drained }
}

/// Every way to the origin, and its load; never empty.
fn ways_to<L, P>(
    sources: &Sources<'_, L, P>,
    origin: &Origin,
    before: Option<&OriginView>,
) -> Result<Vec<(Way, Arc<LinkLoad>)>, Reason>
where
    L: Fn(LinkId) -> Option<Arc<Link>>,
{
    let Some(vnet) = &origin.vnet else {
        let direct = before.and_then(|before| before.paths.iter().find(|path| path.via() == Via::Direct));
        let load = direct.map(|path| path.load.clone()).unwrap_or_default();
        return Ok(vec![(Way::Direct(sources.network.clone()), load)]);
    };
    let links = sources.routes.links_to(vnet, &origin.address.host)?;
    let way = |id: &LinkId| {
        let link = (sources.link)(*id)?;
        let load = link.load.clone();
        Some((Way::Link(link), load))
    };
    let ways: Vec<_> = links.iter().filter_map(way).collect();
    // A link may be gone a moment before its routes are.
    if ways.is_empty() { Err(Reason::TunnelDown) } else { Ok(ways) }
}

fn path_view((way, load): (Way, Arc<LinkLoad>), report: &impl Fn(Via) -> Option<PathReport>) -> PathView {
    let report = report(way.via());
    let (mut health, mut reason) =
        report.as_ref().map_or((Health::Unknown, None), |report| (report.health, report.reason));
    let mut detail = report.as_ref().and_then(|report| report.detail.clone());
    // Also for paths that nobody probes: what cannot be placed on cannot make its origin look well.
    if !load.is_placeable() {
        (health, reason) = (Health::Unhealthy, Some(Reason::LinkLost));
        detail = None;
    }
    let last = report.as_ref().and_then(|report| report.last);
    let interval = report.as_ref().map(|report| report.interval);
    let since = report.as_ref().map(|report| report.since);
    let proven = report.is_some_and(|report| report.proven);
    if reason == Some(Reason::LinkLost) && detail.is_none() {
        detail = Some("the link has died, or leaves packets unanswered, or was back only now".into());
    }
    PathView { way, load, health, since, reason, detail, proven, last, interval }
}

/// Healthy if any path is, else unknown if any is, else unhealthy, as is an origin without any path.
fn origin_health(paths: &[PathView]) -> Health {
    let any = |health| paths.iter().any(|path| path.health == health);
    if any(Health::Healthy) {
        Health::Healthy
    } else if any(Health::Unknown) {
        Health::Unknown
    } else {
        Health::Unhealthy
    }
}

/// Unknown origins may turn out well: a pool is critical only when not even they would reach `minimum_origins`, and unknown
/// while it depends on them (as a pool without a monitor always does).
fn pool_health(pool: &Pool, origins: &[Arc<OriginView>]) -> PoolHealth {
    let count = |health| origins.iter().filter(|origin| origin.health == health).count();
    let (healthy, unknown) = (count(Health::Healthy), count(Health::Unknown));
    let enough = pool.minimum_origins.max(1);
    if healthy + unknown < enough {
        PoolHealth::Critical
    } else if healthy < enough {
        PoolHealth::Unknown
    } else if healthy < origins.len() {
        PoolHealth::Degraded
    } else {
        PoolHealth::Healthy
    }
}

/// A load balancer by its pools, which were found at these places.
fn balancer_view(
    lb: &Arc<LoadBalancer>,
    (own, fallback): (Vec<usize>, Option<usize>),
    pools: &[Arc<PoolView>],
    before: (Option<(BalancerHealth, Instant)>, Instant),
) -> BalancerView {
    let first_that = |serves: fn(&PoolView) -> bool| own.iter().copied().find(|pool| serves(&pools[*pool]));
    let first = first_that(PoolView::serves_surely).or_else(|| first_that(PoolView::serves));
    let is_well = |pool: &PoolView| match pool.health {
        PoolHealth::Healthy => true,
        PoolHealth::Unknown => pool.pool.monitor.is_none(),
        PoolHealth::Degraded | PoolHealth::Critical => false,
    };
    let health = if first.is_none() {
        BalancerHealth::Critical
    } else if own.iter().all(|pool| is_well(&pools[*pool])) {
        BalancerHealth::Healthy
    } else {
        BalancerHealth::Degraded
    };
    let serving_pool = first.or_else(|| fallback.filter(|pool| pools[*pool].can_be_tried()));
    let (balancer, key, since) = (lb.clone(), BalancerKey::of(&lb.name), unchanged(health, before));
    BalancerView { balancer, key, pools: own, fallback_pool: fallback, health, since, serving_pool, drained: false }
}

/// Since when something is as it is: since it was found so before, else since now.
fn unchanged<H: PartialEq>(is: H, (before, now): (Option<(H, Instant)>, Instant)) -> Instant {
    before.filter(|(was, _)| *was == is).map_or(now, |(_, since)| since)
}

#[cfg(test)]
mod tests;

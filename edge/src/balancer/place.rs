//! The decision: affinity → pool → origin → path, or why there is no place.

use std::{sync::Arc, time::Instant};

use protocol::error::Reason;
use rand::Rng;

use super::{
    affinity::{BINDINGS_MAX, Bindings, Bound, Life, Source},
    eligible::{Eligible, Tolerance, takes_new},
    rotation::Rotations,
    steering,
    tried::Tried,
};
use crate::{
    health::{
        BalancerKey, OriginKey,
        view::{Health, HealthView, OriginView, PathView, PoolHealth, PoolView},
    },
    model::{Affinity, FlowKey, LoadBalancer, Origin, Pool, PoolSteering, Steering},
};

/// One flow that needs a place.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'v, 'a> {
    /// The view of this moment, for the whole decision.
    pub view: &'v HealthView,
    /// Index into the load balancers of the view's own catalog.
    pub load_balancer: usize,
    /// Whose flow it is.
    pub flow: &'a FlowKey,
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
    pub balancer: BalancerKey,
    /// Its pool.
    pub pool: &'v PoolView,
    /// Its origin.
    pub origin: &'v OriginView,
    /// The way there.
    pub path: &'v PathView,
    /// Why this pool and origin.
    pub by: PlacedBy,
}

/// What led to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlacedBy {
    /// The source is bound to the origin.
    Affinity,
    /// The load balancer's and the pool's steering.
    Steering,
    /// No usable pool had a place for it.
    Fallback,
}

/// No origin can take the flow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no origin can take the flow: {}", reason.map_or("none takes new flows", Reason::as_str))]
pub struct NoPlace {
    /// Why the last attempt failed; without one, why the origin that is nearest to serving does not. Absent if origins
    /// are well but take no new flows: their weight is 0, or their pool is critical.
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

/// Places flows, and remembers who is bound where and whose turn it is. One for the whole edge.
#[derive(Debug)]
pub struct Balancer {
    bindings: Bindings,
    rotations: Rotations,
}

impl Default for Balancer {
    fn default() -> Self {
        Self::new()
    }
}

impl Balancer {
    /// A balancer that remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with_bindings(BINDINGS_MAX)
    }

    pub(super) fn with_bindings(max: usize) -> Self {
        Self { bindings: Bindings::new(max), rotations: Rotations::default() }
    }

    /// Finds a place for one flow. The same asks with the same dice find the same places.
    ///
    /// # Errors
    /// [`NoPlace`] if every path that is left is tried, suspect, or too ill even for the fallback pool.
    pub fn place<'v>(&self, ask: &Ask<'v, '_>, dice: &mut impl Rng) -> Result<Placed<'v>, NoPlace> {
        let lb_view = ask.view.load_balancers.get(ask.load_balancer);
        let Some((lb, lb_view)) = ask.view.catalog.load_balancers.get(ask.load_balancer).zip(lb_view) else {
            return Err(NoPlace::because(None));
        };
        if ask.tried.is_full() {
            return Err(NoPlace::because(ask.tried.last()));
        }
        let Affinity::Source { ttl } = lb.session_affinity else {
            return self.place_anew(ask, lb, dice);
        };
        let life = Life { ttl, now: ask.now };
        let source = Source { balancer: lb_view.key, address: ask.flow.source_ip() };
        let bound = self.bindings.find(&source, ask.now);
        let kept = bound.as_ref().and_then(|bound| placed_as_bound(ask, lb, bound, dice));
        let kept = kept.filter(|kept| !stands_in(ask, lb, kept.pool));
        let placed = kept.map_or_else(|| self.place_anew(ask, lb, dice), Ok)?;
        if bound.is_some_and(|bound| Arc::ptr_eq(&bound.origin, &placed.origin.origin)) {
            self.bindings.renew(&source, life);
        } else {
            self.bindings.bind(source, bound_to(&placed), life);
        }
        Ok(placed)
    }

    /// Finds a place for a flow that has to leave its path: on the same origin if another path leads there.
    ///
    /// # Errors
    /// As [`Balancer::place`].
    pub fn place_near<'v>(
        &self,
        ask: &Ask<'v, '_>,
        near: Near<'_>,
        dice: &mut impl Rng,
    ) -> Result<Placed<'v>, NoPlace> {
        let here = Bound { pool: near.pool.clone(), origin: near.origin.clone(), index: 0 };
        let lb = ask.view.catalog.load_balancers.get(ask.load_balancer);
        let kept = lb.and_then(|lb| placed_as_bound(ask, lb, &here, dice));
        kept.map_or_else(|| self.place(ask, dice), Ok)
    }

    /// The place on an origin that the client is bound to by its own word, while that can take it.
    #[must_use]
    pub fn place_on<'v>(&self, ask: &Ask<'v, '_>, origin: OriginKey, dice: &mut impl Rng) -> Option<Placed<'v>> {
        let lb = ask.view.catalog.load_balancers.get(ask.load_balancer)?;
        let pools = lb.pools.iter().chain(&lb.fallback_pool).map(|index| &*ask.view.pools[*index]);
        let pools = pools.filter(|pool| !stands_in(ask, lb, pool));
        let eligible = Eligible { tried: ask.tried, tolerance: Tolerance::Usual };
        let mut found = pools.flat_map(|pool| pool.origins().map(move |o| (pool, o))).filter(|(_, o)| o.key == origin);
        found.find_map(|(pool, origin)| {
            let path = choose_path(origin, eligible.level(origin)?, eligible, dice)?;
            Some(Placed { balancer: BalancerKey::of(&lb.name), pool, origin, path, by: PlacedBy::Affinity })
        })
    }

    /// Sources bound to an origin now, among them some whose time is over and who have not been missed yet.
    #[must_use]
    pub fn bindings(&self) -> usize {
        self.bindings.len()
    }

    /// Sources forgotten before their time because [`BINDINGS_MAX`] was reached.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.bindings.evicted()
    }

    fn place_anew<'v>(&self, ask: &Ask<'v, '_>, lb: &LoadBalancer, dice: &mut impl Rng) -> Result<Placed<'v>, NoPlace> {
        // A link that turns suspect in the middle of the decision can leave nothing of the pool it fell on, so it is made
        // once more.
        let placed = self.place_usual(ask, lb, dice).or_else(|| self.place_usual(ask, lb, dice));
        let placed = placed.or_else(|| self.place_on_fallback(ask, lb, dice));
        let placed = placed.or_else(|| self.place_on_hope(ask, lb, dice));
        placed.ok_or_else(|| match ask.tried.last() {
            Some(last) => NoPlace::because(Some(last)),
            None => why_none_serves(ask.view, lb),
        })
    }

    fn place_usual<'v>(&self, ask: &Ask<'v, '_>, lb: &LoadBalancer, dice: &mut impl Rng) -> Option<Placed<'v>> {
        let view = ask.view;
        let eligible = Eligible { tried: ask.tried, tolerance: Tolerance::Usual };
        let usable = lb.pools.iter().map(|index| &*view.pools[*index]).filter_map(|pool| {
            Some(Choice { pool, level: usable_level(pool, eligible)?, eligible, by: PlacedBy::Steering })
        });
        let is_sure = |choice: &Choice<'_, '_>| Eligible::is_sure(choice.pool, choice.level);
        let some_are = usable.clone().any(|choice| is_sure(&choice));
        let mut usable = usable.filter(|choice| !some_are || is_sure(choice));
        let choice = match lb.steering {
            PoolSteering::Off => usable.next(),
            PoolSteering::Random => steering::any(usable, dice),
            PoolSteering::LeastConnections => {
                steering::least(usable.map(|choice| (choice.pool.flows() as f64, choice)), dice)
            }
        };
        self.place_in(ask, (lb, &choice?), dice)
    }

    fn place_on_fallback<'v>(&self, ask: &Ask<'v, '_>, lb: &LoadBalancer, dice: &mut impl Rng) -> Option<Placed<'v>> {
        let pool = &*ask.view.pools[lb.fallback_pool?];
        let eligible = Eligible { tried: ask.tried, tolerance: Tolerance::LastResort };
        let level = eligible.pool_level(pool)?;
        self.place_in(ask, (lb, &Choice { pool, level, eligible, by: PlacedBy::Fallback }), dice)
    }

    /// Where nothing is known to be better, an origin that was ill before its last path went may be well by now.
    fn place_on_hope<'v>(&self, ask: &Ask<'v, '_>, lb: &LoadBalancer, dice: &mut impl Rng) -> Option<Placed<'v>> {
        let eligible = Eligible { tried: ask.tried, tolerance: Tolerance::Hope };
        let mut pools = lb.pools.iter().map(|index| &*ask.view.pools[*index]);
        let (pool, level) = pools.find_map(|pool| Some((pool, eligible.pool_level(pool)?)))?;
        self.place_in(ask, (lb, &Choice { pool, level, eligible, by: PlacedBy::Steering }), dice)
    }

    fn place_in<'v>(
        &self,
        ask: &Ask<'v, '_>,
        (lb, choice): (&LoadBalancer, &Choice<'v, '_>),
        dice: &mut impl Rng,
    ) -> Option<Placed<'v>> {
        let Choice { pool, level, eligible, by } = *choice;
        let may_take = |origin: &OriginView| takes_new(origin) && eligible.level(origin) == Some(level);
        let candidates = pool.origins().filter(|origin| may_take(origin));
        let origin = match pool.pool.steering {
            Steering::Random => steering::random(candidates, dice),
            Steering::LeastConnections => steering::least_connections(candidates, dice),
            Steering::Hash => steering::hash(candidates, ask.flow.source_ip()),
            Steering::RoundRobin => {
                let candidates = pool.origins().enumerate().filter(|(_, origin)| may_take(origin));
                self.rotations.turn(ask.view, pool, candidates)
            }
        }?;
        let path = choose_path(origin, level, eligible, dice)?;
        Some(Placed { balancer: BalancerKey::of(&lb.name), pool, origin, path, by })
    }
}

/// A pool to choose in, and what to choose among.
#[derive(Debug, Clone, Copy)]
struct Choice<'v, 'a> {
    pool: &'v PoolView,
    level: Health,
    eligible: Eligible<'a>,
    by: PlacedBy,
}

/// The place on the origin that the source is bound to, while that can take it: its weight and its own pool's health do not
/// matter to those who are there already.
fn placed_as_bound<'v>(ask: &Ask<'v, '_>, lb: &LoadBalancer, bound: &Bound, dice: &mut impl Rng) -> Option<Placed<'v>> {
    let mut pools = lb.pools.iter().chain(&lb.fallback_pool).map(|index| &*ask.view.pools[*index]);
    let pool = pools.find(|pool| pool.pool.name == bound.pool.name)?;
    let is_it = |origin: &&OriginView| origin.origin.name == bound.origin.name;
    let origin = pool.origins.get(bound.index).map(Arc::as_ref).filter(is_it).or_else(|| pool.origins().find(is_it))?;
    let eligible = Eligible { tried: ask.tried, tolerance: Tolerance::Usual };
    let path = choose_path(origin, eligible.level(origin)?, eligible, dice)?;
    Some(Placed { balancer: BalancerKey::of(&lb.name), pool, origin, path, by: PlacedBy::Affinity })
}

/// The level at which a pool takes new flows, if it does.
fn usable_level(pool: &PoolView, eligible: Eligible<'_>) -> Option<Health> {
    if pool.health == PoolHealth::Critical { None } else { eligible.pool_level(pool) }
}

/// True if the pool only stands in for others, and one of them surely takes flows again: who is bound there goes back.
/// The fallback pool stands in for all; where pools are taken in order, each stands in for those before it.
fn stands_in(ask: &Ask<'_, '_>, lb: &LoadBalancer, pool: &PoolView) -> bool {
    let is_it = |index: &usize| std::ptr::eq(&raw const *ask.view.pools[*index], pool);
    let before = match (lb.pools.iter().position(is_it), lb.steering) {
        (Some(rank), PoolSteering::Off) => rank,
        (Some(_), PoolSteering::Random | PoolSteering::LeastConnections) => 0,
        (None, _) => lb.pools.len(),
    };
    let eligible = Eligible { tried: ask.tried, tolerance: Tolerance::Usual };
    lb.pools[..before]
        .iter()
        .map(|index| &*ask.view.pools[*index])
        .any(|pool| usable_level(pool, eligible).is_some_and(|level| Eligible::is_sure(pool, level)))
}

fn bound_to(placed: &Placed<'_>) -> Bound {
    let index = placed.pool.origins().position(|origin| std::ptr::eq(origin, placed.origin)).unwrap_or(0);
    Bound { pool: placed.pool.pool.clone(), origin: placed.origin.origin.clone(), index }
}

fn choose_path<'v>(
    origin: &'v OriginView,
    level: Health,
    eligible: Eligible<'_>,
    dice: &mut impl Rng,
) -> Option<&'v PathView> {
    let allowed = || origin.paths.iter().filter(|path| path.health == level && eligible.allows(origin, path));
    // What is only supposed of a path serves where nothing better is known.
    let some_are_proven = allowed().any(|path| path.proven);
    steering::two_choices(allowed().filter(|path| path.proven || !some_are_proven), dice)
}

/// The reason of the origin that got furthest along the way.
fn why_none_serves(view: &HealthView, lb: &LoadBalancer) -> NoPlace {
    let pools = lb.pools.iter().chain(&lb.fallback_pool).map(|index| &*view.pools[*index]);
    let suspect = |origin: &OriginView| !origin.paths.iter().any(|path| path.load.is_placeable());
    let why = |origin: &OriginView| origin.reason().or_else(|| suspect(origin).then_some(Reason::LinkLost));
    let all = pools.flat_map(PoolView::origins).filter_map(|origin| why(origin).map(|reason| (reason, origin)));
    let Some((reason, origin)) = all.max_by_key(|(reason, _)| *reason) else { return NoPlace::because(None) };
    let detail =
        origin.detail().or_else(|| suspect(origin).then(|| "every link there leaves packets unanswered".into()));
    let down = || lb.pools.iter().chain(&lb.fallback_pool).flat_map(|index| view.pools[*index].origins());
    let down_since = down().filter_map(|origin| origin.down_since).max();
    NoPlace { reason: Some(reason), detail, down_since: down_since.filter(|_| reason == Reason::TunnelDown) }
}

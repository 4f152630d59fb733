//! The decision: affinity → pool → origin → path, or why there is no place.
//!
//! Pure: what a decision changes in memory comes with it, and whoever only wants to know leaves that undone.

use std::sync::Arc;

use protocol::error::Reason;
use rand::Rng;

use super::{
    affinity::{Bound, Life, Source},
    eligible::{Eligible, Tolerance, takes_new},
    memory::{Binding, Effects, Memory},
    place::{Ask, Near, NoPlace, Placed, PlacedBy},
    rotation::{Rotation, Rotations},
    steering,
};
use crate::{
    health::{
        OriginKey,
        view::{Health, OriginView, PathView, PoolHealth, PoolView},
    },
    model::{Affinity, PoolSteering, Steering},
};

/// Where a flow goes, and what that changes.
#[derive(Debug)]
pub(super) struct Decision<'v> {
    pub(super) place: Result<Placed<'v>, NoPlace>,
    pub(super) effects: Effects,
}

/// A place by steering, and whose turn it is after that.
#[derive(Debug)]
struct Chosen<'v> {
    placed: Placed<'v>,
    turn: Option<Rotation>,
}

/// Decides about one flow.
pub(super) fn decide<'v>(ask: &Ask<'v, '_>, memory: &Memory, dice: &mut impl Rng) -> Decision<'v> {
    let mut effects = Effects::default();
    let place = find(ask, memory, &mut effects, dice);
    Decision { place, effects }
}

fn find<'v>(
    ask: &Ask<'v, '_>,
    memory: &Memory,
    effects: &mut Effects,
    dice: &mut impl Rng,
) -> Result<Placed<'v>, NoPlace> {
    if ask.tried.is_full() {
        return Err(NoPlace::because(ask.tried.last()));
    }
    let source = source_of(ask);
    let bound = source.and_then(|(source, _)| memory.bindings.find(&source, ask.now));
    let kept = bound.and_then(|bound| as_bound(ask, bound, dice)).filter(|kept| !stands_in(ask, kept.pool));
    let placed = match kept {
        Some(kept) => kept,
        None => {
            let Chosen { placed, turn } = anew(ask, &memory.rotations, dice)?;
            effects.turn = turn;
            placed
        }
    };
    effects.binding = source.map(|(source, life)| {
        let is_there = bound.is_some_and(|bound| Arc::ptr_eq(&bound.origin, &placed.origin.origin));
        (source, life, if is_there { Binding::Renewed } else { Binding::New(bound_to(&placed)) })
    });
    Ok(placed)
}

/// The source that the load balancer binds, and for how long.
fn source_of(ask: &Ask<'_, '_>) -> Option<(Source, Life)> {
    match ask.balancer.balancer.session_affinity {
        Affinity::Source { ttl } => {
            let source = Source { balancer: ask.balancer.key, address: ask.flow.source_ip() };
            Some((source, Life { ttl, now: ask.now }))
        }
        Affinity::None | Affinity::Cookie { .. } => None,
    }
}

/// The place for a flow that has to leave its path, on the same origin, if another path leads there.
pub(super) fn near<'v>(ask: &Ask<'v, '_>, near: Near<'_>, dice: &mut impl Rng) -> Option<Placed<'v>> {
    as_bound(ask, &Bound { pool: near.pool.clone(), origin: near.origin.clone(), index: 0 }, dice)
}

/// The place on an origin that the client is bound to by its own word, while that can take it.
pub(super) fn on<'v>(ask: &Ask<'v, '_>, origin: OriginKey, dice: &mut impl Rng) -> Option<Placed<'v>> {
    let pools = ask.balancer.all_pools(ask.view).filter(|pool| !stands_in(ask, pool));
    let eligible = Eligible { tried: ask.tried, tolerance: Tolerance::Usual };
    let mut found = pools.flat_map(|pool| pool.origins().map(move |o| (pool, o))).filter(|(_, o)| o.key == origin);
    found.find_map(|(pool, origin)| {
        let path = choose_path(origin, eligible.level(origin)?, eligible, dice)?;
        Some(Placed { balancer: ask.balancer.key, pool, origin, path, by: PlacedBy::Affinity })
    })
}

/// As if the source were bound to nothing.
fn anew<'v>(ask: &Ask<'v, '_>, turns: &Rotations, dice: &mut impl Rng) -> Result<Chosen<'v>, NoPlace> {
    // A link that turns suspect in the middle of the decision can leave nothing of the pool it fell on, so it is made
    // once more.
    let placed = usual(ask, turns, dice).or_else(|| usual(ask, turns, dice));
    let placed = placed.or_else(|| on_fallback(ask, turns, dice));
    let placed = placed.or_else(|| on_hope(ask, turns, dice));
    placed.ok_or_else(|| match ask.tried.last() {
        Some(last) => NoPlace::because(Some(last)),
        None => why_none_serves(ask),
    })
}

fn usual<'v>(ask: &Ask<'v, '_>, turns: &Rotations, dice: &mut impl Rng) -> Option<Chosen<'v>> {
    let eligible = Eligible { tried: ask.tried, tolerance: Tolerance::Usual };
    let usable = ask.balancer.pools(ask.view).filter_map(|pool| {
        Some(Choice { pool, level: usable_level(pool, eligible)?, eligible, by: PlacedBy::Steering })
    });
    let is_sure = |choice: &Choice<'_, '_>| Eligible::is_sure(choice.pool, choice.level);
    let some_are = usable.clone().any(|choice| is_sure(&choice));
    let mut usable = usable.filter(|choice| !some_are || is_sure(choice));
    let choice = match ask.balancer.balancer.steering {
        PoolSteering::Off => usable.next(),
        PoolSteering::Random => steering::any(usable, dice),
        PoolSteering::LeastConnections => {
            steering::least(usable.map(|choice| (choice.pool.flows() as f64, choice)), dice)
        }
    };
    choose_in((ask, turns), &choice?, dice)
}

fn on_fallback<'v>(ask: &Ask<'v, '_>, turns: &Rotations, dice: &mut impl Rng) -> Option<Chosen<'v>> {
    let pool = ask.balancer.fallback_pool(ask.view)?;
    let eligible = Eligible { tried: ask.tried, tolerance: Tolerance::LastResort };
    let level = eligible.pool_level(pool)?;
    choose_in((ask, turns), &Choice { pool, level, eligible, by: PlacedBy::Fallback }, dice)
}

/// Where nothing is known to be better, an origin that was ill before its last path went may be well by now.
fn on_hope<'v>(ask: &Ask<'v, '_>, turns: &Rotations, dice: &mut impl Rng) -> Option<Chosen<'v>> {
    let eligible = Eligible { tried: ask.tried, tolerance: Tolerance::Hope };
    let mut pools = ask.balancer.pools(ask.view);
    let (pool, level) = pools.find_map(|pool| Some((pool, eligible.pool_level(pool)?)))?;
    choose_in((ask, turns), &Choice { pool, level, eligible, by: PlacedBy::Steering }, dice)
}

fn choose_in<'v>(
    (ask, turns): (&Ask<'v, '_>, &Rotations),
    choice: &Choice<'v, '_>,
    dice: &mut impl Rng,
) -> Option<Chosen<'v>> {
    let Choice { pool, level, eligible, by } = *choice;
    let may_take = |origin: &OriginView| takes_new(origin) && eligible.level(origin) == Some(level);
    let candidates = pool.origins().filter(|origin| may_take(origin));
    let (origin, turn) = match pool.pool.steering {
        Steering::Random => (steering::random(candidates, dice)?, None),
        Steering::LeastConnections => (steering::least_connections(candidates, dice)?, None),
        Steering::Hash => (steering::hash(candidates, ask.flow.source_ip())?, None),
        Steering::RoundRobin => {
            let candidates = pool.origins().enumerate().filter(|(_, origin)| may_take(origin));
            let (origin, after) = turns.turn(pool, candidates)?;
            (origin, Some(after))
        }
    };
    let path = choose_path(origin, level, eligible, dice)?;
    Some(Chosen { placed: Placed { balancer: ask.balancer.key, pool, origin, path, by }, turn })
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
fn as_bound<'v>(ask: &Ask<'v, '_>, bound: &Bound, dice: &mut impl Rng) -> Option<Placed<'v>> {
    let pool = ask.balancer.all_pools(ask.view).find(|pool| pool.pool.name == bound.pool.name)?;
    let is_it = |origin: &&OriginView| origin.origin.name == bound.origin.name;
    let origin = pool.origins.get(bound.index).map(Arc::as_ref).filter(is_it).or_else(|| pool.origins().find(is_it))?;
    let eligible = Eligible { tried: ask.tried, tolerance: Tolerance::Usual };
    let path = choose_path(origin, eligible.level(origin)?, eligible, dice)?;
    Some(Placed { balancer: ask.balancer.key, pool, origin, path, by: PlacedBy::Affinity })
}

/// The level at which a pool takes new flows, if it does.
fn usable_level(pool: &PoolView, eligible: Eligible<'_>) -> Option<Health> {
    if pool.health == PoolHealth::Critical { None } else { eligible.pool_level(pool) }
}

/// True if the pool only stands in for others, and one of them surely takes flows again: who is bound there goes back.
/// The fallback pool stands in for all; where pools are taken in order, each stands in for those before it.
fn stands_in(ask: &Ask<'_, '_>, pool: &PoolView) -> bool {
    let mut pools = ask.balancer.pools(ask.view);
    let before = match (pools.clone().position(|other| std::ptr::eq(other, pool)), ask.balancer.balancer.steering) {
        (Some(rank), PoolSteering::Off) => rank,
        (Some(_), PoolSteering::Random | PoolSteering::LeastConnections) => 0,
        (None, _) => ask.balancer.pools.len(),
    };
    let eligible = Eligible { tried: ask.tried, tolerance: Tolerance::Usual };
    let is_sure = |pool: &PoolView| usable_level(pool, eligible).is_some_and(|level| Eligible::is_sure(pool, level));
    pools.by_ref().take(before).any(is_sure)
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
fn why_none_serves(ask: &Ask<'_, '_>) -> NoPlace {
    let pools = ask.balancer.all_pools(ask.view);
    let suspect = |origin: &OriginView| !origin.paths.iter().any(|path| path.load.is_placeable());
    let why = |origin: &OriginView| origin.reason().or_else(|| suspect(origin).then_some(Reason::LinkLost));
    let all = pools.clone().flat_map(PoolView::origins).filter_map(|origin| why(origin).map(|reason| (reason, origin)));
    let Some((reason, origin)) = all.max_by_key(|(reason, _)| *reason) else { return NoPlace::because(None) };
    let detail =
        origin.detail().or_else(|| suspect(origin).then(|| "every link there leaves packets unanswered".into()));
    let down_since = pools.flat_map(PoolView::origins).filter_map(|origin| origin.down_since).max();
    NoPlace { reason: Some(reason), detail, down_since: down_since.filter(|_| reason == Reason::TunnelDown) }
}

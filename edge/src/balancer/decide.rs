//! The decision: affinity → pool → origin → path, or why there is no place.
//!
//! Pure: what a decision changes in memory comes with it, and whoever only wants to know leaves that undone. What it weighs is
//! said to a witness on the way, so that an explanation is the decision itself.

use std::{iter, sync::Arc};

use protocol::error::Reason;
use rand::Rng;

use super::{
    affinity::{Bound, Life, Source},
    eligible::{Eligible, Tolerance},
    hashed,
    memory::{Binding, Effects, Memory},
    place::{Ask, NoPlace, Placed, PlacedBy},
    rotation::Rotation,
    steering,
    trace::{PassedOver, Step, Weighed, Witness},
    weight::Candidate,
};
use crate::{
    health::{
        OriginKey,
        view::{BalancerView, Health, HealthView, OriginView, PathView, PoolHealth, PoolView},
    },
    model::{Affinity, FlowKey, HashBy, Listener, PoolSteering, Steering},
    routing,
};

/// The load balancer that takes a flow of a listener, unless its flows go where they were for.
#[must_use]
pub fn route<'v>(view: &'v HealthView, listener: &Listener, flow: &FlowKey<'_>) -> Option<&'v BalancerView> {
    view.balancer(routing::load_balancer(listener, flow)?)
}

/// Where a flow goes, and what that changes.
#[derive(Debug)]
pub(super) struct Decision<'v> {
    pub(super) place: Result<Placed<'v>, NoPlace>,
    pub(super) effects: Effects,
}

/// What a decision goes by.
#[derive(Debug)]
pub(super) struct Deciding<'d, 'v, R, W> {
    pub(super) ask: &'d Ask<'v, 'd>,
    pub(super) memory: &'d Memory,
    pub(super) dice: &'d mut R,
    pub(super) witness: &'d mut W,
}

/// A place by steering, and whose turn it is after that.
#[derive(Debug)]
struct Chosen<'v> {
    placed: Placed<'v>,
    turn: Option<Rotation>,
}

/// A pool to choose in, and what to choose among.
#[derive(Debug, Clone, Copy)]
struct Choice<'v, 'a> {
    pool: &'v PoolView,
    level: Health,
    eligible: Eligible<'a>,
    by: PlacedBy,
}

impl<'d, 'v, R: Rng, W: Witness<'v>> Deciding<'d, 'v, R, W> {
    /// Decides about one flow.
    pub(super) fn decide(mut self) -> Decision<'v> {
        let mut effects = Effects::default();
        let place = self.find(&mut effects);
        Decision { place, effects }
    }

    fn find(&mut self, effects: &mut Effects) -> Result<Placed<'v>, NoPlace> {
        let ask = self.ask;
        let beside = ask.near.map(|near| Bound { pool: near.pool.clone(), origin: near.origin.clone(), index: 0 });
        // It is there already, drained or not.
        let beside = beside.and_then(|bound| self.bound(&bound));
        if let Some(beside) = beside.and_then(|(pool, origin)| self.kept(pool, origin)) {
            return Ok(beside);
        }
        if ask.balancer.drained {
            self.witness.note(|| Step { what: Weighed::Balancer(ask.balancer), passed: Some(PassedOver::Draining) });
            return Err(draining("the load balancer takes nothing new: it is drained"));
        }
        if ask.tried.is_full() {
            return Err(NoPlace::because(ask.tried.last()));
        }
        match ask.balancer.balancer.session_affinity {
            Affinity::None => self.anew(effects),
            Affinity::Source { prefix, ttl, drain: _ } => {
                let source = Source { balancer: ask.balancer.key, address: prefix.of(ask.flow.source_ip()) };
                self.by_source(source, Life { ttl, now: ask.now }, effects)
            }
            Affinity::Cookie { ttl, drain: _ } => match ask.cookie.and_then(|origin| self.on(origin)) {
                Some(kept) => Ok(kept),
                None => self.anew(effects).map(|placed| Placed { cookie: Some(ttl), ..placed }),
            },
        }
    }

    /// Where the source is bound, else anew; and it is bound there.
    fn by_source(&mut self, source: Source, life: Life, effects: &mut Effects) -> Result<Placed<'v>, NoPlace> {
        let bound = self.memory.bindings.find(&source, self.ask.now);
        let kept = bound.and_then(|bound| self.bound(bound)).and_then(|(pool, origin)| self.stays(pool, origin));
        let kept = kept.filter(|kept| !self.stands_in(kept.pool));
        let placed = match kept {
            Some(kept) => kept,
            None => self.anew(effects)?,
        };
        let is_there = bound.is_some_and(|bound| Arc::ptr_eq(&bound.origin, &placed.origin.origin));
        let binding = if is_there { Binding::Renewed } else { Binding::New(bound_to(&placed)) };
        effects.binding = Some((source, life, binding));
        Ok(placed)
    }

    /// The place on an origin that the client is bound to by its own word, while that can take it.
    fn on(&mut self, key: OriginKey) -> Option<Placed<'v>> {
        let pools = self.ask.balancer.all_pools(self.ask.view);
        let mut found = pools.flat_map(|pool| pool.origins().filter(|o| o.key == key).map(move |o| (pool, o)));
        found.find_map(|(pool, origin)| if self.stands_in(pool) { None } else { self.stays(pool, origin) })
    }

    /// The origin that the client is bound to.
    fn bound(&self, bound: &Bound) -> Option<(&'v PoolView, &'v OriginView)> {
        let pool = self.ask.balancer.all_pools(self.ask.view).find(|pool| pool.pool.name == bound.pool.name)?;
        let is_it = |origin: &&OriginView| origin.origin.name == bound.origin.name;
        let hinted = pool.origins.get(bound.index).map(Arc::as_ref).filter(is_it);
        Some((pool, hinted.or_else(|| pool.origins().find(is_it))?))
    }

    /// A place on the origin that the client is bound to, unless that has been drained for longer than those who are bound there
    /// stay.
    fn stays(&mut self, pool: &'v PoolView, origin: &'v OriginView) -> Option<Placed<'v>> {
        let stay = self.ask.balancer.balancer.session_affinity.drain_duration();
        if origin.drained.is_some_and(|begun| self.ask.now >= begun + stay) {
            self.witness.note(|| Step { what: Weighed::Bound(pool, origin), passed: Some(PassedOver::Draining) });
            return None;
        }
        self.kept(pool, origin)
    }

    /// A place on this very origin, if it can take the flow: its weight and its own pool's health do not matter to those who are
    /// there already.
    fn kept(&mut self, pool: &'v PoolView, origin: &'v OriginView) -> Option<Placed<'v>> {
        let eligible = Eligible { tried: self.ask.tried, tolerance: Tolerance::Usual };
        let Some(level) = eligible.level(origin) else {
            self.witness.note(|| Step { what: Weighed::Bound(pool, origin), passed: Some(PassedOver::NoPath) });
            return None;
        };
        self.witness.note(|| Step { what: Weighed::Bound(pool, origin), passed: None });
        let path = self.choose_path(origin, (level, eligible))?;
        Some(self.placed((pool, origin, path), PlacedBy::Affinity))
    }

    fn placed(&self, (pool, origin, path): (&'v PoolView, &'v OriginView, &'v PathView), by: PlacedBy) -> Placed<'v> {
        Placed { balancer: self.ask.balancer, pool, origin, path, by, cookie: None }
    }

    /// As if the client were bound to nothing.
    fn anew(&mut self, effects: &mut Effects) -> Result<Placed<'v>, NoPlace> {
        // A link that turns suspect in the middle of the decision can leave nothing of the pool it fell on, so it is made
        // once more.
        let chosen = self.usual().or_else(|| self.usual()).or_else(|| self.on_fallback()).or_else(|| self.on_hope());
        let Some(Chosen { placed, turn }) = chosen else {
            return Err(match self.ask.tried.last() {
                Some(last) => NoPlace::because(Some(last)),
                None => why_none_serves(self.ask),
            });
        };
        effects.turn = turn;
        Ok(placed)
    }

    fn usual(&mut self) -> Option<Chosen<'v>> {
        let ask = self.ask;
        let eligible = Eligible { tried: ask.tried, tolerance: Tolerance::Usual };
        let pools = ask.balancer.pools(ask.view);
        let weights = ask.balancer.balancer.pool_weights.iter().copied().chain(iter::repeat(1.0));
        let usable = weights.zip(pools.clone()).filter_map(|(weight, pool)| {
            Some((weight, Choice { pool, level: usable_level(pool, eligible)?, eligible, by: PlacedBy::Steering }))
        });
        let is_sure = |choice: &Choice<'_, '_>| Eligible::is_sure(choice.pool, choice.level);
        let some_are = usable.clone().any(|(_, choice)| is_sure(&choice));
        let mut usable = usable.filter(|(_, choice)| !some_are || is_sure(choice));
        let choice = match ask.balancer.balancer.steering {
            PoolSteering::Off => usable.next().map(|(_, first)| first),
            PoolSteering::Random => steering::weighted(usable, self.dice),
            PoolSteering::LeastConnections => {
                let load =
                    |(weight, choice): (f64, Choice<'v, 'd>)| ((choice.pool.flows() + 1) as f64 / weight, choice);
                steering::least(usable.map(load), self.dice)
            }
        };
        for pool in pools {
            self.witness.note(|| {
                let is_chosen = choice.is_some_and(|choice| std::ptr::eq(choice.pool, pool));
                let passed = pool_passed(pool, eligible, some_are).or(PassedOver::unless(is_chosen));
                Step { what: Weighed::Pool(pool), passed }
            });
        }
        self.choose_in(&choice?)
    }

    fn on_fallback(&mut self) -> Option<Chosen<'v>> {
        let pool = self.ask.balancer.fallback_pool(self.ask.view)?;
        let eligible = Eligible { tried: self.ask.tried, tolerance: Tolerance::LastResort };
        let level = eligible.pool_level(pool);
        let why = if pool.drained { PassedOver::Draining } else { PassedOver::NoPath };
        let passed = level.is_none().then_some(why);
        self.witness.note(|| Step { what: Weighed::Fallback(pool), passed });
        self.choose_in(&Choice { pool, level: level?, eligible, by: PlacedBy::Fallback })
    }

    /// Where nothing is known to be better, an origin that was ill before its last path went may be well by now.
    fn on_hope(&mut self) -> Option<Chosen<'v>> {
        let eligible = Eligible { tried: self.ask.tried, tolerance: Tolerance::Hope };
        let mut pools = self.ask.balancer.pools(self.ask.view);
        let (pool, level) = pools.find_map(|pool| Some((pool, eligible.pool_level(pool)?)))?;
        self.witness.note(|| Step { what: Weighed::Hope(pool), passed: None });
        self.choose_in(&Choice { pool, level, eligible, by: PlacedBy::Steering })
    }

    fn choose_in(&mut self, choice: &Choice<'v, 'd>) -> Option<Chosen<'v>> {
        let Choice { pool, level, eligible, by } = *choice;
        let may_take = |origin: &OriginView| origin.takes_new() && eligible.level(origin) == Some(level);
        let now = self.ask.now;
        let weighs = |origin| Candidate::of(&pool.pool, origin, now);
        let candidates = pool.origins().filter(|origin| may_take(origin)).map(weighs);
        let (origin, turn) = match pool.pool.steering {
            Steering::Random => (steering::random(candidates, self.dice)?, None),
            Steering::LeastConnections => (steering::least_connections(candidates, self.dice)?, None),
            Steering::LeastOutstanding => (steering::two_origins(candidates, self.dice)?, None),
            Steering::Hash => {
                let HashBy { on, bounded_load } = &pool.pool.hash;
                (steering::hash(candidates, hashed::key(on, self.ask), *bounded_load)?, None)
            }
            Steering::RoundRobin => {
                let candidates = pool.origins().enumerate().filter(|(_, origin)| may_take(origin));
                let candidates = candidates.map(|(index, origin)| (index, weighs(origin)));
                let (origin, after) = self.memory.rotations.turn(pool, candidates)?;
                (origin, Some(after))
            }
        };
        for other in pool.origins() {
            let is_chosen = std::ptr::eq(other, origin);
            self.witness.note(|| {
                let passed = origin_passed(other, (level, eligible)).or(PassedOver::unless(is_chosen));
                Step { what: Weighed::Origin(other, weighs(other).weight), passed }
            });
        }
        let path = self.choose_path(origin, (level, eligible))?;
        Some(Chosen { placed: self.placed((pool, origin, path), by), turn })
    }

    fn choose_path(
        &mut self,
        origin: &'v OriginView,
        (level, eligible): (Health, Eligible<'_>),
    ) -> Option<&'v PathView> {
        let allowed = || origin.paths.iter().filter(|path| path.health == level && eligible.allows(origin, path));
        // What is only supposed of a path serves where nothing better is known.
        let some_are_proven = allowed().any(|path| path.proven);
        let chosen = steering::two_choices(allowed().filter(|path| path.proven || !some_are_proven), self.dice);
        for path in &origin.paths {
            self.witness.note(|| {
                let is_less_sure = path.health != level || (some_are_proven && !path.proven);
                let passed = eligible.against(origin, path).or(is_less_sure.then_some(PassedOver::BetterKnown));
                let is_chosen = chosen.is_some_and(|chosen| std::ptr::eq(chosen, path));
                Step { what: Weighed::Path(path), passed: passed.or(PassedOver::unless(is_chosen)) }
            });
        }
        chosen
    }

    /// True if the pool only stands in for others, and one of them surely takes flows again: who is bound there goes back.
    /// The fallback pool stands in for all; where pools are taken in order, each stands in for those before it.
    fn stands_in(&self, pool: &PoolView) -> bool {
        let ask = self.ask;
        let mut pools = ask.balancer.pools(ask.view);
        let before = match (pools.clone().position(|other| std::ptr::eq(other, pool)), ask.balancer.balancer.steering) {
            (Some(rank), PoolSteering::Off) => rank,
            (Some(_), PoolSteering::Random | PoolSteering::LeastConnections) => 0,
            (None, _) => ask.balancer.pools.len(),
        };
        let eligible = Eligible { tried: ask.tried, tolerance: Tolerance::Usual };
        let is_sure =
            |pool: &PoolView| usable_level(pool, eligible).is_some_and(|level| Eligible::is_sure(pool, level));
        pools.by_ref().take(before).any(is_sure)
    }
}

/// What speaks against a pool, where some pools are sure to take the flow or none is.
fn pool_passed(pool: &PoolView, eligible: Eligible<'_>, some_are_sure: bool) -> Option<PassedOver> {
    if pool.drained {
        return Some(PassedOver::Draining);
    }
    if pool.health == PoolHealth::Critical {
        return Some(PassedOver::Critical);
    }
    match usable_level(pool, eligible) {
        None => Some(PassedOver::NoPath),
        Some(level) => (some_are_sure && !Eligible::is_sure(pool, level)).then_some(PassedOver::BetterKnown),
    }
}

/// What speaks against an origin, where those of this level are to be chosen among.
fn origin_passed(origin: &OriginView, (level, eligible): (Health, Eligible<'_>)) -> Option<PassedOver> {
    if origin.drained.is_some() {
        return Some(PassedOver::Draining);
    }
    if !origin.takes_new() {
        return Some(PassedOver::WeightZero);
    }
    match eligible.level(origin) {
        None => Some(PassedOver::NoPath),
        Some(own) => (own != level).then_some(PassedOver::BetterKnown),
    }
}

/// The level at which a pool takes new flows, if it does.
fn usable_level(pool: &PoolView, eligible: Eligible<'_>) -> Option<Health> {
    if pool.health == PoolHealth::Critical { None } else { eligible.pool_level(pool) }
}

fn bound_to(placed: &Placed<'_>) -> Bound {
    let index = placed.pool.origins().position(|origin| std::ptr::eq(origin, placed.origin)).unwrap_or(0);
    Bound { pool: placed.pool.pool.clone(), origin: placed.origin.origin.clone(), index }
}

/// There is no place, since what could have given one is drained.
fn draining(words: &str) -> NoPlace {
    NoPlace { detail: Some(words.into()), ..NoPlace::because(None) }
}

/// The reason of the origin that got furthest along the way.
fn why_none_serves(ask: &Ask<'_, '_>) -> NoPlace {
    let pools = ask.balancer.all_pools(ask.view);
    if pools.clone().flat_map(PoolView::origins).all(|origin| origin.drained.is_some()) {
        return draining("every origin is drained");
    }
    let suspect = |origin: &OriginView| !origin.paths.iter().any(|path| path.load.is_placeable());
    let why = |origin: &OriginView| origin.reason().or_else(|| suspect(origin).then_some(Reason::LinkLost));
    let all = pools.clone().flat_map(PoolView::origins).filter_map(|origin| why(origin).map(|reason| (reason, origin)));
    let Some((reason, origin)) = all.max_by_key(|(reason, _)| *reason) else { return NoPlace::because(None) };
    let detail =
        origin.detail().or_else(|| suspect(origin).then(|| "every link there leaves packets unanswered".into()));
    let down_since = pools.flat_map(PoolView::origins).filter_map(|origin| origin.down_since).max();
    NoPlace { reason: Some(reason), detail, down_since: down_since.filter(|_| reason == Reason::TunnelDown) }
}

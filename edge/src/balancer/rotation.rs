//! Smooth weighted round robin: whose turn it is, for each pool.
//!
//! While the same origins take part with the same weights none is ever ahead or behind by more than all of them gain in a
//! turn. What is left from other weights, or from origins that are away, is cut down to that: it would be made up for by
//! hundreds of turns in a row.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use protocol::id::Name;

use super::weight::Candidate;
use crate::{
    health::view::{HealthView, OriginView, PoolView},
    model::Pool,
};

/// The turns of every pool that goes round. Holds no more pools than the catalog has.
#[derive(Debug, Default)]
pub(super) struct Rotations(HashMap<Name, Rotation>);

/// How far ahead each origin of a pool is.
#[derive(Debug)]
pub(super) struct Rotation {
    /// Whose origins `current` is about, in order.
    pool: Arc<Pool>,
    current: Vec<f64>,
}

impl Rotations {
    /// The origin whose turn it is among the candidates, each given with its index in the pool, and the rotation after that turn:
    /// every candidate gains its weight, the one that has most is chosen and pays what all have gained.
    pub(super) fn turn<'v>(
        &self,
        pool: &PoolView,
        candidates: impl Iterator<Item = (usize, Candidate<'v>)> + Clone,
    ) -> Option<(&'v OriginView, Rotation)> {
        let mut current = self.current(&pool.pool).into_owned();
        let gained: f64 = candidates.clone().map(|(_, candidate)| candidate.weight).sum();
        let mut first: Option<(usize, f64, &OriginView)> = None;
        for (index, Candidate { origin, weight }) in candidates {
            let has = &mut current[index];
            *has = has.clamp(-gained, gained) + weight;
            if first.is_none_or(|(_, most, _)| *has > most) {
                first = Some((index, *has, origin));
            }
        }
        let (index, _, origin) = first?;
        current[index] -= gained;
        Some((origin, Rotation { pool: pool.pool.clone(), current }))
    }

    /// A turn was taken.
    pub(super) fn put(&mut self, view: &HealthView, rotation: Rotation) {
        let before = self.0.insert(rotation.pool.name.clone(), rotation);
        if before.is_none() {
            self.0.retain(|name, _| view.catalog.pools.iter().any(|pool| pool.name == *name));
        }
    }

    /// How far ahead each origin of the pool is. After a reload its origins keep their turns by name.
    fn current(&self, pool: &Arc<Pool>) -> Cow<'_, [f64]> {
        let known = self.0.get(&pool.name);
        if let Some(same) = known.filter(|rotation| Arc::ptr_eq(&rotation.pool, pool)) {
            return Cow::Borrowed(&same.current);
        }
        let turn_of = |name: &Name| {
            let old = known?;
            old.pool.origins.iter().position(|origin| origin.name == *name).map(|index| old.current[index])
        };
        pool.origins.iter().map(|origin| turn_of(&origin.name).unwrap_or(0.0)).collect()
    }
}

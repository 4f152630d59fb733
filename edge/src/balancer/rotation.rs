//! Smooth weighted round robin: whose turn it is, for each pool.
//!
//! While the same origins take part with the same weights none is ever ahead or behind by more than all of them gain in a
//! turn. What is left from other weights, or from origins that are away, is cut down to that: it would be made up for by
//! hundreds of turns in a row.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use protocol::id::Name;

use crate::{
    health::view::{HealthView, OriginView, PoolView},
    model::Pool,
};

/// The turns of every pool that goes round. Holds no more pools than the catalog has.
#[derive(Debug, Default)]
pub(super) struct Rotations(Mutex<HashMap<Name, Rotation>>);

#[derive(Debug)]
struct Rotation {
    /// Whose origins `current` is about, in order.
    pool: Arc<Pool>,
    current: Vec<f64>,
}

impl Rotations {
    /// The origin whose turn it is among the candidates, each given with its index in the pool: every candidate gains
    /// its weight, the one that has most is chosen and pays what all have gained.
    pub(super) fn turn<'v>(
        &self,
        view: &HealthView,
        pool: &PoolView,
        candidates: impl Iterator<Item = (usize, &'v OriginView)> + Clone,
    ) -> Option<&'v OriginView> {
        let mut rotations = self.0.lock().expect("nothing panics while it holds the turns");
        let rotation = current(&mut rotations, view, pool);
        let gained: f64 = candidates.clone().map(|(_, origin)| origin.origin.weight).sum();
        let mut first: Option<(usize, f64, &OriginView)> = None;
        for (index, origin) in candidates {
            let has = &mut rotation.current[index];
            *has = has.clamp(-gained, gained) + origin.origin.weight;
            if first.is_none_or(|(_, most, _)| *has > most) {
                first = Some((index, *has, origin));
            }
        }
        let (index, _, origin) = first?;
        rotation.current[index] -= gained;
        Some(origin)
    }
}

/// The pool's rotation. After a reload its origins keep their turns by name.
fn current<'r>(rotations: &'r mut HashMap<Name, Rotation>, view: &HealthView, pool: &PoolView) -> &'r mut Rotation {
    let name = &pool.pool.name;
    let is_current = rotations.get(name).is_some_and(|rotation| Arc::ptr_eq(&rotation.pool, &pool.pool));
    if !is_current {
        let old = rotations.remove(name);
        let turn_of = |name: &Name| {
            let old = old.as_ref()?;
            old.pool.origins.iter().position(|origin| origin.name == *name).map(|index| old.current[index])
        };
        let current = pool.pool.origins.iter().map(|origin| turn_of(&origin.name).unwrap_or(0.0)).collect();
        rotations.retain(|name, _| view.catalog.pools.iter().any(|pool| pool.name == *name));
        rotations.insert(name.clone(), Rotation { pool: pool.pool.clone(), current });
    }
    rotations.get_mut(name).expect("found or inserted above")
}

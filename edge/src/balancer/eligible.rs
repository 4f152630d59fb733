//! Which paths may take one flow: not tried yet, over a link that is not suspect, and well enough.

use super::{trace::PassedOver, tried::Tried};
use crate::health::view::{Health, OriginView, PathView, PoolView};

/// How much ill health is put up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tolerance {
    /// Paths that are healthy, or not known to be unhealthy.
    Usual,
    /// Paths that are only supposed to be unhealthy, until their first probe.
    Hope,
    /// Any path: nothing better is left.
    LastResort,
}

/// The rule for one flow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Eligible<'a> {
    pub(super) tried: &'a Tried,
    pub(super) tolerance: Tolerance,
}

impl Eligible<'_> {
    /// True if the path may take the flow.
    pub(super) fn allows(&self, origin: &OriginView, path: &PathView) -> bool {
        self.against(origin, path).is_none()
    }

    /// What speaks against the path, if anything does.
    pub(super) fn against(&self, origin: &OriginView, path: &PathView) -> Option<PassedOver> {
        let well_enough = match self.tolerance {
            Tolerance::Usual => path.health != Health::Unhealthy,
            Tolerance::Hope => path.health == Health::Unhealthy && !path.proven,
            Tolerance::LastResort => true,
        };
        if !path.load.is_placeable() {
            Some(PassedOver::Suspect)
        } else if !well_enough {
            Some(PassedOver::Unhealthy)
        } else if self.tried.rules_out(origin.key, path.via()) {
            Some(PassedOver::Tried)
        } else {
            None
        }
    }

    /// The best health among the origin's paths that may take the flow.
    pub(super) fn level(&self, origin: &OriginView) -> Option<Health> {
        best(origin.paths.iter().filter(|path| self.allows(origin, path)).map(|path| path.health))
    }

    /// The best level among the pool's origins that take new flows: those that have it are the ones to choose among.
    pub(super) fn pool_level(&self, pool: &PoolView) -> Option<Health> {
        best(pool.origins().filter(|origin| origin.takes_new()).filter_map(|origin| self.level(origin)))
    }

    /// True if what the pool has at this level is known to be well, or nobody asks. Nothing unknown is chosen before it.
    pub(super) fn is_sure(pool: &PoolView, level: Health) -> bool {
        pool.pool.monitor.is_none() || (level == Health::Healthy && pool.is_known())
    }
}

fn best(found: impl Iterator<Item = Health>) -> Option<Health> {
    let mut best = None;
    for health in found {
        match (health, best) {
            (Health::Healthy, _) => return Some(health),
            (Health::Unknown, _) | (Health::Unhealthy, None) => best = Some(health),
            (Health::Unhealthy, Some(_)) => {}
        }
    }
    best
}

//! Decides, and remembers what was decided.

use std::sync::{Mutex, MutexGuard};

use rand::Rng;

use super::{
    affinity::BINDINGS_MAX,
    decide::{self, Decision},
    memory::Memory,
    place::{Ask, Near, NoPlace, Placed},
};
use crate::{
    health::OriginKey,
    model::{Affinity, Steering},
};

/// Places flows by deciding and remembering. One for the whole edge.
#[derive(Debug)]
pub struct Balancer {
    memory: Mutex<Memory>,
    /// For load balancers that need none: nobody waits for another's decision there.
    blank: Memory,
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
        Self { memory: Mutex::new(Memory::new(max)), blank: Memory::new(0) }
    }

    /// Finds a place for one flow. The same asks with the same dice find the same places.
    ///
    /// # Errors
    /// [`NoPlace`] if every path that is left is tried, suspect, or too ill even for the fallback pool.
    pub fn place<'v>(&self, ask: &Ask<'v, '_>, dice: &mut impl Rng) -> Result<Placed<'v>, NoPlace> {
        if !needs_memory(ask) {
            return decide::decide(ask, &self.blank, dice).place;
        }
        let mut memory = self.lock();
        let Decision { place, effects } = decide::decide(ask, &memory, dice);
        memory.commit(ask.view, effects);
        place
    }

    /// Where a flow would be placed now. Nobody is bound by that, and nobody's turn is over.
    ///
    /// # Errors
    /// As [`Balancer::place`].
    pub fn explain<'v>(&self, ask: &Ask<'v, '_>, dice: &mut impl Rng) -> Result<Placed<'v>, NoPlace> {
        decide::decide(ask, &self.lock(), dice).place
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
        decide::near(ask, near, dice).map_or_else(|| self.place(ask, dice), Ok)
    }

    /// The place on an origin that the client is bound to by its own word, while that can take it.
    #[must_use]
    pub fn place_on<'v>(&self, ask: &Ask<'v, '_>, origin: OriginKey, dice: &mut impl Rng) -> Option<Placed<'v>> {
        decide::on(ask, origin, dice)
    }

    /// Sources bound to an origin now, among them some whose time is over and who have not been missed yet.
    #[must_use]
    pub fn bindings(&self) -> usize {
        self.lock().bindings.len()
    }

    /// Sources forgotten before their time because [`BINDINGS_MAX`] was reached.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.lock().bindings.evicted()
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("nothing panics while it holds the memory")
    }
}

fn needs_memory(ask: &Ask<'_, '_>) -> bool {
    let binds = match ask.balancer.balancer.session_affinity {
        Affinity::Source { .. } => true,
        Affinity::None | Affinity::Cookie { .. } => false,
    };
    binds || ask.balancer.all_pools(ask.view).any(|pool| pool.pool.steering == Steering::RoundRobin)
}

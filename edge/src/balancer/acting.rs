//! Decides, and remembers what was decided.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Instant,
};

use rand::Rng;

use super::{
    affinity::BINDINGS_MAX,
    budget::{Budget, Budgets},
    cookie::Sealer,
    decide::{Deciding, Decision},
    memory::Memory,
    place::{Ask, NoPlace, Placed},
    trace::{Nobody, Trace},
};
use crate::{
    health::view::HealthView,
    model::{Affinity, LoadBalancer, Steering},
};

/// Places flows by deciding and remembering. One for the whole edge.
#[derive(Debug)]
pub struct Balancer {
    memory: Mutex<Memory>,
    /// For load balancers that need none: nobody waits for another's decision there.
    blank: Memory,
    budgets: Budgets,
    /// Of flows that no load balancer of the catalog has placed.
    destined: OnceLock<Arc<Budget>>,
    sealer: Sealer,
}

impl Balancer {
    /// A balancer that remembers nothing yet, and this seals its cookies.
    #[must_use]
    pub fn new(sealer: Sealer) -> Self {
        Self::with_bindings(BINDINGS_MAX, sealer)
    }

    pub(super) fn with_bindings(max: usize, sealer: Sealer) -> Self {
        let (memory, blank, budgets) = (Mutex::new(Memory::new(max)), Memory::new(0), Budgets::default());
        Self { memory, blank, budgets, destined: OnceLock::new(), sealer }
    }

    /// Finds a place for one flow. The same asks with the same dice find the same places.
    ///
    /// # Errors
    /// [`NoPlace`] if every path that is left is tried, suspect, or too ill even for the fallback pool.
    pub fn place<'v>(&self, ask: &Ask<'v, '_>, dice: &mut impl Rng) -> Result<Placed<'v>, NoPlace> {
        if !needs_memory(ask) {
            return Deciding { ask, memory: &self.blank, dice, witness: &mut Nobody }.decide().place;
        }
        let mut memory = self.lock();
        let Decision { place, effects } = Deciding { ask, memory: &memory, dice, witness: &mut Nobody }.decide();
        memory.commit(ask.view, effects);
        place
    }

    /// Where a flow would be placed now, and what was weighed. Nobody is bound by that, and nobody's turn is over.
    pub fn explain<'v>(&self, ask: &Ask<'v, '_>, dice: &mut impl Rng) -> (Result<Placed<'v>, NoPlace>, Trace<'v>) {
        let mut trace = Trace::default();
        let place = Deciding { ask, memory: &self.lock(), dice, witness: &mut trace }.decide().place;
        (place, trace)
    }

    /// What pays for trying flows of a load balancer again.
    #[must_use]
    pub fn budget(&self, view: &HealthView, balancer: &LoadBalancer, now: Instant) -> Arc<Budget> {
        self.budgets.of(&balancer.name, &view.catalog.load_balancers, now)
    }

    /// What pays for trying flows again that go where they were for: one for all of them.
    #[must_use]
    pub fn budget_of_destinations(&self, now: Instant) -> Arc<Budget> {
        self.destined.get_or_init(|| Arc::new(Budget::new(now))).clone()
    }

    /// What seals and opens affinity cookies.
    #[must_use]
    pub fn sealer(&self) -> &Sealer {
        &self.sealer
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

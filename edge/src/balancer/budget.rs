//! How many flows of a load balancer may be sent a second time: a share of all, and a floor for quiet times.
//!
//! Every worker counts on the same numbers, without a lock: a budget that is full, as it is while nothing fails, is only
//! read.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use protocol::id::Name;

use super::retry::Again;
use crate::model::LoadBalancer;

/// A retry. What follows is counted in thousandths of it.
const RETRY: u64 = 1000;
/// What every flow pays in: a fifth.
const SHARE: u64 = 200;
/// What every millisecond pays in, whatever the traffic: three retries a second.
const FLOOR: u64 = 3;
/// Most that is saved up.
const SAVED_MAX: u64 = 100 * RETRY;
/// What a budget begins with: one second's floor.
const BEGIN: u64 = 1000 * FLOOR;

/// The retry budget of one load balancer.
#[derive(Debug)]
pub struct Budget {
    begun: Instant,
    saved: AtomicU64,
    /// Up to which millisecond the floor was paid in.
    paid: AtomicU64,
}

impl Budget {
    /// A budget with one second's floor in it.
    pub(super) fn new(now: Instant) -> Self {
        Self { begun: now, saved: AtomicU64::new(BEGIN), paid: AtomicU64::new(0) }
    }

    /// A flow has come, and pays its share in.
    pub fn pay_in(&self) {
        // Workers that pay in at the same moment may pass the bound by a share each; the next retry brings it back.
        if self.saved.load(Relaxed) < SAVED_MAX {
            self.saved.fetch_add(SHARE, Relaxed);
        }
    }

    /// Whether a flow may be tried once more on these terms; what that costs is taken out.
    pub fn allows(&self, again: Again, now: Instant) -> bool {
        match again {
            Again::No => false,
            Again::Free => true,
            Again::Paid => self.retry(now),
        }
    }

    /// Takes one retry out, if there is one.
    fn retry(&self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.begun).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        // Whoever moves the mark pays in for the time in between, nobody else.
        let floor = passed.saturating_sub(self.paid.fetch_max(passed, Relaxed)).saturating_mul(FLOOR);
        let paid_in = |saved: u64| Some(saved.saturating_add(floor).min(SAVED_MAX));
        let _ = self.saved.fetch_update(Relaxed, Relaxed, paid_in);
        self.saved.fetch_update(Relaxed, Relaxed, |saved| saved.checked_sub(RETRY)).is_ok()
    }
}

/// The budgets of all load balancers that had flows.
#[derive(Debug, Default)]
pub(super) struct Budgets(ArcSwap<HashMap<Name, Arc<Budget>>>);

impl Budgets {
    /// The budget of a load balancer. With a new one, those that are gone from the catalog are forgotten.
    pub(super) fn of(&self, name: &Name, catalog: &[Arc<LoadBalancer>], now: Instant) -> Arc<Budget> {
        if let Some(budget) = self.0.load().get(name) {
            return budget.clone();
        }
        let new = Arc::new(Budget::new(now));
        self.0.rcu(|all| {
            let known = |name: &Name| catalog.iter().any(|lb| lb.name == *name);
            let mut kept: HashMap<_, _> = all.iter().filter(|(name, _)| known(name)).map(own).collect();
            kept.entry(name.clone()).or_insert_with(|| new.clone());
            kept
        });
        self.0.load().get(name).cloned().unwrap_or(new)
    }
}

fn own((name, budget): (&Name, &Arc<Budget>)) -> (Name, Arc<Budget>) {
    (name.clone(), budget.clone())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Affinity, PoolSteering};

    #[test]
    fn retries_are_a_fifth_of_requests_beyond_the_floor() {
        let now = Instant::now();
        let budget = Budget::new(now);
        let granted = (0..1000).filter(|_| {
            budget.pay_in();
            budget.retry(now)
        });
        assert!((200..=203).contains(&granted.count()));
    }

    #[test]
    fn quiet_times_have_a_floor() {
        let now = Instant::now();
        let budget = Budget::new(now);
        assert_eq!((0..10).filter(|_| budget.retry(now)).count(), 3);
        assert_eq!((0..10).filter(|_| budget.retry(now + Duration::from_secs(2))).count(), 6);
        let later = now + Duration::from_secs(86_400);
        assert_eq!((0..1000).filter(|_| budget.retry(later)).count(), 100, "what is saved up has a bound");
    }

    #[test]
    fn the_floor_is_paid_in_once_however_many_workers_ask() {
        let now = Instant::now();
        let budget = Arc::new(Budget::new(now));
        let later = now + Duration::from_secs(10);
        let asking: Vec<_> = (0..4)
            .map(|_| {
                let budget = budget.clone();
                std::thread::spawn(move || (0..100).filter(|_| budget.retry(later)).count())
            })
            .collect();
        let granted: usize = asking.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        assert_eq!(granted, 33);
    }

    #[test]
    fn each_load_balancer_has_its_own_and_those_that_are_gone_are_forgotten() {
        let balancer = |name: &str| {
            let (name, steering, session_affinity) = (name.parse().expect("a name"), PoolSteering::Off, Affinity::None);
            Arc::new(LoadBalancer {
                name,
                pools: vec!["web".parse().expect("a name")],
                fallback_pool: None,
                steering,
                session_affinity,
                pool_weights: Vec::new(),
                drain: false,
            })
        };
        let (one, two, three) = (balancer("one"), balancer("two"), balancer("three"));
        let (budgets, now) = (Budgets::default(), Instant::now());
        let both = [one.clone(), two.clone()];
        let of_one = budgets.of(&one.name, &both, now);
        assert!(!Arc::ptr_eq(&of_one, &budgets.of(&two.name, &both, now)));
        assert!(Arc::ptr_eq(&of_one, &budgets.of(&one.name, &both, now)));
        let _ = budgets.of(&three.name, &[one.clone(), three.clone()], now);
        assert!(Arc::ptr_eq(&of_one, &budgets.of(&one.name, &both, now)), "a reload leaves it as it was");
        assert_eq!(budgets.0.load().len(), 2);
    }
}

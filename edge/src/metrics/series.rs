//! Families of metrics whose series go with what they are about.

use std::{
    collections::HashSet,
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::family::{Family, MetricConstructor},
};

/// A family that knows its label sets, which the library's own keeps to itself.
#[derive(Debug, Clone)]
pub(super) struct Series<L, M, C = fn() -> M> {
    family: Family<L, M, C>,
    known: Arc<Mutex<HashSet<L>>>,
}

impl<L, M: Default> Default for Series<L, M>
where
    L: Clone + Hash + Eq,
{
    fn default() -> Self {
        Self { family: Family::default(), known: Arc::default() }
    }
}

impl<L, M, C> Series<L, M, C>
where
    L: Clone + Debug + Hash + Eq + EncodeLabelSet,
    M: Clone,
    C: MetricConstructor<M> + Clone,
{
    /// One whose metrics are made like this.
    pub(super) fn made_by(constructor: C) -> Self {
        Self { family: Family::new_with_constructor(constructor), known: Arc::default() }
    }

    /// The metric of these labels.
    pub(super) fn of(&self, labels: L) -> M {
        if let Some(metric) = self.family.get(&labels) {
            return metric.clone();
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(labels.clone());
        self.family.get_or_create_owned(&labels)
    }

    /// Forgets the series that nobody needs any more.
    pub(super) fn retain(&self, needed: impl Fn(&L, &M) -> bool) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).retain(|labels| {
            let is_needed = self.family.get(labels).is_some_and(|metric| needed(labels, &metric));
            if !is_needed {
                self.family.remove(labels);
            }
            is_needed
        });
    }

    /// What the library encodes.
    pub(super) fn family(&self) -> Family<L, M, C> {
        self.family.clone()
    }
}

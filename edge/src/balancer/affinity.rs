//! Which source is bound to which origin: a bounded table, forgotten by disuse.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use lru::LruCache;

use crate::{
    health::BalancerKey,
    model::{Origin, Pool},
};

/// Most sources bound at once, all load balancers together (about 8 MiB). Beyond it the one longest without a flow is
/// forgotten, and counted: its next flow is placed anew.
pub const BINDINGS_MAX: usize = 65_536;

/// A source at a load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Source {
    pub(super) balancer: BalancerKey,
    pub(super) address: IpAddr,
}

/// Where a source is bound to: an origin by its name and its pool's, so that it is found again after a reload.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    pub(super) pool: Arc<Pool>,
    pub(super) origin: Arc<Origin>,
    /// Where in the pool it was; a hint.
    pub(super) index: usize,
}

/// How long a binding is to live, and the time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    pub(super) ttl: Duration,
    pub(super) now: Instant,
}

#[derive(Debug)]
struct Binding {
    bound: Bound,
    expires: Instant,
}

impl Life {
    fn end(self) -> Instant {
        self.now + self.ttl
    }
}

/// The table of bindings.
#[derive(Debug)]
pub(super) struct Bindings {
    table: LruCache<Source, Binding>,
    max: usize,
    evicted: u64,
}

impl Bindings {
    pub(super) fn new(max: usize) -> Self {
        // Unbounded as the crate sees it: a bounded one would take all its memory at once.
        Self { table: LruCache::unbounded(), max, evicted: 0 }
    }

    /// Where the source is bound, if its time is not over.
    pub(super) fn find(&self, source: &Source, now: Instant) -> Option<&Bound> {
        self.table.peek(source).filter(|binding| now < binding.expires).map(|binding| &binding.bound)
    }

    /// Lets the source's binding live anew.
    pub(super) fn renew(&mut self, source: &Source, life: Life) {
        if let Some(binding) = self.table.get_mut(source) {
            binding.expires = life.end();
        }
    }

    /// Binds the source, in place of any earlier binding.
    pub(super) fn bind(&mut self, source: Source, bound: Bound, life: Life) {
        self.table.put(source, Binding { bound, expires: life.end() });
        if self.table.len() > self.max {
            let oldest = self.table.pop_lru();
            if oldest.is_some_and(|(_, binding)| life.now < binding.expires) {
                self.evicted += 1;
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }
}

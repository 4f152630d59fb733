//! Which session a source belongs to: a bounded table, forgotten by disuse. Pure: callers bring the time.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    time::{Duration, Instant},
};

/// What the table keeps; it may be in use without the table's knowledge.
pub(super) trait InUse {
    /// When the other side last used it.
    fn last_used(&self) -> Instant;
}

#[derive(Debug)]
struct Entry<T> {
    used: Instant,
    /// Under which time it stands in the order: never later than it was really used.
    filed: Instant,
    value: T,
}

impl<T: InUse> Entry<T> {
    fn last_used(&self) -> Instant {
        self.used.max(self.value.last_used())
    }
}

/// Sessions by source. Looking one up costs one hash; the order is put right only where it is asked for.
#[derive(Debug)]
pub(super) struct Table<T> {
    entries: HashMap<SocketAddr, Entry<T>>,
    order: BTreeSet<(Instant, SocketAddr)>,
}

impl<T: InUse> Table<T> {
    pub(super) fn new() -> Self {
        Self { entries: HashMap::new(), order: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The source's session, which is used now.
    pub(super) fn touch(&mut self, source: &SocketAddr, now: Instant) -> Option<&T> {
        let entry = self.entries.get_mut(source)?;
        entry.used = entry.used.max(now);
        Some(&entry.value)
    }

    /// Adds a session that begins now; one that the source had is given back.
    pub(super) fn insert(&mut self, source: SocketAddr, value: T, now: Instant) -> Option<T> {
        let before = self.remove(&source);
        self.order.insert((now, source));
        self.entries.insert(source, Entry { used: now, filed: now, value });
        before
    }

    /// Takes the source's session out.
    pub(super) fn remove(&mut self, source: &SocketAddr) -> Option<T> {
        let entry = self.entries.remove(source)?;
        self.order.remove(&(entry.filed, *source));
        Some(entry.value)
    }

    /// The source's session, untouched.
    pub(super) fn peek(&self, source: &SocketAddr) -> Option<&T> {
        self.entries.get(source).map(|entry| &entry.value)
    }

    /// Takes out the session that has been idle longest, if that is for at least `idle`.
    pub(super) fn take_idle(&mut self, now: Instant, idle: Duration) -> Option<T> {
        while let Some((filed, source)) = self.order.first().copied() {
            // Filed times are never later than real ones, so nobody behind the first has been idle for longer.
            if now.saturating_duration_since(filed) < idle {
                return None;
            }
            let entry = self.entries.get_mut(&source).expect("what is in the order is in the table");
            let used = entry.last_used();
            if used == filed {
                return self.remove(&source);
            }
            self.order.remove(&(filed, source));
            entry.filed = used;
            self.order.insert((used, source));
        }
        None
    }
}

#[cfg(test)]
mod tests;

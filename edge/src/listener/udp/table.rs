//! Which session a client has: a bounded table, forgotten by disuse. Pure: callers bring the time.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
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

/// Sessions by client. Looking one up costs one hash; the order is put right only where it is asked for.
#[derive(Debug)]
pub(super) struct Table<K, T> {
    entries: HashMap<K, Entry<T>>,
    order: BTreeSet<(Instant, K)>,
}

impl<K: Copy + Ord + Hash, T: InUse> Table<K, T> {
    pub(super) fn new() -> Self {
        Self { entries: HashMap::new(), order: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The client's session, which is used now.
    pub(super) fn touch(&mut self, client: &K, now: Instant) -> Option<&T> {
        let entry = self.entries.get_mut(client)?;
        entry.used = entry.used.max(now);
        Some(&entry.value)
    }

    /// Adds a session that begins now; one that the client had is given back.
    pub(super) fn insert(&mut self, client: K, value: T, now: Instant) -> Option<T> {
        let before = self.remove(&client);
        self.order.insert((now, client));
        self.entries.insert(client, Entry { used: now, filed: now, value });
        before
    }

    /// Takes the client's session out.
    pub(super) fn remove(&mut self, client: &K) -> Option<T> {
        let entry = self.entries.remove(client)?;
        self.order.remove(&(entry.filed, *client));
        Some(entry.value)
    }

    /// The client's session, untouched.
    pub(super) fn peek(&self, client: &K) -> Option<&T> {
        self.entries.get(client).map(|entry| &entry.value)
    }

    /// Takes out the session that has been idle longest, if that is for at least `idle`.
    pub(super) fn take_idle(&mut self, now: Instant, idle: Duration) -> Option<T> {
        while let Some((filed, client)) = self.order.first().copied() {
            // Filed times are never later than real ones, so nobody behind the first has been idle for longer.
            if now.saturating_duration_since(filed) < idle {
                return None;
            }
            let entry = self.entries.get_mut(&client).expect("what is in the order is in the table");
            let used = entry.last_used();
            if used == filed {
                return self.remove(&client);
            }
            self.order.remove(&(filed, client));
            entry.filed = used;
            self.order.insert((used, client));
        }
        None
    }
}

#[cfg(test)]
mod tests;

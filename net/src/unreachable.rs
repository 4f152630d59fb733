//! What hosts say of ports that nobody listens on, for those who want to know of one.
//!
//! Pure but for its lock. Anybody can forge such a word, so it is counted here and proves nothing: whoever watches puts it
//! beside what else it knows. Words about addresses that nobody watches cost a look-up, and leave nothing behind.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

/// The words of one socket, or of several. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Unreachables(Arc<Mutex<HashMap<SocketAddr, Weak<AtomicU64>>>>);

/// One address that is watched, until this is dropped.
#[derive(Debug)]
pub struct Watch {
    all: Unreachables,
    address: SocketAddr,
    count: Arc<AtomicU64>,
}

impl Unreachables {
    /// Watches an address.
    #[must_use]
    pub fn watch(&self, address: SocketAddr) -> Watch {
        let address = canonical(address);
        let mut table = self.lock();
        let count = table.get(&address).and_then(Weak::upgrade).unwrap_or_else(|| {
            let count = Arc::default();
            table.insert(address, Arc::downgrade(&count));
            count
        });
        drop(table);
        Watch { all: self.clone(), address, count }
    }

    /// The host of this address has said that nobody listens there.
    pub fn note(&self, address: SocketAddr) {
        if let Some(count) = self.lock().get(&canonical(address)).and_then(Weak::upgrade) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Weak<AtomicU64>>> {
        // Nothing that panics runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// How often the host has said it while anybody watched.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Watches another address instead, if it is another: the peer may have moved.
    pub fn follow(&mut self, address: SocketAddr) {
        if canonical(address) != self.address {
            *self = self.all.watch(address);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut table = self.all.lock();
        // Others may watch it too; nobody begins to while the table is locked.
        if Arc::strong_count(&self.count) == 1 {
            table.remove(&self.address);
        }
    }
}

/// An address without the disguise of IPv4 in IPv6, and without what only says where it was heard.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn words_reach_whoever_watches_that_address_however_it_is_spelt() {
        let all = Unreachables::default();
        let (v4, other) = (all.watch(at("[::ffff:192.0.2.1]:7843")), all.watch(at("192.0.2.1:7844")));
        all.note(at("192.0.2.1:7843"));
        let late = all.watch(at("192.0.2.1:7843"));
        all.note(at("192.0.2.1:7843"));
        assert_eq!((v4.count(), late.count(), other.count()), (2, 2, 0));
    }

    #[test]
    fn words_that_nobody_waits_for_leave_nothing_behind() {
        let all = Unreachables::default();
        (0..1000).for_each(|port| all.note(SocketAddr::from(([192, 0, 2, 1], port))));
        let (first, second) = (all.watch(at("192.0.2.1:1")), all.watch(at("192.0.2.1:1")));
        drop(first);
        all.note(at("192.0.2.1:1"));
        assert_eq!(second.count(), 1, "the other still watches");
        let mut moved = second;
        moved.follow(at("192.0.2.1:2"));
        assert_eq!(all.lock().keys().collect::<Vec<_>>(), [&at("192.0.2.1:2")]);
        drop(moved);
        assert!(all.lock().is_empty());
    }
}

//! What is in force: one snapshot, immutable, numbered, replaced whole.

mod kept;
mod plan;
mod reloads;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

pub use kept::{KeptDrains, KeptError};
pub use plan::{Fate, Kind, Plan, Step};
use protocol::id::Name;
pub use reloads::{Outcome, Reloads, Wish};
use tokio::sync::{Mutex, MutexGuard, watch};

use crate::{
    model::{Catalog, Drains, Grant},
    tls::{ClientTlsTable, ServerTls, TlsError},
};

/// Settings, and all that was read for them. Nothing of it can be wrong or missing any more.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The settings.
    pub catalog: Arc<Catalog>,
    /// What takes nothing new.
    pub drains: Arc<Drains>,
    /// How TLS is spoken with origins.
    pub origin_tls: ClientTlsTable,
    /// What clients of listeners that speak TLS are shown, by the listener's name.
    pub listener_tls: BTreeMap<Name, Arc<ServerTls>>,
}

impl Snapshot {
    /// What there is to do from here to a catalog. To the snapshot that a start begins from, everything is new.
    #[must_use]
    pub fn plan(&self, next: &Catalog) -> Plan {
        match self.catalog.version {
            0 => Plan::between(&Catalog::default(), next),
            _ => Plan::between(&self.catalog, next),
        }
    }

    /// The next snapshot: reads every file that the catalog names. What has not changed in them is shared with the one before.
    /// This blocks.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn read(mut catalog: Catalog, before: &Self) -> Result<Self, TlsError> {
        catalog.version = before.catalog.version + 1;
        let origin_tls = before.origin_tls.read(&catalog)?;
        let mut listener_tls = BTreeMap::new();
        for listener in &catalog.listeners {
            let loaded = ServerTls::load(&listener.tls);
            let loaded = loaded.map_err(|source| TlsError::Listener { listener: listener.name.clone(), source })?;
            listener_tls.extend(loaded.map(|tls| (listener.name.clone(), tls)));
        }
        let drains = before.drains.under(&catalog, (SystemTime::now(), Instant::now()));
        Ok(Self { catalog: Arc::new(catalog), drains: Arc::new(drains), origin_tls, listener_tls })
    }

    /// The same settings under other drains.
    #[must_use]
    pub fn draining(&self, drains: Drains) -> Self {
        Self { drains: Arc::new(drains), ..self.clone() }
    }

    /// The files that are read again with the settings only. Those of listeners are looked at on their own.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.origin_tls.files()
    }
}

/// Owner of the snapshot. Every start begins from one of version 0, so that starting is a reload.
#[derive(Debug)]
pub struct Store {
    snapshot: watch::Sender<Arc<Snapshot>>,
    changing: Mutex<()>,
    /// Changes that were asked for and are in no settings: drains and revocations.
    by_hand: AtomicU64,
}

impl Store {
    /// The empty snapshot, version 0.
    #[must_use]
    pub fn new() -> Self {
        Self { snapshot: watch::Sender::default(), changing: Mutex::default(), by_hand: AtomicU64::new(0) }
    }

    /// The same, but for who may connect, and what is drained by hand: that needs nothing that could fail.
    #[must_use]
    pub fn granting(grants: Vec<Grant>, drains: Drains) -> Self {
        let (catalog, drains) = (Arc::new(Catalog { grants, ..Catalog::default() }), Arc::new(drains));
        let snapshot = watch::Sender::new(Arc::new(Snapshot { catalog, drains, ..Snapshot::default() }));
        Self { snapshot, changing: Mutex::default(), by_hand: AtomicU64::new(0) }
    }

    /// Held by whoever makes the next snapshot, from its look at the one in force until it is committed: a change that comes
    /// while another is applied waits for it.
    pub async fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Held by whoever makes a change that no settings have, as by [`Store::change`].
    pub async fn change_by_hand(&self) -> MutexGuard<'_, ()> {
        let held = self.changing.lock().await;
        self.by_hand.fetch_add(1, Ordering::Relaxed);
        held
    }

    /// How many such changes were begun.
    #[must_use]
    pub fn by_hand(&self) -> u64 {
        self.by_hand.load(Ordering::Relaxed)
    }

    /// The snapshot in force.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// The snapshot in force, and word of every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.subscribe()
    }

    /// Puts a snapshot in force.
    pub fn commit(&self, snapshot: Arc<Snapshot>) {
        self.snapshot.send_replace(snapshot);
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_from_the_empty_catalog() {
        let store = Store::new();
        let seen = store.subscribe();
        assert_eq!(store.current().catalog.version, 0);
        for version in 1..=2 {
            let next = Snapshot::read(Catalog::default(), &store.current()).expect("it names no file");
            assert_eq!(next.catalog.version, version);
            assert_eq!(seen.borrow().catalog.version, version - 1, "nothing is in force before it is whole");
            store.commit(Arc::new(next));
            assert_eq!(seen.borrow().catalog.version, version);
        }
    }
}

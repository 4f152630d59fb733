//! What is in force: one snapshot, immutable, numbered, replaced whole.

mod plan;
mod reloads;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

pub use plan::{Fate, Kind, Plan, Step};
use protocol::id::Name;
pub use reloads::{Outcome, Reloads, Wish};
use tokio::sync::watch;

use crate::{
    model::{Catalog, Grant},
    tls::{ClientTlsTable, ServerTls, TlsError},
};

/// Settings, and all that was read for them. Nothing of it can be wrong or missing any more.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The settings.
    pub catalog: Arc<Catalog>,
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
            let loaded = ServerTls::load(&listener.http.certificates);
            let loaded = loaded.map_err(|source| TlsError::Listener { listener: listener.name.clone(), source })?;
            listener_tls.extend(loaded.map(|tls| (listener.name.clone(), tls)));
        }
        Ok(Self { catalog: Arc::new(catalog), origin_tls, listener_tls })
    }

    /// The files that are read again with the settings only. Those of listeners are looked at on their own.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.origin_tls.files()
    }
}

/// Owner of the snapshot. Every start begins from one of version 0, so that starting is a reload.
#[derive(Debug)]
pub struct Store(watch::Sender<Arc<Snapshot>>);

impl Store {
    /// The empty snapshot, version 0.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::default())
    }

    /// The same, but for who may connect: that needs nothing that could fail.
    #[must_use]
    pub fn granting(grants: Vec<Grant>) -> Self {
        let catalog = Arc::new(Catalog { grants, ..Catalog::default() });
        Self(watch::Sender::new(Arc::new(Snapshot { catalog, ..Snapshot::default() })))
    }

    /// The snapshot in force.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.0.borrow().clone()
    }

    /// The snapshot in force, and word of every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.subscribe()
    }

    /// Puts a snapshot in force.
    pub fn commit(&self, snapshot: Arc<Snapshot>) {
        self.0.send_replace(snapshot);
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

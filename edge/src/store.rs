//! The current catalog: immutable, numbered, replaced whole.

mod changes;

use std::sync::Arc;

pub use changes::{Changes, Things};
use tokio::sync::watch;

use crate::model::Catalog;

/// Owner of the catalog. Every start begins from the empty one, so that starting is a reload.
#[derive(Debug)]
pub struct Store(watch::Sender<Arc<Catalog>>);

impl Store {
    /// The empty catalog, version 0.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::default())
    }

    /// The catalog in force.
    #[must_use]
    pub fn current(&self) -> Arc<Catalog> {
        self.0.borrow().clone()
    }

    /// The catalog in force, and word of every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Catalog>> {
        self.0.subscribe()
    }

    /// Puts a catalog in force under the next number; gives it back with that number, and says what is new.
    pub fn apply(&self, mut catalog: Catalog) -> (Arc<Catalog>, Changes) {
        let before = self.current();
        catalog.version = before.version + 1;
        let changes = Changes::between(&before, &catalog);
        let catalog = Arc::new(catalog);
        self.0.send_replace(catalog.clone());
        (catalog, changes)
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
        assert_eq!(store.current().version, 0);
        assert_eq!(store.apply(Catalog::default()).0.version, 1);
        assert_eq!(store.apply(Catalog::default()).0.version, 2);
        assert_eq!(seen.borrow().version, 2);
    }
}

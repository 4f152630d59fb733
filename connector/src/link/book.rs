//! Where edges were reached last, by name, kept in `state_dir`: so that a name server that is down keeps no connector away.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use certs::identity::ConnectorState;
use net::Resolver;
use tracing::warn;

/// The addresses of edges. Shared by all links.
#[derive(Debug)]
pub struct AddressBook {
    state: Arc<ConnectorState>,
    known: Mutex<BTreeMap<String, Vec<IpAddr>>>,
}

impl AddressBook {
    /// The book in this `state_dir`, whose addresses are the last that the resolver knows. One that cannot be read is begun
    /// anew: it is a convenience.
    #[must_use]
    pub fn open(state: Arc<ConnectorState>, resolver: &Resolver) -> Self {
        let known = state.edge_addresses().unwrap_or_else(|error| {
            warn!(%error, "where edges were reached last is not known");
            BTreeMap::new()
        });
        known.iter().for_each(|(name, addresses)| resolver.remember(name, addresses.clone()));
        Self { state, known: Mutex::new(known) }
    }

    /// Where an edge was reached last.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<Vec<IpAddr>> {
        self.known().get(name).cloned()
    }

    /// Notes that an edge was reached under these addresses.
    pub fn keep(&self, name: &str, addresses: &[IpAddr]) {
        let book = {
            let mut known = self.known();
            if known.get(name).is_some_and(|kept| kept == addresses) {
                return;
            }
            known.insert(name.to_owned(), addresses.to_vec());
            known.clone()
        };
        let state = self.state.clone();
        // Nobody waits for it: what is not written this time is the next, and holds meanwhile.
        drop(tokio::task::spawn_blocking(move || {
            if let Err(error) = state.keep_edge_addresses(&book) {
                warn!(%error, "where edges were reached last cannot be kept");
            }
        }));
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Vec<IpAddr>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

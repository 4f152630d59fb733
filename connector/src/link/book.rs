//! Where edges were reached last, by name, kept in `state_dir`: so that a name server that is down keeps no connector away.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use certs::identity::ConnectorState;
use net::Resolver;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::warn;

/// The addresses of edges. Shared by all links.
#[derive(Debug)]
pub struct AddressBook(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Arc<ConnectorState>,
    known: Mutex<BTreeMap<String, Vec<IpAddr>>>,
    /// The file lacks something of that.
    is_behind: AtomicBool,
    /// Held by whoever writes.
    turn: Mutex<()>,
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
        let (is_behind, turn) = Default::default();
        Self(Arc::new(Inner { state, known: Mutex::new(known), is_behind, turn }))
    }

    /// Where an edge was reached last.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<Vec<IpAddr>> {
        lock(&self.0.known).get(name).cloned()
    }

    /// Notes that an edge was reached under these addresses.
    pub fn keep(&self, name: &str, addresses: &[IpAddr]) {
        // Nobody waits for it: what is not written this time is the next, and holds meanwhile.
        drop(self.note(name, addresses));
    }

    fn note(&self, name: &str, addresses: &[IpAddr]) -> Option<JoinHandle<()>> {
        let before = lock(&self.0.known).insert(name.to_owned(), addresses.to_vec());
        let is_new = before.is_none_or(|before| before != addresses);
        let was_behind = self.0.is_behind.fetch_or(is_new, Ordering::SeqCst);
        if !was_behind && !is_new {
            return None;
        }
        let inner = self.0.clone();
        Some(spawn_blocking(move || inner.write()))
    }
}

impl Inner {
    /// Writes what is known by now, which may be more than what this was begun for: of several at once the last must not write
    /// less than the others.
    fn write(&self) {
        let _turn = lock(&self.turn);
        self.is_behind.store(false, Ordering::SeqCst);
        let known = lock(&self.known).clone();
        if let Err(error) = self.state.keep_edge_addresses(&known) {
            self.is_behind.store(true, Ordering::SeqCst);
            warn!(%error, "where edges were reached last cannot be kept");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is held is whole between any two steps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const EDGES: u8 = 16;

    fn open(dir: &Path) -> AddressBook {
        let state = ConnectorState::open(dir).expect("a directory of its own");
        AddressBook::open(Arc::new(state), &Resolver::system())
    }

    fn edge(number: u8) -> (String, [IpAddr; 1]) {
        (format!("edge-{number}.test"), [IpAddr::from([192, 0, 2, number])])
    }

    #[tokio::test]
    async fn edges_that_are_reached_at_once_are_all_in_the_book_afterwards() {
        for _ in 0..20 {
            let dir = tempfile::tempdir().expect("a directory");
            let book = open(dir.path());
            let writing: Vec<_> = (0..EDGES).map(edge).filter_map(|(name, at)| book.note(&name, &at)).collect();
            for written in writing {
                written.await.expect("writing does not panic");
            }
            drop(book);
            let book = open(dir.path());
            let missing = (0..EDGES).map(edge).find(|(name, at)| book.of(name).as_deref() != Some(at));
            assert_eq!(missing, None);
        }
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_written_the_next_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let (state, away) = (dir.path().join("state"), dir.path().join("away"));
        let book = open(&state);
        let (name, at) = edge(1);
        std::fs::rename(&state, &away).expect("a directory can be moved");
        book.note(&name, &at).expect("it is new").await.expect("writing does not panic");
        std::fs::rename(&away, &state).expect("and back");
        book.note(&name, &at).expect("it was not written").await.expect("writing does not panic");
        assert!(book.note(&name, &at).is_none(), "it was");
        drop(book);
        assert_eq!(open(&state).of(&name).as_deref(), Some(&at[..]));
    }
}

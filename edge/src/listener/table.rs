//! The listeners that are open, kept in step with the catalog.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use net::Listener as Bound;
use protocol::id::Name;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

use super::{Shared, accept};
use crate::model::{Catalog, Listener};

/// A listener that is open.
#[derive(Debug)]
pub struct ListenerState {
    /// As configured.
    pub listener: Arc<Listener>,
    /// The address really bound.
    pub address: SocketAddr,
    /// Flows open now.
    pub flows: Arc<AtomicUsize>,
    closed: CancellationToken,
}

impl ListenerState {
    /// Flows open now.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.flows.load(Ordering::Relaxed)
    }
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("listener {name}: {source}")]
pub struct ListenersError {
    name: Name,
    source: io::Error,
}

/// All open listeners.
#[derive(Debug)]
pub struct Listeners {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    open: Mutex<BTreeMap<Name, Arc<ListenerState>>>,
}

impl Listeners {
    /// None yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, tasks: TaskTracker::new(), open: Mutex::default() }
    }

    /// Opens what the catalog adds and closes what it drops. All or nothing: if one address cannot be had, those open before
    /// stay as they were. Flows of a closed listener go on.
    ///
    /// # Errors
    /// [`ListenersError`] of the first that cannot be opened.
    pub fn apply(&self, catalog: &Catalog) -> Result<(), ListenersError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = BTreeMap::new();
        let mut bound = Vec::new();
        for listener in &catalog.listeners {
            let name = listener.name.clone();
            match open.values().find(|state| state.listener.listen == listener.listen && state.listener.name == name) {
                Some(same) if same.listener == *listener => {
                    next.insert(name, same.clone());
                }
                kept => bound.push((listener, kept.cloned())),
            }
        }
        // An address that only changes its settings is bound anew; SO_REUSEADDR lets nobody else in between, since the
        // old one is closed first and the error, if any, is ours to tell.
        for (listener, old) in bound {
            if let Some(old) = &old {
                old.closed.cancel();
            }
            let socket = self.bind(listener)?;
            let state = self.start(listener, socket, old.map(|o| o.flows.clone()))?;
            next.insert(listener.name.clone(), state);
        }
        for (name, state) in open.iter() {
            if !next.get(name).is_some_and(|kept| Arc::ptr_eq(kept, state)) {
                state.closed.cancel();
            }
        }
        *open = next;
        Ok(())
    }

    fn bind(&self, listener: &Listener) -> Result<Box<dyn Bound>, ListenersError> {
        let _on_worker = self.shared.workers.handle(0).enter();
        self.shared
            .network
            .listen(listener.listen)
            .map_err(|source| ListenersError { name: listener.name.clone(), source })
    }

    fn start(
        &self,
        listener: &Arc<Listener>,
        socket: Box<dyn Bound>,
        flows: Option<Arc<AtomicUsize>>,
    ) -> Result<Arc<ListenerState>, ListenersError> {
        let address = socket.local_addr().map_err(|source| ListenersError { name: listener.name.clone(), source })?;
        let state = Arc::new(ListenerState {
            listener: listener.clone(),
            address,
            flows: flows.unwrap_or_default(),
            closed: CancellationToken::new(),
        });
        info!(listener = %listener.name, %address, "listening");
        let accepting = accept::accept(self.shared.clone(), state.clone(), socket, self.tasks.clone());
        self.tasks.spawn_on(accepting, self.shared.workers.handle(0));
        Ok(state)
    }

    /// Every open listener.
    #[must_use]
    pub fn states(&self) -> Vec<Arc<ListenerState>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Accepts nothing more; flows go on.
    pub fn close(&self) {
        for state in self.states() {
            state.closed.cancel();
        }
        self.tasks.close();
    }

    /// Waits until every flow has ended. Call after [`Listeners::close`].
    pub async fn ended(&self) {
        self.tasks.wait().await;
    }
}

impl ListenerState {
    /// Completes when the listener is to accept nothing more.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

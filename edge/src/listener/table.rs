//! The listeners that are open, kept in step with the catalog.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use net::{Front, drill};
use protocol::id::Name;
use tokio::time;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::{Shared, accept, http::Tls, udp};
use crate::model::{Catalog, ListenProtocol, Listener};

/// How often certificate files are looked at.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(2);
/// How long a dropped listener may take to let go of its address before a reload goes on without waiting.
const RELEASE_WAIT: Duration = Duration::from_secs(2);

/// A listener that is open.
#[derive(Debug)]
pub struct ListenerState {
    settings: ArcSwap<Listener>,
    /// The address really bound.
    pub address: SocketAddr,
    /// Flows open now.
    pub flows: Arc<AtomicUsize>,
    tls: ArcSwapOption<Tls>,
    closed: CancellationToken,
    dropped: CancellationToken,
    released: CancellationToken,
}

impl ListenerState {
    /// As configured now.
    #[must_use]
    pub fn listener(&self) -> Arc<Listener> {
        self.settings.load_full()
    }

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

/// What a listener accepts on.
enum Socket {
    Tcp(Box<dyn net::Listener>),
    Udp(Front),
}

/// All open listeners.
#[derive(Debug)]
pub struct Listeners {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    open: Mutex<Vec<Arc<ListenerState>>>,
}

impl Listeners {
    /// None yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, tasks: TaskTracker::new(), open: Mutex::default() }
    }

    /// Opens what the catalog adds, closes what it drops, and lets go on what keeps its address, under its new settings. All or
    /// nothing: if one address cannot be had, everything stays as it was. Connections of a listener that is dropped go on;
    /// its address is free when this returns, so a dropped UDP listener, whose sessions live by it, ends them.
    ///
    /// # Errors
    /// [`ListenersError`] of the first that cannot be opened.
    pub async fn apply(&self, catalog: &Catalog) -> Result<(), ListenersError> {
        for dropped in self.replace(catalog)? {
            if time::timeout(RELEASE_WAIT, dropped.released.cancelled()).await.is_err() {
                warn!(listener = %dropped.listener().name, address = %dropped.address, "its address is not free yet");
            }
        }
        Ok(())
    }

    /// Does what [`Listeners::apply`] does, but for waiting for what is dropped.
    fn replace(&self, catalog: &Catalog) -> Result<Vec<Arc<ListenerState>>, ListenersError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest: Vec<_> = open.iter().cloned().collect();
        let mut kept = Vec::new();
        let mut fresh = Vec::new();
        let mut certificates = self.certificates(catalog)?;
        for listener in &catalog.listeners {
            // A socket is kept by its address; of several that let the system choose one, by name.
            let same = |state: &Arc<ListenerState>| {
                let old = state.listener();
                let is_udp = |l: &Listener| l.protocol == ListenProtocol::Udp;
                is_udp(&old) == is_udp(listener)
                    && old.listen == listener.listen
                    && (old.listen.port() != 0 || old.name == listener.name)
            };
            match rest.iter().position(same) {
                Some(at) => kept.push((rest.swap_remove(at), listener)),
                None => fresh.push((self.bind(listener)?, listener)),
            }
        }
        drill::point("listeners");
        // From here on nothing can fail.
        for dropped in &rest {
            info!(listener = %dropped.listener().name, address = %dropped.address, "listener closed");
            dropped.dropped.cancel();
            dropped.closed.cancel();
        }
        *open = Vec::new();
        for (state, listener) in kept {
            state.settings.store(listener.clone());
            state.tls.store(certificates.remove(&listener.name));
            open.push(state);
        }
        for ((socket, address), listener) in fresh {
            open.push(self.start(listener, socket, address, certificates.remove(&listener.name)));
        }
        Ok(rest)
    }

    /// The certificates of every listener that has some, read anew.
    fn certificates(&self, catalog: &Catalog) -> Result<BTreeMap<Name, Arc<Tls>>, ListenersError> {
        let mut all = BTreeMap::new();
        for listener in &catalog.listeners {
            let loaded = Tls::load(&listener.http.certificates);
            let loaded = loaded.map_err(|source| ListenersError { name: listener.name.clone(), source })?;
            all.extend(loaded.map(|tls| (listener.name.clone(), tls)));
        }
        Ok(all)
    }

    /// Reads certificates again whose files have changed, now and then, for as long as anybody holds this.
    pub async fn watch_certificates(this: Weak<Self>) {
        let mut ticks = time::interval(CERTIFICATES_EVERY);
        loop {
            ticks.tick().await;
            let Some(this) = this.upgrade() else { return };
            let all: Vec<Arc<Tls>> = this.states().iter().filter_map(|state| state.tls()).collect();
            // Files are read where that holds nobody up; a failure there is told there.
            let _ = tokio::task::spawn_blocking(move || all.iter().for_each(|tls| tls.refresh())).await;
        }
    }

    fn bind(&self, listener: &Listener) -> Result<(Socket, SocketAddr), ListenersError> {
        let _on_worker = self.shared.workers.handle(0).enter();
        let network = &self.shared.network;
        let bound = match listener.protocol {
            ListenProtocol::Tcp | ListenProtocol::Http | ListenProtocol::Https => {
                network.listen(listener.listen).and_then(|socket| {
                    let address = socket.local_addr()?;
                    Ok((Socket::Tcp(socket), address))
                })
            }
            ListenProtocol::Udp => network.bind_udp(listener.listen).and_then(|socket| {
                let address = socket.local_addr()?;
                Ok((Socket::Udp(socket), address))
            }),
        };
        bound.map_err(|source| ListenersError { name: listener.name.clone(), source })
    }

    fn start(
        &self,
        listener: &Arc<Listener>,
        socket: Socket,
        address: SocketAddr,
        tls: Option<Arc<Tls>>,
    ) -> Arc<ListenerState> {
        let state = Arc::new(ListenerState {
            settings: ArcSwap::new(listener.clone()),
            address,
            flows: Arc::default(),
            tls: ArcSwapOption::new(tls),
            closed: CancellationToken::new(),
            dropped: CancellationToken::new(),
            released: CancellationToken::new(),
        });
        let open = Arc::new(state.released.clone().drop_guard());
        info!(listener = %listener.name, %address, "listening");
        let (shared, tasks, worker) = (self.shared.clone(), self.tasks.clone(), self.shared.workers.handle(0));
        match socket {
            Socket::Tcp(socket) => {
                let (state, socket) = (state.clone(), Arc::<dyn net::Listener>::from(socket));
                let accept = move || accept::accept(shared.clone(), state.clone(), socket.clone(), tasks.clone());
                let accepting = self.shared.vital.clone().keep("a listener", accept);
                self.tasks.spawn_on(
                    async move {
                        accepting.await;
                        drop(open);
                    },
                    worker,
                );
            }
            Socket::Udp(front) => {
                let state = state.clone();
                let receive =
                    move || udp::receive(shared.clone(), state.clone(), (front.clone(), open.clone()), tasks.clone());
                self.tasks.spawn_on(self.shared.vital.clone().keep("a listener", receive), worker);
            }
        }
        state
    }

    /// Every open listener.
    #[must_use]
    pub fn states(&self) -> Vec<Arc<ListenerState>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
    /// Its certificates; absent: no TLS.
    pub(super) fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.load_full()
    }

    /// Completes when the catalog has dropped the listener: its address must be free.
    pub(super) async fn dropped(&self) {
        self.dropped.cancelled().await;
    }

    /// Completes when the listener is to accept nothing more.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

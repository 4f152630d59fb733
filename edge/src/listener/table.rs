//! The listeners that are open, kept in step with the catalog.

mod asked;

pub use asked::Untraced;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use net::{Front, drill};
use protocol::id::Name;
use tokio::{
    sync::{Notify, Semaphore},
    time,
};
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::{
    accept,
    flows::Left,
    http::Http,
    shared::Shared,
    state::{ListenerState, Serving},
    udp,
};
use crate::{
    model::{ListenProtocol, Listener, Subject},
    store::Snapshot,
};

/// How long dropped listeners may take to let go of an address that a new one is to have.
const RELEASE_WAIT: Duration = Duration::from_secs(2);

/// Flows that are traced at once; each may wait for an origin.
const TRACES_MAX: usize = 4;

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("listener {name}: {source}")]
pub struct ListenersError {
    name: Name,
    source: io::Error,
}

/// What a listener accepts on.
#[derive(Debug)]
enum Socket {
    Tcp(Box<dyn net::Listener>),
    Udp(Front),
}

type Bound = (Socket, SocketAddr);

/// What a reload is about to do, and has all it needs for.
#[derive(Debug)]
pub struct Prepared<'a> {
    snapshot: &'a Snapshot,
    kept: Vec<(Arc<ListenerState>, &'a Arc<Listener>)>,
    fresh: Vec<(Bound, &'a Arc<Listener>)>,
    /// Drained, with the states that they have had so far.
    drained: Vec<(Option<Arc<ListenerState>>, &'a Arc<Listener>)>,
    /// Cannot be bound before some of the rest are closed.
    blocked: Vec<&'a Arc<Listener>>,
    /// To be dropped.
    rest: Vec<Arc<ListenerState>>,
    /// Dropped before, with addresses that are not free yet.
    leaving: Vec<Arc<ListenerState>>,
}

/// A socket is kept by its address; of several that let the system choose one, by name.
fn is_same(old: &Listener, new: &Listener) -> bool {
    is_udp(old) == is_udp(new) && old.listen == new.listen && (old.listen.port() != 0 || old.name == new.name)
}

/// What is drained is known again by its name: it has no socket.
fn is_again(old: &Listener, new: &Listener) -> bool {
    is_udp(old) == is_udp(new) && old.name == new.name
}

fn is_drained(snapshot: &Snapshot, listener: &Listener) -> bool {
    snapshot.drains.has(&Subject::Listener(listener.name.clone()))
}

/// Waits, not for long, until listeners that were dropped have let go of their addresses.
async fn released(dropped: &[Arc<ListenerState>]) {
    let until = time::Instant::now() + RELEASE_WAIT;
    for dropped in dropped {
        if time::timeout_at(until, dropped.released()).await.is_err() {
            warn!(listener = %dropped.listener().name, address = %dropped.address, "its address is not free yet");
        }
    }
}

/// Whether one cannot be bound while the other is open: the same port, at one address or at all.
fn is_in_the_way(old: &Listener, new: &Listener) -> bool {
    let (here, there) = (old.listen.ip().to_canonical(), new.listen.ip().to_canonical());
    let overlap = here == there || here.is_unspecified() || there.is_unspecified();
    is_udp(old) == is_udp(new) && old.listen.port() == new.listen.port() && overlap
}

fn is_udp(listener: &Listener) -> bool {
    listener.protocol == ListenProtocol::Udp
}

/// All open listeners.
#[derive(Debug)]
pub struct Listeners {
    shared: Arc<Shared>,
    http: Arc<Http>,
    tasks: TaskTracker,
    traces: Semaphore,
    table: Mutex<Table>,
    /// Told when others are open.
    pub(super) committed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Table {
    open: Vec<Arc<ListenerState>>,
    /// Drained, so without a socket; their connections go on.
    drained: Vec<Arc<ListenerState>>,
    /// Dropped, and not known to have let go of their addresses.
    leaving: Vec<Arc<ListenerState>>,
}

impl Listeners {
    /// None yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>, http: Arc<Http>) -> Self {
        let (tasks, traces) = (TaskTracker::new(), Semaphore::new(TRACES_MAX));
        Self { shared, http, tasks, traces, table: Mutex::default(), committed: Arc::default() }
    }

    /// Binds what a snapshot adds. All or nothing: if one address cannot be had, everything stays as it was.
    ///
    /// # Errors
    /// [`ListenersError`] of the first that cannot be opened.
    pub async fn prepare<'a>(&self, snapshot: &'a Snapshot) -> Result<Prepared<'a>, ListenersError> {
        let mut plan = self.plan(snapshot)?;
        self.make_way(&mut plan).await?;
        Ok(plan)
    }

    /// Finds out what stays and binds what is new; what is in the way of nothing is not touched.
    fn plan<'a>(&self, snapshot: &'a Snapshot) -> Result<Prepared<'a>, ListenersError> {
        let (kept, fresh, drained, blocked) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (rest, mut leaving, without) = {
            let table = self.lock();
            (table.open.clone(), table.leaving.clone(), table.drained.clone())
        };
        leaving.extend(without.iter().cloned());
        let mut plan = Prepared { snapshot, kept, fresh, drained, blocked, rest, leaving };
        let mut errors = Vec::new();
        let has_socket = |listener: &&Arc<Listener>| is_udp(listener) || !is_drained(snapshot, listener);
        for listener in snapshot.catalog.listeners.iter().filter(has_socket) {
            match plan.rest.iter().position(|state| is_same(&state.listener(), listener)) {
                Some(at) => plan.kept.push((plan.rest.swap_remove(at), listener)),
                None => match self.bind(listener) {
                    Ok(bound) => plan.fresh.push((bound, listener)),
                    Err(error) if error.source.kind() == io::ErrorKind::AddrInUse => errors.push((listener, error)),
                    Err(error) => return Err(error),
                },
            }
        }
        for (listener, error) in errors {
            if !plan.rest.iter().chain(&plan.leaving).any(|old| is_in_the_way(&old.listener(), listener)) {
                return Err(error);
            }
            plan.blocked.push(listener);
        }
        for listener in snapshot.catalog.listeners.iter().filter(|listener| !has_socket(listener)) {
            let is_it = |state: &Arc<ListenerState>| is_again(&state.listener(), listener);
            let open = plan.rest.iter().position(is_it).map(|at| plan.rest.swap_remove(at));
            plan.drained.push((open.or_else(|| without.iter().find(|state| is_it(state)).cloned()), listener));
        }
        Ok(plan)
    }

    /// Binds what only a listener that is dropped is in the way of, once that has let go. If that is not enough, it is opened
    /// again. Nobody waits for an address that nobody wants.
    async fn make_way(&self, plan: &mut Prepared<'_>) -> Result<(), ListenersError> {
        let blocks = |old: &&Arc<ListenerState>| plan.blocked.iter().any(|new| is_in_the_way(&old.listener(), new));
        let closed: Vec<_> = plan.rest.iter().filter(blocks).cloned().collect();
        closed.iter().for_each(|old| old.drop_it());
        let leaving = plan.leaving.iter().filter(blocks).cloned();
        released(&closed.iter().cloned().chain(leaving).collect::<Vec<_>>()).await;
        for listener in std::mem::take(&mut plan.blocked) {
            match self.bind(listener) {
                Ok(bound) => plan.fresh.push((bound, listener)),
                Err(error) => {
                    plan.fresh.clear();
                    self.reopen(&closed);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn reopen(&self, closed: &[Arc<ListenerState>]) {
        for old in closed {
            let listener = old.listener();
            match self.bind(&listener) {
                Ok((socket, address)) => {
                    let again = self.start(ListenerState::new(old.serving(), address, old.flows.clone()), socket);
                    let Table { open, leaving, .. } = &mut *self.lock();
                    open.retain(|state| !Arc::ptr_eq(state, old));
                    open.push(again);
                    leaving.push(old.clone());
                }
                Err(error) => error!(%error, "it was closed for a reload that failed, and cannot be opened again"),
            }
        }
    }

    /// Opens what a plan adds, closes what it drops, and lets go on what keeps its address, under its new settings. Nothing here
    /// can fail. Connections of a listener that is dropped go on; a dropped UDP listener, whose sessions live by its socket,
    /// ends them.
    pub fn commit(&self, plan: Prepared<'_>) {
        drill::point("listeners");
        for dropped in &plan.rest {
            info!(listener = %dropped.listener().name, address = %dropped.address, "listener closed");
            dropped.drop_it();
        }
        let mut next = Vec::new();
        for (state, listener) in plan.kept {
            state.serve(Serving::of(listener, plan.snapshot));
            state.set_drained(is_drained(plan.snapshot, listener));
            next.push(state);
        }
        let before = std::mem::take(&mut self.lock().drained);
        for ((socket, address), listener) in plan.fresh {
            // Who came before it was drained counts on.
            let flows = before.iter().find(|state| is_again(&state.listener(), listener));
            let flows = flows.map(|state| state.flows.clone()).unwrap_or_default();
            let state = ListenerState::new(Serving::of(listener, plan.snapshot), address, flows);
            state.set_drained(is_drained(plan.snapshot, listener));
            next.push(self.start(state, socket));
        }
        let drained: Vec<_> = plan
            .drained
            .into_iter()
            .map(|(state, listener)| drain(state, Serving::of(listener, plan.snapshot)))
            .collect();
        let Table { open, leaving, drained: without } = &mut *self.lock();
        *open = next;
        leaving.extend(plan.rest.into_iter().chain(before));
        *without = drained;
        leaving.retain(|dropped| !dropped.is_released());
        self.committed.notify_one();
    }

    fn bind(&self, listener: &Listener) -> Result<Bound, ListenersError> {
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

    fn start(&self, state: ListenerState, socket: Socket) -> Arc<ListenerState> {
        info!(listener = %state.listener().name, address = %state.address, "listening");
        let state = Arc::new(state);
        let open = Arc::new(state.release_guard());
        let (shared, tasks, worker) = (self.shared.clone(), self.tasks.clone(), self.shared.workers.handle(0));
        let http = self.http.clone();
        match socket {
            Socket::Tcp(socket) => {
                let (state, socket) = (state.clone(), Arc::<dyn net::Listener>::from(socket));
                let door = accept::Door { shared, http, state, tasks };
                let accept = move || accept::accept(door.clone(), socket.clone());
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

    /// Every listener: those that are open, and those that are drained.
    #[must_use]
    pub fn states(&self) -> Vec<Arc<ListenerState>> {
        let table = self.lock();
        table.open.iter().chain(&table.drained).cloned().collect()
    }

    /// What is left of something that is emptied.
    #[must_use]
    pub fn left(&self, subject: &Subject) -> Left {
        let left = self.shared.flows.left(subject);
        let is_it = |state: &&Arc<ListenerState>| *subject == Subject::Listener(state.listener().name.clone());
        match self.states().iter().find(is_it) {
            Some(state) => left.with_connections(state.flows()),
            None => left,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts nothing more; flows go on.
    pub fn close(&self) {
        for state in self.states() {
            state.end();
        }
        self.tasks.close();
    }

    /// Waits until every flow has ended. Call after [`Listeners::close`].
    pub async fn ended(&self) {
        self.tasks.wait().await;
    }
}

/// Drains a listener, with its state so far.
fn drain(state: Option<Arc<ListenerState>>, serving: Arc<Serving>) -> Arc<ListenerState> {
    let state = match state {
        Some(state) => {
            if !state.is_closed() {
                info!(listener = %serving.listener.name, address = %state.address, "listener drained: its socket is closed");
            }
            state.serve(serving);
            state.close();
            state
        }
        None => Arc::new(ListenerState::without_socket(serving)),
    };
    state.set_drained(true);
    state
}

#[cfg(test)]
mod tests;

//! A listener that is open: how it serves, and when it is to end.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::guests::{Admitted, Guests};
use crate::{
    metrics::RefusedFlow,
    model::{Held, Listener},
    store::Snapshot,
    tls::{Certificate, ServerTls},
};

/// How a listener serves from now on, as one.
#[derive(Debug)]
pub(super) struct Serving {
    /// Its settings.
    pub(super) listener: Arc<Listener>,
    /// What its clients are shown; absent: no TLS.
    pub(super) tls: Option<Arc<ServerTls>>,
}

impl Serving {
    /// As a snapshot has it.
    pub(super) fn of(listener: &Arc<Listener>, snapshot: &Snapshot) -> Arc<Self> {
        Arc::new(Self { listener: listener.clone(), tls: snapshot.listener_tls.get(&listener.name).cloned() })
    }
}

/// A listener that is open.
#[derive(Debug)]
pub struct ListenerState {
    serving: ArcSwap<Serving>,
    /// The address really bound.
    pub address: SocketAddr,
    /// Flows open now.
    pub flows: Arc<AtomicUsize>,
    guests: Guests,
    ending: CancellationToken,
    /// It is to accept nothing new, for as long as it is drained.
    drained: AtomicBool,
    closed: CancellationToken,
    dropped: CancellationToken,
    released: CancellationToken,
}

impl ListenerState {
    /// As configured now.
    #[must_use]
    pub fn listener(&self) -> Arc<Listener> {
        self.serving.load().listener.clone()
    }

    /// How it serves now.
    pub(super) fn serving(&self) -> Arc<Serving> {
        self.serving.load_full()
    }

    /// The certificates that its clients are shown.
    #[must_use]
    pub fn certificates(&self) -> Vec<Arc<Certificate>> {
        self.serving.load().tls.as_ref().map(|tls| tls.certificates()).unwrap_or_default()
    }

    /// Flows open now.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.flows.load(Ordering::Relaxed)
    }
}

impl ListenerState {
    /// A listener that is opened at this address, and counts its flows there.
    pub(super) fn new(serving: Arc<Serving>, address: SocketAddr, flows: Arc<AtomicUsize>) -> Self {
        Self {
            serving: ArcSwap::new(serving),
            address,
            flows,
            guests: Guests::default(),
            drained: AtomicBool::new(false),
            ending: CancellationToken::new(),
            closed: CancellationToken::new(),
            dropped: CancellationToken::new(),
            released: CancellationToken::new(),
        }
    }

    /// A drained listener that has no socket.
    pub(super) fn without_socket(serving: Arc<Serving>) -> Self {
        let address = serving.listener.listen;
        let state = Self::new(serving, address, Arc::default());
        state.close();
        drop(state.release_guard());
        state
    }

    /// Admits a flow that counts here already.
    pub(super) fn admit(&self, client: IpAddr, held: Held, now: Instant) -> Result<Admitted, RefusedFlow> {
        self.guests.admit(&self.serving.load().listener.admission, (client, held), now)
    }

    /// Whether a client may ask once more.
    pub(super) fn may_ask(&self, client: IpAddr, now: Instant) -> bool {
        self.guests.may_ask(&self.serving.load().listener.admission, client, now)
    }

    /// Whether it accepts nothing new because it is drained.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    /// It is drained from now on, or not any more.
    pub(super) fn set_drained(&self, drained: bool) {
        self.drained.store(drained, Ordering::Relaxed);
    }

    /// Whether it is to accept nothing more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// It serves like this from now on.
    pub(super) fn serve(&self, serving: Arc<Serving>) {
        self.serving.store(serving);
    }

    /// Dropped once its socket is.
    pub(super) fn release_guard(&self) -> DropGuard {
        self.released.clone().drop_guard()
    }

    /// Completes when its address is free.
    pub(super) async fn released(&self) {
        self.released.cancelled().await;
    }

    /// Whether its address is free.
    pub(super) fn is_released(&self) -> bool {
        self.released.is_cancelled()
    }

    /// It is to accept nothing more.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// Its address must be free soon.
    pub(super) fn drop_it(&self) {
        self.dropped.cancel();
        self.closed.cancel();
    }

    /// Completes when the catalog has dropped the listener: its address must be free.
    pub(super) async fn dropped(&self) {
        self.dropped.cancelled().await;
    }

    /// Completes when the edge itself ends, and not only this listener.
    pub(super) async fn ending(&self) {
        self.ending.cancelled().await;
    }

    /// It is to accept nothing more, and neither is any other.
    pub(super) fn end(&self) {
        self.ending.cancel();
        self.closed.cancel();
    }

    /// Completes when the listener is to accept nothing more.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

//! One connection at the door: accepted in its turn, shaken hands with, and handed to whoever speaks what it asked for.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use net::network::Boxed;
use protocol::link::{Connection, Handshake, Incoming, Lost};
use tokio::{sync::Semaphore, task, time};
use tracing::{Instrument, info_span};

use super::{TunnelParts, crowd::Place, endpoint::Serve, failures::Failures, underpass::Underpass};

/// A handshake that takes longer is given up.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);

/// Serves connections; one for the whole endpoint.
#[derive(Debug)]
pub(super) struct Admissions {
    parts: TunnelParts,
    /// Whose turn it is to be accepted, on each worker.
    turns: Vec<Semaphore>,
    failures: Failures,
    underpass: Underpass,
}

/// What is spoken over a connection. Whatever registers in one of them becomes a link in the same table.
enum Dialect {
    /// Our own connectors'.
    Underpass,
}

impl Dialect {
    /// By what the peer asked for when it shook hands (ALPN). So far there is one, which refuses what it does not know.
    fn of(_connection: &Connection) -> Self {
        Self::Underpass
    }
}

impl Admissions {
    pub(super) fn new(parts: TunnelParts) -> Self {
        let turns = (0..parts.workers.count()).map(|_| Semaphore::new(1)).collect();
        let failures = Failures::new(parts.metrics.clone());
        Self { parts, turns, failures, underpass: Underpass::default() }
    }

    async fn connection(&self, incoming: Incoming, worker: usize, place: Place) {
        let connection = match self.accept(incoming, worker, &place).await {
            Some(Ok(handshake)) => match time::timeout(HANDSHAKE_WAIT, handshake.done()).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(lost)) => return self.failures.failed(&lost),
                Err(_) => return self.failures.late(),
            },
            Some(Err(lost)) => return self.failures.failed(&lost),
            None => return self.failures.behind(),
        };
        match Dialect::of(&connection) {
            Dialect::Underpass => self.underpass.serve(&self.parts, &connection, (worker, place)).await,
        }
    }

    /// Accepts when its turn has come; refuses if that came too late. To accept is most of a handshake's work, a millisecond:
    /// between two the worker serves its links, so that a crowd at the door costs them little.
    async fn accept(&self, incoming: Incoming, worker: usize, place: &Place) -> Option<Result<Handshake, Lost>> {
        let came = Instant::now();
        let turn = self.turns[worker].acquire().await;
        if place.is_hopeless(came.elapsed()) {
            incoming.refuse();
            return None;
        }
        let handshake = incoming.accept();
        task::yield_now().await;
        drop(turn);
        Some(handshake)
    }
}

impl Serve for Admissions {
    fn serve(self: Arc<Self>, incoming: Incoming, worker: usize, place: Place) -> Boxed<'static, ()> {
        let span = info_span!("connection", remote = %incoming.remote_address());
        Box::pin(async move { self.connection(incoming, worker, place).await }.instrument(span))
    }

    fn refused(&self, remote: SocketAddr) {
        self.failures.crowded(remote);
    }
}

//! HTTP listeners: the edge ends the client's HTTP, judges and routes every request, and speaks HTTP to origins itself.
//!
//! hyper parses and frames; what it would let pass and a server behind might read another way is refused before it sees
//! it. Nothing is ever passed through: every message is written anew. Deciding is pure (`head`, `chunks`, `frames`,
//! `meter`, `request`, `fields`, `path`, `answer`, `protocols`, `websocket`, `budget`, `failed`, `patience`); acting is
//! `serve`, `http2`, `stream`, `forward`, `reply`, `guard`, `watched`, `drain`, `upstream`, `idle`, `upgrade`.

mod affinity;
mod answer;
mod authority;
mod body;
mod budget;
mod chunks;
mod copied;
mod deadline;
mod drain;
mod early;
mod failed;
mod fault;
mod fields;
mod forward;
mod frames;
#[doc(hidden)]
pub mod fuzzing;
mod grpc;
mod guard;
mod head;
mod http2;
mod idle;
mod interim;
mod meter;
mod outgoing;
mod owed;
mod pace;
mod path;
mod patience;
mod place;
mod protocols;
mod received;
mod record;
mod reply;
mod request;
mod rest;
mod serve;
mod stall;
mod stream;
mod switch;
mod talk;
mod upgrade;
mod upstream;
mod watched;
mod websocket;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::Request;
use hyper::body::Body;
use net::Socket;
use tokio_util::task::TaskTracker;

pub use affinity::Sealer;

use self::{
    budget::Budgets,
    fault::Fault,
    idle::Idle,
    owed::Owed,
    request::{Asked, Reading},
    serve::ClientIo,
    talk::Talk,
};
use super::{Shared, table::ListenerState};
use crate::{metrics::RefusedFlow, model::Held, tls::Shown};

/// How often idle connections to origins are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A connection that has been without a request for so long can be spared if files are used up.
const SPARE_AFTER: Duration = Duration::from_secs(1);

/// What HTTP listeners keep: a part for every worker, so that none waits for another.
#[derive(Debug)]
pub struct Http {
    workers: Vec<Arc<Worker>>,
    sealer: Sealer,
    budgets: Budgets,
    next: AtomicUsize,
}

#[derive(Debug, Default)]
struct Worker {
    idle: Arc<Idle>,
}

impl Http {
    /// One part for each of so many workers, and what seals affinity cookies.
    #[must_use]
    pub fn new(workers: usize, sealer: Sealer) -> Self {
        Self {
            workers: std::iter::repeat_with(Arc::default).take(workers.max(1)).collect(),
            sealer,
            budgets: Budgets::default(),
            next: AtomicUsize::new(0),
        }
    }

    /// Looks through idle connections now and then, for as long as anybody holds this.
    pub async fn sweep(this: Weak<Self>) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        loop {
            ticks.tick().await;
            let Some(this) = this.upgrade() else { return };
            let now = Instant::now();
            this.workers.iter().for_each(|worker| worker.idle.sweep(now));
        }
    }

    /// Closes every connection to an origin that nobody uses: files are used up.
    pub(super) fn let_go_of_idle(&self) {
        self.workers.iter().for_each(|worker| worker.idle.clear());
    }

    /// The worker for the next connection.
    pub(super) fn next_worker(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len()
    }
}

/// A client's connection, as its requests see it.
#[derive(Debug)]
struct Connection {
    shared: Arc<Shared>,
    state: Arc<ListenerState>,
    worker: Arc<Worker>,
    talk: Arc<Talk>,
    /// Answers that have begun and not ended.
    owed: Owed,
    source: SocketAddr,
    tls: bool,
    /// The name the client asked for in its handshake, and what it was shown.
    shown: Option<Shown>,
    tasks: TaskTracker,
    _held: Held,
}

impl Connection {
    fn reading(&self) -> Reading {
        Reading { default_port: if self.tls { 443 } else { 80 }, paths: self.state.listener().http.paths }
    }

    /// Whether this connection was begun for the request's host: what its client was shown is valid for it. A client that
    /// named no server in its handshake has no such claim to break (RFC 9110 section 15.5.20).
    fn serves(&self, asked: &Asked) -> bool {
        match (&self.shown, &asked.host) {
            (Some(shown), Some(host)) => shown.covers(&host.host),
            (None, _) | (_, None) => true,
        }
    }

    /// Completes when it is to go as soon as nothing is under way: its listener is closed, or files are used up and it has
    /// been idle for a moment.
    async fn dismissed(&self) {
        let mut scarce = self.shared.scarce.listen();
        let spare = async {
            while scarce.changed().await.is_ok() {
                if self.talk.is_idle_for(SPARE_AFTER) {
                    return;
                }
            }
            // The edge is ending, and says so otherwise.
            std::future::pending().await
        };
        tokio::select! {
            () = self.state.closed() => {}
            () = spare => {}
        }
    }

    /// A request that may be carried here, settled on the protocol it changes to if it asks for one.
    fn admit<B: Body>(&self, asked: Asked, request: &Request<B>) -> Result<Asked, Fault> {
        if self.serves(&asked) {
            asked.choose(&self.state.listener().http.upgrade, request)
        } else {
            Err(Fault::MISDIRECTED)
        }
    }

    /// How long a client may take nothing of what it is sent.
    fn client_timeout(&self) -> Duration {
        self.state.listener().http.client_timeout
    }

    /// How long it may be without a request on its way.
    fn idle_wait(&self) -> Duration {
        self.state.listener().idle_timeout.unwrap_or(guard::IDLE_WAIT)
    }
}

/// An accepted connection on its way to its worker.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) shared: Arc<Shared>,
    pub(super) state: Arc<ListenerState>,
    pub(super) source: SocketAddr,
    pub(super) held: Held,
    pub(super) worker: usize,
    pub(super) tasks: TaskTracker,
}

/// Serves a client's connection to its end.
pub(super) async fn serve(accepted: Accepted, client: Socket) {
    let Accepted { shared, state, source, held, worker, tasks } = accepted;
    let tls = state.serving().tls.clone();
    let worker = shared.http.workers[worker].clone();
    let mut connection = Connection {
        shared,
        state,
        worker,
        talk: Arc::default(),
        owed: Owed::default(),
        source,
        tls: tls.is_some(),
        shown: None,
        tasks,
        _held: held,
    };
    let Some(tls) = tls else {
        return Box::pin(serve::serve(Arc::new(connection), ClientIo::Plain(client), None)).await;
    };
    let accepted = tokio::select! {
        accepted = tls.accept(client) => accepted,
        // It has asked for nothing yet: nobody waits for it.
        () = connection.dismissed() => return,
    };
    let Some((client, is_h2, shown)) = accepted else {
        let listener = &connection.state.listener().name;
        return connection.shared.metrics.refused_flow(listener, RefusedFlow::Handshake);
    };
    connection.shown = shown;
    Box::pin(serve::serve(Arc::new(connection), ClientIo::Tls(client), is_h2)).await;
}

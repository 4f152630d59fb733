//! Accepts TCP connections of one listener, within its bound.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use net::{Listener, Socket, drill};
use protocol::proxy::Ends;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::{
    http::{self, Http},
    shared::Shared,
    state::ListenerState,
    tcp::{self, announced::Known},
};
use crate::{
    metrics::RefusedFlow,
    model::{Held, ListenProtocol},
};

/// After an accept that failed (descriptors used up, most likely), others need time to end.
const PAUSE: Duration = Duration::from_millis(50);

/// The system's error for a process that has run out of files (EMFILE).
const NONE_LEFT: i32 = 24;

/// Where connections of one listener come in.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) shared: Arc<Shared>,
    /// What HTTP listeners keep.
    pub(super) http: Arc<Http>,
    pub(super) state: Arc<ListenerState>,
    pub(super) tasks: TaskTracker,
}

/// Accepts until the listener is closed.
pub(super) async fn accept(door: Door, socket: Arc<dyn Listener>) {
    loop {
        drill::point("accept");
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = door.state.closed() => break,
        };
        match accepted {
            Ok((client, source)) => take(&door, client, source),
            Err(error) => {
                refuse(&door, &error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // Who is connected and waits would be reset with the socket. Word of the last may be behind.
    tokio::task::yield_now().await;
    while let Some(Ok((client, source))) = socket.accept().now_or_never() {
        take(&door, client, source);
    }
}

/// Takes a connection, unless there are as many as there may be.
fn take(door: &Door, client: Socket, source: SocketAddr) {
    let Door { shared, state, .. } = door;
    if client.is_of_the_reserve() {
        client.abort();
        return refuse(door, &io::Error::from_raw_os_error(NONE_LEFT));
    }
    shared.sources.handshake(source.ip(), Instant::now());
    let listener = state.listener();
    if state.flows.load(Ordering::Relaxed) >= listener.max_connections {
        shared.metrics.refused_flow(&listener.name, RefusedFlow::MaxConnections);
        return client.abort();
    }
    let arrived = Arrived { held: Held::new(&state.flows), door: door.clone() };
    // Where it cannot be told any more, the client is gone, and that shows at once.
    let ends = Ends { source, destination: client.local_addr().unwrap_or(state.address) };
    if listener.is_told_of_clients_by(source) {
        door.tasks.spawn(begin_announced(arrived, client, ends));
    } else {
        begin(arrived, client, Known::unannounced(ends));
    }
}

/// A connection could not be taken, for want of files most likely: whoever holds one that is idle is asked for it.
fn refuse(Door { shared, http, state, .. }: &Door, error: &io::Error) {
    let (name, now) = (&state.listener().name, Instant::now());
    shared.metrics.refused_flow(name, RefusedFlow::Accept);
    if let Some(untold) = shared.scarce.refused.may_say(now) {
        warn!(listener = %name, %error, untold, "connection refused: files are used up, but for a reserve");
    }
    if shared.scarce.tell(now) {
        http.let_go_of_idle();
    }
}

/// A connection that was accepted, within its listener's bound.
struct Arrived {
    door: Door,
    /// Counts as open until it is over.
    held: Held,
}

/// The same, once it has said for whom it is.
async fn begin_announced(arrived: Arrived, client: Socket, ends: Ends) {
    match tcp::announced::known((&arrived.door.shared, &arrived.door.state), &client, ends).await {
        Some(known) => begin(arrived, client, known),
        None => client.abort(),
    }
}

/// Hands a connection to what serves it.
fn begin(arrived: Arrived, client: Socket, known: Known) {
    let Arrived { door: Door { shared, http, state, tasks }, held } = arrived;
    let listener = state.listener();
    let admitted = match state.admit(known.ends.source.ip(), held, Instant::now()) {
        Ok(admitted) => admitted,
        Err(why) => {
            shared.metrics.refused_flow(&listener.name, why);
            return client.abort();
        }
    };
    match listener.protocol {
        ListenProtocol::Tcp => {
            begin_flow(&shared, tcp::Flow::new(shared.clone(), listener, known, admitted), client, &tasks)
        }
        // A UDP listener has no connections to accept.
        ListenProtocol::Udp => {}
        ListenProtocol::Http | ListenProtocol::Https => {
            let worker = http.next_worker();
            let handle = shared.workers.handle(worker).clone();
            let kept = http.worker(worker);
            begin_http(
                http::Accepted { shared, state, source: known.ends.source, admitted, kept, tasks },
                (client, handle),
            );
        }
    }
}

fn begin_http(accepted: http::Accepted, (client, worker): (Socket, Handle)) {
    let tasks = accepted.tasks.clone();
    if let Ok(parked) = client.park() {
        let landing = async move {
            if let Ok(client) = parked.land() {
                http::serve(accepted, client).await;
            }
        };
        tasks.spawn_on(landing, &worker);
    }
}

fn begin_flow(shared: &Shared, flow: tcp::Flow, client: Socket, tasks: &TaskTracker) {
    let worker = flow.worker();
    // Accepting runs on worker 0; a flow moves to the worker of the link it is placed on.
    if worker.is_multiple_of(shared.workers.count()) {
        tasks.spawn(flow.run(client));
    } else if let Ok(parked) = client.park() {
        let landing = async move {
            if let Ok(client) = parked.land() {
                flow.run(client).await;
            }
        };
        tasks.spawn_on(landing, shared.workers.handle(worker));
    }
}

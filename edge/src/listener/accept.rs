//! Accepts TCP connections of one listener, within its bound.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use net::{Listener, Socket, drill};
use protocol::proxy::Ends;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::{announced, flow, http, shared::Shared, state::ListenerState};
use crate::{
    metrics::RefusedFlow,
    model::{Held, ListenProtocol},
};

/// After an accept that failed (descriptors used up, most likely), others need time to end.
const PAUSE: Duration = Duration::from_millis(50);

/// The system's error for a process that has run out of files (EMFILE).
const NONE_LEFT: i32 = 24;

/// Accepts until the listener is closed.
pub(super) async fn accept(
    shared: Arc<Shared>,
    state: Arc<ListenerState>,
    socket: Arc<dyn Listener>,
    tasks: TaskTracker,
) {
    loop {
        drill::point("accept");
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = state.closed() => return,
        };
        match accepted {
            Ok((client, source)) => {
                if client.is_of_the_reserve() {
                    client.abort();
                    refuse(&shared, &state, &io::Error::from_raw_os_error(NONE_LEFT));
                    continue;
                }
                shared.sources.handshake(source.ip(), Instant::now());
                let listener = state.listener();
                if state.flows.load(Ordering::Relaxed) >= listener.max_connections {
                    shared.metrics.refused_flow(&listener.name, RefusedFlow::MaxConnections);
                    client.abort();
                    continue;
                }
                let arrived = Arrived {
                    held: Held::new(&state.flows),
                    shared: shared.clone(),
                    state: state.clone(),
                    tasks: tasks.clone(),
                };
                // Where it cannot be told any more, the client is gone, and that shows at once.
                let ends = Ends { source, destination: client.local_addr().unwrap_or(state.address) };
                if announced::must_be(&listener, source) {
                    tasks.spawn(begin_announced(arrived, client, ends));
                } else {
                    begin(arrived, client, ends);
                }
            }
            Err(error) => {
                refuse(&shared, &state, &error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A connection could not be taken, for want of files most likely: whoever holds one that is idle is asked for it.
fn refuse(shared: &Shared, state: &ListenerState, error: &io::Error) {
    let (name, now) = (&state.listener().name, Instant::now());
    shared.metrics.refused_flow(name, RefusedFlow::Accept);
    if let Some(untold) = shared.scarce.refused.may_say(now) {
        warn!(listener = %name, %error, untold, "connection refused: files are used up, but for a reserve");
    }
    if shared.scarce.tell(now) {
        shared.http.let_go_of_idle();
    }
}

/// A connection that was accepted, within its listener's bound.
struct Arrived {
    shared: Arc<Shared>,
    state: Arc<ListenerState>,
    tasks: TaskTracker,
    /// Counts as open until it is over.
    held: Held,
}

/// The same, once it has said for whom it is.
async fn begin_announced(arrived: Arrived, client: Socket, ends: Ends) {
    match announced::ends((&arrived.shared, &arrived.state), &client, ends).await {
        Some(ends) => begin(arrived, client, ends),
        None => client.abort(),
    }
}

/// Hands a connection to what serves it.
fn begin(arrived: Arrived, client: Socket, ends: Ends) {
    let Arrived { shared, state, tasks, held } = arrived;
    let listener = state.listener();
    match listener.protocol {
        ListenProtocol::Tcp => {
            begin_flow(&shared, flow::Flow::new(shared.clone(), listener, ends, held), client, &tasks)
        }
        // A UDP listener has no connections to accept.
        ListenProtocol::Udp => {}
        ListenProtocol::Http | ListenProtocol::Https => {
            let worker = shared.http.next_worker();
            begin_http(http::Accepted { shared, state, source: ends.source, held, worker, tasks }, client);
        }
    }
}

fn begin_http(accepted: http::Accepted, client: Socket) {
    let (worker, tasks) = (accepted.shared.workers.handle(accepted.worker).clone(), accepted.tasks.clone());
    if let Ok(parked) = client.park() {
        let landing = async move {
            if let Ok(client) = parked.land() {
                http::serve(accepted, client).await;
            }
        };
        tasks.spawn_on(landing, &worker);
    }
}

fn begin_flow(shared: &Shared, flow: flow::Flow, client: Socket, tasks: &TaskTracker) {
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

//! Accepts TCP connections of one listener, within its bound.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use net::{Listener, Socket};
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::{Shared, flow, http, table::ListenerState};
use crate::{
    metrics::RefusedFlow,
    model::{Held, ListenProtocol},
};

/// After an accept that failed (descriptors used up, most likely), others need time to end.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the listener is closed.
pub(super) async fn accept(
    shared: Arc<Shared>,
    state: Arc<ListenerState>,
    socket: Box<dyn Listener>,
    tasks: TaskTracker,
) {
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = state.closed() => return,
        };
        match accepted {
            Ok((client, source)) => {
                failing = false;
                shared.sources.handshake(source.ip(), Instant::now());
                let listener = state.listener();
                if state.flows.load(Ordering::Relaxed) >= listener.max_connections {
                    shared.metrics.refused_flow(&listener.name, RefusedFlow::MaxConnections);
                    client.abort();
                    continue;
                }
                let held = Held::new(&state.flows);
                match listener.protocol {
                    ListenProtocol::Tcp => {
                        begin(&shared, flow::Flow::new(shared.clone(), listener, source, held), client, &tasks);
                    }
                    // A UDP listener has no connections to accept.
                    ListenProtocol::Udp => {}
                    ListenProtocol::Http | ListenProtocol::Https => {
                        let (shared, state, worker) = (shared.clone(), state.clone(), shared.http.next_worker());
                        begin_http(
                            http::Accepted { shared, state, source, held, worker, tasks: tasks.clone() },
                            client,
                        );
                    }
                }
            }
            Err(error) => {
                let name = &state.listener().name;
                shared.metrics.refused_flow(name, RefusedFlow::Accept);
                if !failing {
                    warn!(listener = %name, %error, "cannot accept: pausing");
                }
                failing = true;
                tokio::time::sleep(PAUSE).await;
            }
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

fn begin(shared: &Shared, flow: flow::Flow, client: Socket, tasks: &TaskTracker) {
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

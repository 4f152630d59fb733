//! The tunnel's endpoint: accepts connections, spreads them over the workers, and has a crowd prove its addresses.

use std::{io, net::SocketAddr, sync::Arc};

use net::{Network, Workers, drill, network::Boxed};
use protocol::{
    error::CloseCode,
    link::{
        Endpoint, Incoming,
        transport::quic::{self, Listening},
    },
};
use rustls::ServerConfig;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use super::{
    TunnelParts,
    crowd::{Asking, Crowd, Place, Verdict},
};

/// What an accepted connection is handed to.
pub(super) trait Serve: Send + Sync + 'static {
    /// Serves one connection on the worker that calls it.
    fn serve(self: Arc<Self>, incoming: Incoming, worker: usize, place: Place) -> Boxed<'static, ()>;

    /// Hears of a connection that was refused because there are too many.
    fn refused(&self, remote: SocketAddr);
}

/// Binds the endpoint on the receiving thread.
pub(super) fn bind(network: &dyn Network, parts: &TunnelParts, tls: Arc<ServerConfig>) -> io::Result<Endpoint> {
    let TunnelParts { keys, .. } = parts;
    let _there = parts.receiver.enter();
    let socket = network.bind_quic(parts.listen, &parts.unreachable)?;
    if socket.max_transmit_segments() < 2 {
        warn!("the kernel offers no UDP segmentation offload: tunnels will cost several times the processor time");
    }
    let (reset, connection_id) = (&keys.reset.expose()[..], *keys.connection_id.expose());
    quic::listen(Listening { socket, reset, connection_id, generation: parts.generation, tls })
}

/// Accepts until stopped.
pub(super) async fn accept<S: Serve>(
    endpoint: Endpoint,
    service: Arc<S>,
    workers: Arc<Workers>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let crowd = Arc::new(Crowd::default());
    let mut worker = 0;
    loop {
        drill::point("endpoint");
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = stop.cancelled() => break,
        };
        // The socket's own task is gone.
        let Some(incoming) = incoming else { return };
        match crowd.judge(Asking { address: incoming.remote_address().ip(), is_proven: incoming.is_proven() }) {
            Verdict::Serve(place) => {
                worker = (worker + 1) % workers.count();
                let serving = service.clone().serve(incoming, worker, place);
                tasks.spawn_on(serving, workers.handle(worker));
            }
            // Whoever floods from forged addresses is never asked.
            Verdict::Retry => incoming.ask_for_proof(),
            Verdict::Refuse => {
                service.refused(incoming.remote_address());
                incoming.refuse();
            }
        }
    }
    endpoint.end(CloseCode::Shutdown, "the edge is shutting down").await;
}

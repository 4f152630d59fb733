//! The QUIC endpoint: accepts connections, spreads them over the workers, and answers floods with Retry.

use std::{io, net::SocketAddr, sync::Arc};

use net::{Network, Workers, drill, network::Boxed};
use protocol::link::{Side, transport::quic};
use quinn::{Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime, VarInt, crypto::rustls::QuicServerConfig};
use quinn_proto::HashedConnectionIdGenerator;
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
pub(super) fn bind(network: &dyn Network, parts: &TunnelParts, crypto: Arc<QuicServerConfig>) -> io::Result<Endpoint> {
    let TunnelParts { keys, .. } = parts;
    let _there = parts.receiver.enter();
    let socket = network.bind_quic(parts.listen, &parts.unreachable)?;
    if socket.max_transmit_segments() < 2 {
        warn!("the kernel offers no UDP segmentation offload: tunnels will cost several times the processor time");
    }
    let reset = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, keys.reset.expose());
    let mut config = EndpointConfig::new(Arc::new(reset));
    let connection_id = *keys.connection_id.expose();
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(connection_id)));
    quic::allow_large_packets(&mut config);
    let mut server = ServerConfig::with_crypto(crypto);
    server.transport_config(quic::link_transport(Side::Edge));
    Endpoint::new_with_abstract_socket(config, Some(server), socket, Arc::new(TokioRuntime))
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
        let is_proven = incoming.remote_address_validated() || !incoming.may_retry();
        match crowd.judge(Asking { address: incoming.remote_address().ip(), is_proven }) {
            Verdict::Serve(place) => {
                worker = (worker + 1) % workers.count();
                let serving = service.clone().serve(incoming, worker, place);
                tasks.spawn_on(serving, workers.handle(worker));
            }
            // Whoever floods from forged addresses never sees the Retry.
            Verdict::Retry => {
                let _ = incoming.retry();
            }
            Verdict::Refuse => {
                service.refused(incoming.remote_address());
                incoming.refuse();
            }
        }
    }
    endpoint.close(VarInt::from_u32(protocol::error::CloseCode::Shutdown as u32), b"the edge is shutting down");
    endpoint.wait_idle().await;
}

//! Links from connectors: the endpoint that they dial, registration, the table of links, and streams over a chosen link.
//!
//! It carries no flow and judges no origin.

mod admission;
mod crowd;
mod endpoint;
mod failures;
mod link;
mod published;
mod registry;
mod underpass;

pub use link::{Link, OpenError};
pub use published::{LinksView, TunnelHealth, TunnelView};
pub use registry::Registry;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use certs::{edge::EdgeCertificates, endpoint::EndpointKeys, enrol::Authority, tls};
use net::{Network, Unreachables, Vital, Workers};
use tokio::{runtime::Handle, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::metrics::Metrics;

/// What the tunnel endpoint is made of.
#[derive(Debug)]
pub struct TunnelParts {
    /// UDP address to listen on.
    pub listen: SocketAddr,
    /// The edge's name, told to connectors.
    pub name: protocol::id::Name,
    /// Who issues and judges certificates.
    pub authority: Arc<Authority>,
    /// The edge's own certificate.
    pub certificates: Arc<EdgeCertificates>,
    /// Keys kept over restarts.
    pub keys: Arc<EndpointKeys>,
    /// The table links register in.
    pub registry: Arc<Registry>,
    /// What hosts of connectors say of ports where nobody listens.
    pub unreachable: Unreachables,
    /// Where it is counted what links hold and throw away, and which handshakes fail.
    pub metrics: Metrics,
    /// Where packets are received and sorted: a thread of its own, for one that shares its turns with the work that packets
    /// cause is behind with them when there is most of it.
    pub receiver: Handle,
    /// Where links run.
    pub workers: Arc<Workers>,
    /// How long flows may take to end when the edge leaves.
    pub grace: Duration,
    /// Ends the endpoint and all links.
    pub stop: CancellationToken,
    /// Announces to connectors that the edge leaves.
    pub leave: CancellationToken,
    /// Which of the processes that have had the socket this one is.
    pub generation: u8,
    /// Whether connectors are to dial another process of this edge, which takes over.
    pub succeeded: watch::Receiver<bool>,
    /// Told when another process may have revoked somebody.
    pub recheck: watch::Receiver<()>,
    /// How its tasks fare.
    pub vital: Vital,
}

/// Why the endpoint could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The address cannot be had.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

/// Binds the endpoint and starts accepting; gives the bound address.
///
/// # Errors
/// [`TunnelError`].
pub fn start(network: &dyn Network, parts: TunnelParts, tasks: &TaskTracker) -> Result<SocketAddr, TunnelError> {
    let crypto = tls::server_crypto(parts.certificates.clone())?;
    let endpoint = endpoint::bind(network, &parts, crypto)?;
    let address = endpoint.local_address()?;
    let (receiver, workers, vital) = (parts.receiver.clone(), parts.workers.clone(), parts.vital.clone());
    let (tracker, stop) = (tasks.clone(), parts.stop.clone());
    let service = Arc::new(admission::Admissions::new(parts));
    let accept = {
        let stop = stop.clone();
        move || endpoint::accept(endpoint.clone(), service.clone(), workers.clone(), tracker.clone(), stop.clone())
    };
    // It may be begun anew, but not end: then QUIC itself is lost.
    let kept = vital.clone().keep("the tunnel endpoint", accept);
    tasks.spawn_on(vital.need("the tunnel endpoint", stop, kept), &receiver);
    Ok(address)
}

#[cfg(test)]
pub(crate) mod tests;

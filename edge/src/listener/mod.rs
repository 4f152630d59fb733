//! Public addresses: accepts what clients send and carries it to where the balancer places it.

mod accept;
mod flow;
mod table;
mod udp;

pub use table::{ListenerState, Listeners, ListenersError};

use std::sync::Arc;

use net::{Network, Workers};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    balancer::Balancer,
    health::{Reports, view::HealthView},
    metrics::Metrics,
    offramp::Offramp,
};

/// What every listener shares.
#[derive(Debug)]
pub struct Shared {
    /// Where connections come from.
    pub network: Arc<dyn Network>,
    /// Where flows run.
    pub workers: Arc<Workers>,
    /// How origins are reached.
    pub offramp: Offramp,
    /// Where flows are placed.
    pub balancer: Balancer,
    /// What the balancer goes by.
    pub view: watch::Receiver<Arc<HealthView>>,
    /// Where failed and good connects of live traffic are told.
    pub reports: Reports,
    /// What is counted.
    pub metrics: Metrics,
    /// Cuts every flow.
    pub cut: CancellationToken,
}

//! What every listener shares.

use std::sync::Arc;

use net::{Network, Vital, Workers};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{flows::Flows, recent::Recent, scarce::Scarce, sources::Sources};
use crate::{
    balancer::Balancer,
    health::{Reports, view::HealthView},
    metrics::Metrics,
    offramp::Offramp,
    tunnel::LinksView,
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
    /// The links, for flows that go to the address that they were for.
    pub links: watch::Receiver<Arc<LinksView>>,
    /// Where failed and good connects of live traffic are told.
    pub reports: Reports,
    /// What is counted.
    pub metrics: Metrics,
    /// What is known of clients' addresses.
    pub sources: Sources,
    /// Those that are open.
    pub flows: Arc<Flows>,
    /// Cuts every flow.
    pub cut: CancellationToken,
    /// Word that files are used up.
    pub scarce: Scarce,
    /// Flows that did not go well at once.
    pub recent: Arc<Recent>,
    /// Clients are told the ids of their requests.
    pub reveals_ids: bool,
    /// How the tasks that must run fare.
    pub vital: Vital,
}

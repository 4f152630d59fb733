//! Public addresses: accepts what clients send and carries it to where the balancer places it.

mod accept;
mod announced;
mod bucket;
mod cause;
mod flow;
mod http;
mod placing;
mod scarce;
mod story;
mod table;
mod udp;

#[doc(hidden)]
pub use http::fuzzing;
pub use http::{Http, Sealer};
pub use scarce::Scarce;
pub use table::{ListenerState, Listeners, ListenersError};
pub use udp::Sources;

use std::{sync::Arc, time::Duration};

use net::{Network, Vital, Workers};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    balancer::Balancer,
    health::{Reports, view::HealthView},
    metrics::Metrics,
    offramp::Offramp,
};

/// How long a flow that no origin can take waits for one: long enough for links to come back after an edge's restart or a
/// connector's, short enough that clients do not pile up. Behind links that have been away for longer nobody waits.
const PATIENCE: Duration = Duration::from_secs(3);

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
    /// What is known of clients' addresses.
    pub sources: Sources,
    /// What HTTP listeners keep.
    pub http: Arc<Http>,
    /// Cuts every flow.
    pub cut: CancellationToken,
    /// Word that files are used up.
    pub scarce: Scarce,
    /// How the tasks that must run fare.
    pub vital: Vital,
}

/// For logs, to the microsecond.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

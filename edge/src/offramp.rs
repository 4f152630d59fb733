//! The seam to origins: opens a stream to an origin over one chosen path, through a tunnel or directly, and begins TLS and
//! HTTP over it. Flows and probes take the very same way.
//!
//! It chooses nothing and retries nothing.

mod echo;
mod reply;
mod sacrificed;
mod settings;
mod speaking;
mod tcp;
mod tls;
mod udp;
mod way;
mod why;
mod wire;

pub use sacrificed::Sacrificed;
pub use settings::Server;
pub use speaking::{Sender, Speaking, Speech};
pub use tcp::{Carrier, First, Opened};
pub use udp::{Early, Session};
pub use way::Way;
pub use why::Why;
pub(crate) use why::{is_unasked, whole};
pub use wire::{Manners, Wire};

use std::{net::IpAddr, sync::Arc, time::Duration};

use net::{Network, Racer, Resolver, resolve};
use protocol::{
    error::Reason,
    id::{Host, Name},
};
use tokio::sync::watch;

use crate::{
    model::{FlowId, Origin},
    store::Snapshot,
    tunnel::Link,
};

/// Opens streams to origins.
#[derive(Debug, Clone)]
pub struct Offramp {
    resolver: Resolver,
    racer: Racer,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

/// What is to be opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// Which origin.
    pub origin: &'a Origin,
    /// Which way.
    pub way: &'a Way,
    /// How long the origin may take to accept.
    pub wait: Duration,
    /// Before other streams of the link (0 is a flow).
    pub priority: i32,
    /// Which flow it is for; absent of a probe.
    pub flow: Option<FlowId>,
}

/// Why there is no way to the origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was delivered, and nothing will be.
    Refused(Reason, String),
    /// Nobody knows what was delivered: no reply, or the link died.
    Unanswered(Reason),
    /// The client is gone; nobody waits any more.
    ClientGone,
}

/// What an opening leads over.
enum Over<'a> {
    /// This network.
    Network(&'a Arc<dyn Network>),
    /// This link, into this VNet.
    Link(&'a Arc<Link>, &'a Name),
}

impl<'a> Opening<'a> {
    fn over(&self) -> Result<Over<'a>, Failure> {
        match (self.way, &self.origin.vnet) {
            (Way::Link(link), Some(vnet)) => Ok(Over::Link(link, vnet)),
            (Way::Direct(network), None) => Ok(Over::Network(network)),
            (Way::Link(_), None) | (Way::Direct(_), Some(_)) => Err(refused(Reason::NoRoute, "the origin has moved")),
        }
    }
}

impl Offramp {
    /// An off-ramp that speaks TLS as the snapshot in force says.
    #[must_use]
    pub fn new(snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        Self { resolver: Resolver::system(), racer: Racer::default(), snapshots }
    }

    /// The addresses of a host, as the edge itself knows them.
    async fn addresses(&self, host: &Host, wait: Duration) -> Result<Vec<IpAddr>, Failure> {
        match host {
            Host::Ip(ip) => Ok(vec![*ip]),
            Host::Name(name) => {
                let resolved = self.resolver.resolve_within(name, resolve::share(wait)).await;
                resolved.map_err(|text| Failure::Refused(Reason::DnsFailed, text))
            }
        }
    }
}

fn refused(reason: Reason, text: &str) -> Failure {
    Failure::Refused(reason, text.to_owned())
}

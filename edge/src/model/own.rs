//! What an edge is told of itself: its name, its addresses, its files.

use std::{net::SocketAddr, path::PathBuf};

use config::LogFilter;
use protocol::id::{Name, Target};

use super::Catalog;

/// A whole edge file, checked: no field can be wrong any more.
#[derive(Debug, Clone)]
pub struct Config {
    /// This edge's name.
    pub name: Name,
    /// CA, issued certificates, tokens, keys of the QUIC endpoint.
    pub state_dir: PathBuf,
    /// Where links come in.
    pub tunnel: TunnelConfig,
    /// A CA named by files instead of the one in `state_dir`.
    pub ca: Option<CaFiles>,
    /// A key for affinity cookies that is shared with other edges, instead of the one in `state_dir`.
    pub affinity_key: Option<PathBuf>,
    /// The admin endpoint.
    pub admin: AdminConfig,
    /// Threads that carry flows.
    pub workers: usize,
    /// What is logged, unless the command line says it.
    pub log_level: Option<LogFilter>,
    /// When settings are read again.
    pub reload: ReloadOn,
    /// What may change on reload.
    pub catalog: Catalog,
}

/// When settings are read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadOn {
    /// When a file of them has changed, and when asked to.
    Change,
    /// Only when asked to.
    Signal,
}

/// The tunnel endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelConfig {
    /// UDP address that connectors dial.
    pub listen: SocketAddr,
    /// What a join token tells a connector to dial, `HOST:PORT`; never empty.
    pub advertise: Vec<Target>,
}

/// A CA by files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaFiles {
    /// PEM certificate.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// The admin endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// TCP address.
    pub listen: SocketAddr,
    /// Demand the admin token for reads too. Always true beyond loopback.
    pub authenticate_reads: bool,
    /// Host names, besides addresses and `localhost`, that the Host header may carry.
    pub hosts: Vec<String>,
    /// Clients are told the ids of their requests.
    pub reveal_id: bool,
}

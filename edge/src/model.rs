//! The nouns every room of the edge speaks: what is configured, and what links look like to those who place flows.
//!
//! Data only. Nothing here acts, waits or reads a clock.

mod admission;
mod drain;
mod http;
mod live;
mod own;
mod steering;
mod tls;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use ::http::HeaderValue;
use config::Spec;
use ipnetwork::IpNetwork;
use protocol::id::{Name, Target};
use rustls::pki_types::ServerName;

pub use self::admission::{Admission, Rate};
pub use self::drain::{DRAINS_MAX, Drain, DrainedBy, Drains, Subject};
pub use self::http::{FieldEdits, HttpSettings, Paths, Rule, Underscores};
pub use live::{Answers, FlowKey, Held, LinkLoad, Via};
pub use own::{AdminConfig, CaFiles, Config, ReloadOn, TunnelConfig};
pub use protocol::flow_id::FlowId;
pub use steering::{Affinity, HashBy, HashOn, PoolSteering, Prefix, Steering};
pub use tls::{CertificateFiles, ClientCertificates, ListenerTls, TlsVersion};

/// Everything that a reload replaces, as one immutable version.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    /// 0 is the empty catalog every start begins from.
    pub version: u64,
    /// What it was checked from, in its own words.
    pub spec: Arc<Spec>,
    /// Who may connect and what it may claim.
    pub grants: Vec<Grant>,
    /// How to probe.
    pub monitors: Vec<Arc<Monitor>>,
    /// Origins in groups.
    pub pools: Vec<Arc<Pool>>,
    /// Pools in order.
    pub load_balancers: Vec<Arc<LoadBalancer>>,
    /// Public addresses.
    pub listeners: Vec<Arc<Listener>>,
}

/// A `[[connector]]` of the edge file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The connector's name.
    pub connector: Name,
    /// Replicas expected; fewer make the tunnel `degraded`.
    pub replicas: usize,
    /// What it may claim: any route inside one of these.
    pub routes: Vec<Route>,
    /// Nothing new goes over its links.
    pub drain: bool,
}

/// A VNet and a CIDR in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// VNet.
    pub vnet: Name,
    /// The network's own address and prefix; no bits behind the prefix.
    pub cidr: IpNetwork,
}

/// How to probe an origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Monitor {
    /// Its name.
    pub name: Name,
    /// What to say and what to expect.
    pub check: Check,
    /// From one probe's start to the next.
    pub interval: Duration,
    /// Limit of one attempt.
    pub timeout: Duration,
    /// More attempts at once after a failed one, before the probe counts as failed.
    pub retries: u32,
    /// Successes in a row that make an unhealthy path healthy. At least 1.
    pub consecutive_up: u32,
    /// Failures in a row that make a healthy path unhealthy. At least 1.
    pub consecutive_down: u32,
    /// Failed connects of live traffic in a row that make a healthy path unhealthy; 0 counts none.
    pub passive_failures: u32,
    /// Each wait varies by up to this share of the interval, 0.0 to 0.5.
    pub jitter: f64,
}

/// What a monitor says and expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// A TCP connection is accepted.
    Tcp,
    /// A TCP connection is accepted, and says what is expected.
    TcpAnswer(TcpCheck),
    /// An HTTP answer matches.
    Http(HttpCheck),
    /// A UDP payload is answered.
    Udp(UdpCheck),
    /// The origin's host answers an ICMP echo request.
    Icmp,
}

/// A TCP probe that says something or listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpCheck {
    /// What is sent; empty: nothing, the origin speaks first.
    pub send: Vec<u8>,
    /// Bytes that must occur in the first 16 KiB of what is answered; never empty.
    pub expect: Vec<u8>,
}

/// A UDP probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpCheck {
    /// What is sent.
    pub send: Vec<u8>,
    /// Bytes that must occur in an answer; empty: any answer will do.
    pub expect: Vec<u8>,
}

/// An HTTP probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCheck {
    /// What is spoken.
    pub speaks: Upstream,
    /// `GET`, `HEAD` or `OPTIONS`.
    pub method: ::http::Method,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// Host header; absent: the origin's address.
    pub host: Option<String>,
    /// Further header fields.
    pub headers: Vec<(::http::HeaderName, HeaderValue)>,
    /// Status codes that count as success, as inclusive ranges; never empty.
    pub expected_codes: Vec<(u16, u16)>,
    /// Text that must occur in the first 64 KiB of the body, letter case aside; empty: none.
    pub expected_body: String,
    /// Use one connection for many probes where the origin allows it.
    pub keep_alive: bool,
}

/// A group of origins that serve the same thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Its name.
    pub name: Name,
    /// Absent: every origin is `unknown` and serves.
    pub monitor: Option<Arc<Monitor>>,
    /// How to choose among its origins.
    pub steering: Steering,
    /// What steering by hash goes by.
    pub hash: HashBy,
    /// How long an origin that comes, or comes back, takes to its whole weight.
    pub slow_start: Option<Duration>,
    /// Fewer healthy origins make the pool `critical`.
    pub minimum_origins: usize,
    /// Limit of one dial of an origin, tunnel included.
    pub connect_timeout: Duration,
    /// What HTTP listeners speak to its origins.
    pub upstream: Upstream,
    /// How long an origin may take to begin its answer to a request that has been sent.
    pub response_timeout: Duration,
    /// What a UDP session does whose origin does not answer any more.
    pub on_unhealthy: OnUnhealthy,
    /// How long a connection to an origin is kept without a request; absent: as long as suits what is spoken there.
    pub upstream_idle_timeout: Option<Duration>,
    /// The Host field that requests are sent with; absent: the client's own.
    pub host: Option<HeaderValue>,
    /// Its origins take nothing new.
    pub drain: bool,
    /// Never empty; names are unique in the pool.
    pub origins: Vec<Arc<Origin>>,
}

/// What is spoken to origins where that is HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Upstream {
    /// HTTP/1.1, one request at a time on a connection.
    Http1,
    /// HTTP/2 without TLS, by prior knowledge.
    H2c,
    /// HTTP/2 or HTTP/1.1 over TLS, as the origin chooses.
    Https(Arc<OriginTls>),
}

/// TLS to origins.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OriginTls {
    /// Whose certificates are believed.
    pub trust: Trust,
    /// The name asked for and looked for in the certificate; absent: the host of the origin's address.
    pub server_name: Option<ServerName<'static>>,
}

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Those of the authorities the system trusts.
    System,
    /// Those of the authorities in this PEM file.
    Ca(PathBuf),
    /// Anybody's.
    Anybody,
}

impl Trust {
    /// The file that names them.
    #[must_use]
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Ca(file) => Some(file),
            Self::System | Self::Anybody => None,
        }
    }
}

/// What a UDP session does that is not answered, and whose origin is unhealthy or silent while others of its pool answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnhealthy {
    /// It stays where it is.
    Stay,
    /// It goes on elsewhere.
    Move,
}

/// One server behind the edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// Its name, unique in the pool.
    pub name: Name,
    /// Absent: reached from the edge itself.
    pub vnet: Option<Name>,
    /// Address and port.
    pub address: Target,
    /// Share of the pool's flows, 0 to 1,000; 0 takes none and is still probed.
    pub weight: f64,
    /// What its pool says: every connection to it begins by telling whose it is.
    pub proxy_protocol: Option<ProxyVersion>,
    /// It takes nothing new.
    pub drain: bool,
}

/// Which version of the PROXY protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line; connections alone.
    V1,
    /// Binary.
    V2,
    /// The Simple Proxy Protocol; UDP alone.
    Simple,
}

/// Ordered pools and what to do among them.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadBalancer {
    /// Its name.
    pub name: Name,
    /// Names of pools of the same catalog, in order of failover; never empty.
    pub pools: Vec<Name>,
    /// Serves when no other pool can, whatever its health.
    pub fallback_pool: Option<Name>,
    /// How to choose among usable pools.
    pub steering: PoolSteering,
    /// The share of each pool, in their order, above 0; of those that are not there 1.
    pub pool_weights: Vec<f64>,
    /// Keep a source on its origin.
    pub session_affinity: Affinity,
    /// It takes nothing new.
    pub drain: bool,
}

/// A public address.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Its name.
    pub name: Name,
    /// What it accepts.
    pub protocol: ListenProtocol,
    /// Where.
    pub listen: SocketAddr,
    /// Where its flows go.
    pub leads: Leads,
    /// Most flows open at once; more are refused.
    pub max_connections: usize,
    /// Who may use it, and how much of it.
    pub admission: Admission,
    /// First bytes may be sent again after a time-out or a lost link.
    pub replay: bool,
    /// A flow that carries nothing for this long is closed; absent: never. UDP sessions always have one.
    pub idle_timeout: Option<Duration>,
    /// Who speaks the PROXY protocol here, and must.
    pub proxies: Vec<IpNetwork>,
    /// TLS that ends here, for `https`.
    pub tls: ListenerTls,
    /// What only HTTP listeners know.
    pub http: HttpSettings,
    /// It accepts nothing new.
    pub drain: bool,
}

impl Listener {
    /// Whether what comes from there has to begin with a header that says whose it is; from elsewhere, none is looked for.
    #[must_use]
    pub fn is_told_of_clients_by(&self, peer: SocketAddr) -> bool {
        let ip = peer.ip().to_canonical();
        self.proxies.iter().any(|network| network.contains(ip))
    }
}

/// Where the flows of a listener go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leads {
    /// To the load balancer of this name, of the same catalog.
    LoadBalancer(Name),
    /// Each to the very address that it was for.
    Destination {
        /// In this VNet.
        vnet: Name,
    },
}

/// What a listener accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenProtocol {
    /// TCP connections.
    Tcp,
    /// UDP sessions, told apart by their source.
    Udp,
    /// HTTP requests.
    Http,
    /// HTTP requests over TLS.
    Https,
}

//! A service as an edge file spells it: a listener, its load balancer, one pool and the origins in it.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use super::world::Vnet;

/// A service under one name. What is not said stays out of the file, at the product's default.
#[derive(Debug, Clone)]
pub struct Service {
    pub(super) name: String,
    protocol: &'static str,
    origins: Vec<String>,
    pool: String,
    balancer: String,
    listener: String,
}

impl Service {
    /// A TCP service without origins yet.
    #[must_use]
    pub fn tcp(name: &str) -> Self {
        Self::new(name, "tcp")
    }

    /// A UDP service without origins yet.
    #[must_use]
    pub fn udp(name: &str) -> Self {
        Self::new(name, "udp")
    }

    fn new(name: &str, protocol: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            protocol,
            origins: Vec::new(),
            pool: String::new(),
            balancer: String::new(),
            listener: String::new(),
        }
    }

    /// An HTTP service without origins yet.
    #[must_use]
    pub fn http(name: &str) -> Self {
        Self { protocol: "http", ..Self::tcp(name) }
    }

    /// An HTTP service over TLS without origins yet; its certificates are the listener's to say.
    #[must_use]
    pub fn https(name: &str) -> Self {
        Self { protocol: "https", ..Self::tcp(name) }
    }

    /// Adds an origin behind a VNet, by the real address it listens on.
    #[must_use]
    pub fn origin(self, vnet: &Vnet, real: SocketAddr) -> Self {
        self.target(Some(&vnet.name), &vnet.inside(real))
    }

    /// Adds an origin that the edge reaches by itself.
    #[must_use]
    pub fn direct(self, real: SocketAddr) -> Self {
        self.target(None, &real.to_string())
    }

    /// Adds an origin by whatever address the file is to hold. They are named `NAME-1`, `NAME-2` and so on.
    #[must_use]
    pub fn target(mut self, vnet: Option<&str>, address: &str) -> Self {
        let number = self.origins.len() + 1;
        let vnet = vnet.map(|vnet| format!("vnet = \"{vnet}\"\n")).unwrap_or_default();
        self.origins
            .push(format!("[[pool.origin]]\nname = \"{}-{number}\"\n{vnet}address = \"{address}\"\n", self.name));
        self
    }

    /// Adds lines to the pool.
    #[must_use]
    pub fn pool(mut self, lines: &str) -> Self {
        self.pool.push_str(lines);
        self.pool.push('\n');
        self
    }

    /// Lets a monitor watch the pool.
    #[must_use]
    pub fn monitor(self, name: &str) -> Self {
        self.pool(&format!("monitor = \"{name}\""))
    }

    /// Adds lines to the load balancer.
    #[must_use]
    pub fn balancer(mut self, lines: &str) -> Self {
        self.balancer.push_str(lines);
        self.balancer.push('\n');
        self
    }

    /// Adds lines to the listener.
    #[must_use]
    pub fn listener(mut self, lines: &str) -> Self {
        self.listener.push_str(lines);
        self.listener.push('\n');
        self
    }

    /// The tables of the file, with this address to listen on.
    pub(super) fn tables(&self, listen: SocketAddr) -> String {
        let Self { name, protocol, origins, pool, balancer, listener } = self;
        let mut text = format!("\n[[pool]]\nname = \"{name}\"\n{pool}");
        text.extend(origins.iter().map(String::as_str));
        write!(
            text,
            "\n[[load_balancer]]\nname = \"{name}\"\npools = [\"{name}\"]\n{balancer}\
             \n[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nlisten = \"{listen}\"\nload_balancer = \"{name}\"\n{listener}"
        )
        .expect("writing to a string does not fail");
        text
    }
}

/// `127.0.0.1:0`: the edge chooses, its status tells.
#[must_use]
pub fn any_port() -> SocketAddr {
    SocketAddr::from((IpAddr::V4(Ipv4Addr::LOCALHOST), 0))
}

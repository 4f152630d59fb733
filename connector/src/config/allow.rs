//! Entries of `[allow]`: the connector's own last word on what it dials.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnetwork::IpNetwork;

/// Targets that may be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllowEntry {
    /// The network's own address and prefix; no bits behind the prefix.
    pub cidr: IpNetwork,
    /// Ports of them.
    pub ports: Ports,
}

/// Ports of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ports {
    /// All.
    Any,
    /// From the first to the last, both included; never 0, never empty.
    Range {
        /// Lowest.
        first: u16,
        /// Highest.
        last: u16,
    },
}

/// What stands where there is no port, as for an ICMP echo: it is permitted where any port is.
pub const NO_PORT: u16 = 0;

impl Ports {
    /// Whether a port is among them.
    #[must_use]
    pub fn contain(self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Range { first, last } => port == NO_PORT || (first..=last).contains(&port),
        }
    }
}

impl AllowEntry {
    /// Whether the entry names this address and port.
    #[must_use]
    pub fn contains(&self, ip: IpAddr, port: u16) -> bool {
        self.cidr.contains(ip) && self.ports.contain(port)
    }
}

/// Why a text is no [`AllowEntry`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAllowEntry {
    /// Not of the form at all.
    #[error(
        "an entry is CIDR:PORTS, such as \"10.0.0.0/16:*\", \"10.0.0.0/16:80\", \"10.0.0.0/16:8000-8100\" or \
         \"[fd00::/8]:443\""
    )]
    Form,
    /// The network is wrong.
    #[error("{0}")]
    Network(String),
    /// The ports are wrong.
    #[error("ports are *, one from 1 to 65535, or FIRST-LAST")]
    Ports,
}

impl FromStr for AllowEntry {
    type Err = BadAllowEntry;

    fn from_str(text: &str) -> Result<Self, BadAllowEntry> {
        let (network, ports) = text.rsplit_once(':').ok_or(BadAllowEntry::Form)?;
        let bracketed = network.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
        if bracketed.is_none() && network.contains([':', '[', ']']) {
            return Err(BadAllowEntry::Form);
        }
        let cidr = config::cidr(bracketed.unwrap_or(network)).map_err(BadAllowEntry::Network)?;
        if cidr.is_ipv6() != bracketed.is_some() {
            return Err(BadAllowEntry::Form);
        }
        Ok(Self { cidr, ports: ports_of(ports).ok_or(BadAllowEntry::Ports)? })
    }
}

fn ports_of(text: &str) -> Option<Ports> {
    if text == "*" {
        return Some(Ports::Any);
    }
    let port = |text: &str| {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>().ok().filter(|port| digits && *port != 0)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some(Ports::Range { first, last })
}

impl fmt::Display for AllowEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cidr {
            IpNetwork::V4(cidr) => write!(f, "{cidr}:")?,
            IpNetwork::V6(cidr) => write!(f, "[{cidr}]:")?,
        }
        match self.ports {
            Ports::Any => f.write_str("*"),
            Ports::Range { first, last } if first == last => write!(f, "{first}"),
            Ports::Range { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

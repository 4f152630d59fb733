//! The connector's own last word on what may be dialled. Pure: names are resolved before it is asked.
//!
//! A target is permitted if what was asked for lies inside the connector's routes and the address really dialled, after
//! any map and any name resolution, is allowed. Special ranges are refused unless an `allow` entry that lies wholly inside
//! the very range names them. No edge can widen any of this.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnetwork::IpNetwork;
use protocol::id::Name;

use crate::config::{AllowEntry, Map, Ports};

/// Ranges no route or wide `allow` entry covers by accident.
const SPECIAL: &[(&str, &str)] = &[
    ("0.0.0.0/8", "this-network"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("169.254.169.254/32", "metadata"),
    ("100.100.100.200/32", "metadata"),
    ("192.0.0.192/32", "metadata"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("fe80::/10", "link-local"),
    ("fd00:ec2::254/128", "metadata"),
    ("ff00::/8", "multicast"),
];

/// What a connector may dial.
#[derive(Debug)]
pub struct Policy {
    routes: Vec<(Name, IpNetwork)>,
    maps: Vec<Map>,
    allow: Option<Vec<AllowEntry>>,
    special: Vec<(IpNetwork, &'static str)>,
    own: Vec<SocketAddr>,
    is_local: fn(IpAddr) -> bool,
}

/// The configured part of a policy.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// What the connector claims to serve.
    pub routes: Vec<(Name, IpNetwork)>,
    /// One-to-one translations before dialling.
    pub maps: Vec<Map>,
    /// Absent: exactly the routes, after any map.
    pub allow: Option<Vec<AllowEntry>>,
}

/// What a policy must know of the host it runs on.
#[derive(Debug, Clone)]
pub struct Host {
    /// The connector's own listening addresses.
    pub listening: Vec<SocketAddr>,
    /// Whether an address is the host's own; asked only when a wildcard listening address has the dialled port.
    pub is_local: fn(IpAddr) -> bool,
}

/// Why a target may not be dialled, in words for the edge's operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Not inside a route of the VNet.
    #[error("{0} is outside this connector's routes of VNet {1}")]
    OutsideRoutes(IpAddr, Name),
    /// Inside the routes, not on the allow list.
    #[error("{0} is not on this connector's allow list")]
    NotAllowed(SocketAddr),
    /// In a special range that no allow entry names.
    #[error("{0} is a {1} address, which is refused unless an allow entry inside that range names it")]
    Special(SocketAddr, &'static str),
    /// One of the connector's own listening addresses.
    #[error("{0} is a listening address of the connector itself")]
    Own(SocketAddr),
}

impl Policy {
    /// A policy from checked configuration.
    #[must_use]
    pub fn new(rules: Rules, host: Host) -> Self {
        let parse = |(cidr, name): &(&str, &'static str)| (cidr.parse().expect("the table above holds CIDRs"), *name);
        let Rules { routes, maps, allow } = rules;
        let special = SPECIAL.iter().map(parse).collect();
        Self { routes, maps, allow, special, own: host.listening, is_local: host.is_local }
    }

    /// Judges an address that an edge asks for: gives the address to dial instead.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn permit_address(&self, vnet: &Name, asked: IpAddr, port: u16) -> Result<SocketAddr, Denied> {
        if !self.in_routes(vnet, asked) {
            return Err(Denied::OutsideRoutes(asked, vnet.clone()));
        }
        let dialled = SocketAddr::new(self.translate(vnet, asked), port);
        if self.allow.is_some() {
            self.check_allow(dialled)?;
        }
        self.check_special(dialled)?;
        Ok(dialled)
    }

    /// Judges an address that a name resolved to inside the private network. It is dialled as it is, never mapped.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn permit_resolved(&self, vnet: &Name, resolved: IpAddr, port: u16) -> Result<SocketAddr, Denied> {
        let behind_map = self.maps.iter().any(|m| m.vnet == *vnet && m.to.contains(resolved));
        if !behind_map && !self.in_routes(vnet, resolved) {
            return Err(Denied::OutsideRoutes(resolved, vnet.clone()));
        }
        let dialled = SocketAddr::new(resolved, port);
        if self.allow.is_some() {
            self.check_allow(dialled)?;
        }
        self.check_special(dialled)?;
        Ok(dialled)
    }

    fn in_routes(&self, vnet: &Name, ip: IpAddr) -> bool {
        self.routes.iter().any(|(name, cidr)| name == vnet && cidr.contains(ip))
    }

    /// One-to-one translation; an address no map covers stays itself.
    fn translate(&self, vnet: &Name, ip: IpAddr) -> IpAddr {
        let map = self.maps.iter().find(|m| m.vnet == *vnet && m.from.contains(ip));
        match map.map(|m| (m.from, m.to, ip)) {
            Some((IpNetwork::V4(from), IpNetwork::V4(to), IpAddr::V4(ip))) => {
                let host = ip.to_bits() & !from.mask().to_bits();
                IpAddr::V4(Ipv4Addr::from_bits(to.network().to_bits() | host))
            }
            Some((IpNetwork::V6(from), IpNetwork::V6(to), IpAddr::V6(ip))) => {
                let host = ip.to_bits() & !from.mask().to_bits();
                IpAddr::V6(Ipv6Addr::from_bits(to.network().to_bits() | host))
            }
            // Config refuses maps between families, and a map only contains addresses of its own.
            Some(_) | None => ip,
        }
    }

    fn check_allow(&self, dialled: SocketAddr) -> Result<(), Denied> {
        let listed = self.allow.iter().flatten().any(|entry| covers(entry, dialled));
        if listed { Ok(()) } else { Err(Denied::NotAllowed(dialled)) }
    }

    fn check_special(&self, dialled: SocketAddr) -> Result<(), Denied> {
        for ip in faces(dialled.ip()) {
            for (range, what) in self.special.iter().filter(|(range, _)| range.contains(ip)) {
                // An entry may name the address in the form that is dialled, or in the form it really leads to.
                let named = |entry: &AllowEntry| {
                    lies_inside(entry.cidr, *range)
                        && (covers(entry, dialled) || covers(entry, SocketAddr::new(ip, dialled.port())))
                };
                if !self.allow.iter().flatten().any(named) {
                    return Err(Denied::Special(dialled, what));
                }
            }
            self.check_own(SocketAddr::new(ip, dialled.port()))?;
        }
        Ok(())
    }

    fn check_own(&self, dialled: SocketAddr) -> Result<(), Denied> {
        let is_own = |own: &&SocketAddr| {
            own.port() == dialled.port()
                && (own.ip() == dialled.ip() || (own.ip().is_unspecified() && (self.is_local)(dialled.ip())))
        };
        if !self.own.iter().any(|own| is_own(&own)) {
            return Ok(());
        }
        let names_it = |entry: &AllowEntry| is_host(entry.cidr) && entry.ports != Ports::Any && covers(entry, dialled);
        if self.allow.iter().flatten().any(names_it) { Ok(()) } else { Err(Denied::Own(dialled)) }
    }
}

/// An address and every IPv4 address hidden in it: IPv4-mapped and -compatible (RFC 4291), NAT64 (RFC 6052, RFC 8215),
/// 6to4 (RFC 3056).
fn faces(ip: IpAddr) -> impl Iterator<Item = IpAddr> {
    let hidden = match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => hidden_v4(v6),
    };
    std::iter::once(ip).chain(hidden.map(IpAddr::V4))
}

fn hidden_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = v6.segments();
    let from = |hi: u16, lo: u16| Ipv4Addr::from_bits(u32::from(hi) << 16 | u32::from(lo));
    match s {
        [0, 0, 0, 0, 0, 0xffff, hi, lo] => Some(from(hi, lo)),
        [0, 0, 0, 0, 0, 0, hi, lo] if hi != 0 => Some(from(hi, lo)),
        [0x64, 0xff9b, 0, 0, 0, 0, hi, lo] | [0x64, 0xff9b, 1, _, _, _, hi, lo] => Some(from(hi, lo)),
        [0x2002, hi, lo, ..] => Some(from(hi, lo)),
        _ => None,
    }
}

fn covers(entry: &AllowEntry, address: SocketAddr) -> bool {
    entry.contains(address.ip(), address.port())
}

fn lies_inside(inner: IpNetwork, outer: IpNetwork) -> bool {
    inner.prefix() >= outer.prefix() && outer.contains(inner.network())
}

fn is_host(cidr: IpNetwork) -> bool {
    cidr.prefix() == if cidr.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests;

//! The connector's own last word on what may be dialled. Pure: names are resolved before it is asked.
//!
//! A target is permitted if what was asked for lies inside the connector's routes and the address really dialled, after
//! any map and any name resolution, is allowed. Special ranges are refused unless an `allow` entry that lies wholly inside
//! the very range names them. No edge can widen any of this.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnetwork::IpNetwork;
use protocol::id::{Host as Asked, Name, Target};

use crate::config::{AllowEntry, Map, Ports};

/// Ranges no route or wide `allow` entry covers by accident.
const SPECIAL: &[(&str, &str)] = &[
    ("0.0.0.0/8", "this-network"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("169.254.169.254/32", "metadata"),
    ("100.100.100.200/32", "metadata"),
    ("192.0.0.192/32", "metadata"),
    ("168.63.129.16/32", "metadata"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("fe80::/10", "link-local"),
    ("fd00:ec2::/32", "metadata"),
    ("fd20:ce::254/128", "metadata"),
    ("fd00:42::42/128", "metadata"),
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

/// What a flow was permitted, to ask another policy about it.
#[derive(Debug, Clone)]
pub struct Permit {
    vnet: Name,
    target: Target,
    /// Where it was led to, or may be.
    dialled: Vec<SocketAddr>,
}

impl Permit {
    /// A flow that asked for this target, and was led to these addresses.
    #[must_use]
    pub fn of(vnet: &Name, target: &Target, dialled: Vec<SocketAddr>) -> Self {
        Self { vnet: vnet.clone(), target: target.clone(), dialled }
    }

    /// Whether this policy permits the same, and leads there.
    #[must_use]
    pub fn holds(&self, policy: &Policy) -> bool {
        let Self { vnet, target, dialled } = self;
        dialled.iter().all(|at| match target.host {
            Asked::Ip(ip) => policy.permit_address(vnet, ip, target.port).as_ref() == Ok(at),
            Asked::Name(_) => policy.permit_resolved(vnet, at.ip().to_canonical(), target.port).is_ok(),
        })
    }
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
        // The system dials an IPv4-mapped address over IPv4, so it is the IPv4 address that must be permitted.
        let asked = asked.to_canonical();
        if !self.in_routes(vnet, asked) {
            return Err(Denied::OutsideRoutes(asked, vnet.clone()));
        }
        self.permit_dialled(SocketAddr::new(self.translate(vnet, asked), port))
    }

    /// Judges an address that a name resolved to inside the private network. It is dialled as it is, never mapped: so it
    /// must be one that some address of the routes leads to.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn permit_resolved(&self, vnet: &Name, resolved: IpAddr, port: u16) -> Result<SocketAddr, Denied> {
        let resolved = resolved.to_canonical();
        let of_vnet = self.maps.iter().filter(|m| m.vnet == *vnet && m.to.contains(resolved));
        let mut leading_there = of_vnet.map(|m| shift(resolved, m.to, m.from)).chain([resolved]);
        if !leading_there.any(|asked| self.in_routes(vnet, asked) && self.translate(vnet, asked) == resolved) {
            return Err(Denied::OutsideRoutes(resolved, vnet.clone()));
        }
        self.permit_dialled(SocketAddr::new(resolved, port))
    }

    fn permit_dialled(&self, dialled: SocketAddr) -> Result<SocketAddr, Denied> {
        if self.allow.is_some() {
            self.check_allow(dialled)?;
        }
        for ip in faces(dialled.ip()) {
            self.check_special(dialled, ip)?;
            self.check_own(dialled, ip)?;
        }
        Ok(dialled)
    }

    fn in_routes(&self, vnet: &Name, ip: IpAddr) -> bool {
        self.routes.iter().any(|(name, cidr)| name == vnet && cidr.contains(ip))
    }

    /// One-to-one translation; an address no map covers stays itself.
    fn translate(&self, vnet: &Name, ip: IpAddr) -> IpAddr {
        let map = self.maps.iter().find(|m| m.vnet == *vnet && m.from.contains(ip));
        map.map_or(ip, |m| shift(ip, m.from, m.to)).to_canonical()
    }

    fn check_allow(&self, dialled: SocketAddr) -> Result<(), Denied> {
        let listed = self.allow.iter().flatten().any(|entry| entry.contains(dialled.ip(), dialled.port()));
        if listed { Ok(()) } else { Err(Denied::NotAllowed(dialled)) }
    }

    /// `ip` is the address in the form that is dialled, or in one it really leads to.
    fn check_special(&self, dialled: SocketAddr, ip: IpAddr) -> Result<(), Denied> {
        for (range, what) in self.special.iter().filter(|(range, _)| range.contains(ip)) {
            let named = |entry: &AllowEntry| lies_inside(entry.cidr, *range) && entry.contains(ip, dialled.port());
            if !self.allow.iter().flatten().any(named) {
                return Err(Denied::Special(dialled, what));
            }
        }
        Ok(())
    }

    fn check_own(&self, dialled: SocketAddr, ip: IpAddr) -> Result<(), Denied> {
        let leads_to = |own: IpAddr| {
            // An unspecified address is dialled as the host itself.
            own == ip || ip.is_unspecified() || (own.is_unspecified() && (self.is_local)(ip))
        };
        if !self.own.iter().any(|own| own.port() == dialled.port() && leads_to(own.ip().to_canonical())) {
            return Ok(());
        }
        let names_it =
            |entry: &AllowEntry| is_host(entry.cidr) && entry.ports != Ports::Any && entry.contains(ip, dialled.port());
        if self.allow.iter().flatten().any(names_it) { Ok(()) } else { Err(Denied::Own(dialled)) }
    }
}

/// An address of `from` at its place in `to`; both have the same size and family, as Config demands.
fn shift(ip: IpAddr, from: IpNetwork, to: IpNetwork) -> IpAddr {
    match (from, to, ip) {
        (IpNetwork::V4(from), IpNetwork::V4(to), IpAddr::V4(ip)) => {
            let host = ip.to_bits() & !from.mask().to_bits();
            IpAddr::V4(Ipv4Addr::from_bits(to.network().to_bits() | host))
        }
        (IpNetwork::V6(from), IpNetwork::V6(to), IpAddr::V6(ip)) => {
            let host = ip.to_bits() & !from.mask().to_bits();
            IpAddr::V6(Ipv6Addr::from_bits(to.network().to_bits() | host))
        }
        (IpNetwork::V4(_) | IpNetwork::V6(_), IpNetwork::V4(_) | IpNetwork::V6(_), IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    }
}

/// An address and every IPv4 address that it may lead to.
fn faces(ip: IpAddr) -> impl Iterator<Item = IpAddr> {
    let hidden = match ip {
        IpAddr::V4(_) => Vec::new(),
        IpAddr::V6(v6) => hidden_v4(v6),
    };
    std::iter::once(ip).chain(hidden.into_iter().map(IpAddr::V4))
}

/// IPv4 addresses inside an IPv6 address: -mapped and -compatible (RFC 4291), -translated (RFC 2765), NAT64 (RFC 6052,
/// RFC 8215), 6to4 (RFC 3056), Teredo (RFC 4380), ISATAP (RFC 5214).
fn hidden_v4(v6: Ipv6Addr) -> Vec<Ipv4Addr> {
    let from = |hi: u16, lo: u16| Ipv4Addr::from_bits(u32::from(hi) << 16 | u32::from(lo));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, hi, lo] | [0, 0, 0, 0, 0xffff, 0, hi, lo] => vec![from(hi, lo)],
        [0, 0, 0, 0, 0, 0, hi, lo] if hi != 0 => vec![from(hi, lo)],
        [0x64, 0xff9b, 0, 0, 0, 0, hi, lo] => vec![from(hi, lo)],
        [0x64, 0xff9b, 1, ..] => local_nat64(v6),
        [0x2002, hi, lo, ..] => vec![from(hi, lo)],
        [0x2001, 0, .., hi, lo] => vec![from(!hi, !lo)],
        [.., 0 | 0x200, 0x5efe, hi, lo] => vec![from(hi, lo)],
        _ => Vec::new(),
    }
}

/// Inside 64:ff9b:1::/48 the translator's own prefix has 48, 56, 64 or 96 bits, which nobody outside it knows. Byte 8 is
/// left out by the shorter ones. What reads as 0.x.x.x is no IPv4 address but the rest of another form.
fn local_nat64(v6: Ipv6Addr) -> Vec<Ipv4Addr> {
    let b = v6.octets();
    let forms = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]];
    let read = forms.map(|places| Ipv4Addr::from(places.map(|at: usize| b[at])));
    read.into_iter().filter(|ip| ip.octets()[0] != 0).collect()
}

fn lies_inside(inner: IpNetwork, outer: IpNetwork) -> bool {
    inner.prefix() >= outer.prefix() && outer.contains(inner.network())
}

fn is_host(cidr: IpNetwork) -> bool {
    cidr.prefix() == if cidr.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests;

//! `[[route]]` and `[[map]]`: what a connector claims, and how it translates addresses before dialling.

use ipnetwork::IpNetwork;
use protocol::id::Name;

/// One-to-one translation of a network's addresses: the same prefix length, the same family.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Map {
    /// The VNet whose addresses are translated.
    pub vnet: Name,
    /// As they are in the VNet.
    pub from: IpNetwork,
    /// As they are dialled.
    pub to: IpNetwork,
}

impl Map {
    /// What is wrong with the two networks of a map, if anything.
    pub(super) fn mismatch(from: IpNetwork, to: IpNetwork) -> Option<String> {
        if from.is_ipv4() != to.is_ipv4() {
            return Some(format!("{to} is of another address family than {from}; a map translates one to one"));
        }
        (from.prefix() != to.prefix())
            .then(|| format!("{to} must have the prefix length of {from}, /{}, to translate one to one", from.prefix()))
    }
}

/// Whether a network lies wholly inside another.
pub(super) fn inside(inner: IpNetwork, outer: IpNetwork) -> bool {
    outer.contains(inner.network()) && outer.prefix() <= inner.prefix()
}

/// Whether two networks share an address.
pub(super) fn overlap(one: IpNetwork, other: IpNetwork) -> bool {
    inside(one, other) || inside(other, one)
}

/// Whether a map's addresses are among those the connector claims.
pub(super) fn is_claimed(routes: &[(Name, IpNetwork)], vnet: &Name, from: IpNetwork) -> bool {
    routes.iter().any(|(name, cidr)| name == vnet && inside(from, *cidr))
}

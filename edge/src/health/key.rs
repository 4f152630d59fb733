//! Numbers that stand for configured things, the same on every edge and in every run: hashing and affinity go by them.

use protocol::id::{Host, Name};

use crate::model::{Origin, Via};

/// Stands for where an origin is: its VNet, host and port, not its name. The same server in two pools has one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OriginKey(pub u64);

impl OriginKey {
    /// The key of an origin.
    #[must_use]
    pub fn of(origin: &Origin) -> Self {
        let mut text = Fnv::new();
        text.add(origin.vnet.as_ref().map_or("", Name::as_str).as_bytes());
        // Parts are set apart by bytes that occur in no name.
        match &origin.address.host {
            Host::Ip(std::net::IpAddr::V4(ip)) => text.add(b"/4").add(&ip.octets()),
            Host::Ip(std::net::IpAddr::V6(ip)) => text.add(b"/6").add(&ip.octets()),
            Host::Name(name) => text.add(b"/n").add(name.as_bytes()),
        };
        Self(text.add(b"/").add(&origin.address.port.to_be_bytes()).finish())
    }
}

/// Names an origin of a pool over reloads.
pub(super) type OriginAt = (Name, OriginKey);

/// Names a monitored path over reloads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathKey {
    /// The pool.
    pub pool: Name,
    /// The origin, by where it is.
    pub origin: OriginKey,
    /// Which way.
    pub via: Via,
}

impl PathKey {
    pub(super) fn origin(&self) -> OriginAt {
        (self.pool.clone(), self.origin)
    }
}

/// Stands for a load balancer by its name, across reloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BalancerKey(pub u64);

impl BalancerKey {
    /// The key of the load balancer of this name.
    #[must_use]
    pub fn of(name: &Name) -> Self {
        Self(Fnv::new().add(name.as_str().as_bytes()).finish())
    }
}

/// FNV-1a: short, well known, and fixed for ever. Users of the key mix it before they compare.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(vnet: Option<&str>, name: &str, address: &str) -> OriginKey {
        OriginKey::of(&Origin {
            name: name.parse().expect("a name"),
            vnet: vnet.map(|vnet| vnet.parse().expect("a name")),
            address: address.parse().expect("a target"),
            weight: 1.0,
            proxy_protocol: None,
            drain: false,
        })
    }

    #[test]
    fn an_origins_key_is_where_it_is() {
        let here = key(Some("prod"), "web-1", "10.0.0.1:80");
        assert_eq!(here, key(Some("prod"), "renamed", "10.0.0.1:80"));
        for other in [
            key(None, "web-1", "10.0.0.1:80"),
            key(Some("lab"), "web-1", "10.0.0.1:80"),
            key(Some("prod"), "web-1", "10.0.0.2:80"),
            key(Some("prod"), "web-1", "10.0.0.1:81"),
            key(Some("prod"), "web-1", "[::a00:1]:80"),
            key(Some("prod"), "web-1", "a.b:80"),
        ] {
            assert_ne!(here, other);
        }
    }

    #[test]
    fn keys_are_the_same_in_every_build() {
        assert_eq!(BalancerKey::of(&"a".parse().expect("a name")).0, 0xaf63_dc4c_8601_ec8c);
        assert_eq!(key(Some("prod"), "web-1", "10.0.0.1:80").0, 0xdd74_b389_5884_79ff);
    }
}

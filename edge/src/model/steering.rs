//! How flows are shared out: among the pools of a load balancer, among the origins of a pool, and who stays where he was.

use std::{net::IpAddr, time::Duration};

use http::HeaderName;

/// Choosing among the usable pools of a load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolSteering {
    /// The first usable one in order.
    Off,
    /// Dice.
    Random,
    /// Fewest open flows.
    LeastConnections,
}

/// Choosing among the origins of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steering {
    /// Weighted dice.
    Random,
    /// Smooth weighted round robin.
    RoundRobin,
    /// Weighted rendezvous hash of a key of the flow.
    Hash,
    /// The one with fewer flows per weight, of two that are drawn.
    LeastOutstanding,
    /// Fewest open flows per weight.
    LeastConnections,
}

/// What steering by hash goes by.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HashBy {
    /// The key.
    pub on: HashOn,
    /// An origin with so many times its share of all flows is passed over, 1.0 to 10.0; absent: whatever it has.
    pub bounded_load: Option<f64>,
}

/// A key of a flow. Of a flow without it, it is the source address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HashOn {
    /// The source address.
    #[default]
    Source,
    /// The network that the source address is in.
    SourcePrefix(Prefix),
    /// The host that is asked for.
    Host,
    /// The path that is asked for.
    Path,
    /// A field of the request.
    Header(HeaderName),
    /// A cookie of the request.
    Cookie(String),
}

/// How much of an address counts: bits of IPv4, at most 32, and of IPv6, at most 128.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Of IPv4.
    pub v4: u8,
    /// Of IPv6.
    pub v6: u8,
}

impl Prefix {
    /// All of it.
    pub const WHOLE: Self = Self { v4: 32, v6: 128 };

    /// The network of this prefix that an address is in.
    #[must_use]
    pub fn of(self, address: IpAddr) -> IpAddr {
        let kept = |bits: u8, of: u8| u32::from(of.saturating_sub(bits));
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(kept(self.v4, 32)).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(kept(self.v6, 128)).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
        }
    }
}

/// Whether and how a client stays on its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
    /// Every flow is placed anew.
    None,
    /// By source address, for this long after the last flow.
    Source {
        /// How much of the address counts.
        prefix: Prefix,
        /// Idle time after which the binding is forgotten.
        ttl: Duration,
        /// How long it holds once its origin is drained.
        drain: Duration,
    },
    /// By a sealed cookie, for HTTP listeners.
    Cookie {
        /// Time after which it is worth nothing, used or not.
        ttl: Duration,
        /// How long it holds once its origin is drained.
        drain: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_keeps_its_bits_and_no_others() {
        for (v4, v6, address, expected) in [
            (24, 64, "192.0.2.77", "192.0.2.0"),
            (32, 64, "192.0.2.77", "192.0.2.77"),
            (0, 64, "192.0.2.77", "0.0.0.0"),
            (24, 64, "::ffff:192.0.2.77", "192.0.2.0"),
            (24, 64, "2001:db8:1:2:3::4", "2001:db8:1:2::"),
            (24, 128, "2001:db8::4", "2001:db8::4"),
            (24, 0, "2001:db8::4", "::"),
        ] {
            let ip = |text: &str| -> IpAddr { text.parse().expect("an address") };
            assert_eq!(Prefix { v4, v6 }.of(ip(address)), ip(expected), "{address}/{v4} or {v6}");
        }
    }
}

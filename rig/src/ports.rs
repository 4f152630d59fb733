//! Loopback addresses that are free right now.
//!
//! Free ports come from below the range that kernels give to clients, so no client takes one between its being found and
//! its being bound by the process it is for, however it binds.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    ops::Range,
};

/// Where free ports come from.
pub const RANGE: Range<u16> = 10_000..30_000;

/// Finds addresses that are free for TCP and UDP, no one twice.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    given: BTreeSet<SocketAddr>,
    is_free: fn(SocketAddr) -> bool,
}

impl Ports {
    /// Begins to look at this port of the range: those who look on the same address at the same time had better begin apart.
    #[must_use]
    pub fn beginning_at(first: u16) -> Self {
        Self { first: first.clamp(RANGE.start, RANGE.end - 1), given: BTreeSet::new(), is_free }
    }

    /// This port if it is free, else any.
    pub fn rather(&mut self, at: SocketAddr) -> Option<SocketAddr> {
        self.take(at).or_else(|| self.any(at.ip()))
    }

    /// Some free port of this host; none if a whole range of them is taken.
    pub fn any(&mut self, host: IpAddr) -> Option<SocketAddr> {
        let mut ports = (self.first..RANGE.end).chain(RANGE.start..self.first);
        ports.find_map(|port| self.take(SocketAddr::new(host, port)))
    }

    fn take(&mut self, at: SocketAddr) -> Option<SocketAddr> {
        let takes = !self.given.contains(&at) && (self.is_free)(at);
        takes.then(|| {
            self.given.insert(at);
            at
        })
    }
}

fn is_free(at: SocketAddr) -> bool {
    TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const FRIENDLY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8001);

    fn ports(is_free: fn(SocketAddr) -> bool) -> Ports {
        Ports { is_free, ..Ports::beginning_at(17_000) }
    }

    #[test]
    fn a_friendly_port_is_given_once() {
        let mut ports = ports(|_| true);
        assert_eq!(ports.rather(FRIENDLY), Some(FRIENDLY));
        let second = ports.rather(FRIENDLY).expect("others are free");
        assert!(RANGE.contains(&second.port()));
        assert_ne!(ports.rather(FRIENDLY), Some(second));
    }

    #[test]
    fn a_taken_port_is_passed_over() {
        let mut ports = ports(|at| at.port() == 12_345);
        assert_eq!(ports.rather(FRIENDLY).map(|at| at.port()), Some(12_345), "below the first as well");
        assert_eq!(ports.any(FRIENDLY.ip()), None, "the only free one is given");
        assert!(ports.any([127, 0, 0, 2].into()).is_some(), "of this host");
    }

    #[test]
    fn whoever_begins_anywhere_begins_in_the_range() {
        for first in [0, 9_999, 10_000, 29_999, 30_000, u16::MAX] {
            let found = Ports { is_free: |_| true, ..Ports::beginning_at(first) }.any(FRIENDLY.ip());
            assert!(RANGE.contains(&found.expect("all are free").port()), "{first}");
        }
    }

    #[test]
    fn a_bound_port_is_not_free() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
        assert!(!is_free(held.local_addr().expect("it is bound")));
    }
}

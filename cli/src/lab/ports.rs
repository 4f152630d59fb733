//! Loopback addresses that are free right now.
//!
//! Free ports come from below the range that kernels give to clients, so no client takes one between its being found and
//! its being bound by the process it is for.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    ops::Range,
};

use rand::{Rng, RngExt};

const PORTS: Range<u16> = 10_000..30_000;

/// Finds addresses, no one twice.
#[derive(Debug)]
pub(super) struct Ports<R> {
    host: Ipv4Addr,
    given: BTreeSet<SocketAddr>,
    random: R,
    is_free: fn(SocketAddr) -> bool,
}

impl<R: Rng> Ports<R> {
    /// Ports of this address.
    pub(super) fn new(host: Ipv4Addr, random: R) -> Self {
        Self { host, given: BTreeSet::new(), random, is_free }
    }

    /// The friendly port if it is free, else any.
    pub(super) fn friendly(&mut self, port: u16) -> Option<SocketAddr> {
        self.take(port).or_else(|| self.any())
    }

    /// Some free port; none if a whole range of them is taken.
    fn any(&mut self) -> Option<SocketAddr> {
        let first = self.random.random_range(PORTS);
        (first..PORTS.end).chain(PORTS.start..first).find_map(|port| self.take(port))
    }

    fn take(&mut self, port: u16) -> Option<SocketAddr> {
        let at = SocketAddr::from((self.host, port));
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
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn ports(is_free: fn(SocketAddr) -> bool) -> Ports<StdRng> {
        Ports { host: Ipv4Addr::LOCALHOST, given: BTreeSet::new(), random: StdRng::seed_from_u64(7), is_free }
    }

    #[test]
    fn a_friendly_port_is_given_once() {
        let mut ports = ports(|_| true);
        assert_eq!(ports.friendly(8001).map(|at| at.port()), Some(8001));
        let second = ports.friendly(8001).expect("others are free");
        assert!(PORTS.contains(&second.port()));
    }

    #[test]
    fn a_taken_port_is_passed_over() {
        let mut ports = ports(|at| at.port() == 12_345);
        assert_eq!(ports.friendly(8001).map(|at| at.port()), Some(12_345));
        assert_eq!(ports.any(), None, "the only free one is given");
    }

    #[test]
    fn a_bound_port_is_not_free() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
        assert!(!is_free(held.local_addr().expect("it is bound")));
    }
}

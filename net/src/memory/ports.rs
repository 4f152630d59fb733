//! What is bound on a host: addresses, and the queues of those who listen there. Pure but for the queues.
//!
//! Addresses are kept without the disguise of IPv4 in IPv6; `[::]` takes both, as it does where `bindv6only` is 0.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
};

use super::queue::Queue;

/// Ports handed out to those who name none.
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

/// Bound addresses of one protocol.
#[derive(Debug)]
pub(super) struct Ports<T> {
    bound: BTreeMap<SocketAddr, Arc<Queue<T>>>,
    next: u16,
}

impl<T> Ports<T> {
    pub(super) fn new() -> Self {
        Self { bound: BTreeMap::new(), next: *EPHEMERAL.start() }
    }

    /// Binds; port 0 stands for one that is free. Gives the address really bound.
    pub(super) fn bind(&mut self, address: SocketAddr, queue: Arc<Queue<T>>) -> io::Result<SocketAddr> {
        let mut bound = canonical(address);
        if bound.port() == 0 {
            bound.set_port(self.free_port().ok_or(io::ErrorKind::AddrInUse)?);
        }
        let ip = bound.ip();
        if self.bound.keys().any(|b| b.port() == bound.port() && (covers(b.ip(), ip) || covers(ip, b.ip()))) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.bound.insert(bound, queue);
        Ok(bound)
    }

    /// Frees an address that [`Ports::bind`] gave.
    pub(super) fn unbind(&mut self, bound: SocketAddr) {
        self.bound.remove(&bound);
    }

    /// Who gets what is sent to an address, and the address it is bound by.
    pub(super) fn find(&self, address: SocketAddr) -> Option<(SocketAddr, Arc<Queue<T>>)> {
        let found = self.bound.iter().find(|(b, _)| b.port() == address.port() && covers(b.ip(), address.ip()));
        found.map(|(bound, queue)| (*bound, queue.clone()))
    }

    /// A port that nothing is bound to, another one each time as long as there are any.
    pub(super) fn free_port(&mut self) -> Option<u16> {
        for _ in EPHEMERAL {
            let port = self.next;
            self.next = if port == *EPHEMERAL.end() { *EPHEMERAL.start() } else { port + 1 };
            if self.bound.keys().all(|bound| bound.port() != port) {
                return Some(port);
            }
        }
        None
    }
}

/// An address without disguise.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// An address as a socket bound to `bound` spells it: one of IPv6 sees IPv4 in disguise.
pub(super) fn seen_by(bound: SocketAddr, address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) if bound.is_ipv6() => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

fn covers(bound: IpAddr, ip: IpAddr) -> bool {
    bound == ip || bound == Ipv6Addr::UNSPECIFIED || (bound.is_unspecified() && ip.is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(bound: &[&str]) -> Ports<()> {
        let mut ports = Ports::new();
        for address in bound {
            ports.bind(address.parse().expect("an address"), Arc::new(Queue::new(1))).expect("free");
        }
        ports
    }

    #[test]
    fn an_address_is_taken_by_itself_and_by_a_wildcard_of_its_kind() {
        for (taken, asked, free) in [
            ("10.0.0.1:80", "10.0.0.1:80", false),
            ("10.0.0.1:80", "10.0.0.1:81", true),
            ("10.0.0.1:80", "10.0.0.2:80", true),
            ("0.0.0.0:80", "10.0.0.1:80", false),
            ("10.0.0.1:80", "0.0.0.0:80", false),
            ("0.0.0.0:80", "[fd00::1]:80", true),
            ("[::]:80", "10.0.0.1:80", false),
            ("[::]:80", "[fd00::1]:80", false),
            ("[::ffff:10.0.0.1]:80", "10.0.0.1:80", false),
        ] {
            let bound = ports(&[taken]).bind(asked.parse().expect("an address"), Arc::new(Queue::new(1)));
            assert_eq!(bound.is_ok(), free, "{asked} beside {taken}");
        }
    }

    #[test]
    fn what_is_sent_to_an_address_finds_who_is_bound_there() {
        let ports = ports(&["10.0.0.1:80", "0.0.0.0:81", "[::]:82"]);
        for (address, bound) in [
            ("10.0.0.1:80", Some("10.0.0.1:80")),
            ("10.0.0.2:80", None),
            ("10.0.0.2:81", Some("0.0.0.0:81")),
            ("[fd00::1]:81", None),
            ("10.0.0.2:82", Some("[::]:82")),
            ("[fd00::1]:82", Some("[::]:82")),
        ] {
            let found = ports.find(address.parse().expect("an address")).map(|(bound, _)| bound.to_string());
            assert_eq!(found.as_deref(), bound, "{address}");
        }
    }

    #[test]
    fn a_port_that_was_just_freed_is_not_the_next_to_be_given() {
        let mut ports = ports(&[]);
        let any: SocketAddr = "10.0.0.1:0".parse().expect("an address");
        let first = ports.bind(any, Arc::new(Queue::new(1))).expect("free");
        ports.unbind(first);
        let second = ports.bind(any, Arc::new(Queue::new(1))).expect("free");
        assert!(EPHEMERAL.contains(&first.port()) && EPHEMERAL.contains(&second.port()));
        assert_ne!(first.port(), second.port());
    }
}

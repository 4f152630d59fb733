//! Forged words: ICMP port unreachable about packets of an edge, in the name of a connector's host. Needs root.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};

/// Somebody who can send packets in the name of a host.
#[derive(Debug)]
pub struct Forger {
    socket: Socket,
    edge: SocketAddrV4,
    connector: SocketAddrV4,
}

impl Forger {
    /// Speaks in the name of the host of `connector`, to the edge whose packets it quotes.
    ///
    /// # Panics
    /// If this process may not, or an address is not of IPv4.
    #[must_use]
    pub fn new(edge: SocketAddr, connector: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).expect("root may forge packets");
        socket.bind(&SocketAddr::new(connector.ip(), 0).into()).expect("an address of this machine");
        Self { socket, edge: v4(edge), connector: v4(connector) }
    }

    /// Says that nobody listens where the connector is.
    ///
    /// # Panics
    /// If the kernel does not send it.
    pub fn say_gone(&self) {
        let message = message(self.edge, self.connector);
        let to = SocketAddr::new((*self.edge.ip()).into(), 0);
        self.socket.send_to(&message, &to.into()).expect("a way to the edge");
    }
}

fn v4(address: SocketAddr) -> SocketAddrV4 {
    let IpAddr::V4(ip) = address.ip().to_canonical() else { panic!("{address} is not of IPv4") };
    SocketAddrV4::new(ip, address.port())
}

/// ```text
/// type 3 │ code 3 │ checksum u16 │ unused u32 │ the packet: IP header of 20 bytes, UDP header, its first bytes
/// ```
fn message(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
    message.extend([0x45, 0, 0, 64, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    message.extend(from.ip().octets());
    message.extend(to.ip().octets());
    message.extend(from.port().to_be_bytes());
    message.extend(to.port().to_be_bytes());
    message.extend([0, 44, 0, 0]);
    message.extend([0x40; 8]);
    let sum = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

/// RFC 1071.
fn checksum(message: &[u8]) -> u16 {
    let (words, _) = message.as_chunks::<2>();
    let mut sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to sixteen bits")
}

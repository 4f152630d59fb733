//! What the kernel tells of a TCP connection.

use std::os::fd::AsFd;

use nix::{getsockopt_impl, libc, sockopt_impl, sys::socket::getsockopt};

/// The beginning of the kernel's `struct tcp_info` (linux/tcp.h), in words of eight bytes; libc knows an older one.
type TcpInfo = [u64; 16];

/// Where `tcpi_bytes_acked` is in it (RFC 4898: `tcpEStatsAppHCThruOctetsAcked`).
const BYTES_ACKED: usize = 15;

sockopt_impl!(
    /// What the kernel tells of a connection.
    Info,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    TcpInfo
);

/// Bytes that the peer has acknowledged; 0 if the kernel does not tell.
pub(crate) fn acknowledged(socket: &impl AsFd) -> u64 {
    getsockopt(socket, Info).map_or(0, |info| info[BYTES_ACKED])
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn what_a_peer_has_acknowledged_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut socket = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (mut peer, _) = listener.accept().expect("it connects");
        let before = acknowledged(&socket);
        socket.write_all(&[7; 10_000]).expect("room");
        peer.read_exact(&mut [0; 10_000]).expect("they come");
        // An answer carries the last acknowledgement.
        peer.write_all(b"x").expect("room");
        socket.read_exact(&mut [0]).expect("it comes");
        assert_eq!(acknowledged(&socket) - before, 10_000);
    }
}

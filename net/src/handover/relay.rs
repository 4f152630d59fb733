//! One end of a pair that packets of a shared UDP socket cross by, between its two processes.
//!
//! ```text
//! bytes  0     1    2..4    4..6  6       7..23   23..27  27         28..44   44..
//!        kind  ECN  stride  port  4 or 6  source  scope   0, 4 or 6  sent to  packets, as the kernel joined them
//! ```
//! Kind 1 has packets, perhaps an empty one; kind 2 says that its sender wants no more of them. Addresses of IPv4 are mapped.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsFd, OwnedFd},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut};
use quinn::udp::{EcnCodepoint, RecvMeta};
use rustix::net::{self as sys, AddressFamily, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, sockopt};
use tokio::{io::Interest, net::UnixDatagram};

const HEADER: usize = 44;
const PACKETS: u8 = 1;
const ENOUGH: u8 = 2;
/// Bytes asked for each way; the kernel caps it at `net.core.{r,w}mem_max`.
const BUFFER: usize = 8 * 1024 * 1024;

/// One end. Messages keep their bounds; one that finds no room is lost, as in any full buffer of UDP. Of the type that holds it only
/// the readiness is used: the kernel keeps no more than ten messages between sockets of that kind, and as many as there is room for here.
#[derive(Debug)]
pub(super) struct Relay(UnixDatagram);

/// What has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// Packets, in the buffer.
    Packets,
    /// The other wants no more.
    Enough,
    /// The other is gone, or has closed its end.
    Over,
}

/// Two ends, one for each process.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (here, there) = sys::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    for end in [&here, &there] {
        // Smaller buffers than asked for only cost bursts.
        let _ = sockopt::set_socket_send_buffer_size(end, BUFFER);
        let _ = sockopt::set_socket_recv_buffer_size(end, BUFFER);
    }
    Ok((here, there))
}

impl Relay {
    /// Takes an end. Its readiness is heard of on the runtime that this is called on.
    pub(super) fn new(end: OwnedFd) -> io::Result<Self> {
        UnixDatagram::from_std(end.into()).map(Self)
    }

    /// The same end, for another process.
    pub(super) fn end(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }

    /// Passes packets on: where they come from, and how, is in `meta`.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room; any other: the other process is gone.
    pub(super) fn pass(&self, meta: &RecvMeta, packets: &[u8]) -> io::Result<()> {
        self.send(&header(PACKETS, meta), packets)
    }

    /// Wants no more.
    ///
    /// # Errors
    /// As [`Relay::pass`].
    pub(super) fn enough(&self) -> io::Result<()> {
        self.send(&header(ENOUGH, &RecvMeta::default()), &[])
    }

    fn send(&self, head: &[u8], packets: &[u8]) -> io::Result<()> {
        let parts = [IoSlice::new(head), IoSlice::new(packets)];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sys::sendmsg(&self.0, &parts, &mut SendAncillaryBuffer::default(), flags)?;
        Ok(())
    }

    /// Passes nothing on from here on; what comes is taken still.
    pub(super) fn close(&self) {
        let _ = sys::shutdown(&self.0, sys::Shutdown::Write);
    }

    /// Takes one message.
    ///
    /// # Errors
    /// The kernel's: the pair is of no use any more.
    pub(super) fn poll_came(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut IoSliceMut<'_>,
        meta: &mut RecvMeta,
    ) -> Poll<io::Result<Came>> {
        loop {
            ready!(self.0.poll_recv_ready(cx))?;
            let mut head = [0; HEADER];
            let read = self.0.try_io(Interest::READABLE, || {
                let mut parts = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut *buffer)];
                Ok(rustix::io::readv(&self.0, &mut parts)?)
            });
            let read = match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                read => read?,
            };
            return Poll::Ready(Ok(match read.checked_sub(HEADER) {
                None => Came::Over,
                Some(_) if head[0] == ENOUGH => Came::Enough,
                Some(len) => {
                    *meta = read_header(&head[1..], len);
                    Came::Packets
                }
            }));
        }
    }
}

fn header(kind: u8, meta: &RecvMeta) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    let mut head = &mut bytes[..];
    head.put_u8(kind);
    head.put_u8(meta.ecn.map_or(0, |ecn| ecn as u8));
    head.put_u16(u16::try_from(meta.stride).unwrap_or(u16::MAX));
    head.put_u16(meta.addr.port());
    let (family, source, scope) = match meta.addr {
        SocketAddr::V4(v4) => (4, v4.ip().to_ipv6_mapped(), 0),
        SocketAddr::V6(v6) => (6, *v6.ip(), v6.scope_id()),
    };
    head.put_u8(family);
    head.put_slice(&source.octets());
    head.put_u32(scope);
    let (kind, local) = match meta.dst_ip {
        None => (0, Ipv6Addr::UNSPECIFIED),
        Some(IpAddr::V4(v4)) => (4, v4.to_ipv6_mapped()),
        Some(IpAddr::V6(v6)) => (6, v6),
    };
    head.put_u8(kind);
    head.put_slice(&local.octets());
    bytes
}

fn read_header(mut head: &[u8], len: usize) -> RecvMeta {
    let ecn = EcnCodepoint::from_bits(head.get_u8());
    let (stride, port, family) = (usize::from(head.get_u16()), head.get_u16(), head.get_u8());
    let (source, scope) = (Ipv6Addr::from_bits(head.get_u128()), head.get_u32());
    let addr = match family {
        4 => SocketAddr::from((v4(source), port)),
        _ => SocketAddr::V6(SocketAddrV6::new(source, port, 0, scope)),
    };
    let (kind, local) = (head.get_u8(), Ipv6Addr::from_bits(head.get_u128()));
    let dst_ip = match kind {
        4 => Some(IpAddr::V4(v4(local))),
        6 => Some(IpAddr::V6(local)),
        _ => None,
    };
    RecvMeta { addr, len, stride, ecn, dst_ip }
}

fn v4(mapped: Ipv6Addr) -> Ipv4Addr {
    mapped.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn came(relay: &Relay, buffer: &mut [u8]) -> (Came, RecvMeta) {
        let mut meta = RecvMeta::default();
        let came = poll_fn(|cx| relay.poll_came(cx, &mut IoSliceMut::new(buffer), &mut meta)).await;
        (came.expect("a pair"), meta)
    }

    #[tokio::test]
    async fn packets_cross_with_all_that_is_known_of_them() {
        let (here, there) = pair().expect("a pair");
        let (here, there) = (Relay::new(here).expect("a runtime"), Relay::new(there).expect("a runtime"));
        let check = async |addr: &str, dst_ip: Option<&str>, ecn| {
            let addr = addr.parse().expect("an address");
            let dst_ip = dst_ip.map(|ip| ip.parse().expect("an address"));
            let meta = RecvMeta { addr, len: 5, stride: 3, ecn, dst_ip };
            here.pass(&meta, b"abcde").expect("room");
            let mut buffer = [0; 16];
            let (what, got) = came(&there, &mut buffer).await;
            assert_eq!((what, &buffer[..got.len]), (Came::Packets, &b"abcde"[..]));
            assert_eq!((got.addr, got.stride, got.ecn, got.dst_ip), (addr, 3, ecn, dst_ip));
        };
        check("10.1.2.3:4567", Some("127.0.0.1"), None).await;
        check("[fe80::1]:1", Some("fe80::2"), Some(EcnCodepoint::Ect0)).await;
        check("[::ffff:10.1.2.3]:80", Some("::ffff:10.1.2.4"), Some(EcnCodepoint::Ce)).await;
        check("10.1.2.3:4567", None, None).await;
        let empty = RecvMeta { addr: "10.1.2.3:4567".parse().expect("an address"), ..RecvMeta::default() };
        here.pass(&empty, b"").expect("room");
        assert_eq!(came(&there, &mut [0; 16]).await.0, Came::Packets);
    }

    #[tokio::test]
    async fn an_end_that_wants_no_more_gets_what_is_on_its_way_and_then_hears_that_it_was_all() {
        let (here, there) = pair().expect("a pair");
        let (here, there) = (Relay::new(here).expect("a runtime"), Relay::new(there).expect("a runtime"));
        let meta =
            RecvMeta { addr: "10.1.2.3:4567".parse().expect("an address"), len: 1, stride: 1, ..RecvMeta::default() };
        here.pass(&meta, b"a").expect("room");
        there.enough().expect("room");
        let mut buffer = [0; 16];
        assert_eq!(came(&here, &mut buffer).await.0, Came::Enough);
        here.close();
        assert_eq!(came(&there, &mut buffer).await.0, Came::Packets);
        assert_eq!(came(&there, &mut buffer).await.0, Came::Over);
        there.pass(&meta, b"b").expect("the other way is open still");
        assert_eq!(came(&here, &mut buffer).await.0, Came::Packets);
        drop(there);
        assert_eq!(came(&here, &mut buffer).await.0, Came::Over);
        assert!(here.pass(&meta, b"c").is_err());
    }

    #[tokio::test]
    async fn what_finds_no_room_is_told_apart_from_what_finds_nobody() {
        let (here, there) = pair().expect("a pair");
        let here = Relay::new(here).expect("a runtime");
        let meta =
            RecvMeta { addr: "10.1.2.3:4567".parse().expect("an address"), len: 1, stride: 1, ..RecvMeta::default() };
        let mut passed = (0..100_000).map(|_| here.pass(&meta, &[0; 1200]));
        let full = passed.find_map(Result::err).expect("a buffer has an end");
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        drop(there);
        assert_ne!(here.pass(&meta, b"c").expect_err("gone").kind(), io::ErrorKind::WouldBlock);
    }
}

//! Where sockets come from: the operating system, or whatever stands in its place in a simulation.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::Ipv6DontFrag};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover};
use socket2::{Domain, Protocol, Type};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

use crate::{
    Datagrams, Front, Socket, Unreachables, files,
    ping::{self, PingError},
    quic::QuicSocket,
};

/// Connections waiting to be accepted; the kernel caps it at `net.core.somaxconn`.
pub(crate) const BACKLOG: u16 = 4096;
/// Bytes of kernel buffer asked for each way on a UDP session's socket.
const SESSION_BUFFER: usize = 1024 * 1024;
/// Bytes of kernel buffer asked for each way on a socket that many send to; the kernel caps it at `net.core.{r,w}mem_max`.
const UDP_BUFFER: usize = 8 * 1024 * 1024;

/// A future that can be kept in a table.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What edge and connector ask of a network.
pub trait Network: fmt::Debug + Send + Sync + 'static {
    /// Listens for TCP connections.
    ///
    /// # Errors
    /// The kernel's, with the address in the text.
    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>>;

    /// Dials a TCP address.
    fn dial(&self, address: SocketAddr) -> Boxed<'_, io::Result<Socket>>;

    /// Binds a UDP socket for QUIC. What is heard of ports that nobody listens on is noted in `heard`.
    ///
    /// # Errors
    /// The kernel's, with the address in the text.
    fn bind_quic(&self, address: SocketAddr, heard: &Unreachables) -> io::Result<Arc<dyn AsyncUdpSocket>>;

    /// Binds a UDP socket for clients.
    ///
    /// # Errors
    /// The kernel's, with the address in the text.
    fn bind_udp(&self, address: SocketAddr) -> io::Result<Front> {
        self.bind_quic(address, &Unreachables::default()).map(Front::new)
    }

    /// A UDP socket connected to this address.
    ///
    /// # Errors
    /// The kernel's, or `Unsupported` where a network has none.
    fn dial_udp(&self, _address: SocketAddr) -> io::Result<Datagrams> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends a host one ICMP echo request and waits for its answer, without an end.
    fn ping(&self, _ip: IpAddr) -> Boxed<'_, Result<Duration, PingError>> {
        Box::pin(std::future::ready(Err(PingError::NotPermitted)))
    }
}

/// Accepts TCP connections.
pub trait Listener: fmt::Debug + Send + Sync {
    /// The next connection and where it is from.
    fn accept(&self) -> Boxed<'_, io::Result<(Socket, SocketAddr)>>;

    /// The address that is really bound.
    ///
    /// # Errors
    /// The kernel's.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// The operating system's network.
#[derive(Debug, Clone, Copy, Default)]
pub struct Os;

impl Network for Os {
    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let listen = || TcpListener::from_std(bound_tcp(address)?);
        Ok(Box::new(OsListener(listen().map_err(|e| naming("TCP", address, &e))?)))
    }

    fn dial(&self, address: SocketAddr) -> Boxed<'_, io::Result<Socket>> {
        Box::pin(async move {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            files::unless_reserved(socket.as_fd())?;
            Socket::new(socket.connect(address).await?)
        })
    }

    fn bind_quic(&self, address: SocketAddr, heard: &Unreachables) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let bind = || QuicSocket::new(bound_udp(address)?.into(), heard.clone());
        Ok(Arc::new(bind().map_err(|e| naming("UDP", address, &e))?))
    }

    fn bind_udp(&self, address: SocketAddr) -> io::Result<Front> {
        bound_udp(address).and_then(front).map_err(|e| naming("UDP", address, &e))
    }

    fn dial_udp(&self, address: SocketAddr) -> io::Result<Datagrams> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        files::unless_reserved(socket.as_fd())?;
        // Smaller buffers than asked for only cost bursts.
        let _ = socket.set_recv_buffer_size(SESSION_BUFFER);
        let _ = socket.set_send_buffer_size(SESSION_BUFFER);
        socket.set_nonblocking(true)?;
        socket.connect(&address.into())?;
        Ok(Datagrams::new(UdpSocket::from_std(socket.into())?))
    }

    fn ping(&self, ip: IpAddr) -> Boxed<'_, Result<Duration, PingError>> {
        Box::pin(ping::ping(ip))
    }
}

/// A bound socket as clients come in by it.
pub(crate) fn front(socket: socket2::Socket) -> io::Result<Front> {
    let same = socket.try_clone()?;
    let front = Front::new(TokioRuntime.wrap_udp_socket(socket.into())?);
    // quinn forbids fragments, but an answer larger than the client's path must reach it all the same.
    set_ip_mtu_discover(&same, Ipv4PathMtuDiscovery::WANT)?;
    if same.domain()? == Domain::IPV6 {
        set_ipv6_mtu_discover(&same, Ipv6PathMtuDiscovery::WANT)?;
        setsockopt(&same, Ipv6DontFrag, &false)?;
    }
    Ok(front)
}

/// A socket that listens.
pub(crate) fn bound_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG.into())?;
    Ok(socket.into())
}

/// A socket that clients or connectors may send to.
pub(crate) fn bound_udp(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Smaller buffers than asked for only cost speed.
    let _ = socket.set_recv_buffer_size(UDP_BUFFER);
    let _ = socket.set_send_buffer_size(UDP_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket)
}

#[derive(Debug)]
pub(crate) struct OsListener(pub(crate) TcpListener);

impl Listener for OsListener {
    fn accept(&self) -> Boxed<'_, io::Result<(Socket, SocketAddr)>> {
        Box::pin(async move {
            let (stream, source) = self.0.accept().await?;
            Ok((Socket::new(stream)?, source))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// The wildcard address a QUIC client binds: IPv6 that also carries IPv4 where there is IPv6, else IPv4.
///
/// # Errors
/// If neither can be bound.
pub fn bind_quic_client(network: &dyn Network, heard: &Unreachables) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    network
        .bind_quic((IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0).into(), heard)
        .or_else(|_| network.bind_quic((IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0).into(), heard))
}

pub(crate) fn naming(kind: &str, address: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {kind} {address}: {error}"))
}

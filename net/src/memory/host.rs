//! A host: its interfaces, its loopback, and what is bound on it.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use quinn::AsyncUdpSocket;

use super::{
    MemoryNetwork,
    listener::{Arrival, MemoryListener},
    ports::{Ports, canonical, seen_by},
    queue::Queue,
    stream::{self, Stream},
    udp::{Datagram, Dropped, Loss, MemoryUdpSocket},
};
use crate::{
    Network, Socket, Unreachables,
    network::{BACKLOG, Boxed, Listener, naming},
};

/// Datagrams that wait to be taken at one socket; about 6 MiB of full packets.
const DATAGRAMS_MAX: usize = 4_096;

/// A host of one network in memory, or of several.
#[derive(Debug, Clone)]
pub struct MemoryHost(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    interfaces: Mutex<Vec<(MemoryNetwork, IpAddr)>>,
    tcp: Mutex<Ports<Arrival>>,
    udp: Mutex<Ports<Datagram>>,
    dropped: Mutex<Dropped>,
}

/// How a host reaches an address.
struct Route {
    to: Arc<Inner>,
    from: IpAddr,
    /// Absent: it is the host itself.
    over: Option<MemoryNetwork>,
}

impl MemoryHost {
    /// A host with nothing but its loopback.
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            interfaces: Mutex::default(),
            tcp: Mutex::new(Ports::new()),
            udp: Mutex::new(Ports::new()),
            dropped: Mutex::default(),
        }))
    }

    pub(super) fn of(inner: Arc<Inner>) -> Self {
        Self(inner)
    }

    /// Gives the host one more address, in this network or in another. Of networks that hold the same address, it reaches
    /// the one in the network joined first.
    ///
    /// # Panics
    /// If another host of that network has the address.
    pub fn join(&self, network: &MemoryNetwork, ip: IpAddr) {
        network.add(ip, &self.0);
        lock(&self.0.interfaces).push((network.clone(), ip));
    }

    /// What this host has sent in datagrams that never arrived.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        *lock(&self.0.dropped)
    }
}

impl Network for MemoryHost {
    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let queue = Arc::new(Queue::new(BACKLOG as usize));
        let bound = self.0.check_local(address).and_then(|()| lock(&self.0.tcp).bind(address, queue.clone()));
        let bound = bound.map_err(|e| naming("TCP", address, &e))?;
        Ok(Box::new(MemoryListener::new(self.0.clone(), bound, queue)))
    }

    fn dial(&self, address: SocketAddr) -> Boxed<'_, io::Result<Socket>> {
        Box::pin(async move {
            // A port names no connection here, so one may come again while an old one lives.
            let port = lock(&self.0.tcp).free_port().ok_or(io::ErrorKind::AddrNotAvailable)?;
            let stream = poll_fn(|cx| self.0.poll_dial(cx, port, canonical(address))).await?;
            Ok(Socket::in_memory(stream))
        })
    }

    fn bind_quic(&self, address: SocketAddr, heard: &Unreachables) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let queue = Arc::new(Queue::new(DATAGRAMS_MAX));
        let bound = self.0.check_local(address).and_then(|()| lock(&self.0.udp).bind(address, queue.clone()));
        let bound = bound.map_err(|e| naming("UDP", address, &e))?;
        Ok(Arc::new(MemoryUdpSocket::new((self.0.clone(), bound), queue, heard.clone())))
    }
}

impl Inner {
    pub(super) fn unbind_tcp(&self, bound: SocketAddr) {
        lock(&self.tcp).unbind(bound);
    }

    pub(super) fn unbind_udp(&self, bound: SocketAddr) {
        lock(&self.udp).unbind(bound);
    }

    /// Sends a datagram from a socket bound to `datagram.from`; one that does not arrive is counted. If the other host says
    /// that nobody listens there, `heard` notes it.
    pub(super) fn send(self: &Arc<Self>, datagram: Datagram, heard: &Unreachables) {
        let to = datagram.to;
        if let Err(loss) = self.try_send(datagram) {
            lock(&self.dropped).count(loss);
            if loss == Loss::Refused {
                heard.note(to);
            }
        }
    }

    fn try_send(self: &Arc<Self>, mut datagram: Datagram) -> Result<(), Loss> {
        if datagram.is_too_large() {
            return Err(Loss::TooLarge);
        }
        let to = datagram.to.ip();
        let route = self.route(to, datagram.from.ip()).ok_or(Loss::Unreachable)?;
        datagram.from.set_ip(route.from);
        if let Some(network) = &route.over {
            network.judge(route.from, to)?;
        }
        let Some((_, queue)) = lock(&route.to.udp).find(datagram.to) else {
            // The host's word has a way back to go.
            let back = route.over.as_ref().is_none_or(|network| network.judge(to, route.from).is_ok());
            return Err(if back { Loss::Refused } else { Loss::Unreachable });
        };
        queue.push(datagram).map_err(|_| Loss::Full)
    }

    fn poll_dial(self: &Arc<Self>, cx: &Context<'_>, port: u16, to: SocketAddr) -> Poll<io::Result<Stream>> {
        let unspecified = if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        let Some(route) = self.route(to.ip(), unspecified) else {
            return Poll::Ready(Err(io::ErrorKind::HostUnreachable.into()));
        };
        let from = SocketAddr::new(route.from, port);
        match route.over {
            None => Poll::Ready(route.to.admit(from, to)),
            Some(network) => network.poll_connect(cx, (from.ip(), to.ip()), || route.to.admit(from, to)),
        }
    }

    /// Puts a connection before whoever listens; gives the dialler's end.
    fn admit(&self, from: SocketAddr, to: SocketAddr) -> io::Result<Stream> {
        let (bound, queue) = lock(&self.tcp).find(to).ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, far) = stream::connect(from, to);
        let source = seen_by(bound, from);
        // A listener with a full backlog refuses: nobody here would send the first packet again.
        let arrived = queue.push((far.seen_as(seen_by(bound, to), source), source));
        arrived.map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(near)
    }

    /// The way to an address, from a given one unless that is a wildcard.
    fn route(self: &Arc<Self>, to: IpAddr, from: IpAddr) -> Option<Route> {
        let interfaces = lock(&self.interfaces).clone();
        let is_own = |ip: IpAddr| ip.is_loopback() || interfaces.iter().any(|(_, own)| *own == ip);
        if is_own(to) {
            let from = if from.is_unspecified() { to } else { from };
            return Some(Route { to: self.clone(), from, over: None });
        }
        let fits = |own: &IpAddr| own.is_ipv4() == to.is_ipv4() && (from.is_unspecified() || from == *own);
        interfaces.into_iter().filter(|(_, own)| fits(own)).find_map(|(network, from)| {
            let to = network.find(to)?;
            Some(Route { to, from, over: Some(network) })
        })
    }

    fn check_local(&self, address: SocketAddr) -> io::Result<()> {
        let ip = address.ip().to_canonical();
        let own = ip.is_unspecified() || ip.is_loopback() || lock(&self.interfaces).iter().any(|(_, own)| *own == ip);
        if own { Ok(()) } else { Err(io::ErrorKind::AddrNotAvailable.into()) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

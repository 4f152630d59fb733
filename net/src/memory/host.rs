//! A host: its interfaces, its loopback, and what is bound on it.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use quinn::AsyncUdpSocket;

use super::{
    datagram::Dropped,
    listener::MemoryListener,
    network::{Inner, MemoryNetwork, lock},
    ports::canonical,
    queue::Queue,
    udp::MemoryUdpSocket,
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

impl MemoryHost {
    /// A host with nothing but its loopback.
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner::new()))
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

impl MemoryNetwork {
    /// The host with this address; it is made if there is none. It lives as long as somebody holds it, or a socket of it.
    #[must_use]
    pub fn host(&self, ip: IpAddr) -> MemoryHost {
        if let Some(inner) = self.find(ip) {
            return MemoryHost::of(inner);
        }
        let host = MemoryHost::new();
        host.join(self, ip);
        host
    }
}

impl Network for MemoryHost {
    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let queue = Arc::new(Queue::new(BACKLOG.into()));
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

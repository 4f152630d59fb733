//! What is known of a socket for as long as it is open; and QUIC's socket, shared.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    os::fd::OwnedFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use super::sharing::{Generation, Sharing};

/// A socket that is open.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(super) socket: OwnedFd,
    /// It stays bound while nobody wants it.
    pub(super) stays: bool,
    pub(super) sharing: Arc<Sharing>,
}

impl Bound {
    /// Whom else it is shared with.
    pub(crate) fn sharing(&self) -> &Sharing {
        &self.sharing
    }
}

/// QUIC's socket, shared.
pub(super) struct Divided {
    pub(super) socket: Arc<dyn AsyncUdpSocket>,
    pub(super) bound: Arc<Bound>,
    pub(super) generation: Generation,
}

impl AsyncUdpSocket for Divided {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let (count, _) = ready!(self.bound.sharing().poll_receive(&*self.socket, cx, (buffers, meta)))?;
            if self.bound.sharing().sort(self.generation, (&mut buffers[..count], &mut meta[..count])) > 0 {
                return Poll::Ready(Ok(count));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

impl fmt::Debug for Divided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Divided({:?})", self.socket)
    }
}

//! UDP sockets as sessions see them: one towards an origin, and one where clients come in.

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::BufMut;
use quinn::{
    AsyncUdpSocket,
    udp::{BATCH_SIZE, RecvMeta, Transmit},
};
use socket2::SockRef;
use tokio::{io::Interest, net::UdpSocket};

use crate::handover::{
    bound::Bound,
    sharing::{Passed, Passing},
};

/// Buffers of one receiving call, each for a payload of any size or, where the kernel joins them, many small ones.
const BATCH: usize = if BATCH_SIZE < 8 { BATCH_SIZE } else { 8 };
/// Room for the largest payload.
const BUFFER: usize = 64 * 1024;

/// A UDP socket that is connected to one peer, bound to the runtime it is polled on.
#[derive(Debug)]
pub struct Datagrams(UdpSocket);

impl Datagrams {
    /// Wraps a connected socket.
    #[must_use]
    pub fn new(socket: UdpSocket) -> Self {
        Self(socket)
    }

    /// Waits until a read may bring a payload.
    ///
    /// # Errors
    /// What was heard from the peer's host or network meanwhile: `ConnectionRefused`, most likely.
    pub async fn readable(&self) -> io::Result<()> {
        // Word of an earlier payload makes no socket readable.
        let ready = self.0.ready(Interest::READABLE | Interest::ERROR).await?;
        if ready.is_error() {
            let _ = self.0.try_io(Interest::ERROR, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            if let Some(heard) = self.0.take_error()? {
                return Err(heard);
            }
        }
        Ok(())
    }

    /// Reads one payload into the spare room of `buffer`; what does not fit is cut off.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; else as [`Datagrams::readable`].
    pub fn try_recv(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        self.0.try_recv_buf(buffer)
    }

    /// Sends one payload.
    ///
    /// # Errors
    /// `WouldBlock` if the kernel takes none now; else as [`Datagrams::readable`], and then this payload was not sent.
    pub fn try_send(&self, payload: &[u8]) -> io::Result<()> {
        // Straight to the kernel: what tokio remembers of a fresh socket is that it is not ready.
        SockRef::from(&self.0).send(payload).map(drop)
    }
}

/// A UDP socket that many clients send to. Clones share it.
#[derive(Clone)]
pub struct Front {
    socket: Arc<dyn AsyncUdpSocket>,
    /// Other processes that have it, too.
    bound: Option<Arc<Bound>>,
}

/// A client, and the address of ours that it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Where it sends from.
    pub source: SocketAddr,
    /// Where it sent to; answers leave from there.
    pub local: Option<IpAddr>,
}

/// What one receiving call brought; kept for the next.
pub struct Batch {
    buffers: Vec<u8>,
    meta: [RecvMeta; BATCH],
    filled: usize,
    passed: Passed,
}

impl Front {
    /// Wraps a socket.
    #[must_use]
    pub fn new(socket: Arc<dyn AsyncUdpSocket>) -> Self {
        Self { socket, bound: None }
    }

    /// The same, where it may be shared with other processes.
    pub(crate) fn shared(self, bound: Arc<Bound>) -> Self {
        Self { bound: Some(bound), ..self }
    }

    /// Waits for payloads, and takes as many as are there and fit the batch.
    ///
    /// # Errors
    /// The kernel's, and `UnexpectedEof` after [`Front::leave`].
    pub async fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        let Batch { buffers, meta, filled, passed } = batch;
        let mut chunks = buffers.chunks_exact_mut(BUFFER);
        let mut slices: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().expect("a batch has a buffer for each")));
        (*filled, *passed) = poll_fn(|cx| match &self.bound {
            Some(bound) => bound.sharing().poll_receive(&*self.socket, cx, (&mut slices, meta)),
            None => self.socket.poll_recv(cx, &mut slices, meta).map_ok(|count| (count, Passed::Fresh)),
        })
        .await?;
        Ok(())
    }

    /// Passes a payload of the last batch, whose source has no session here, to a process that may have one. What that gives back
    /// comes again with a later batch.
    #[must_use]
    pub fn pass_on(&self, batch: &Batch, peer: Peer, payload: &[u8]) -> Passing {
        let Some(bound) = &self.bound else { return Passing::Alone };
        let Peer { source: addr, local: dst_ip } = peer;
        let meta = RecvMeta { addr, len: payload.len(), stride: payload.len(), ecn: None, dst_ip };
        bound.sharing().pass_on((&meta, payload), batch.passed)
    }

    /// Says that no session is left here to the process that has taken over, and that what was passed here is given back from now on. False
    /// if there is none. It may be said again, for where there is much to do it may go unheard.
    #[must_use]
    pub fn leave(&self) -> bool {
        self.bound.as_ref().is_some_and(|bound| bound.sharing().leave())
    }

    /// Sends one payload to a client.
    ///
    /// # Errors
    /// `WouldBlock` if the kernel takes none now.
    pub fn try_send(&self, to: Peer, payload: &[u8]) -> io::Result<()> {
        let Peer { source: destination, local: src_ip } = to;
        self.socket.try_send(&Transmit { destination, ecn: None, contents: payload, segment_size: None, src_ip })
    }

    /// The address that is really bound.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Front({:?})", self.socket)
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self { buffers: vec![0; BATCH * BUFFER], meta: [RecvMeta::default(); BATCH], filled: 0, passed: Passed::Fresh }
    }
}

impl Batch {
    /// Every payload with its sender.
    pub fn payloads(&self) -> impl Iterator<Item = (Peer, &[u8])> {
        let filled = self.meta[..self.filled].iter().zip(self.buffers.chunks_exact(BUFFER));
        filled.flat_map(|(meta, buffer)| {
            let peer = Peer { source: meta.addr, local: meta.dst_ip };
            pieces(&buffer[..meta.len], meta.stride).map(move |payload| (peer, payload))
        })
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} filled)", self.filled)
    }
}

/// What the kernel joined, taken apart again. An empty payload is one, too.
fn pieces(joined: &[u8], stride: usize) -> impl Iterator<Item = &[u8]> {
    let empty = joined.is_empty().then_some(joined);
    empty.into_iter().chain(joined.chunks(stride.max(1)))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn joined_payloads_are_taken_apart() {
        let check = |joined: &[u8], stride, expected: &[&[u8]]| {
            assert_eq!(pieces(joined, stride).collect::<Vec<_>>(), expected);
        };
        check(b"abcde", 2, &[b"ab", b"cd", b"e"]);
        check(b"abcde", 5, &[b"abcde"]);
        check(b"", 0, &[b""]);
    }

    #[tokio::test]
    async fn payloads_of_every_size_come_and_go() {
        come_and_go(Ipv4Addr::LOCALHOST.into()).await;
    }

    /// The largest do not fit one packet of loopback there.
    #[tokio::test]
    async fn payloads_of_every_size_come_and_go_over_ipv6() {
        come_and_go(Ipv6Addr::LOCALHOST.into()).await;
    }

    async fn come_and_go(loopback: IpAddr) {
        let os = crate::Os;
        let network: &dyn crate::Network = &os;
        let front = network.bind_udp((loopback, 0).into()).expect("a port of loopback");
        let client = network.dial_udp(front.local_addr().expect("bound")).expect("loopback");
        let mut batch = Batch::default();
        for size in [0, 1, 1_472, 9_000, 65_507] {
            let payload = vec![7; size];
            client.try_send(&payload).expect("room");
            front.receive(&mut batch).await.expect("it comes");
            let (peer, got) = batch.payloads().next().expect("one payload");
            assert!(got == payload, "{size} there");
            front.try_send(peer, got).expect("room");
            let mut back = Vec::with_capacity(BUFFER);
            client.readable().await.expect("it comes");
            assert_eq!(client.try_recv(&mut back).ok(), Some(size), "{size} back");
        }
    }

    #[tokio::test]
    async fn a_peer_that_is_not_there_is_told() {
        let os = crate::Os;
        let network: &dyn crate::Network = &os;
        let gone = network.bind_udp(([127, 0, 0, 1], 0).into()).expect("a port of loopback");
        let client = network.dial_udp(gone.local_addr().expect("bound")).expect("loopback");
        drop(gone);
        client.try_send(b"anyone?").expect("room");
        let heard = client.readable().await;
        assert_eq!(heard.map_err(|e| e.kind()), Err(io::ErrorKind::ConnectionRefused));
    }
}

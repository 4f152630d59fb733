//! A bound UDP socket, as quinn wants it.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use super::{
    datagram::Datagram,
    network::Inner,
    ports::{canonical, seen_by},
    queue::Queue,
};
use crate::Unreachables;

/// Datagrams that may be sent at a time, as with the kernel's segmentation offload.
const SEGMENTS_MAX: usize = 10;

/// Receives until it is dropped.
#[derive(Debug)]
pub(super) struct MemoryUdpSocket {
    host: Arc<Inner>,
    bound: SocketAddr,
    queue: Arc<Queue<Datagram>>,
    heard: Unreachables,
}

impl MemoryUdpSocket {
    /// What is bound on a host, at an address.
    pub(super) fn new(
        (host, bound): (Arc<Inner>, SocketAddr),
        queue: Arc<Queue<Datagram>>,
        heard: Unreachables,
    ) -> Self {
        Self { host, bound, queue, heard }
    }
}

impl AsyncUdpSocket for MemoryUdpSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let from = transmit.src_ip.map_or(self.bound.ip(), |ip: IpAddr| ip.to_canonical());
        let contents = Bytes::copy_from_slice(transmit.contents);
        let length = transmit.segment_size.unwrap_or(contents.len()).max(1);
        for start in (0..contents.len()).step_by(length) {
            let datagram = Datagram {
                from: SocketAddr::new(from, self.bound.port()),
                to: canonical(transmit.destination),
                bytes: contents.slice(start..contents.len().min(start + length)),
                ecn: transmit.ecn,
            };
            self.host.send(datagram, &self.heard);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut next = Some(ready!(self.queue.poll_pop(cx)));
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(meta) {
            let Some(datagram) = next.take().or_else(|| self.queue.pop()) else { break };
            let len = datagram.bytes.len().min(buffer.len());
            buffer[..len].copy_from_slice(&datagram.bytes[..len]);
            *meta = RecvMeta {
                addr: seen_by(self.bound, datagram.from),
                len,
                stride: len,
                ecn: datagram.ecn,
                dst_ip: Some(seen_by(self.bound, datagram.to).ip()),
            };
            count += 1;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.bound)
    }

    fn max_transmit_segments(&self) -> usize {
        SEGMENTS_MAX
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

impl Drop for MemoryUdpSocket {
    fn drop(&mut self) {
        self.host.unbind_udp(self.bound);
        drop(self.queue.close());
    }
}

/// A send never waits: what has no room is dropped, as on a wire.
#[derive(Debug)]
struct Writable;

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

//! A bound TCP address that accepts.

use std::{future::poll_fn, io, net::SocketAddr, sync::Arc};

use super::{
    network::{Arrival, Inner},
    queue::Queue,
};
use crate::{
    Socket,
    network::{Boxed, Listener},
};

/// Accepts until it is dropped; then those it did not accept are reset.
#[derive(Debug)]
pub(super) struct MemoryListener {
    host: Arc<Inner>,
    bound: SocketAddr,
    queue: Arc<Queue<Arrival>>,
}

impl MemoryListener {
    pub(super) fn new(host: Arc<Inner>, bound: SocketAddr, queue: Arc<Queue<Arrival>>) -> Self {
        Self { host, bound, queue }
    }
}

impl Listener for MemoryListener {
    fn accept(&self) -> Boxed<'_, io::Result<(Socket, SocketAddr)>> {
        Box::pin(async {
            let (stream, source) = poll_fn(|cx| self.queue.poll_pop(cx)).await;
            Ok((Socket::in_memory(stream), source))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.bound)
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        self.host.unbind_tcp(self.bound);
        for (stream, _) in self.queue.close() {
            stream.abort();
        }
    }
}

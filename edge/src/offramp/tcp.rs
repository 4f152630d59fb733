//! TCP over the off-ramp: the client's first bytes travel with the open and are kept for placing again.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use net::{Network, Socket};
use protocol::{
    error::Reason,
    limits::FIRST_BYTES_MAX,
    link::SendStream,
    proxy::{Ends, Header},
    splice::Stream,
    stream::{self, OpenTcp, Stages},
};
use tokio::time;

use super::{
    Failure, Offramp, Opening, Over, refused,
    reply::{Accepted, Along, open_over},
};
use crate::{
    model::{Held, Origin, ProxyVersion},
    tunnel::Link,
};

/// A way to an origin that has accepted.
#[derive(Debug)]
pub struct Opened {
    /// What bytes go over.
    pub carrier: Carrier,
    /// How long the dial took where it was made: at the connector, or here if direct.
    pub connect: Duration,
    /// How long each stage of that took at the connector, if it says so.
    pub stages: Option<Stages>,
}

/// What bytes go over.
#[derive(Debug)]
pub enum Carrier {
    /// A stream of a link, which counts as open while held.
    Tunnel(Stream, Arc<Link>, Held),
    /// A connection of our own.
    Direct(Socket),
}

/// The client's first bytes: read while the reply is awaited, sent at once, kept for placing again.
#[derive(Debug, Default)]
pub struct First<'a> {
    client: Option<&'a Socket>,
    /// Whom the origin is told of, if it wants to know.
    announced: Header,
    /// So many bytes at the beginning are that word, and not the client's.
    head: usize,
    bytes: BytesMut,
    sent: usize,
    ended: bool,
    replay: bool,
}

impl<'a> First<'a> {
    /// No client: a probe speaks only once it is connected.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The first bytes of this client; `replay`: they may be delivered twice.
    #[must_use]
    pub fn of(client: &'a Socket, ends: Ends, replay: bool) -> Self {
        Self { client: Some(client), announced: Header::Client(ends), replay, ..Self::default() }
    }

    /// How many of the client's bytes the origin's stream has been given.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent.saturating_sub(self.head)
    }

    /// How many bytes are on the origin's stream, the word ahead of the client's among them.
    #[must_use]
    pub fn on_stream(&self) -> u64 {
        self.sent as u64
    }

    /// Bytes that the origin's stream has not been given yet.
    #[must_use]
    pub fn unsent(self) -> Bytes {
        self.bytes.freeze().split_off(self.sent)
    }

    /// True if trying elsewhere cannot deliver anything twice that matters.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        self.replay || self.sent <= self.head || is_client_hello(&self.bytes[self.head..self.sent])
    }

    /// Begins anew for this origin, with the word that it wants ahead of everything.
    fn begin(&mut self, origin: &Origin) {
        self.sent = 0;
        let word = match origin.proxy_protocol {
            Some(ProxyVersion::V1) => self.announced.encode_line(),
            Some(ProxyVersion::V2) => self.announced.encode(),
            // A pool that wants it serves no such listener.
            Some(ProxyVersion::Simple) | None => Bytes::new(),
        };
        if self.bytes[..self.head] != word[..] {
            let from_client = self.bytes.split_off(self.head);
            self.head = word.len();
            self.bytes = [&word[..], &from_client].concat()[..].into();
        }
    }

    fn room(&self) -> usize {
        FIRST_BYTES_MAX.saturating_sub(self.bytes.len() - self.head)
    }

    /// Reads what the client has sent, up to the bound; then reading pauses.
    fn read(&mut self) -> io::Result<()> {
        let room = self.room();
        let (Some(client), false, 1..) = (self.client, self.ended, room) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        self.bytes.reserve(room);
        let read = client.try_read(&mut (&mut self.bytes).limit(room))?;
        self.ended = read == 0;
        Ok(())
    }
}

impl Along for First<'_> {
    fn beginning(&self) -> &[u8] {
        &self.bytes
    }

    fn left(&mut self, bytes: usize) {
        self.sent = bytes;
    }

    /// Sends what there is and reads more, for ever; ends only when the client is gone or the stream is.
    async fn pump(&mut self, send: &mut SendStream) -> Failure {
        loop {
            while self.sent < self.bytes.len() {
                // One `write` takes bytes or waits, never both: dropping this future loses no count.
                match send.write(&self.bytes[self.sent..]).await {
                    Ok(taken) => self.sent += taken,
                    // The reply says why.
                    Err(_) => return std::future::pending().await,
                }
            }
            match self.read() {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => match self.client {
                    Some(client) if !self.ended && self.room() > 0 => {
                        if client.readable().await.is_err() {
                            return Failure::ClientGone;
                        }
                    }
                    Some(_) | None => return std::future::pending().await,
                },
                Err(_) => return Failure::ClientGone,
            }
        }
    }

    fn may_be_placed_again(&self) -> bool {
        self.is_repeatable()
    }
}

/// True if all these bytes belong to one TLS ClientHello (RFC 8446 section 4.1.2): a record of type handshake whose first
/// message is a ClientHello, and nothing behind it. Early data behind it would not be idempotent.
fn is_client_hello(bytes: &[u8]) -> bool {
    let [0x16, 0x03, _, high, low, 0x01, ..] = bytes else { return false };
    bytes.len() <= 5 + usize::from(u16::from_be_bytes([*high, *low]))
}

impl Offramp {
    /// Opens a stream to an origin, sending the client's first bytes along.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn open(&self, opening: Opening<'_>, first: &mut First<'_>) -> Result<Opened, Failure> {
        first.begin(opening.origin);
        let (link, vnet) = match opening.over()? {
            Over::Network(network) => return self.dial(network, opening, first).await,
            Over::Link(link, vnet) => (link, vnet.clone()),
        };
        match first.read() {
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(Failure::ClientGone),
            Ok(()) | Err(_) => {}
        }
        let target = opening.origin.address.clone();
        let header = stream::Open::Tcp(OpenTcp { vnet, target, wait: opening.wait, flow: link.told(opening.flow) });
        let Accepted { stream, held, connect, stages } = open_over(link, opening, &header, first).await?;
        Ok(Opened { carrier: Carrier::Tunnel(stream, link.clone(), held), connect, stages })
    }

    async fn dial(
        &self,
        network: &Arc<dyn Network>,
        opening: Opening<'_>,
        first: &mut First<'_>,
    ) -> Result<Opened, Failure> {
        let started = Instant::now();
        let dialled = time::timeout(opening.wait, self.dial_any(network, opening)).await;
        let late = || refused(Reason::ConnectTimeout, "no answer in time");
        let socket = dialled.unwrap_or_else(|_| Err(late()))?;
        // A fresh socket has room for so little; what it should not take goes with the client's bytes.
        first.sent = socket.try_write(&[IoSlice::new(&first.bytes[..first.head])]).unwrap_or(0);
        Ok(Opened { carrier: Carrier::Direct(socket), connect: started.elapsed(), stages: None })
    }

    /// Of several addresses the first that accepts.
    async fn dial_any(&self, network: &Arc<dyn Network>, opening: Opening<'_>) -> Result<Socket, Failure> {
        let (started, target) = (Instant::now(), &opening.origin.address);
        let addresses = self.addresses(&target.host, opening.wait).await?;
        let left = opening.wait.saturating_sub(started.elapsed());
        let at = |ip| SocketAddr::new(ip, target.port);
        self.racer.race(addresses, left, |ip| network.dial(at(ip))).await.map_err(|last| match last {
            Some((ip, error)) => Failure::Refused(Reason::of_dial(&error), format!("{}: {error}", at(ip))),
            None => refused(Reason::DnsFailed, "the name has no address"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_client_hello_counts_as_one() {
        let hello = |length: u16, body: usize| {
            let [high, low] = length.to_be_bytes();
            [&[0x16, 3, 1, high, low, 1][..], &vec![0; body]].concat()
        };
        assert!(is_client_hello(&hello(512, 511)), "whole");
        assert!(is_client_hello(&hello(512, 100)), "still arriving");
        assert!(!is_client_hello(&hello(512, 512)), "with something behind it");
        assert!(!is_client_hello(&[0x16, 3, 1, 2, 0, 2]), "a ServerHello");
        assert!(!is_client_hello(b"GET / HTTP/1.1"));
        assert!(!is_client_hello(&[0x16, 3]), "too short to tell");
    }
}

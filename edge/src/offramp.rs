//! The seam to origins: opens a stream to an origin over one chosen path, through a tunnel or directly, and begins TLS and
//! HTTP over it. Flows and probes take the very same way.
//!
//! It chooses nothing and retries nothing.

mod echo;
mod sacrificed;
mod session;
mod settings;
mod speaking;
mod tls;
mod why;
mod wire;

pub use sacrificed::Sacrificed;
pub use session::{Early, Path};
pub use settings::Server;
pub use speaking::{Sender, Speaking, Speech};
pub use why::Why;
pub(crate) use why::{is_unasked, whole};
pub use wire::{Manners, Wire};

use std::{
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use net::{Network, Racer, Resolver, Socket, resolve};
use protocol::{
    error::{Reason, StreamCode},
    id::{Host, LinkId, Name},
    limits::{FIRST_BYTES_MAX, NUDGE_AFTER},
    link::SendStream,
    proxy::{Ends, Header},
    splice::Stream,
    stream::{self, OpenTcp, Reply},
    wire::{WireError, read_reply},
};
use tokio::{sync::watch, time};

use crate::{
    model::{Held, Origin, ProxyVersion, Via},
    store::Snapshot,
    tunnel::{Link, LinksView, OpenError},
};

/// Beyond the connector's own limit and four round trips, how long its reply may take.
const REPLY_SLACK: Duration = Duration::from_millis(250);

/// Opens streams to origins.
#[derive(Debug, Clone)]
pub struct Offramp {
    network: Arc<dyn Network>,
    resolver: Resolver,
    racer: Racer,
    links: watch::Receiver<Arc<LinksView>>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

/// What is to be opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// Which origin.
    pub origin: &'a Origin,
    /// Which way.
    pub via: Via,
    /// How long the origin may take to accept.
    pub wait: Duration,
    /// Before other streams of the link (0 is a flow).
    pub priority: i32,
}

/// A way to an origin that has accepted.
#[derive(Debug)]
pub struct Opened {
    /// What bytes go over.
    pub carrier: Carrier,
    /// How long the dial took where it was made: at the connector, or here if direct.
    pub connect: Duration,
}

/// What bytes go over.
#[derive(Debug)]
pub enum Carrier {
    /// A stream of a link, which counts as open while held.
    Tunnel(Stream, Arc<Link>, Held),
    /// A connection of our own.
    Direct(Socket),
}

/// Why there is no way to the origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was delivered, and nothing will be.
    Refused(Reason, String),
    /// Nobody knows what was delivered: no reply, or the link died.
    Unanswered(Reason),
    /// The client is gone; nobody waits any more.
    ClientGone,
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
    pub fn may_be_placed_again(&self) -> bool {
        self.replay || self.sent <= self.head || is_client_hello(&self.bytes[self.head..self.sent])
    }

    /// Begins anew for this origin, with the word that it wants ahead of everything.
    fn begin(&mut self, origin: &Origin) {
        self.sent = 0;
        let word = match origin.proxy_protocol {
            Some(ProxyVersion::V2) => self.announced.encode(),
            None => Bytes::new(),
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
}

/// True if all these bytes belong to one TLS ClientHello (RFC 8446 section 4.1.2): a record of type handshake whose first
/// message is a ClientHello, and nothing behind it. Early data behind it would not be idempotent.
fn is_client_hello(bytes: &[u8]) -> bool {
    let [0x16, 0x03, _, high, low, 0x01, ..] = bytes else { return false };
    bytes.len() <= 5 + usize::from(u16::from_be_bytes([*high, *low]))
}

impl Offramp {
    /// An off-ramp over these links and this network, that speaks TLS as the snapshot in force says.
    #[must_use]
    pub fn new(
        network: Arc<dyn Network>,
        links: watch::Receiver<Arc<LinksView>>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
    ) -> Self {
        Self { network, resolver: Resolver::system(), racer: Racer::default(), links, snapshots }
    }

    /// Opens a stream to an origin, sending the client's first bytes along.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn open(&self, opening: Opening<'_>, first: &mut First<'_>) -> Result<Opened, Failure> {
        first.begin(opening.origin);
        match (opening.via, &opening.origin.vnet) {
            (Via::Link(id), Some(vnet)) => {
                let target = opening.origin.address.clone();
                let header = stream::Open::Tcp(OpenTcp { vnet: vnet.clone(), target, wait: opening.wait });
                open_over(self.link(id)?, opening, &header, first).await
            }
            (Via::Direct, None) => self.dial(opening, first).await,
            (Via::Link(_), None) | (Via::Direct, Some(_)) => Err(refused(Reason::NoRoute, "the origin has moved")),
        }
    }

    fn link(&self, id: LinkId) -> Result<Arc<Link>, Failure> {
        let link = self.links.borrow().links.get(&id).cloned();
        link.ok_or_else(|| refused(Reason::LinkLost, "the link is gone"))
    }

    /// The addresses of a host, as the edge itself knows them.
    async fn addresses(&self, host: &Host, wait: Duration) -> Result<Vec<IpAddr>, Failure> {
        match host {
            Host::Ip(ip) => Ok(vec![*ip]),
            Host::Name(name) => {
                let resolved = self.resolver.resolve_within(name, resolve::share(wait)).await;
                resolved.map_err(|text| Failure::Refused(Reason::DnsFailed, text))
            }
        }
    }

    /// The worker that a link runs on.
    #[must_use]
    pub fn worker_of(&self, link: LinkId) -> Option<usize> {
        self.links.borrow().links.get(&link).map(|l| l.worker)
    }

    /// The connector that holds a link.
    #[must_use]
    pub fn connector_of(&self, link: LinkId) -> Option<Name> {
        self.links.borrow().links.get(&link).map(|l| l.connector.clone())
    }

    async fn dial(&self, opening: Opening<'_>, first: &mut First<'_>) -> Result<Opened, Failure> {
        let started = Instant::now();
        let dialled = time::timeout(opening.wait, self.dial_any(opening.origin, opening.wait)).await;
        let late = || refused(Reason::ConnectTimeout, "no answer in time");
        let socket = dialled.unwrap_or_else(|_| Err(late()))?;
        // A fresh socket has room for so little; what it should not take goes with the client's bytes.
        first.sent = socket.try_write(&[IoSlice::new(&first.bytes[..first.head])]).unwrap_or(0);
        Ok(Opened { carrier: Carrier::Direct(socket), connect: started.elapsed() })
    }

    /// Of several addresses the first that accepts.
    async fn dial_any(&self, origin: &Origin, wait: Duration) -> Result<Socket, Failure> {
        let started = Instant::now();
        let addresses = self.addresses(&origin.address.host, wait).await?;
        let left = wait.saturating_sub(started.elapsed());
        let at = |ip| SocketAddr::new(ip, origin.address.port);
        self.racer.race(addresses, left, |ip| self.network.dial(at(ip))).await.map_err(|last| match last {
            Some((ip, error)) => Failure::Refused(Reason::of_dial(&error), format!("{}: {error}", at(ip))),
            None => refused(Reason::DnsFailed, "the name has no address"),
        })
    }
}

fn refused(reason: Reason, text: &str) -> Failure {
    Failure::Refused(reason, text.to_owned())
}

fn not_opened(error: OpenError) -> Failure {
    let reason = match error {
        OpenError::NoCredit => Reason::ConnectorOverloaded,
        OpenError::Lost => Reason::LinkLost,
        OpenError::Full => Reason::ConnectTimeout,
        OpenError::Unanswered => return Failure::Unanswered(Reason::ConnectTimeout),
    };
    refused(reason, &error.to_string())
}

async fn open_over(
    link: Arc<Link>,
    opening: Opening<'_>,
    header: &stream::Open,
    first: &mut First<'_>,
) -> Result<Opened, Failure> {
    match first.read() {
        Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(Failure::ClientGone),
        Ok(()) | Err(_) => {}
    }
    let wait = opening.wait + link.rtt() * 4 + REPLY_SLACK;
    let opened = link.open(header, &first.bytes, (opening.priority, wait)).await;
    if matches!(opened, Ok(_) | Err(OpenError::Unanswered)) {
        first.sent = first.bytes.len();
    }
    let (mut stream, held) = opened.map_err(not_opened)?;
    let reply = await_reply(&link, &mut stream, wait, first).await;
    match reply {
        Ok(Reply::Connected { connect }) => Ok(Opened { carrier: Carrier::Tunnel(stream, link, held), connect }),
        Ok(Reply::Refused { reason, text }) => Err(Failure::Refused(reason, text)),
        Err(failure) => {
            stream.cut(StreamCode::Cancelled);
            Err(failure)
        }
    }
}

async fn await_reply(
    link: &Link,
    stream: &mut Stream,
    wait: Duration,
    first: &mut First<'_>,
) -> Result<Reply, Failure> {
    let mut reply = pin!(read_reply(&mut stream.recv));
    let mut late = pin!(time::sleep(wait));
    let mut quiet = pin!(time::sleep(NUDGE_AFTER.max(link.rtt() * 4)));
    let mut may_nudge = true;
    let mut may_suspect = true;
    loop {
        tokio::select! {
            biased;
            reply = &mut reply => return reply.map_err(|e| match e {
                WireError::Lost(_) => Failure::Unanswered(Reason::LinkLost),
                WireError::Cut(_)
                | WireError::Ended
                | WireError::Decode(_)
                | WireError::OutOfOrder(_)
                | WireError::Deaf => {
                    Failure::Unanswered(Reason::ConnectionReset)
                }
            }),
            failure = first.pump(&mut stream.send) => return Err(failure),
            () = link.suspected(), if may_suspect => {
                if first.may_be_placed_again() {
                    return Err(Failure::Unanswered(Reason::LinkLost));
                }
                // Elsewhere it might be delivered twice: the link may yet recover.
                may_suspect = false;
            }
            () = &mut quiet, if may_nudge => {
                may_nudge = false;
                link.nudge();
            }
            () = &mut late => return Err(Failure::Unanswered(Reason::ConnectTimeout)),
        }
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

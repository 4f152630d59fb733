//! Dials edges: for links, for enrolment, for renewal.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use certs::verify::{self, EDGE_NAME};
use futures_util::{StreamExt, stream::FuturesUnordered};
use net::{Network, Unreachables, network::bind_quic_client, resolve::RESOLVE_WAIT, unreachable::Watch};
use protocol::{
    control::{Enrol, Enrolled, Message, Refusal, Renew, Renewed},
    error::CloseCode,
    handshake::Cause,
    id::{Host, Target},
    limits::REGISTER_WAIT,
    link::{Connection, Credentials, Lost, Outbound, Undialled, transport::quic},
    wire::{self, ControlReader, WireError},
};
use rustls::ClientConfig;
use tokio::time;
use tracing::info;

use super::book::AddressBook;
use crate::serve::Resolver;

/// A handshake that takes longer has failed.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);

/// From one address of an edge to the next.
const STAGGER: Duration = Duration::from_millis(250);

/// After this it is told what is waited for.
const TELL_AFTER: Duration = Duration::from_millis(1500);

/// What a name server tells is dialled for so long before where the edge was reached last: a name may have moved, and it may
/// be wrong.
const REMEMBERED_AFTER: Duration = Duration::from_secs(2);

/// Where an edge may be.
struct Addresses {
    /// As its name is resolved now; none if that fails.
    told: Vec<IpAddr>,
    /// Where it was reached last, and is not told to be now.
    remembered: Vec<IpAddr>,
}

/// What one worker dials from.
#[derive(Debug, Clone)]
pub struct Dialler {
    outbound: Outbound,
    resolver: Resolver,
    heard: Unreachables,
    book: Arc<AddressBook>,
    told: Told,
}

/// What was told since an edge was reached: the same is not told twice.
#[derive(Debug, Clone, Default)]
struct Told(Arc<Mutex<BTreeSet<String>>>);

/// Most that is remembered of it.
const TOLD_MAX: usize = 64;

/// Why an edge could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Its name has no address.
    #[error("{0}")]
    Resolve(String),
    /// No handshake with any of its addresses.
    #[error("{address}: {}", failed(source))]
    Handshake {
        /// The last address tried.
        address: SocketAddr,
        /// What happened.
        source: Lost,
    },
    /// The address cannot be dialled at all.
    #[error("{address}: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What is wrong with it.
        source: Undialled,
    },
    /// No answer.
    #[error("{0}: {SILENCE}")]
    TimedOut(SocketAddr),
}

const SILENCE: &str = "nothing came back over UDP: is an edge running there, and does every firewall let UDP pass?";

/// How a handshake failed, seen from here.
fn failed(lost: &Lost) -> String {
    let words = lost.to_string();
    match lost.cause() {
        Cause::Silence => SILENCE.to_owned(),
        Cause::Refused => "the edge takes no connection now: it has too many under way, or is ending".to_owned(),
        Cause::TheirCertificate => format!("the edge's certificate is not accepted: {words}"),
        Cause::OurCertificate => format!("the edge does not accept our certificate: {words}"),
        Cause::Protocol | Cause::Ended => words,
    }
}

impl DialError {
    /// Which step failed: the name, silence, a refusal, a certificate, or the address itself.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Resolve(_) => "name",
            Self::Handshake { source, .. } => source.cause().as_str(),
            Self::Address { .. } => "address",
            Self::TimedOut(_) => Cause::Silence.as_str(),
        }
    }
}

/// Why a join token or a certificate could not be turned into a certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The edge said no, in words.
    #[error("the edge refused: {0}")]
    Refused(Refusal),
    /// The edge could not be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The conversation broke off.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Key or certificate cannot be used or kept here.
    #[error("{0}")]
    State(String),
    /// No answer.
    #[error("no answer within {} s", REGISTER_WAIT.as_secs())]
    TimedOut,
}

impl EnrolError {
    /// True if the edge answered, with a certificate of another CA than the token's. That is our own verdict; whatever else
    /// goes wrong in a handshake says nothing about whose edge it is.
    #[must_use]
    pub fn is_other_fleet(&self) -> bool {
        let Self::Dial(DialError::Handshake { source, .. }) = self else { return false };
        source.verdict().is_some_and(verify::is_other_ca)
    }

    /// Which step failed.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Refused(_) => Cause::Refused.as_str(),
            Self::Dial(error) => error.cause(),
            Self::Wire(_) => "conversation",
            Self::State(_) => "state",
            Self::TimedOut => Cause::Silence.as_str(),
        }
    }
}

impl Dialler {
    /// A client on the current runtime. What hosts say of edges is heard by all that share `heard`: hosts ration such words.
    ///
    /// # Errors
    /// If no UDP socket can be had.
    pub fn new(
        network: &dyn Network,
        resolver: Resolver,
        book: Arc<AddressBook>,
        heard: Unreachables,
    ) -> io::Result<Self> {
        let outbound = quic::outbound(bind_quic_client(network, &heard)?)?;
        Ok(Self { outbound, resolver, heard, book, told: Told::default() })
    }

    /// What the host at this address says of what this client sends there.
    pub(super) fn watch(&self, edge: SocketAddr) -> Watch {
        self.heard.watch(edge)
    }

    /// Connects to an edge: to all its addresses, each a little after the one before; the first to answer wins.
    ///
    /// # Errors
    /// [`DialError`] of the last address tried.
    pub async fn dial(&self, edge: &Target, tls: Arc<ClientConfig>) -> Result<Connection, DialError> {
        let credentials = Credentials::new(tls);
        let attempt = async |(after, ip)| {
            time::sleep(after).await;
            self.handshake(credentials.clone(), SocketAddr::new(ip, edge.port)).await
        };
        let Addresses { told, remembered } = self.addresses(edge).await?;
        let first = if told.is_empty() { Duration::ZERO } else { REMEMBERED_AFTER };
        let in_turn = |first: Duration| (0..).map(move |order| first + STAGGER * order);
        let all =
            in_turn(Duration::ZERO).zip(told.iter().copied()).chain(in_turn(first).zip(remembered.iter().copied()));
        let mut attempts: FuturesUnordered<_> = all.map(attempt).collect();
        let mut last = DialError::Resolve("the name has no address".to_owned());
        let first_good = async {
            while let Some(attempted) = attempts.next().await {
                match attempted {
                    Ok(connection) => return Ok(connection),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        let waits_for = || format!("{edge} to answer over UDP ({})", listed(told.iter().chain(&remembered)));
        let connection = self.told.if_slow(waits_for, first_good).await?;
        self.told.forget();
        if let Host::Name(name) = &edge.host
            && told.contains(&connection.remote_address().ip().to_canonical())
        {
            self.book.keep(name, &told);
        }
        Ok(connection)
    }

    async fn handshake(&self, credentials: Credentials, address: SocketAddr) -> Result<Connection, DialError> {
        let handshake = self.outbound.dial(address, EDGE_NAME, credentials);
        let handshake = handshake.map_err(|source| DialError::Address { address, source })?;
        match time::timeout(HANDSHAKE_WAIT, handshake.done()).await {
            Ok(done) => done.map_err(|source| DialError::Handshake { address, source }),
            Err(_) => Err(DialError::TimedOut(address)),
        }
    }

    /// Where the edge may be. Whoever answers there must prove to be an edge all the same.
    async fn addresses(&self, edge: &Target) -> Result<Addresses, DialError> {
        let name = match &edge.host {
            Host::Ip(ip) => return Ok(Addresses { told: vec![*ip], remembered: Vec::new() }),
            Host::Name(name) => name,
        };
        let waits_for = || format!("a name server to tell the addresses of {name}");
        let resolved = self.told.if_slow(waits_for, self.resolver.resolve_within(name, RESOLVE_WAIT)).await;
        let mut remembered = self.book.of(name).unwrap_or_default();
        let told = match resolved {
            Ok(told) => told.into_iter().map(|ip| ip.to_canonical()).collect(),
            Err(why) if remembered.is_empty() => return Err(DialError::Resolve(why)),
            Err(why) => {
                if self.told.is_news(&why) {
                    info!(why, "the edge is dialled where it was reached last");
                }
                Vec::new()
            }
        };
        remembered.retain(|ip| !told.contains(ip));
        Ok(Addresses { told, remembered })
    }

    /// Renews on a connection of its own, for a certificate that has run out.
    ///
    /// # Errors
    /// [`EnrolError`].
    pub async fn renew(&self, edge: &Target, tls: Arc<ClientConfig>, csr: Vec<u8>) -> Result<Renewed, EnrolError> {
        match self.ask(edge, tls, Message::Renew(Renew { csr })).await? {
            Message::Renewed(renewed) => Ok(renewed),
            Message::Refused(refusal) => Err(EnrolError::Refused(refusal)),
            other @ (Message::Hello(_)
            | Message::Welcome(_)
            | Message::Goodbye(_)
            | Message::Renew(_)
            | Message::Windows(_)
            | Message::Claims(_)
            | Message::Judged(_)
            | Message::Successor(_)
            | Message::Enrol(_)
            | Message::Enrolled(_)
            | Message::Ignored(_)) => Err(WireError::OutOfOrder(other.name()).into()),
        }
    }

    async fn ask(&self, edge: &Target, tls: Arc<ClientConfig>, request: Message) -> Result<Message, EnrolError> {
        let connection = self.dial(edge, tls).await?;
        let exchange = async {
            let (mut send, recv) = connection.open_stream().await.map_err(WireError::Lost)?;
            wire::write_message(&mut send, &request).await?;
            Ok(ControlReader::new(recv).next_known().await?)
        };
        let answer = time::timeout(REGISTER_WAIT, exchange).await.unwrap_or(Err(EnrolError::TimedOut));
        connection.close(CloseCode::Done, "");
        answer
    }
}

fn listed<'a>(addresses: impl Iterator<Item = &'a IpAddr>) -> String {
    addresses.map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

impl Told {
    /// Does the work; tells what is waited for if it is not done soon.
    async fn if_slow<T>(&self, waits_for: impl FnOnce() -> String, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            () = time::sleep(TELL_AFTER) => {
                let waits_for = waits_for();
                if self.is_news(&waits_for) {
                    info!(waits_for, "no answer yet");
                }
            }
        }
        work.await
    }

    fn is_news(&self, what: &str) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Full: then some of it is told twice.
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(what.to_owned())
    }

    fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Redeems a join token at one edge.
///
/// # Errors
/// [`EnrolError`].
pub async fn enrol(
    dialler: &Dialler,
    edge: &Target,
    tls: Arc<ClientConfig>,
    request: Enrol,
) -> Result<Enrolled, EnrolError> {
    match dialler.ask(edge, tls, Message::Enrol(request)).await? {
        Message::Enrolled(enrolled) => Ok(enrolled),
        Message::Refused(refusal) => Err(EnrolError::Refused(refusal)),
        other @ (Message::Hello(_)
        | Message::Welcome(_)
        | Message::Goodbye(_)
        | Message::Renew(_)
        | Message::Renewed(_)
        | Message::Windows(_)
        | Message::Claims(_)
        | Message::Judged(_)
        | Message::Successor(_)
        | Message::Enrol(_)
        | Message::Ignored(_)) => Err(WireError::OutOfOrder(other.name()).into()),
    }
}

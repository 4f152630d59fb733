//! Dials edges over QUIC: for links, for enrolment, for renewal.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use certs::verify::EDGE_NAME;
use futures_util::{StreamExt, stream::FuturesUnordered};
use net::{Network, Unreachables, network::bind_quic_client, unreachable::Watch};
use protocol::{
    control::{Enrol, Enrolled, Message, Refusal, Renew, Renewed},
    error::CloseCode,
    id::{Host, Target},
    limits::REGISTER_WAIT,
    transport::{self, Side},
    wire::{self, ControlReader, WireError},
};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, TokioRuntime, crypto::rustls::QuicClientConfig};
use tokio::time;

use crate::serve::Resolver;

/// A handshake that takes longer has failed.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);

/// From one address of an edge to the next.
const STAGGER: Duration = Duration::from_millis(250);

/// The QUIC client of one worker.
#[derive(Debug, Clone)]
pub struct Dialler {
    endpoint: Endpoint,
    resolver: Resolver,
    heard: Unreachables,
}

/// Why an edge could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Its name has no address.
    #[error("{0}")]
    Resolve(String),
    /// No handshake with any of its addresses.
    #[error("{address}: {}", wire::ending(source))]
    Handshake {
        /// The last address tried.
        address: SocketAddr,
        /// What happened.
        source: quinn::ConnectionError,
    },
    /// The address cannot be dialled at all.
    #[error("{address}: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What is wrong with it.
        source: quinn::ConnectError,
    },
    /// No answer.
    #[error("{0}: no answer within 5 s")]
    TimedOut(SocketAddr),
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
    /// True if the edge answered, with a certificate that the token's CA did not issue (RFC 9001 section 4.8: TLS alerts
    /// are transport errors 0x100 to 0x1ff; this one is our own verdict, not the peer's).
    #[must_use]
    pub fn is_other_fleet(&self) -> bool {
        let Self::Dial(DialError::Handshake { source: quinn::ConnectionError::TransportError(error), .. }) = self
        else {
            return false;
        };
        (0x100..0x200).contains(&u64::from(error.code))
    }
}

impl Dialler {
    /// A client on the current runtime.
    ///
    /// # Errors
    /// If no UDP socket can be had.
    pub fn new(network: &dyn Network, resolver: Resolver) -> io::Result<Self> {
        let mut config = EndpointConfig::default();
        transport::allow_large_packets(&mut config);
        let heard = Unreachables::default();
        let socket = bind_quic_client(network, &heard)?;
        let endpoint = Endpoint::new_with_abstract_socket(config, None, socket, Arc::new(TokioRuntime))?;
        Ok(Self { endpoint, resolver, heard })
    }

    /// What the host at this address says of what this client sends there.
    pub(super) fn watch(&self, edge: SocketAddr) -> Watch {
        self.heard.watch(edge)
    }

    /// Connects to an edge: to all its addresses, each a little after the one before; the first to answer wins.
    ///
    /// # Errors
    /// [`DialError`] of the last address tried.
    pub async fn dial(&self, edge: &Target, crypto: Arc<QuicClientConfig>) -> Result<Connection, DialError> {
        let mut config = ClientConfig::new(crypto);
        config.transport_config(transport::link_transport(Side::Connector));
        let attempt = async |(order, address)| {
            time::sleep(STAGGER * order).await;
            self.handshake(config.clone(), address).await
        };
        let addresses = (0..).zip(self.addresses(edge).await?);
        let mut attempts: FuturesUnordered<_> = addresses.map(attempt).collect();
        let mut last = DialError::Resolve("the name has no address".to_owned());
        while let Some(attempted) = attempts.next().await {
            match attempted {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn handshake(&self, config: ClientConfig, address: SocketAddr) -> Result<Connection, DialError> {
        let connecting = self.endpoint.connect_with(config, address, EDGE_NAME);
        let connecting = connecting.map_err(|source| DialError::Address { address, source })?;
        match time::timeout(HANDSHAKE_WAIT, connecting).await {
            Ok(done) => done.map_err(|source| DialError::Handshake { address, source }),
            Err(_) => Err(DialError::TimedOut(address)),
        }
    }

    async fn addresses(&self, edge: &Target) -> Result<Vec<SocketAddr>, DialError> {
        let ips = match &edge.host {
            Host::Ip(ip) => vec![*ip],
            Host::Name(name) => self.resolver.resolve(name).await.map_err(DialError::Resolve)?,
        };
        Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, edge.port)).collect())
    }

    /// Renews on a connection of its own, for a certificate that has run out.
    ///
    /// # Errors
    /// [`EnrolError`].
    pub async fn renew(
        &self,
        edge: &Target,
        crypto: Arc<QuicClientConfig>,
        csr: Vec<u8>,
    ) -> Result<Renewed, EnrolError> {
        match self.ask(edge, crypto, Message::Renew(Renew { csr })).await? {
            Message::Renewed(renewed) => Ok(renewed),
            Message::Refused(refusal) => Err(EnrolError::Refused(refusal)),
            other @ (Message::Hello(_)
            | Message::Welcome(_)
            | Message::Goodbye(_)
            | Message::Renew(_)
            | Message::Windows(_)
            | Message::Enrol(_)
            | Message::Enrolled(_)
            | Message::Ignored(_)) => Err(WireError::OutOfOrder(other.name()).into()),
        }
    }

    async fn ask(&self, edge: &Target, crypto: Arc<QuicClientConfig>, request: Message) -> Result<Message, EnrolError> {
        let connection = self.dial(edge, crypto).await?;
        let exchange = async {
            let (mut send, recv) = connection.open_bi().await.map_err(WireError::Lost)?;
            wire::write_message(&mut send, &request).await?;
            Ok(ControlReader::new(recv).next_known().await?)
        };
        let answer = time::timeout(REGISTER_WAIT, exchange).await.unwrap_or(Err(EnrolError::TimedOut));
        wire::close(&connection, CloseCode::Done, "");
        answer
    }
}

/// Redeems a join token at one edge.
///
/// # Errors
/// [`EnrolError`].
pub async fn enrol(
    dialler: &Dialler,
    edge: &Target,
    crypto: Arc<QuicClientConfig>,
    request: Enrol,
) -> Result<Enrolled, EnrolError> {
    match dialler.ask(edge, crypto, Message::Enrol(request)).await? {
        Message::Enrolled(enrolled) => Ok(enrolled),
        Message::Refused(refusal) => Err(EnrolError::Refused(refusal)),
        other @ (Message::Hello(_)
        | Message::Welcome(_)
        | Message::Goodbye(_)
        | Message::Renew(_)
        | Message::Renewed(_)
        | Message::Windows(_)
        | Message::Enrol(_)
        | Message::Ignored(_)) => Err(WireError::OutOfOrder(other.name()).into()),
    }
}

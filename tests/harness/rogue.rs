//! A peer that keeps to no rule but QUIC's: it speaks the tunnel's protocol by hand, with whatever credentials it is given.
//!
//! It has threads of its own, so its connections live on while a test waits for something else.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use certs::{
    identity::{ConnectorState, Identity},
    tls,
    token::JoinToken,
};
use protocol::{
    control::{Enrol, Hello, Message, RouteClaim},
    id::Name,
    link::{SendStream, Side, transport::quic},
    splice::Stream,
    version::{VERSION, VERSION_MIN},
    wire::{self, ControlReader, WireError},
};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, TokioRuntime, TransportConfig};
use tokio::{runtime::Runtime, task::JoinHandle, time};

use super::{edge::EdgeFile, world::World};

/// Longest time anything a rogue waits for may take, with a slow machine in mind.
const LIMIT: Duration = Duration::from_secs(30);

/// A peer of one edge, at one address.
#[derive(Debug)]
pub struct Rogue {
    runtime: Runtime,
    endpoint: Endpoint,
    edge: SocketAddr,
}

/// What a rogue has in hand: a connection, and its control stream.
#[derive(Debug)]
pub struct Line {
    /// The connection.
    pub connection: Connection,
    /// Its control stream, towards the edge.
    pub send: SendStream,
    /// Its control stream, from the edge.
    pub control: ControlReader,
}

/// A rogue with an identity.
#[derive(Debug)]
pub struct Member {
    /// Who it is.
    pub identity: Identity,
    /// Where it keeps that.
    pub state_dir: PathBuf,
}

impl Rogue {
    /// A peer that comes from `source`.
    ///
    /// # Panics
    /// If the address is taken.
    #[must_use]
    pub fn at(source: SocketAddr, edge: &EdgeFile) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread can be had");
        let socket = std::net::UdpSocket::bind(source).expect("the address is free");
        let endpoint = {
            let _on_runtime = runtime.enter();
            Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
        };
        Self { runtime, endpoint: endpoint.expect("a socket is all it takes"), edge: edge.tunnel }
    }

    /// Runs something to its end.
    ///
    /// # Panics
    /// If it takes too long.
    pub fn run<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { time::timeout(LIMIT, what).await.expect("what a rogue does ends in time") })
    }

    /// Connects with these credentials, as a connector's link does on the wire.
    ///
    /// # Errors
    /// [`ConnectionError`] if the handshake fails.
    pub fn connect(&self, tls: Arc<rustls::ClientConfig>) -> Result<Connection, ConnectionError> {
        self.connect_with(tls, quic::link_transport(Side::Connector))
    }

    /// The same with transport settings of its own.
    ///
    /// # Errors
    /// [`ConnectionError`] if the handshake fails.
    ///
    /// # Panics
    /// If the settings are none.
    pub fn connect_with(
        &self,
        tls: Arc<rustls::ClientConfig>,
        transport: Arc<TransportConfig>,
    ) -> Result<Connection, ConnectionError> {
        let mut config = ClientConfig::new(quic::client_crypto(tls));
        config.transport_config(transport);
        let name = certs::verify::EDGE_NAME;
        self.run(async { self.endpoint.connect_with(config, self.edge, name).expect("good settings").await })
    }

    /// Opens the control stream.
    ///
    /// # Errors
    /// [`ConnectionError`] if the edge has closed the connection: it judges a certificate after the client is done.
    pub fn line(&self, connection: Connection) -> Result<Line, ConnectionError> {
        let (send, recv) = self.run(connection.open_bi())?;
        Ok(Line { connection, send: send.into(), control: ControlReader::new(recv.into()) })
    }

    /// Sends a message and gives the edge's answer to it.
    ///
    /// # Errors
    /// [`WireError`] if there is none.
    pub fn ask(&self, line: &mut Line, message: &Message) -> Result<Message, WireError> {
        self.run(async {
            wire::write_message(&mut line.send, message).await?;
            line.control.next().await
        })
    }

    /// Redeems a token for a key of the rogue's own, as this replica, and gives the edge's answer.
    ///
    /// # Errors
    /// [`WireError`] if there is none.
    ///
    /// # Panics
    /// If the edge cannot be reached.
    pub fn redeem(&self, token: &JoinToken, replica: &Name, csr: &[u8]) -> Result<Message, WireError> {
        let connection = self.connect(tls::enrol_client(token.ca)).expect("an enrolment needs no certificate");
        let mut line = self.line(connection).map_err(|lost| WireError::Lost(lost.into()))?;
        let (replica, csr) = (replica.to_string(), csr.to_vec());
        let enrol = Enrol { token: token.id.0, secret: *token.secret.expose(), replica, csr };
        self.ask(&mut line, &Message::Enrol(enrol))
    }

    /// Becomes a member: redeems a token as a connector does, and keeps what it gets in a directory of the world.
    ///
    /// # Panics
    /// If it is refused.
    #[must_use]
    pub fn join(&self, world: &World, token: &Path) -> Member {
        let token = read_token(token);
        let state_dir = world.path(&format!("rogue-{}", token.id.to_hex()));
        let state = ConnectorState::open(&state_dir).expect("the world's directory is writable");
        let request = state.enrolment().expect("a key");
        let enrolled = match self.redeem(&token, state.replica(), request.csr()) {
            Ok(Message::Enrolled(enrolled)) => enrolled,
            other => panic!("the token is good, and yet: {other:?}"),
        };
        let identity = state.finish_enrolment(&request, &token, &enrolled).expect("what the token promises");
        Member { identity, state_dir }
    }

    /// Its QUIC client.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Runs something beside the test.
    pub fn spawn<T: Send + 'static>(&self, what: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.runtime.spawn(what)
    }

    /// Why the connection has ended, or will.
    pub fn end_of(&self, connection: &Connection) -> ConnectionError {
        self.run(connection.closed())
    }
}

/// A stream of a connection, as the product carries it.
#[must_use]
pub fn stream_of((send, recv): (quinn::SendStream, quinn::RecvStream)) -> Stream {
    Stream::new((send.into(), recv.into()))
}

/// The token in a file.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn read_token(file: &Path) -> JoinToken {
    let text = fs::read_to_string(file).expect("a token's file is text");
    text.parse().expect("the product writes whole tokens")
}

/// A registration for VNet `prod`, as a connector of this build would send it.
#[must_use]
pub fn hello() -> Hello {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Hello {
        version_min: VERSION_MIN,
        version_max: VERSION,
        software: "rogue".to_owned(),
        run: u64::from(since.subsec_nanos()),
        slot: 0,
        links: 1,
        routes: vec![RouteClaim { vnet: "prod".to_owned(), cidr: "10.7.0.0/24".to_owned() }],
    }
}

//! An edge in the wrong hands: it has the fleet's CA, so every connector believes it, and it asks for whatever it likes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use certs::{ca::Ca, edge::EdgeCertificates, tls};
use protocol::{
    control::{Hello, Message, Welcome},
    id::Target,
    link::{SendStream, Side, transport::quic},
    splice::Stream,
    stream::{Open, OpenTcp, OpenUdp, Reply},
    version::VERSION,
    wire::{self, ControlReader},
};
use quinn::{Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use tokio::{runtime::Runtime, task::JoinHandle, time};

use super::{edge::EdgeFile, rogue::stream_of};

/// Longest time anything a false edge waits for may take, with a slow machine in mind.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a connector may take for a dial.
const DIAL_WAIT: Duration = Duration::from_secs(5);

/// A false edge, and what it listens on.
#[derive(Debug)]
pub struct FalseEdge {
    runtime: Runtime,
    endpoint: Endpoint,
    /// Where connectors dial.
    pub address: SocketAddr,
}

/// A connector that believes in it.
#[derive(Debug)]
pub struct Captive {
    /// The link.
    pub connection: Connection,
    /// What it registered with.
    pub hello: Hello,
    /// The control stream, towards the connector.
    pub send: SendStream,
    control: ControlReader,
    sessions: u32,
}

impl FalseEdge {
    /// Stands up at this address with the CA of another edge.
    ///
    /// # Panics
    /// If there is no such CA, or the address is taken.
    #[must_use]
    pub fn start(address: SocketAddr, robbed: &EdgeFile) -> Self {
        let now = std::time::SystemTime::now();
        let file = |name: &str| robbed.state_dir.join(name);
        let ca = Ca::from_files(&file("ca.pem"), &file("ca.key"), now).expect("the fleet's CA");
        let certificates = EdgeCertificates::new(Arc::new(ca), now).expect("it issues");
        let mut server = ServerConfig::with_crypto(quic::server_crypto(
            tls::server_crypto(Arc::new(certificates)).expect("good settings"),
        ));
        server.transport_config(quic::link_transport(Side::Edge));
        let socket = std::net::UdpSocket::bind(address).expect("the address is free");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread can be had");
        let endpoint = {
            let _on_runtime = runtime.enter();
            Endpoint::new(EndpointConfig::default(), Some(server), socket, Arc::new(TokioRuntime))
        };
        Self { runtime, endpoint: endpoint.expect("a socket is all it takes"), address }
    }

    /// Runs something to its end.
    ///
    /// # Panics
    /// If it takes too long.
    pub fn run<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { time::timeout(LIMIT, what).await.expect("what a false edge does ends in time") })
    }

    /// The next link: welcomes it as an edge would.
    ///
    /// # Panics
    /// If none comes.
    #[must_use]
    pub fn capture(&self) -> Captive {
        self.capture_as(VERSION)
    }

    /// The next link: welcomes it as an edge that speaks this version would.
    ///
    /// # Panics
    /// If none comes.
    #[must_use]
    pub fn capture_as(&self, version: u16) -> Captive {
        self.run(async {
            let incoming = self.endpoint.accept().await.expect("the endpoint is open");
            let connection = incoming.await.expect("it believes in us");
            let (send, recv) = connection.accept_bi().await.expect("its control stream");
            let (mut send, mut control) = (SendStream::from(send), ControlReader::new(recv.into()));
            let Ok(Message::Hello(hello)) = control.next().await else { panic!("a link begins with a hello") };
            let welcome = Welcome {
                version,
                edge: "edge-1".to_owned(),
                link: 1,
                accepted: hello.routes.clone(),
                refused: Vec::new(),
            };
            wire::write_message(&mut send, &Message::Welcome(welcome)).await.expect("it listens");
            Captive { connection, hello, send, control, sessions: 0 }
        })
    }

    /// What the connector answers when it is told to dial a TCP target in VNet `prod`.
    ///
    /// # Panics
    /// If the link is gone.
    pub fn ask_tcp(&self, captive: &Captive, target: &str) -> Reply {
        let open = OpenTcp { vnet: vnet(), target: parsed(target), wait: DIAL_WAIT, flow: None };
        self.run(ask(&captive.connection, &Open::Tcp(open)))
    }

    /// A flow to a TCP target in VNet `prod`.
    ///
    /// # Panics
    /// If the connector refuses, or the link is gone.
    #[must_use]
    pub fn flow(&self, captive: &Captive, target: &str) -> Stream {
        let open = Open::Tcp(OpenTcp { vnet: vnet(), target: parsed(target), wait: DIAL_WAIT, flow: None });
        let (stream, reply) = self.run(open_flow(&captive.connection, &open));
        assert!(matches!(reply, Reply::Connected { .. }), "{target}: {reply:?}");
        stream
    }

    /// Does something beside what follows.
    pub fn spawn<T: Send + 'static>(&self, what: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.runtime.spawn(what)
    }

    /// What it answers when it is told to open a UDP session there.
    ///
    /// # Panics
    /// If the link is gone.
    pub fn ask_udp(&self, captive: &mut Captive, target: &str) -> Reply {
        captive.sessions += 1;
        let (session, idle) = (captive.sessions, LIMIT);
        let open = OpenUdp { vnet: vnet(), target: parsed(target), wait: DIAL_WAIT, idle, session, flow: None };
        self.run(ask(&captive.connection, &Open::Udp(open)))
    }

    /// Tells the connector something.
    ///
    /// # Panics
    /// If the link is gone.
    pub fn tell(&self, captive: &mut Captive, message: &Message) {
        self.run(wire::write_message(&mut captive.send, message)).expect("it listens");
    }

    /// What the connector says next on its control stream.
    ///
    /// # Panics
    /// If the link is gone.
    pub fn hear(&self, captive: &mut Captive) -> Message {
        self.run(captive.control.next()).expect("it speaks")
    }
}

async fn ask(connection: &Connection, open: &Open) -> Reply {
    open_flow(connection, open).await.1
}

async fn open_flow(connection: &Connection, open: &Open) -> (Stream, Reply) {
    let mut stream = stream_of(connection.open_bi().await.expect("a live link"));
    stream.send.write_chunk(open.encode()).await.expect("a live link");
    let reply = wire::read_reply(&mut stream.recv).await.expect("every open has a reply");
    (stream, reply)
}

fn vnet() -> protocol::id::Name {
    "prod".parse().expect("a name")
}

fn parsed(target: &str) -> Target {
    target.parse().expect("a target")
}

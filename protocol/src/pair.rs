//! A real link over loopback for tests: both ends in one process, with a certificate of its own.

use std::{net::Ipv4Addr, sync::Arc};

use net::{Network, Os, Unreachables};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs, pki_types::PrivatePkcs8KeyDer, version::TLS13,
};
use tokio::io::AsyncWriteExt;

use crate::{
    control::Message,
    link::{
        Connection, Credentials, Endpoint, Outbound, RecvStream, SendStream,
        transport::quic::{self, Listening},
    },
    splice::Stream,
    version::ALPN_LINK,
    windows::{Bounds, Tally, Windows},
};

const NAME: &str = "edge.test";

pub(crate) struct Pair {
    pub(crate) edge: Connection,
    pub(crate) connector: Connection,
    _endpoints: (Endpoint, Outbound),
}

impl Pair {
    pub(crate) async fn new() -> Self {
        let (server, client) = configs();
        let socket = || {
            let bound = Os.bind_quic((Ipv4Addr::LOCALHOST, 0).into(), &Unreachables::default());
            bound.expect("a port of loopback")
        };
        let edge =
            quic::listen(Listening { socket: socket(), reset: &[7; 64], connection_id: 7, generation: 0, tls: server });
        let (edge, connector) = (edge.expect("an endpoint"), quic::outbound(socket()).expect("an endpoint"));
        let address = edge.local_address().expect("bound");
        let dialling = connector.dial(address, NAME, Credentials::new(client)).expect("a good address");
        let accepting = async { edge.accept().await.expect("open").accept().expect("a beginning").done().await };
        let (dialled, accepted) = tokio::join!(dialling.done(), accepting);
        let accepted = accepted.expect("a handshake");
        accepted.admit();
        Self { edge: accepted, connector: dialled.expect("a handshake"), _endpoints: (edge, connector) }
    }

    /// The windows of both sides, the edge's first, each telling the other.
    pub(crate) fn windows(&self, bounds: Bounds) -> [Arc<Windows>; 2] {
        let [edge, connector] = [&self.edge, &self.connector]
            .map(|connection| Arc::new(Windows::within(connection.clone(), bounds, Tally::default())));
        for (from, to) in [(edge.clone(), connector.clone()), (connector.clone(), edge.clone())] {
            // Ends with the test's runtime.
            tokio::spawn(async move {
                while let Message::Windows(told) = from.due().await {
                    to.hear(&told);
                }
            });
        }
        [edge, connector]
    }

    /// A stream that the edge opens: the edge's end first, then the connector's.
    pub(crate) async fn stream(&self) -> (Stream, Stream) {
        let (edge, connector) = self.raw_stream().await;
        (Stream::new(edge), Stream::new(connector))
    }

    /// The same, as the link has it.
    pub(crate) async fn raw_stream(&self) -> ((SendStream, RecvStream), (SendStream, RecvStream)) {
        let mut edge = self.edge.open_stream().await.expect("a live link");
        // The peer hears of a stream with its first byte.
        edge.0.write_all(&[7]).await.expect("a live link");
        let mut connector = self.connector.accept_stream().await.expect("a live link");
        let first = connector.1.read(&mut [0]).await.expect("a live link");
        assert_eq!(first, Some(1), "the byte above");
        (edge, connector)
    }
}

fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(aws_lc_rs::default_provider());

    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13]);
    let builder = builder.expect("TLS 1.3 is known").with_no_client_auth();
    let mut server = builder.with_single_cert(vec![made.cert.der().clone()], key.into()).expect("its own key");
    server.alpn_protocols = vec![ALPN_LINK.to_vec()];

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
    let builder = builder.expect("TLS 1.3 is known").with_root_certificates(roots);
    let mut client = builder.with_no_client_auth();
    client.alpn_protocols = vec![ALPN_LINK.to_vec()];
    (Arc::new(server), Arc::new(client))
}

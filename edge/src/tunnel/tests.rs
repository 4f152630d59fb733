use std::{sync::Arc, time::SystemTime};

use certs::{ca::Ca, edge::EdgeCertificates, tls};
use protocol::link::Connection;
use quinn::{ClientConfig, Endpoint, ServerConfig};

/// Both ends of a connection over loopback; the edge's first.
pub(super) async fn connections() -> ([Connection; 2], [Endpoint; 2]) {
    let (dir, now) = (tempfile::tempdir().expect("a directory"), SystemTime::now());
    let ca = Arc::new(Ca::open(dir.path(), now).expect("a CA"));
    let certificates = Arc::new(EdgeCertificates::new(ca.clone(), now).expect("issued"));
    let crypto = tls::server_crypto(certificates).expect("a configuration");
    let loopback = ([127, 0, 0, 1], 0).into();
    let server = Endpoint::server(ServerConfig::with_crypto(crypto), loopback).expect("bound");
    let client = Endpoint::client(loopback).expect("bound");
    let config = ClientConfig::new(tls::enrol_client(ca.fingerprint()));
    let name = certs::verify::EDGE_NAME;
    let dialling = client.connect_with(config, server.local_addr().expect("bound"), name).expect("started");
    let accepting = async { server.accept().await.expect("open").await.expect("a handshake") };
    let (dialled, accepted) = tokio::join!(dialling, accepting);
    ([accepted, dialled.expect("a handshake")].map(Connection::from), [server, client])
}

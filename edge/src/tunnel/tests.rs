use std::{net::Ipv4Addr, sync::Arc, time::SystemTime};

use certs::{ca::Ca, edge::EdgeCertificates, tls, verify::EDGE_NAME};
use net::{Network, Os, Unreachables};
use protocol::link::{
    Connection, Credentials, Endpoint, Outbound,
    transport::quic::{self, Listening},
};

/// Both ends of a connection over loopback; the edge's first.
pub(super) async fn connections() -> ([Connection; 2], (Endpoint, Outbound)) {
    let (dir, now) = (tempfile::tempdir().expect("a directory"), SystemTime::now());
    let ca = Arc::new(Ca::open(dir.path(), now).expect("a CA"));
    let certificates = Arc::new(EdgeCertificates::new(ca.clone(), now).expect("issued"));
    let tls = tls::server_crypto(certificates).expect("a configuration");
    let socket = || {
        let bound = Os.bind_quic((Ipv4Addr::LOCALHOST, 0).into(), &Unreachables::default());
        bound.expect("a port of loopback")
    };
    let edge = quic::listen(Listening { socket: socket(), reset: &[7; 64], connection_id: 7, tls }).expect("bound");
    let connector = quic::outbound(socket()).expect("bound");
    let (at, credentials) =
        (edge.local_address().expect("bound"), Credentials::new(tls::enrol_client(ca.fingerprint())));
    let dialling = connector.dial(at, EDGE_NAME, credentials).expect("started");
    let accepting = async { edge.accept().await.expect("open").accept().expect("a beginning").done().await };
    let (dialled, accepted) = tokio::join!(dialling.done(), accepting);
    ([accepted, dialled].map(|done| done.expect("a handshake")), (edge, connector))
}

use std::{
    net::Ipv4Addr,
    sync::{Arc, LazyLock},
    time::SystemTime,
};

use certs::{ca::Ca, edge::EdgeCertificates, tls, verify::EDGE_NAME};
use net::{Network, Os, Unreachables};
use protocol::{
    id::{LinkId, Name},
    link::{
        Connection, Credentials, Endpoint, Outbound,
        transport::quic::{self, Listening},
    },
    version::VERSION,
    windows::Tally,
};
use tokio::runtime::Runtime;

use super::link::{Link, Registration};

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
    let edge = quic::listen(Listening { socket: socket(), reset: &[7; 64], connection_id: 7, generation: 0, tls })
        .expect("bound");
    let connector = quic::outbound(socket()).expect("bound");
    let (at, credentials) =
        (edge.local_address().expect("bound"), Credentials::new(tls::enrol_client(ca.fingerprint())));
    let dialling = connector.dial(at, EDGE_NAME, credentials).expect("started");
    let accepting = async { edge.accept().await.expect("open").accept().expect("a beginning").done().await };
    let (dialled, accepted) = tokio::join!(dialling.done(), accepting);
    ([accepted, dialled].map(|done| done.expect("a handshake")), (edge, connector))
}

/// A connection, with all that keeps it.
struct Kept {
    ends: [Connection; 2],
    _endpoints: (Endpoint, Outbound),
    _runtime: Runtime,
}

/// What all [`link`]s are over.
static CONNECTION: LazyLock<Kept> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a thread");
    let made = std::thread::scope(|scope| scope.spawn(|| runtime.block_on(connections())).join());
    let (ends, endpoints) = made.expect("no panic");
    Kept { ends, _endpoints: endpoints, _runtime: runtime }
});

/// What a link of this connector registers with.
pub(super) fn registration(connector: &Name, connection: Connection) -> Registration {
    Registration {
        connector: connector.clone(),
        replica: "r-1".parse().expect("a name"),
        run: 1,
        slot: 0,
        software: String::new(),
        expires: SystemTime::now(),
        worker: 0,
        version: VERSION,
        tally: Tally::default(),
        connection,
    }
}

/// A link of this number, for those who place on links and send nothing over them.
pub(crate) fn link(id: LinkId, connector: &Name) -> Arc<Link> {
    Arc::new(Link::new(id, registration(connector, CONNECTION.ends[0].clone())))
}

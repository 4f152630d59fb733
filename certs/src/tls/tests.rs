use rustls::{
    NamedGroup, ProtocolVersion,
    pki_types::{ServerName, UnixTime},
    quic,
    time_provider::TimeProvider,
};

use super::*;
use crate::{
    fleet::{DAY, Fleet, HOUR, code, name, now},
    verify::EDGE_NAME,
};

/// A clock that stands.
#[derive(Debug)]
struct At(SystemTime);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.duration_since(SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

/// Both ends of a finished handshake.
struct Done {
    client: quic::Connection,
    server: quic::Connection,
}

impl Done {
    fn admitted(&self, at: SystemTime) -> Result<Admission, Refusal> {
        admit(self.server.alpn_protocol().unwrap_or_default(), self.server.peer_certificates(), at)
    }
}

/// The error of the side that failed.
type Failed = (&'static str, String);

fn handshake(mut client: ClientConfig, mut server: ServerConfig, at: SystemTime) -> Result<Done, Failed> {
    client.time_provider = Arc::new(At(at));
    server.time_provider = Arc::new(At(at));
    let name = ServerName::try_from(EDGE_NAME).expect("a name");
    let client = quic::ClientConnection::new(Arc::new(client), quic::Version::V1, name, vec![]).expect("a client");
    let server = quic::ServerConnection::new(Arc::new(server), quic::Version::V1, vec![]).expect("a server");
    let mut done = Done { client: client.into(), server: server.into() };
    while done.client.is_handshaking() || done.server.is_handshaking() {
        carry(&mut done.client, &mut done.server).map_err(|e| ("edge", e))?;
        carry(&mut done.server, &mut done.client).map_err(|e| ("connector", e))?;
    }
    Ok(done)
}

fn carry(from: &mut quic::Connection, to: &mut quic::Connection) -> Result<(), String> {
    loop {
        let mut bytes = Vec::new();
        let change = from.write_hs(&mut bytes);
        if change.is_none() && bytes.is_empty() {
            return Ok(());
        }
        to.read_hs(&bytes).map_err(|e| e.to_string())?;
    }
}

fn edge(fleet: &Fleet, at: SystemTime) -> ServerConfig {
    let certificates = EdgeCertificates::new(Arc::clone(fleet.ca()), at).expect("issued");
    server_config(Arc::new(certificates)).expect("a configuration")
}

fn link(identity: &Identity) -> ClientConfig {
    identified_client(identity, ALPN_LINK).expect("a configuration")
}

fn renew(identity: &Identity) -> ClientConfig {
    identified_client(identity, ALPN_RENEW).expect("a configuration")
}

fn refused<T>(result: Result<T, Failed>, side: &str, text: &str) {
    let (by, error) = result.err().expect("refused");
    assert!(by == side && error.contains(text), "{by}: {error}");
}

#[test]
fn a_link_is_tls_1_3_with_a_post_quantum_key_exchange_and_no_tickets() {
    let fleet = Fleet::new();
    let member = fleet.member("dc1", now());
    let done = handshake(link(&member.identity), edge(&fleet, now()), now()).expect("a handshake");
    for side in [&done.client, &done.server] {
        assert_eq!(side.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        let group = side.negotiated_key_exchange_group().expect("one").name();
        assert_eq!(group, NamedGroup::X25519MLKEM768);
        let suite = side.negotiated_cipher_suite().expect("one").suite();
        assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    }
    let quic::Connection::Client(client) = &done.client else { panic!("the client") };
    assert_eq!(client.tls13_tickets_received(), 0);
    assert!(client.zero_rtt_keys().is_none());
    assert_eq!(done.admitted(now()), Ok(Admission::Link(member.identity.peer().clone())));
}

#[test]
fn certificates_of_the_other_role_are_refused() {
    let fleet = Fleet::new();
    let member = fleet.member("dc1", now());
    let issued = fleet.ca().issue_edge(now()).expect("issued");

    let mut as_edge = edge(&fleet, now());
    let key = provider().key_provider.load_private_key(member.identity.private_key()).expect("a key");
    let chain = vec![member.identity.certificate().clone(), fleet.ca().certificate().clone()];
    as_edge.cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(chain, key)));
    refused(handshake(link(&member.identity), as_edge.clone(), now()), "connector", "not made for this role");
    let pinned = anonymous_client(fleet.ca().fingerprint());
    refused(handshake(pinned, as_edge, now()), "connector", "not made for this role");

    let mut as_connector = link(&member.identity);
    let single = rustls::sign::SingleCertAndKey::from(issued.certified());
    as_connector.client_auth_cert_resolver = Arc::new(single);
    refused(handshake(as_connector, edge(&fleet, now()), now()), "edge", "not made for this role");
}

#[test]
fn a_fleet_trusts_its_own_ca_alone() {
    let (fleet, other) = (Fleet::new(), Fleet::new());
    let (ours, theirs) = (fleet.member("dc1", now()), other.member("dc1", now()));
    refused(handshake(link(&ours.identity), edge(&other, now()), now()), "connector", "issued by another CA");

    // A connector that trusts our edge and shows a certificate of theirs.
    let mut forged = link(&ours.identity);
    forged.client_auth_cert_resolver = link(&theirs.identity).client_auth_cert_resolver;
    refused(handshake(forged, edge(&fleet, now()), now()), "edge", "issued by another CA");
}

#[test]
fn an_enrolment_finds_the_edge_by_the_digest_of_its_ca() {
    let (fleet, other) = (Fleet::new(), Fleet::new());
    let pinned = || anonymous_client(fleet.ca().fingerprint());
    let done = handshake(pinned(), edge(&fleet, now()), now()).expect("a handshake");
    assert_eq!(done.admitted(now()), Ok(Admission::Enrol));
    assert!(done.server.peer_certificates().is_none());
    refused(handshake(pinned(), edge(&other, now()), now()), "connector", "not the one in the join token");

    // The right CA beside a leaf of another: the digest alone proves nothing.
    let mut mixed = edge(&other, now());
    let issued = other.ca().issue_edge(now()).expect("issued").certified();
    let chain = vec![issued.cert[0].clone(), fleet.ca().certificate().clone()];
    let key = rustls::sign::CertifiedKey::new(chain, issued.key);
    mixed.cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(key));
    refused(handshake(pinned(), mixed, now()), "connector", "issued by another CA");
}

#[test]
fn an_expired_certificate_may_renew_for_thirty_days_and_nothing_else() {
    let fleet = Fleet::new();
    let member = fleet.member("dc1", now());
    let peer = member.identity.peer().clone();
    for later in [2 * DAY, 30 * DAY] {
        let at = now() + later;
        let done = handshake(link(&member.identity), edge(&fleet, at), at).expect("a handshake");
        assert_eq!(code(done.admitted(at)), "certificate_expired");
        let done = handshake(renew(&member.identity), edge(&fleet, at), at).expect("a handshake");
        assert_eq!(done.admitted(at), Ok(Admission::Renew(peer.clone())));
    }
    let at = now() + 32 * DAY;
    refused(handshake(renew(&member.identity), edge(&fleet, at), at), "edge", "enrol with a new join token");
}

#[test]
fn clocks_that_differ_by_less_than_a_day_do_no_harm_and_beyond_they_are_named() {
    let fleet = Fleet::new();
    let member = fleet.member("dc1", now());
    for behind in [HOUR, 2 * HOUR, 24 * HOUR] {
        let at = now() - behind;
        let done = handshake(link(&member.identity), edge(&fleet, now()), at).expect("a handshake");
        assert_eq!(done.admitted(at), Ok(Admission::Link(member.identity.peer().clone())));
        let pinned = anonymous_client(fleet.ca().fingerprint());
        assert_eq!(handshake(pinned, edge(&fleet, now()), at).expect("a handshake").admitted(at), Ok(Admission::Enrol));
    }

    let at = now() - 26 * HOUR;
    refused(handshake(link(&member.identity), edge(&fleet, at), at), "edge", "one of the two clocks is wrong");
    refused(handshake(link(&member.identity), edge(&fleet, now()), at), "connector", "one of the two clocks is wrong");
    refused(handshake(link(&member.identity), edge(&fleet, now()), now() + 2 * DAY), "connector", "expired 24 h ago");
    assert_eq!(code(admit(ALPN_LINK, Some(&[member.identity.certificate().clone()]), at)), "unavailable");
}

#[test]
fn what_is_asked_for_decides_what_must_be_shown() {
    let fleet = Fleet::new();
    let member = fleet.member("dc1", now());
    let mine = [member.identity.certificate().clone()];
    let edges = [fleet.ca().issue_edge(now()).expect("issued").leaf().clone()];
    let (none, mine, edges) = (None, Some(&mine[..]), Some(&edges[..]));
    for (alpn, shown, want) in [
        (ALPN_LINK, mine, "accepted"),
        (ALPN_RENEW, mine, "accepted"),
        (ALPN_ENROL, none, "accepted"),
        (ALPN_LINK, none, "bad_request"),
        (ALPN_RENEW, none, "bad_request"),
        (ALPN_ENROL, mine, "bad_request"),
        (ALPN_LINK, edges, "bad_request"),
        (ALPN_LINK, Some(&[]), "bad_request"),
        (b"h3", mine, "version"),
        (b"", none, "version"),
    ] {
        assert_eq!(code(admit(alpn, shown, now())), want, "{:?} with {}", alpn, shown.map_or(0, <[_]>::len));
    }
}

#[test]
fn a_client_without_a_certificate_gets_no_link() {
    let fleet = Fleet::new();
    let mut nobody = anonymous_client(fleet.ca().fingerprint());
    nobody.alpn_protocols = vec![ALPN_LINK.to_vec()];
    let done = handshake(nobody, edge(&fleet, now()), now()).expect("TLS does not know what it is for");
    assert_eq!(code(done.admitted(now())), "bad_request");
}

#[test]
fn no_common_protocol_is_no_handshake() {
    let fleet = Fleet::new();
    let member = fleet.member("dc1", now());
    let mut other = link(&member.identity);
    other.alpn_protocols = vec![b"underpass/9".to_vec()];
    refused(handshake(other, edge(&fleet, now()), now()), "edge", "any known protocol");
}

#[test]
fn a_rotated_edge_shows_its_new_certificate_at_the_next_handshake() {
    let fleet = Fleet::new();
    let member = fleet.member("dc1", now());
    let certificates = Arc::new(EdgeCertificates::new(Arc::clone(fleet.ca()), now()).expect("issued"));
    let server = server_config(Arc::clone(&certificates)).expect("a configuration");
    let shown = |at| {
        let done = handshake(link(&member.identity), server.clone(), at).expect("a handshake");
        done.client.peer_certificates().expect("a chain")[0].clone()
    };
    let before = shown(now());
    assert_eq!(before, shown(now()));
    certificates.rotate_if_due(now() + 17 * HOUR).expect("issued");
    assert_ne!(before, shown(now() + 17 * HOUR));
}

mod over_a_link {
    use std::net::Ipv4Addr;

    use net::{Network, Os, Unreachables};
    use protocol::link::{
        Credentials, Endpoint, Outbound,
        transport::quic::{self, Listening},
    };

    use super::*;

    struct Pair {
        edge: Endpoint,
        connector: Outbound,
    }

    impl Pair {
        fn new(fleet: &Fleet) -> Self {
            let certificates = EdgeCertificates::new(Arc::clone(fleet.ca()), SystemTime::now()).expect("issued");
            let tls = server_crypto(Arc::new(certificates)).expect("a configuration");
            let socket = || {
                let bound = Os.bind_quic((Ipv4Addr::LOCALHOST, 0).into(), &Unreachables::default());
                bound.expect("a port of loopback")
            };
            let edge =
                quic::listen(Listening { socket: socket(), reset: &[7; 64], connection_id: 7, generation: 0, tls });
            Self { edge: edge.expect("bound"), connector: quic::outbound(socket()).expect("bound") }
        }

        /// What the edge admits, or how the connector hears that the handshake failed.
        async fn connect(&self, tls: Arc<ClientConfig>) -> Result<Result<Admission, Refusal>, String> {
            let address = self.edge.local_address().expect("bound");
            let dialling = self.connector.dial(address, EDGE_NAME, Credentials::new(tls)).expect("started");
            let accept = async { self.edge.accept().await.expect("open").accept()?.done().await };
            let (here, there) = tokio::join!(dialling.done(), accept);
            let here = here.map_err(|e| e.to_string())?;
            match there {
                Ok(connection) => Ok(admit_connection(&connection, SystemTime::now())),
                Err(_) => Err(here.closed().await.to_string()),
            }
        }
    }

    #[tokio::test]
    async fn the_three_purposes_are_admitted_over_a_real_connection() {
        let fleet = Fleet::new();
        let (member, old) = (fleet.member("dc1", SystemTime::now()), fleet.member("dc2", SystemTime::now() - 3 * DAY));
        let pair = Pair::new(&fleet);
        let linked = pair.connect(link_client(&member.identity).expect("a configuration")).await;
        assert!(matches!(linked, Ok(Ok(Admission::Link(peer))) if peer.connector == name("dc1")));
        let stale = pair.connect(link_client(&old.identity).expect("a configuration")).await.expect("a handshake");
        assert_eq!(code(stale), "certificate_expired");
        let renewing = pair.connect(renew_client(&old.identity).expect("a configuration")).await;
        assert!(matches!(renewing, Ok(Ok(Admission::Renew(peer))) if peer.connector == name("dc2")));
        let enrolling = pair.connect(enrol_client(fleet.ca().fingerprint())).await;
        assert_eq!(enrolling, Ok(Ok(Admission::Enrol)));
    }

    #[tokio::test]
    async fn both_sides_learn_in_words_why_a_handshake_failed() {
        let (fleet, other) = (Fleet::new(), Fleet::new());
        let lapsed = fleet.member("dc1", SystemTime::now() - 40 * DAY);
        let pair = Pair::new(&fleet);
        let wrong = pair.connect(enrol_client(other.ca().fingerprint())).await.expect_err("another CA");
        assert!(wrong.contains("the edge's CA is not the one in the join token"), "{wrong}");
        let over = pair.connect(renew_client(&lapsed.identity).expect("a configuration")).await.expect_err("lapsed");
        assert!(over.contains("enrol with a new join token"), "{over}");
    }
}

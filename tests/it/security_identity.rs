//! Credentials that are not what they seem: a name without its key, a CA of one's own, the other role's certificate, a request
//! that asks for more than it may have. Each is tried on a real edge or a real connector.
//!
//! What a whole handshake refuses is proven case by case in `certs::tls`; tokens that were used, expired or are another
//! fleet's in `identity`.

use std::{net::UdpSocket, path::Path, sync::Arc, time::SystemTime};

use certs::{ca::Ca, tls, verify::Peer};
use protocol::{
    control::{Enrol, Message, RefusalCode},
    id::Name,
    version::ALPN_LINK,
};
use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime, crypto::rustls::QuicServerConfig};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose as Usage, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    sign::CertifiedKey,
    version::TLS13,
};
use underpass_tests::harness::{
    Connector, Edge, Rogue, World,
    rogue::{hello, read_token},
    wait::{always, soon},
};

/// An edge that grants `dc1`, which is connected, and `dc2`, which a rogue may be. Keep it whole: what is dropped is gone.
struct Stand {
    world: World,
    edge: Edge,
    rogue: Rogue,
    dc1: Connector,
}

fn stand() -> Stand {
    let world = World::new();
    let prod = world.vnet("prod");
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).grant("dc2", &[&prod]).start();
    let dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    let rogue = Rogue::at(world.source(66), &edge.file);
    Stand { world, edge, rogue, dc1 }
}

impl Stand {
    /// What the edge says to a link with this certificate and key, if it is let in, or the handshake's error.
    fn try_link(&self, certificate: CertificateDer<'static>, key: &KeyPair) -> Result<Message, String> {
        let crypto = client(certificate, key);
        let connection = self.rogue.connect(crypto).map_err(|error| error.to_string())?;
        let mut line = self.rogue.line(connection).map_err(|error| error.to_string())?;
        self.rogue.ask(&mut line, &Message::Hello(hello())).map_err(|error| error.to_string())
    }

    fn nobody_came(&self) {
        assert_eq!(self.edge.links("dc1"), 2, "the honest links are what they were");
        assert_eq!(self.edge.links("dc2"), 0);
    }
}

/// A client that shows this certificate, whether or not it has its key, and believes every edge.
fn client(certificate: CertificateDer<'static>, key: &KeyPair) -> Arc<rustls::ClientConfig> {
    let shown = Shown(Arc::new(CertifiedKey::new(vec![certificate], signer(key))));
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).expect("TLS 1.3 is known").dangerous();
    let mut config =
        builder.with_custom_certificate_verifier(Arc::new(Credulous)).with_client_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![ALPN_LINK.to_vec()];
    Arc::new(config)
}

fn signer(key: &KeyPair) -> Arc<dyn rustls::sign::SigningKey> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    aws_lc_rs::sign::any_supported_type(&key).expect("a key of a known kind")
}

#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Believes anything.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The certificate in a connector's `state_dir`.
fn stolen(state_dir: &Path) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_file(state_dir.join("identity.pem")).expect("an enrolled connector has one")
}

/// A certificate as the CA in this directory would issue it, but for what `change` does.
fn issued(state_dir: &Path, key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let read = |file: &str| std::fs::read_to_string(state_dir.join(file)).expect("an edge has a CA");
    let ca_key = KeyPair::from_pem(&read("ca.key")).expect("a key");
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), ca_key).expect("a CA");
    let now = SystemTime::now();
    let since = now.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let ms = u64::try_from(since.as_millis()).expect("it fits").to_be_bytes();
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&[&ms[..], &ms[2..], &[7; 6]].concat()));
    params.extended_key_usages = vec![Usage::ClientAuth];
    params.subject_alt_names = vec![connector_uri("dc1")];
    change(&mut params);
    params.signed_by(key, &issuer).expect("signed").into()
}

fn connector_uri(name: &str) -> SanType {
    SanType::URI(format!("underpass://connector/{name}/r-1").try_into().expect("ASCII"))
}

#[test]
fn a_stolen_certificate_without_its_key_is_worth_nothing() {
    let stand = stand();
    let certificate = stolen(&stand.dc1.file.state_dir);
    assert_eq!(Peer::of(&certificate).expect("dc1's own").connector.as_str(), "dc1");
    let other = KeyPair::generate().expect("a key");
    let _ = stand.try_link(certificate, &other).expect_err("the handshake proves the key");
    stand.nobody_came();
}

#[test]
fn certificates_of_another_ca_and_of_another_role_open_no_link() {
    let stand = stand();
    let key = KeyPair::generate().expect("a key");
    let other = stand.world.path("other");
    let _ = Ca::open(&other, SystemTime::now()).expect("a CA of one's own");
    let ours = &stand.edge.file.state_dir;
    // That the forger's hand is good: with the fleet's own CA key it would pass.
    let genuine = issued(ours, &key, |p| p.subject_alt_names = vec![connector_uri("dc2")]);
    assert!(matches!(stand.try_link(genuine, &key), Ok(Message::Welcome(_))));
    soon("the genuine link to be gone", || (stand.edge.links("dc2") == 0).then_some(()));

    let edge_name = SanType::DnsName(certs::verify::EDGE_NAME.try_into().expect("ASCII"));
    let forged = [
        ("issued by another CA", issued(&other, &key, |_| {})),
        ("not made for this role", issued(ours, &key, |p| p.extended_key_usages = vec![Usage::ServerAuth])),
        (
            "not made for this role",
            issued(ours, &key, |p| {
                p.extended_key_usages = vec![Usage::ServerAuth];
                p.subject_alt_names = vec![edge_name];
            }),
        ),
        ("not made for this role", issued(ours, &key, |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        (
            "must carry one name",
            issued(ours, &key, |p| p.subject_alt_names = vec![connector_uri("dc1"), connector_uri("dc2")]),
        ),
    ];
    for (why, certificate) in forged {
        let error = stand.try_link(certificate, &key).expect_err(why);
        assert!(error.contains(why), "{why}: {error}");
    }
    stand.nobody_came();
}

#[test]
fn a_connectors_certificate_does_not_make_an_edge() {
    let stand = stand();
    let member = stand.rogue.join(&stand.world, &stand.edge.token("dc2"));
    let file = std::fs::read_to_string(member.state_dir.join("identity.pem")).expect("it keeps its identity");
    let key = KeyPair::from_pem(&file).expect("its key");

    // A machine in the middle, with a genuine certificate of the fleet: but a connector's.
    let at = stand.world.free();
    let _false_edge = false_edge(at, &stand, (stolen(&member.state_dir), &key));
    let prod = stand.world.vnet("prod");
    let token = stand.edge.token("dc1");
    let honest = stand.world.connector("dc1").serve(&prod).token(&token).dial(&stand.edge.file).dial_at(at).launch();
    let _ = honest.process.wait_log(&["no link yet", "not made for this role"]);
    assert!(honest.process.find_log(&["link registered", &at.to_string()]).is_none());
}

fn false_edge(
    at: std::net::SocketAddr,
    stand: &Stand,
    (certificate, key): (CertificateDer<'static>, &KeyPair),
) -> Endpoint {
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).expect("TLS 1.3 is known").with_no_client_auth();
    let mut config = builder.with_single_cert(vec![certificate], der).expect("its own key");
    config.alpn_protocols = vec![ALPN_LINK.to_vec()];
    let crypto = QuicServerConfig::try_from(config).expect("TLS 1.3 suites");
    let socket = UdpSocket::bind(at).expect("the address is free");
    stand.rogue.run(async {
        let server = ServerConfig::with_crypto(Arc::new(crypto));
        let endpoint = Endpoint::new(EndpointConfig::default(), Some(server), socket, Arc::new(TokioRuntime));
        let endpoint = endpoint.expect("an endpoint");
        let accepting = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                let _ = incoming.await;
            }
        });
        endpoint
    })
}

fn replica() -> Name {
    "rogue".parse().expect("a name")
}

#[test]
fn a_greedy_request_gets_a_connectors_certificate_and_no_more() {
    let stand = stand();
    let token = read_token(&stand.edge.token("dc2"));
    let key = KeyPair::generate().expect("a key");
    let mut greedy = CertificateParams::default();
    greedy.distinguished_name.push(DnType::CommonName, "dc1");
    greedy.subject_alt_names =
        vec![connector_uri("dc1"), SanType::DnsName(certs::verify::EDGE_NAME.try_into().expect("ASCII"))];
    greedy.extended_key_usages = vec![Usage::ServerAuth, Usage::ClientAuth, Usage::Any];
    greedy.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let request = greedy.serialize_request(&key).expect("a request");

    let Ok(Message::Enrolled(enrolled)) = stand.rogue.redeem(&token, &replica(), request.der()) else {
        panic!("the token is good")
    };
    let got = Peer::of(&enrolled.certificate.into()).expect("a connector's certificate and nothing else");
    assert_eq!((got.connector.as_str(), got.replica), ("dc2", replica()), "the token's name, not the request's");
}

#[test]
fn a_token_of_another_fleet_proves_nothing_here() {
    let stand = stand();
    let other = stand.world.edge("stranger").grant("dc1", &[&stand.world.vnet("prod")]);
    other.write();
    let foreign = read_token(&underpass_tests::harness::edge::token(&other, "dc1"));
    let own = read_token(&stand.edge.token("dc2"));
    let key = KeyPair::generate().expect("a key");
    let csr = CertificateParams::default().serialize_request(&key).expect("a request");
    // The foreign secret under the foreign number, and under the number of a token that is open here.
    for id in [foreign.id.0, own.id.0] {
        let connection = stand.rogue.connect(tls::enrol_client(own.ca)).expect("an enrolment needs no certificate");
        let mut line = stand.rogue.line(connection).expect("a live connection");
        let enrol =
            Enrol { token: id, secret: *foreign.secret.expose(), replica: "rogue".to_owned(), csr: csr.der().to_vec() };
        match stand.rogue.ask(&mut line, &Message::Enrol(enrol)) {
            Ok(Message::Refused(refusal)) => assert_eq!(refusal.code(), RefusalCode::TokenUnknown),
            other => panic!("{other:?}"),
        }
    }
    assert!(
        matches!(stand.rogue.redeem(&own, &replica(), csr.der()), Ok(Message::Enrolled(_))),
        "its owner can still use it"
    );
    always("nobody came", std::time::Duration::from_millis(100), || stand.edge.links("dc2") == 0);
}

use std::{os::unix::fs::PermissionsExt, sync::Barrier};

use super::*;
use crate::fleet::{DAY, Fleet, HOUR, name, now, temporary};

fn key_and_request() -> (KeyPair, Vec<u8>) {
    let key = KeyPair::generate().expect("key");
    let csr = crate::csr::request(&key).expect("request");
    (key, csr)
}

fn subject<'a>(connector: &'a Name, replica: &'a Name) -> Subject<'a> {
    Subject { connector, replica, enrolled_at: now(), enrolment: None }
}

#[test]
fn processes_that_start_together_agree_on_one_ca() {
    let dir = temporary();
    let barrier = Barrier::new(8);
    let fingerprints: Vec<_> = std::thread::scope(|scope| {
        let open = || {
            barrier.wait();
            Ca::open(dir.path(), now()).expect("opened").fingerprint()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|t| t.join().expect("no panic")).collect()
    });
    assert!(fingerprints.iter().all(|f| *f == fingerprints[0]), "{fingerprints:?}");
}

#[test]
fn a_ca_is_for_its_owner_alone_and_lasts_ten_years() {
    let root = temporary();
    let dir = root.path().join("state");
    let ca = Ca::open(&dir, now()).expect("opened");
    let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in ["ca.pem", "ca.key", "ca.lock"] {
        assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
    }
    let again = Ca::open(&dir, now() + 3649 * DAY).expect("opened again");
    assert_eq!(again.fingerprint(), ca.fingerprint());
    let error = Ca::open(&dir, now() + 3651 * DAY).expect_err("over").to_string();
    assert!(error.contains("ca.pem must hold one CA certificate in PEM: this one has expired"), "{error}");
}

#[test]
fn a_start_that_was_interrupted_is_completed_and_a_lost_key_is_not_replaced() {
    let dir = temporary();
    let first = Ca::open(dir.path(), now()).expect("opened");
    let edge = first.issue_edge(now()).expect("issued");

    std::fs::remove_file(dir.path().join("ca.pem")).expect("removed");
    let again = Ca::open(dir.path(), now() + HOUR).expect("opened again");
    let name = ServerName::try_from(EDGE_NAME).expect("name");
    let at = UnixTime::since_unix_epoch(now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970"));
    EdgeVerifier::trusting(again.certificate())
        .and_then(|v| v.verify_server_cert(edge.leaf(), &[], &name, &[], at))
        .expect("what the first issued still holds");

    std::fs::remove_file(dir.path().join("ca.key")).expect("removed");
    let error = Ca::open(dir.path(), now()).expect_err("no key").to_string();
    assert!(error.contains("restore the key, or remove the certificate"), "{error}");
}

#[test]
fn a_full_disk_leaves_no_half_made_ca() {
    let dir = temporary();
    let error = files::full_disk::during(|| Ca::open(dir.path(), now())).expect_err("full").to_string();
    assert!(error.starts_with("cannot write ") && error.contains("ca.key"), "{error}");
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("listed").map(|e| e.expect("entry").file_name()).collect();
    assert_eq!(left, ["ca.lock"]);
}

#[test]
fn files_that_are_no_ca_are_refused_in_words() {
    let dir = temporary();
    let at = |file: &str| dir.path().join(file);
    let write = |file: &str, text: String| files::write(&at(file), text.as_bytes()).expect("written");
    let ca = Ca::open(dir.path(), now()).expect("opened");
    let (other, _) = key_and_request();
    write("other.key", other.serialize_pem());
    write("junk.pem", "hello".to_owned());
    write("two.pem", pem::certificate(ca.certificate()).repeat(2));
    write("broken.pem", pem::certificate(b"hello"));
    let params = CertificateParams::default();
    write("leaf.pem", params.self_signed(&other).expect("signed").pem());

    for (certificate, key, want) in [
        ("none.pem", "ca.key", "cannot read "),
        ("ca.pem", "none.key", "cannot read "),
        ("junk.pem", "ca.key", "junk.pem must hold one CA certificate in PEM: it holds 0"),
        ("two.pem", "ca.key", "two.pem must hold one CA certificate in PEM: it holds 2"),
        ("broken.pem", "ca.key", "not X.509 in DER"),
        ("ca.pem", "junk.pem", "junk.pem must hold one private key in PEM"),
        ("ca.pem", "ca.pem", "ca.pem must hold one private key in PEM"),
        ("ca.pem", "other.key", "other.key is not the key of "),
        ("leaf.pem", "other.key", "leaf.pem must hold one CA certificate in PEM: this one is not a CA's"),
    ] {
        let error = Ca::from_files(&at(certificate), &at(key), now()).expect_err(want).to_string();
        assert!(error.contains(want), "{error}");
    }
    let error = Ca::from_files(&at("ca.pem"), &at("ca.key"), now() - DAY).expect_err("early").to_string();
    assert!(error.contains("by this machine's clock, which shows"), "{error}");
}

/// A CA as some company's tools may make it.
fn brought(params: &CertificateParams, key: &KeyPair) -> Result<Ca, CaError> {
    let dir = temporary();
    let (certificate, secret) = (dir.path().join("c.pem"), dir.path().join("c.key"));
    files::write(&certificate, params.self_signed(key).expect("signed").pem().as_bytes()).expect("written");
    files::write(&secret, key.serialize_pem().as_bytes()).expect("written");
    Ca::from_files(&certificate, &secret, now())
}

#[test]
fn a_ca_of_another_make_is_taken_if_it_can_issue_what_is_needed() {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::OrganizationName, "Exämple & Söhne");
    params.distinguished_name.push(DnType::CountryName, "DE");
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).expect("key");
        brought(&params, &key).unwrap_or_else(|e| panic!("{algorithm:?}: {e}"));
    }

    params.name_constraints = Some(rcgen::NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("example.com".to_owned())],
        excluded_subtrees: vec![],
    });
    let error = brought(&params, &KeyPair::generate().expect("key")).expect_err("constrained").to_string();
    assert!(error.contains("this one cannot issue what underpass needs"), "{error}");
}

#[test]
fn a_connector_gets_our_fields_whatever_its_request_asks_for() {
    let fleet = Fleet::new();
    let key = KeyPair::generate().expect("key");
    let mut greedy = CertificateParams::new(vec![EDGE_NAME.to_owned(), "dc2".to_owned()]).expect("params");
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::Any];
    greedy.subject_alt_names.push(SanType::URI("underpass://connector/dc2/r".try_into().expect("ASCII")));
    greedy.distinguished_name.push(DnType::CommonName, "dc2");
    let csr = greedy.serialize_request(&key).expect("request");

    let proven = ProvenKey::from_csr(csr.der()).expect("a key is all that is looked at");
    let leaf = fleet.ca().issue_connector(&proven, &subject(&name("dc1"), &name("r-1")), now()).expect("issued");
    let peer = Peer::of(&leaf).expect("a connector's");
    assert_eq!((peer.connector, peer.replica), (name("dc1"), name("r-1")));
    assert_eq!(peer.lifetime.issued_at, now(), "to the millisecond");
    let x509 = parse(&leaf).expect("X.509");
    assert!(!x509.is_ca());
    assert_eq!(x509.subject().to_string(), "CN=dc1");
    assert_eq!(x509.subject_alternative_name().expect("one").expect("one").value.general_names.len(), 1);
    let usage = x509.extended_key_usage().expect("one").expect("one").value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any && usage.other.is_empty());
    assert!(!x509.key_usage().expect("one").expect("one").value.key_cert_sign());
    assert_eq!(x509.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
    assert_eq!(moment(x509.validity().not_before), Ok(now() - HOUR - Duration::from_millis(123)));
    assert_eq!(moment(x509.validity().not_after), Ok(now() + 24 * HOUR - Duration::from_millis(123)));
}

#[test]
fn nothing_is_issued_beyond_the_life_of_the_ca() {
    let dir = temporary();
    let ca = Ca::open(dir.path(), now()).expect("opened");
    let nearly = now() + CA_LIFE - HOUR;
    let edge = ca.issue_edge(nearly).expect("issued");
    assert!(edge.lifetime().not_after <= now() + CA_LIFE);
    assert!(matches!(ca.issue_edge(now() + CA_LIFE), Err(IssueError::CaExpired)));
}

#[test]
fn names_of_the_longest_form_are_issued() {
    let fleet = Fleet::new();
    let key = ProvenKey::from_csr(&key_and_request().1).expect("proven");
    let long = name(&"x".repeat(63));
    let leaf = fleet.ca().issue_connector(&key, &subject(&long, &long), now()).expect("issued");
    assert_eq!(Peer::of(&leaf).expect("a connector's").connector, long);
}

use std::{os::unix::fs::PermissionsExt, time::Duration};

use protocol::control::Renew;

use super::*;
use crate::fleet::{Fleet, HOUR, ask, name, now, temporary};

fn renewed(fleet: &Fleet, identity: &Identity, request: &KeyRequest) -> Renewed {
    let renew = Renew { csr: request.csr().to_vec() };
    fleet.authority.renew(&renew, identity.peer(), true, now() + HOUR).expect("renewed").1
}

#[test]
fn a_state_dir_has_one_owner_and_a_replica_keeps_its_name() {
    let root = temporary();
    let dir = root.path().join("state");
    let state = ConnectorState::open(&dir).expect("opened");
    let replica = state.replica().clone();
    assert!(replica.as_str().starts_with("r-") && replica.as_str().len() == 10, "{replica}");
    let error = ConnectorState::open(&dir).expect_err("in use").to_string();
    assert!(error.ends_with("is in use by another process: give each replica a state_dir of its own"), "{error}");
    drop(state);
    assert_eq!(ConnectorState::open(&dir).expect("free again").replica(), &replica);
    assert_ne!(ConnectorState::open(&root.path().join("other")).expect("opened").replica(), &replica);
}

#[test]
fn an_identity_survives_a_restart_and_is_for_its_owner_alone() {
    let fleet = Fleet::new();
    let member = fleet.member("dc1", now());
    drop(member.state);
    let state = ConnectorState::open(member.dir.path()).expect("opened again");
    let identity = state.identity().expect("read").expect("there");
    assert_eq!(identity.peer(), member.identity.peer());
    assert_eq!(identity.ca(), fleet.ca().certificate());
    assert_eq!(identity.private_key(), member.identity.private_key());
    for entry in std::fs::read_dir(member.dir.path()).expect("listed") {
        let entry = entry.expect("entry");
        assert_eq!(entry.metadata().expect("there").permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
}

#[test]
fn the_key_to_enrol_with_stays_until_it_was_used_and_renewal_keys_are_fresh() {
    let fleet = Fleet::new();
    let dir = temporary();
    let state = ConnectorState::open(dir.path()).expect("opened");
    assert!(state.identity().expect("no error").is_none());
    let (one, two) = (state.enrolment().expect("key"), state.enrolment().expect("key"));
    assert_eq!(one.key.public_key_raw(), two.key.public_key_raw());
    let token = fleet.token("dc1", now());
    let (_, answer) = fleet.authority.enrol(&ask(&token, &state, &two), |_| true, now()).expect("enrolled");
    state.finish_enrolment(&two, &token, &answer).expect("kept");
    assert_ne!(state.enrolment().expect("key").key.public_key_raw(), one.key.public_key_raw());
    let (one, two) = (state.renewal().expect("key"), state.renewal().expect("key"));
    assert_ne!(one.key.public_key_raw(), two.key.public_key_raw());
}

#[test]
fn a_renewal_replaces_key_and_certificate_together() {
    let fleet = Fleet::new();
    let member = fleet.member("dc1", now());
    let request = member.state.renewal().expect("key");
    let answer = renewed(&fleet, &member.identity, &request);
    let next = member.state.finish_renewal(&request, &member.identity, &answer).expect("kept");
    assert_eq!(next.peer().lifetime.issued_at, now() + HOUR);
    assert_ne!(next.private_key(), member.identity.private_key());
    let read = member.state.identity().expect("read").expect("there");
    assert_eq!((read.peer(), read.private_key()), (next.peer(), next.private_key()));
}

#[test]
fn an_answer_that_is_not_for_us_replaces_nothing() {
    let (fleet, foreign) = (Fleet::new(), Fleet::new());
    let (member, other) = (fleet.member("dc1", now()), fleet.member("dc1", now()));
    let request = member.state.renewal().expect("key");
    let another_key = renewed(&fleet, &member.identity, &member.state.renewal().expect("key"));
    let another_replica = renewed(&fleet, &other.identity, &request);
    let another_ca = renewed(&foreign, &member.identity, &request);
    let edge = fleet.ca().issue_edge(now()).expect("issued");
    for (answer, want) in [
        (another_key, "it is for another key"),
        (another_replica, "its certificate is for somebody else"),
        (another_ca, "another CA"),
        (Renewed { certificate: edge.leaf().to_vec() }, "not made for this role"),
        (Renewed { certificate: vec![0x30, 0] }, "not X.509 in DER"),
    ] {
        let error = member.state.finish_renewal(&request, &member.identity, &answer).expect_err(want).to_string();
        assert!(error.contains(want), "{error}");
        let kept = member.state.identity().expect("read").expect("there");
        assert_eq!(kept.private_key(), member.identity.private_key());
    }
}

#[test]
fn an_enrolment_must_be_what_the_token_promises() {
    let (fleet, foreign) = (Fleet::new(), Fleet::new());
    let dir = temporary();
    let state = ConnectorState::open(dir.path()).expect("opened");
    let request = state.enrolment().expect("key");
    let token = fleet.token("dc1", now());
    let (_, good) = fleet.authority.enrol(&ask(&token, &state, &request), |_| true, now()).expect("enrolled");
    let foreign_token = JoinToken { ca: foreign.ca().fingerprint(), ..token.clone() };
    let other_token = JoinToken { connector: name("dc2"), ..token.clone() };
    let other_name = Enrolled { connector: "dc2".to_owned(), ..good.clone() };
    for (token, answer, want) in [
        (&foreign_token, &good, "its CA is not the one in the join token"),
        (&other_token, &good, "it is for another connector than the join token"),
        (&other_token, &other_name, "its certificate is for somebody else"),
    ] {
        let error = state.finish_enrolment(&request, token, answer).expect_err(want).to_string();
        assert!(error.contains(want), "{error}");
    }
    assert!(state.identity().expect("no error").is_none());
    state.finish_enrolment(&request, &token, &good).expect("the right one is still welcome");
}

#[test]
fn a_full_disk_keeps_the_old_identity() {
    let fleet = Fleet::new();
    let member = fleet.member("dc1", now());
    let request = member.state.renewal().expect("key");
    let answer = renewed(&fleet, &member.identity, &request);
    let full = files::full_disk::during(|| member.state.finish_renewal(&request, &member.identity, &answer));
    assert!(matches!(full, Err(StateError::File(e)) if e.kind() == io::ErrorKind::StorageFull));
    assert_eq!(member.state.identity().expect("read").expect("there").peer(), member.identity.peer());
    let dir = temporary();
    let error = files::full_disk::during(|| ConnectorState::open(dir.path())).expect_err("full").to_string();
    assert!(error.starts_with("cannot write "), "{error}");
}

#[test]
fn damaged_files_are_named() {
    let fleet = Fleet::new();
    let (member, other) = (fleet.member("dc1", now()), fleet.member("dc2", now()));
    let read = |m: &crate::fleet::Member| std::fs::read_to_string(m.state.identity_file()).expect("read");
    let (mine, theirs) = (read(&member), read(&other));
    let cut = |text: &str, at: usize| {
        let at = text.match_indices("-----BEGIN").nth(at).expect("three parts").0;
        (text[..at].to_owned(), text[at..].to_owned())
    };
    for (bad, want) in [
        (String::new(), "it holds no private key"),
        (cut(&mine, 1).1, "it holds no private key"),
        (cut(&mine, 1).0, "it must hold 2 certificates and holds 0"),
        (cut(&mine, 2).0, "it must hold 2 certificates and holds 1"),
        (cut(&mine, 1).0 + &cut(&theirs, 1).1, "it is for another key"),
    ] {
        files::write(&member.state.identity_file(), bad.as_bytes()).expect("written");
        let error = member.state.identity().expect_err(want).to_string();
        assert!(error.contains("identity.pem is damaged") && error.contains(want), "{error}");
    }
    files::write(&member.dir.path().join("enrolment.key"), b"junk").expect("written");
    assert!(matches!(member.state.enrolment(), Err(StateError::Corrupt { .. })));
    files::write(&member.dir.path().join("replica"), b"Not A Name").expect("written");
    drop(member.state);
    assert!(matches!(ConnectorState::open(member.dir.path()), Err(StateError::Corrupt { .. })));
}

#[test]
fn debug_shows_no_key() {
    let fleet = Fleet::new();
    let member = fleet.member("dc1", now());
    let request = member.state.renewal().expect("key");
    for shown in [format!("{:?}", member.identity), format!("{request:?}")] {
        assert!(shown.contains("key: \"***\"") || shown.contains("key: ***"), "{shown}");
        assert!(shown.len() < 600, "{shown}");
    }
    assert_eq!(
        member.identity.peer().lifetime.not_after,
        now() + Duration::from_secs(86_400) - Duration::from_millis(123)
    );
}

use std::time::Duration;

use super::*;
use crate::{
    fleet::{DAY, Fleet, HOUR, ask, code, name, now, temporary},
    identity::ConnectorState,
};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_connector_enrols_and_becomes_whom_the_token_names() {
    let fleet = Fleet::new();
    let member = fleet.member("dc1", now());
    let peer = member.identity.peer();
    assert_eq!((&peer.connector, &peer.replica), (&name("dc1"), member.state.replica()));
    assert_eq!(peer.lifetime.issued_at, now());
    assert_eq!(fleet.authority.check(peer, true), Ok(()));
}

#[test]
fn requests_that_cannot_succeed_do_not_use_the_token_up() {
    let fleet = Fleet::new();
    let dir = temporary();
    let state = ConnectorState::open(dir.path()).expect("opened");
    let token = fleet.token("dc1", now());
    let good = ask(&token, &state, &state.enrolment().expect("key"));
    let enrol = |request: &Enrol, granted| code(fleet.authority.enrol(request, |_| granted, now()));

    assert_eq!(enrol(&Enrol { csr: vec![1, 2, 3], ..good.clone() }, true), "bad_request");
    assert_eq!(enrol(&Enrol { replica: "No Name".to_owned(), ..good.clone() }, true), "bad_request");
    assert_eq!(enrol(&Enrol { secret: [0; 32], ..good.clone() }, true), "token_unknown");
    assert_eq!(enrol(&good, false), "no_grant");
    let other = state.renewal().expect("another key");
    assert_eq!(enrol(&Enrol { csr: other.csr().to_vec(), ..good.clone() }, true), "accepted");
    assert_eq!(enrol(&good, true), "token_used");
}

#[test]
fn a_lost_answer_is_given_again() {
    let fleet = Fleet::new();
    let dir = temporary();
    let token = fleet.token("dc1", now());
    {
        let state = ConnectorState::open(dir.path()).expect("opened");
        let lost = ask(&token, &state, &state.enrolment().expect("key"));
        fleet.authority.enrol(&lost, |_| true, now()).expect("accepted, but the answer is lost and the process dies");
    }
    let state = ConnectorState::open(dir.path()).expect("opened after the crash");
    let request = state.enrolment().expect("the same key");
    let (_, answer) = fleet.authority.enrol(&ask(&token, &state, &request), |_| true, now() + HOUR / 2).expect("again");
    state.finish_enrolment(&request, &token, &answer).expect("kept");
}

#[test]
fn revocation_voids_certificates_and_tokens_and_a_later_token_admits_again() {
    let fleet = Fleet::new();
    let (old, open) = (fleet.member("dc1", now() - HOUR), fleet.token("dc1", now()));
    let other = fleet.member("dc2", now() - HOUR);
    fleet.authority.revoke(&name("dc1"), now() + MS).expect("revoked");

    assert_eq!(code(fleet.authority.check(old.identity.peer(), true)), "revoked");
    let renew = Renew { csr: old.state.renewal().expect("key").csr().to_vec() };
    assert_eq!(code(fleet.authority.renew(&renew, old.identity.peer(), true, now() + HOUR)), "revoked");
    let asked = ask(&open, &old.state, &old.state.enrolment().expect("key"));
    assert_eq!(code(fleet.authority.enrol(&asked, |_| true, now() + 2 * MS)), "revoked");
    assert_eq!(code(fleet.authority.check(other.identity.peer(), true)), "accepted");

    let again = fleet.member("dc1", now() + 2 * MS);
    assert_eq!(code(fleet.authority.check(again.identity.peer(), true)), "accepted");
    assert_eq!(code(fleet.authority.check(old.identity.peer(), true)), "revoked", "the old one stays void");
}

#[test]
fn a_revocation_voids_what_was_issued_by_a_clock_that_was_ahead() {
    let fleet = Fleet::new();
    let member = fleet.member("dc1", now() + HOUR);
    fleet.authority.revoke(&name("dc1"), now()).expect("revoked");
    assert_eq!(code(fleet.authority.check(member.identity.peer(), true)), "revoked");
    let again = fleet.member("dc1", now() + HOUR + MS);
    assert_eq!(code(fleet.authority.check(again.identity.peer(), true)), "accepted");
}

#[test]
fn a_revocation_by_another_process_counts_at_once() {
    let fleet = Fleet::new();
    let member = fleet.member("dc1", now());
    let elsewhere = Revocations::open(fleet.dir.path()).expect("opened");
    elsewhere.revoke(&name("dc1"), now()).expect("revoked");
    assert_eq!(code(fleet.authority.check(member.identity.peer(), true)), "revoked");
    std::fs::write(fleet.dir.path().join("revocations.json"), "junk").expect("written");
    assert_eq!(
        code(fleet.authority.check(member.identity.peer(), true)),
        "unavailable",
        "nobody is admitted on a guess"
    );
}

#[test]
fn renewal_keeps_the_name_and_needs_grant_and_standing() {
    let fleet = Fleet::new();
    let member = fleet.member("dc1", now());
    let peer = member.identity.peer();
    let renew = Renew { csr: member.state.renewal().expect("key").csr().to_vec() };
    for (at, granted, want) in [
        (now() + 16 * HOUR, true, "accepted"),
        (now() + 2 * DAY, true, "accepted"),
        (now() + 30 * DAY, true, "accepted"),
        (now() + 32 * DAY, true, "certificate_expired"),
        (now() + HOUR, false, "no_grant"),
    ] {
        assert_eq!(code(fleet.authority.renew(&renew, peer, granted, at)), want, "{:?}", at.duration_since(now()));
    }
    let (next, answer) = fleet.authority.renew(&renew, peer, true, now() + 16 * HOUR).expect("renewed");
    assert_eq!((&next.connector, &next.replica), (&peer.connector, &peer.replica));
    assert_eq!(next.lifetime.issued_at, now() + 16 * HOUR);
    assert_eq!(Peer::of(&answer.certificate.into()), Ok(next));
    let junk = Renew { csr: vec![0; 9] };
    assert_eq!(code(fleet.authority.renew(&junk, peer, true, now())), "bad_request");
}

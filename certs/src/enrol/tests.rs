use std::time::Duration;

use super::*;
use crate::{
    fleet::{DAY, Fleet, HOUR, ask, code, name, now, temporary},
    identity::ConnectorState,
};

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

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
    // The clock is corrected, which takes a restart or none.
    let fleet = fleet.restarted();
    fleet.authority.revoke(&name("dc1"), now()).expect("revoked");
    assert_eq!(code(fleet.authority.check(member.identity.peer(), true)), "revoked");
    let again = fleet.member("dc1", now() - HOUR);
    assert_eq!(
        code(fleet.authority.check(again.identity.peer(), true)),
        "accepted",
        "a later token, whatever its time"
    );
    assert_eq!(code(fleet.authority.check(member.identity.peer(), true)), "revoked");
}

#[test]
fn edges_whose_clocks_differ_agree_on_what_is_revoked_and_on_what_readmits() {
    let ahead = Fleet::new();
    let other = ahead.second_edge();
    let member = ahead.member("dc1", now() + 5 * MINUTE);
    let (peer, check) = (member.identity.peer(), |edge: &Fleet, peer: &Peer| code(edge.authority.check(peer, true)));
    assert_eq!((check(&ahead, peer), check(&other, peer)), ("accepted", "accepted"));

    other.authority.revoke(&name("dc1"), now() + MS).expect("revoked where the clock is behind");
    assert_eq!((check(&ahead, peer), check(&other, peer)), ("accepted", "revoked"));
    ahead.authority.revoke(&name("dc1"), now() + 5 * MINUTE + MS).expect("revoked where it is ahead");
    assert_eq!((check(&ahead, peer), check(&other, peer)), ("revoked", "revoked"));

    for edge in [&ahead, &other] {
        // The time of the token is before one revocation, by that clock, and after the other.
        let again = edge.member("dc1", now() + 2 * MS);
        let peer = again.identity.peer();
        assert_eq!((check(&ahead, peer), check(&other, peer)), ("accepted", "accepted"));
    }
}

#[test]
fn an_edge_that_has_counted_fewer_revocations_lets_nothing_old_in() {
    let first = Fleet::new();
    let met = first.member("dc1", now() - 3 * HOUR);
    first.authority.revoke(&name("dc1"), now() - 2 * HOUR).expect("revoked at one edge only");
    let late = first.second_edge();
    let (seen, unseen) = (first.member("dc1", now() - HOUR), first.member("dc1", now() - HOUR - MINUTE));
    assert_eq!(code(late.authority.check(seen.identity.peer(), true)), "accepted");

    let later = first.second_edge();
    for edge in [&first, &late, &later] {
        edge.authority.revoke(&name("dc1"), now() + MINUTE).expect("revoked everywhere");
        for old in [&met, &seen, &unseen] {
            assert_eq!(code(edge.authority.check(old.identity.peer(), true)), "revoked");
        }
    }
    let again = first.member("dc1", now() + 2 * MINUTE);
    for edge in [&first, &late, &later] {
        assert_eq!(code(edge.authority.check(again.identity.peer(), true)), "accepted");
    }
}

#[test]
fn a_renewal_elsewhere_undoes_no_revocation() {
    let fleet = Fleet::new();
    let other = fleet.second_edge();
    let member = fleet.member("dc1", now());
    fleet.authority.revoke(&name("dc1"), now() + MS).expect("revoked at one edge");
    let renew = Renew { csr: member.state.renewal().expect("key").csr().to_vec() };
    let (renewed, _) = other.authority.renew(&renew, member.identity.peer(), true, now() + HOUR).expect("not revoked");
    assert_eq!(renewed.enrolment, member.identity.peer().enrolment);
    assert_eq!(code(fleet.authority.check(&renewed, true)), "revoked");
}

#[test]
fn a_revocation_holds_on_a_full_disk() {
    let fleet = Fleet::new();
    let (member, open) = (fleet.member("dc1", now()), fleet.token("dc1", now()));
    let full = crate::files::full_disk::during(|| {
        let full = fleet.authority.revoke(&name("dc1"), now() + MS);
        assert_eq!(code(fleet.authority.check(member.identity.peer(), true)), "revoked");
        full
    });
    assert!(full.expect_err("it is not recorded").to_string().starts_with("cannot write "));
    assert_eq!(code(fleet.authority.check(member.identity.peer(), true)), "revoked");
    let fleet = fleet.restarted();
    assert_eq!(code(fleet.authority.check(member.identity.peer(), true)), "revoked", "recorded by that last look");
    let asked = ask(&open, &member.state, &member.state.enrolment().expect("key"));
    assert_eq!(code(fleet.authority.enrol(&asked, |_| true, now() + 2 * MS)), "revoked");
}

#[test]
fn certificates_and_tokens_of_an_earlier_version_are_revoked_too() {
    let fleet = Fleet::new();
    let peer = Peer { enrolment: None, ..fleet.member("dc1", now()).identity.peer().clone() };
    assert_eq!(code(fleet.authority.check(&peer, true)), "accepted");
    fleet.authority.revoke(&name("dc1"), now() - HOUR).expect("revoked");
    assert_eq!(code(fleet.authority.check(&peer, true)), "revoked");
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

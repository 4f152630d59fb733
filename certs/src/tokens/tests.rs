use std::{os::unix::fs::PermissionsExt, sync::Barrier};

use super::*;
use crate::{
    csr::request,
    fleet::{DAY, HOUR, code, name, now, temporary},
};

const MINUTE: Duration = Duration::from_secs(60);

fn a_key() -> ProvenKey {
    ProvenKey::from_csr(&request(&rcgen::KeyPair::generate().expect("key")).expect("request")).expect("proven")
}

fn new(connector: &str, lifetime: Duration) -> NewToken {
    NewToken { connector: name(connector), lifetime, edges: vec!["edge:7843".parse().expect("target")] }
}

fn create(tokens: &Tokens, at: SystemTime) -> JoinToken {
    tokens.create(new("dc1", HOUR), Sha256([1; 32]), at).expect("created")
}

fn redeem(tokens: &Tokens, token: &JoinToken, key: &ProvenKey, at: SystemTime) -> Result<Name, Refusal> {
    let claim = Claim { id: token.id, secret: token.secret.clone(), key };
    tokens.redeem(&claim, |_, _| Ok(()), at).map(|redeemed| redeemed.connector)
}

#[test]
fn a_token_serves_one_key_as_often_as_it_asks_until_it_expires() {
    let dir = temporary();
    let tokens = Tokens::open(dir.path()).expect("opened");
    let token = create(&tokens, now());
    let (mine, other) = (a_key(), a_key());
    assert_eq!(redeem(&tokens, &token, &mine, now() + MINUTE), Ok(name("dc1")));
    assert_eq!(redeem(&tokens, &token, &mine, now() + 2 * MINUTE), Ok(name("dc1")), "its answer may have been lost");
    assert_eq!(code(redeem(&tokens, &token, &other, now() + 2 * MINUTE)), "token_used");
    let reopened = Tokens::open(dir.path()).expect("opened by another process");
    assert_eq!(code(redeem(&reopened, &token, &other, now() + 3 * MINUTE)), "token_used");
    assert_eq!(redeem(&reopened, &token, &mine, now() + 3 * MINUTE), Ok(name("dc1")));
    assert_eq!(code(redeem(&tokens, &token, &mine, token.expires)), "token_expired");
}

#[test]
fn a_token_of_another_edge_or_with_a_wrong_secret_is_unknown() {
    let (here, there) = (temporary(), temporary());
    let (tokens, others) = (Tokens::open(here.path()).expect("opened"), Tokens::open(there.path()).expect("opened"));
    assert_eq!(code(redeem(&tokens, &create(&others, now()), &a_key(), now())), "token_unknown");
    let mut token = create(&tokens, now());
    let secret = std::mem::replace(&mut token.secret, Secret::new([0; 32]));
    assert_eq!(code(redeem(&tokens, &token, &a_key(), now())), "token_unknown");
    assert_eq!(code(redeem(&tokens, &token, &a_key(), now() + 2 * HOUR)), "token_unknown", "says nothing of its state");
    token.secret = secret;
    assert_eq!(redeem(&tokens, &token, &a_key(), now()), Ok(name("dc1")), "wrong guesses do not use it up");
}

#[test]
fn an_inadmissible_connector_does_not_use_the_token_up() {
    let dir = temporary();
    let tokens = Tokens::open(dir.path()).expect("opened");
    let token = create(&tokens, now());
    let key = a_key();
    let claim = Claim { id: token.id, secret: token.secret.clone(), key: &key };
    let refuse = |asked: &Name, descent: &Descent| {
        assert_eq!((asked, descent.at), (&name("dc1"), now()), "to the millisecond");
        assert_eq!(descent.enrolment.map(|enrolment| enrolment.number), Some(0), "nothing was revoked");
        Err(Refusal::new(RefusalCode::NoGrant, "no"))
    };
    assert_eq!(code(tokens.redeem(&claim, refuse, now())), "no_grant");
    assert_eq!(redeem(&tokens, &token, &a_key(), now()), Ok(name("dc1")));
}

#[test]
fn several_tokens_of_one_name_are_open_together() {
    let dir = temporary();
    let tokens = Tokens::open(dir.path()).expect("opened");
    let (one, two) = (create(&tokens, now()), create(&tokens, now()));
    assert_ne!(one.id, two.id);
    assert_eq!(redeem(&tokens, &one, &a_key(), now()), Ok(name("dc1")));
    assert_eq!(redeem(&tokens, &two, &a_key(), now()), Ok(name("dc1")));
}

#[test]
fn of_many_who_redeem_at_once_one_wins() {
    let dir = temporary();
    let token = create(&Tokens::open(dir.path()).expect("opened"), now());
    let barrier = Barrier::new(8);
    let attempt = || {
        let (tokens, key) = (Tokens::open(dir.path()).expect("opened"), a_key());
        barrier.wait();
        code(redeem(&tokens, &token, &key, now()))
    };
    let codes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(attempt)).collect();
        threads.into_iter().map(|t| t.join().expect("no panic")).collect()
    });
    assert_eq!(codes.iter().filter(|c| **c == "accepted").count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|c| **c == "token_used").count(), 7, "{codes:?}");
}

#[test]
fn the_store_does_not_hold_the_secret_and_is_for_its_owner_alone() {
    let dir = temporary();
    let tokens = Tokens::open(dir.path()).expect("opened");
    let token = create(&tokens, now());
    let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&tokens.dir), 0o700);
    assert_eq!(mode(&tokens.file(token.id)), 0o600);
    let text = std::fs::read_to_string(tokens.file(token.id)).expect("read");
    assert!(!text.contains(&data_encoding::HEXLOWER.encode(token.secret.expose())), "{text}");
    let claim = Claim { id: token.id, secret: token.secret.clone(), key: &a_key() };
    assert!(format!("{claim:?}").contains("secret: ***"), "{claim:?}");
}

#[test]
fn a_redemption_that_cannot_be_recorded_is_refused_and_uses_nothing_up() {
    let dir = temporary();
    let tokens = Tokens::open(dir.path()).expect("opened");
    let token = create(&tokens, now());
    let full = files::full_disk::during(|| redeem(&tokens, &token, &a_key(), now()));
    assert_eq!(code(full), "unavailable");
    let error = files::full_disk::during(|| tokens.create(new("dc1", HOUR), Sha256([1; 32]), now()));
    assert!(matches!(error, Err(TokenError::File(e)) if e.kind() == std::io::ErrorKind::StorageFull));
    assert_eq!(files::list(&tokens.dir, "json").expect("listed").len(), 1);
    assert_eq!(redeem(&tokens, &token, &a_key(), now()), Ok(name("dc1")), "when there is room again");
}

#[test]
fn damaged_files_are_refused_and_harm_no_other() {
    let dir = temporary();
    let tokens = Tokens::open(dir.path()).expect("opened");
    let (token, good) = (create(&tokens, now()), create(&tokens, now()));
    let whole = std::fs::read_to_string(tokens.file(token.id)).expect("read");
    for bad in
        ["", "{}", &whole[..whole.len() - 5], &whole.replace("_sha256\": \"", "_sha256\": \"z"), &"x".repeat(9999)]
    {
        files::write(&tokens.file(token.id), bad.as_bytes()).expect("written");
        assert_eq!(code(redeem(&tokens, &token, &a_key(), now())), "unavailable", "{bad}");
    }
    create(&tokens, now());
    assert_eq!(redeem(&tokens, &good, &a_key(), now()), Ok(name("dc1")));
}

#[test]
fn ended_tokens_are_remembered_for_a_week() {
    let dir = temporary();
    let tokens = Tokens::open(dir.path()).expect("opened");
    let token = create(&tokens, now());
    create(&tokens, now() + 7 * DAY);
    assert_eq!(code(redeem(&tokens, &token, &a_key(), now() + 7 * DAY)), "token_expired");
    let last = create(&tokens, now() + 8 * DAY);
    assert_eq!(code(redeem(&tokens, &token, &a_key(), now() + 8 * DAY)), "token_unknown");
    assert_eq!(redeem(&tokens, &last, &a_key(), now() + 8 * DAY), Ok(name("dc1")));
}

#[test]
fn tokens_out_of_bounds_are_not_made() {
    let dir = temporary();
    let tokens = Tokens::open(dir.path()).expect("opened");
    let edge: Target = "edge:1".parse().expect("target");
    for (edges, lifetime, want) in [
        (vec![], HOUR, "names 1 to 16 edges, not 0"),
        (vec![edge.clone(); 17], HOUR, "names 1 to 16 edges, not 17"),
        (vec![edge.clone()], Duration::ZERO, "lasts from one second to 30 days"),
        (vec![edge.clone()], LIFETIME_MAX + MINUTE, "lasts from one second to 30 days"),
    ] {
        let new = NewToken { edges, lifetime, ..new("dc1", HOUR) };
        let error = tokens.create(new, Sha256([1; 32]), now()).expect_err(want).to_string();
        assert!(error.contains(want), "{error}");
    }
    assert!(files::list(&tokens.dir, "json").expect("listed").is_empty());
}

#[test]
fn a_token_of_an_earlier_version_is_redeemed() {
    let dir = temporary();
    let tokens = Tokens::open(dir.path()).expect("opened");
    let token = create(&tokens, now());
    let text = std::fs::read_to_string(tokens.file(token.id)).expect("read");
    let old = text.replace("  \"number\": 0,\n", "").replace(",\n  \"number\": 0", "");
    assert_ne!(old, text, "today's have a number");
    files::write(&tokens.file(token.id), old.as_bytes()).expect("written");
    let claim = Claim { id: token.id, secret: token.secret.clone(), key: &a_key() };
    let unnumbered = |_: &Name, descent: &Descent| {
        assert_eq!(*descent, Descent { enrolment: None, at: now() });
        Ok(())
    };
    let redeemed = tokens.redeem(&claim, unnumbered, now()).expect("redeemed");
    assert_eq!((redeemed.connector, redeemed.enrolment.number), (name("dc1"), 0));
}

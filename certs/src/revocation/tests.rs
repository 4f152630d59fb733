use super::*;

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123)
}

fn name(text: &str) -> Name {
    text.parse().expect("name")
}

/// What becomes of a certificate of `dc1` whose token was made here with this number.
fn judged(revocations: &Revocations, number: u64) -> Judgement {
    let enrolment = Some(Enrolment { number, authority: revocations.authority() });
    revocations.judge(&name("dc1"), &Descent { enrolment, at: now() })
}

#[test]
fn what_was_made_until_the_revocation_is_void_and_what_comes_later_is_not() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let revocations = Revocations::open(dir.path()).expect("opened");
    let before = revocations.next_token(&name("dc1"));
    assert_eq!(judged(&revocations, before), Judgement::Holds);
    revocations.revoke(&name("dc1"), now()).expect("revoked");
    let after = revocations.next_token(&name("dc1"));
    assert_eq!((judged(&revocations, before), judged(&revocations, after)), (Judgement::Void, Judgement::Readmitted));
    assert_eq!(revocations.next_token(&name("dc2")), 0, "others stay");
    let again = Revocations::open(dir.path()).expect("opened again");
    assert_eq!(again.authority(), revocations.authority());
    assert_eq!((judged(&again, before), judged(&again, after)), (Judgement::Void, Judgement::Readmitted), "it is kept");
}

#[test]
fn another_process_sees_a_revocation_after_a_reload() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (one, two) = (Revocations::open(dir.path()).expect("one"), Revocations::open(dir.path()).expect("two"));
    one.revoke(&name("dc1"), now()).expect("revoked");
    assert!(two.reload().expect("reloaded") && judged(&two, 0) == Judgement::Void);
    assert!(!two.reload().expect("reloaded"), "nothing new");
    two.revoke(&name("dc2"), now()).expect("revoked");
    assert!(one.reload().expect("reloaded"));
    assert_eq!((one.next_token(&name("dc1")), one.next_token(&name("dc2"))), (1, 1), "no write undoes another");
}

#[test]
fn a_clock_that_went_back_does_not_weaken_a_revocation() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let revocations = Revocations::open(dir.path()).expect("opened");
    revocations.revoke(&name("dc1"), now()).expect("revoked");
    let between = revocations.next_token(&name("dc1"));
    revocations.revoke(&name("dc1"), now() - HOUR).expect("revoked");
    assert_eq!(judged(&revocations, between), Judgement::Void);
}

#[test]
fn a_full_disk_does_not_keep_a_revocation_from_holding_and_it_is_recorded_once_there_is_room() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let revocations = Revocations::open(dir.path()).expect("opened");
    let error = files::full_disk::during(|| revocations.revoke(&name("dc1"), now())).expect_err("full");
    assert!(matches!(error, RevocationError::File(e) if e.kind() == std::io::ErrorKind::StorageFull));
    assert_eq!(judged(&revocations, 0), Judgement::Void);
    // What another process writes does not make it forgotten.
    let other = Revocations::open(dir.path()).expect("opened");
    other.revoke(&name("dc2"), now()).expect("revoked");
    assert!(revocations.reload().expect("reloaded"));
    assert_eq!(judged(&revocations, 0), Judgement::Void);
    files::full_disk::during(|| revocations.retry()).expect_err("still full");

    revocations.retry().expect("there is room");
    let again = Revocations::open(dir.path()).expect("opened");
    assert_eq!((judged(&again, 0), again.next_token(&name("dc2"))), (Judgement::Void, 1));
}

#[test]
fn a_number_that_was_met_is_not_forgotten() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let revocations = Revocations::open(dir.path()).expect("opened");
    revocations.meet(&name("dc1"), 5).expect("noted");
    revocations.meet(&name("dc1"), 3).expect("nothing new");
    let again = Revocations::open(dir.path()).expect("opened");
    assert_eq!((again.next_token(&name("dc1")), judged(&again, 0)), (5, Judgement::Holds));
    again.revoke(&name("dc1"), now()).expect("revoked");
    assert_eq!((judged(&again, 5), judged(&again, 6)), (Judgement::Void, Judgement::Readmitted));
}

#[test]
fn marks_are_kept_while_there_is_room() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let revocations = Revocations::open(dir.path()).expect("opened");
    let many =
        (0..REVOCATIONS_MAX).map(|i| (name(&format!("c{i}")), Mark::default().revoked(unix_ms(now() - KEEP - MS))));
    revocations.write(&many.collect()).expect("written");
    revocations.reload().expect("read");
    revocations.revoke(&name("c1"), now()).expect("known already");
    assert_eq!(revocations.known().marks.len(), REVOCATIONS_MAX);
    revocations.revoke(&name("dc1"), now()).expect("old ones make room");
    let kept: Vec<_> = revocations.known().marks.keys().cloned().collect();
    assert_eq!(kept, [name("c1"), name("dc1")]);
}

#[test]
fn the_file_of_an_earlier_version_is_read_and_means_what_it_meant() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let old = format!("{{\n  \"revoked_ms\": {{\n    \"dc1\": {}\n  }}\n}}", unix_ms(now()));
    files::write(&dir.path().join("revocations.json"), old.as_bytes()).expect("written");
    for _ in 0..2 {
        let revocations = Revocations::open(dir.path()).expect("opened");
        let unnumbered = |at| revocations.judge(&name("dc1"), &Descent { enrolment: None, at });
        assert_eq!((unnumbered(now()), unnumbered(now() + MS)), (Judgement::Void, Judgement::Readmitted));
        assert_eq!(judged(&revocations, revocations.next_token(&name("dc1"))), Judgement::Readmitted);
    }
}

#[test]
fn a_damaged_file_is_an_error_and_what_was_known_stays() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let revocations = Revocations::open(dir.path()).expect("opened");
    revocations.revoke(&name("dc1"), now()).expect("revoked");
    for bad in [
        "",
        "{",
        "{}",
        "{\"revoked_ms\":{\"Not A Name\":1}}",
        "{\"connectors\":{},\"more\":1}",
        "[]",
        "{\"authority\":\"x\"}",
    ] {
        files::write(&dir.path().join("revocations.json"), bad.as_bytes()).expect("written");
        let error = revocations.reload().expect_err(bad).to_string();
        assert!(error.contains("revocations.json is damaged"), "{error}");
        assert_eq!(judged(&revocations, 0), Judgement::Void);
        assert!(Revocations::open(dir.path()).is_err(), "nobody is admitted on a guess");
    }
}

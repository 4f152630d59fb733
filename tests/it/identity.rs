//! Who may connect: tokens, stored identities, revocation, grants, and a disk without room for any of it.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use underpass_tests::harness::{
    Connector, Edge, Service, Vnet, World, client,
    disk::SmallDisk,
    edge,
    load::LongFlow,
    origin::{Origin, habits},
    process::Signal,
    wait::{self, SOON},
};

/// Exit code for a credential that is refused.
const REFUSED: i32 = 4;

/// An edge that grants two replicas of `dc1` a VNet with an echo in it. Taken apart whole: what is not named is dropped.
struct Stand {
    world: World,
    prod: Vnet,
    edge: Edge,
    _origin: Origin,
}

fn stand() -> Stand {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let service = Service::tcp("echo").origin(&prod, origin.address());
    let edge = world.edge("edge-1").grant_replicas("dc1", 2, &[&prod]).service(&service).start();
    Stand { world, prod, edge, _origin: origin }
}

fn ends_refused(mut connector: Connector, words: &[&str]) {
    let status = connector.process.wait(SOON);
    assert_eq!(status.code(), Some(REFUSED), "{}", connector.process.log());
    let _ = connector.process.wait_log(words);
}

#[test]
fn a_token_is_written_for_its_owner_only_and_named_after_nobody_else() {
    let Stand { world, edge, prod: _prod, _origin } = stand();
    let token = edge.token("dc1");
    let mode = fs::metadata(&token).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&token).expect("it is text");
    assert_eq!(text.trim_end().lines().count(), 1, "a bare token");
    let printed = edge.command(&["token", "create", "dc1"]).ok();
    assert!(printed.out.contains("underpass connector"), "the command to paste: {}", printed.out);
    assert!(!world.path("edge-1.log").exists() || !edge.process.log().contains(text.trim()), "tokens are not logged");
}

#[test]
fn an_enrolled_connector_needs_no_token_again() {
    let Stand { world, prod, edge, _origin } = stand();
    let mut dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    dc1.process.kill();
    wait::soon_true("its links to go", || edge.links("dc1") == 0);

    assert!(dc1.file.text().contains("token_file"), "the token's file is gone by now, and still named");
    dc1.restart();
    edge.wait_links("dc1", 2);
    assert_eq!(client::exchange(edge.listener("echo"), b"again").expect("it serves"), b"again");
    for (path, mode) in private_files(&dc1.file.state_dir) {
        assert_eq!(mode & 0o077, 0, "{path} is open to others: {mode:o}");
    }
    for (path, mode) in private_files(&edge.file.state_dir) {
        assert_eq!(mode & 0o077, 0, "{path} is open to others: {mode:o}");
    }
}

#[test]
fn an_enrolled_connector_knows_the_edges_of_its_token_when_that_is_gone() {
    let Stand { world, prod, edge, _origin } = stand();
    let token = edge.token("dc1");
    let mut dc1 = world.connector("dc1").serve(&prod).token(&token).launch();
    edge.wait_links("dc1", 2);
    dc1.process.kill();
    wait::soon_true("its links to go", || edge.links("dc1") == 0);
    fs::remove_file(&token).expect("it is there");
    dc1.restart();
    edge.wait_links("dc1", 2);
}

#[test]
fn a_grant_that_is_taken_away_is_told_as_that_and_one_that_is_given_back_counts() {
    let Stand { world, prod, edge, _origin } = stand();
    let dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    let right = edge.file.text();
    let without = right.replace("name = \"dc1\"", "name = \"dc2\"");
    let reload = |text: &str| {
        fs::write(&edge.file.path, text).expect("writable");
        edge.process.signal(Signal::HUP);
    };
    reload(&without);
    for _ in 0..2 {
        edge.process.wait_log(&["link ended", "closed here (no_grant)", "grants the connector nothing any more"]);
    }
    dc1.process.wait_log(&["no link yet", "no_grant"]);
    reload(&right);
    edge.wait_links("dc1", 2);
}

fn private_files(dir: &std::path::Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a state directory").flatten() {
        let about = entry.metadata().expect("it is there");
        if about.is_dir() {
            found.extend(private_files(&entry.path()));
        } else {
            found.push((entry.path().display().to_string(), about.permissions().mode()));
        }
    }
    assert!(!found.is_empty(), "something is kept in {}", dir.display());
    found
}

#[test]
fn a_used_token_is_refused_to_another_replica() {
    let Stand { world, prod, edge, _origin } = stand();
    let token = edge.token("dc1");
    let _first = world.connector("dc1").serve(&prod).token(&token).start_enrolled(&[&edge]);

    let second = world.connector("dc1").serve(&prod).token(&token).dial(&edge.file).launch();
    ends_refused(second, &["used"]);
    assert_eq!(edge.links("dc1"), 2, "the first is unaffected");
}

#[test]
fn an_expired_token_is_refused() {
    let Stand { world, prod, edge, _origin } = stand();
    let out = world.path("short.token");
    let created = edge.command(&["token", "create", "dc1", "--expires", "1s", "--out", &out.display().to_string()]);
    let _ = created.ok();
    wait::always("the token runs out", Duration::from_millis(1200), || true);

    let late = world.connector("dc1").serve(&prod).token(&out).dial(&edge.file).launch();
    ends_refused(late, &["expired"]);
}

#[test]
fn a_token_of_another_fleet_is_refused() {
    let Stand { world, prod, edge, _origin } = stand();
    let mut other = world.edge("stranger").grant("dc1", &[&prod]);
    other.tunnel = edge.file.tunnel;
    other.write();
    let foreign = edge::token(&other, "dc1");

    let lost = world.connector("dc1").serve(&prod).token(&foreign).dial(&edge.file).launch();
    ends_refused(lost, &["CA is not the one in the join token"]);
}

#[test]
fn a_mistyped_token_is_told_at_once() {
    let Stand { world, prod, edge, _origin } = stand();
    let token = edge.token("dc1");
    let text = fs::read_to_string(&token).expect("it is text");
    fs::write(&token, &text.trim_end()[..text.trim_end().len() - 3]).expect("writable");

    let mut cut = world.connector("dc1").serve(&prod).token(&token).dial(&edge.file).launch();
    let status = cut.process.wait(SOON);
    assert!(matches!(status.code(), Some(3 | 4)), "{status:?}");
    let _ = cut.process.wait_log(&["cut short or mistyped"]);
}

#[test]
fn a_connector_without_identity_and_token_says_so() {
    let Stand { world, prod, edge, _origin } = stand();
    let mut nobody = world.connector("dc1").serve(&prod).dial(&edge.file).launch();
    let status = nobody.process.wait(SOON);
    assert!(matches!(status.code(), Some(3 | 4)), "{status:?}");
    let _ = nobody.process.wait_log(&["token"]);
}

#[test]
fn revocation_closes_live_links_at_once_and_a_later_token_readmits() {
    let Stand { world, prod, edge, _origin } = stand();
    let unused = edge.token("dc1");
    let dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    let flow = LongFlow::start(edge.listener("echo"), 1).expect("it opens");

    let _ = edge.command(&["connector", "revoke", "dc1"]).ok();
    wait::until("its links to be closed", Duration::from_secs(1), || (edge.links("dc1") == 0).then_some(()));
    wait::until("what it carries to end with it", Duration::from_secs(1), || flow.is_over().then_some(()));
    assert!(flow.stop().is_err(), "what a revoked connector carries ends with it");
    let _ = dc1.process.wait_log(&["revoked"]);
    wait::always("it stays out", Duration::from_millis(1500), || edge.links("dc1") == 0);
    let early = world.connector("dc1").serve(&prod).token(&unused).dial(&edge.file).launch();
    ends_refused(early, &["revoked"]);

    drop(dc1);
    let _again = world.connector("dc1").serve(&prod).start(&[&edge]);
    assert_eq!(client::exchange(edge.listener("echo"), b"again").expect("it serves"), b"again");
}

#[test]
fn revocation_outlives_a_restart_of_the_edge() {
    let Stand { world, prod, mut edge, _origin } = stand();
    let dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    let _ = edge.command(&["connector", "revoke", "dc1"]).ok();
    wait::soon_true("its links to be closed", || edge.links("dc1") == 0);
    edge.crash_and_restart();
    edge.wait_ready();
    wait::always("it stays out", Duration::from_millis(1500), || edge.links("dc1") == 0);
    drop(dc1);
}

#[test]
fn a_name_that_nobody_has_is_revoked_only_by_force() {
    let Stand { world, prod, edge, _origin } = stand();
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    let refused = edge.command(&["connector", "revoke", "dc2"]);
    assert_eq!(refused.code, 1, "{}", refused.text());
    let _ = refused.says(&["grants nothing to connector \"dc2\"", "did you mean \"dc1\"", "--force"]);
    let _ = edge.command(&["connector", "revoke", "dc2", "--force"]).ok().says(&["dc2 is revoked", "0 links"]);
    assert_eq!(edge.links("dc1"), 2);
}

#[test]
fn a_connector_without_a_grant_is_kept_out() {
    let Stand { world, prod, edge, _origin } = stand();
    // A token can be made ahead of the grant; or not at all: either way it stays outside, and is told why.
    let out = world.path("dc9.token");
    let made = edge.command(&["token", "create", "dc9", "--out", &out.display().to_string()]);
    if made.code == 0 {
        let dc9 = world.connector("dc9").serve(&prod).token(&out).dial(&edge.file).launch();
        let _ = dc9.process.wait_log(&["grant"]);
    } else {
        let _ = made.says(&["dc9"]);
    }
    assert_eq!(edge.links("dc9"), 0);
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_half_written() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let disk = SmallDisk::mount(&world, "small");
    let edge = world
        .edge("edge-1")
        .state_in(&disk.path.join("state"))
        .grant_replicas("dc1", 2, &[&prod])
        .service(&Service::tcp("echo").origin(&prod, origin.address()))
        .start();
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    let flow = LongFlow::start(edge.listener("echo"), 1).expect("it opens");
    let unused = edge.token("dc1");
    let before = disk.files();

    disk.fill();
    let refused = edge.command(&["token", "create", "dc1", "--out", &world.path("never").display().to_string()]);
    assert_eq!(refused.code, 1, "{}", refused.text());
    let _ = refused.says(&["No space left on device"]);
    assert!(!world.path("never").exists());
    assert_eq!(disk.files(), before, "no half-written file");
    let late = world.connector("dc1").serve(&prod).token(&unused).dial(&edge.file).launch();
    let _ = late.process.wait_log(&["unavailable"]);
    assert_eq!(edge.links("dc1"), 2);
    assert_eq!(client::exchange(edge.listener("echo"), b"on").expect("what runs goes on"), b"on");

    disk.empty();
    edge.wait_links("dc1", 4);
    assert!(flow.stop().is_ok(), "running flows are unaffected");
}

#[test]
fn a_token_for_a_file_on_a_full_disk_is_void() {
    let Stand { world, edge, .. } = stand();
    let disk = SmallDisk::mount(&world, "small");
    disk.fill();
    let open = || fs::read_dir(edge.file.state_dir.join("tokens")).expect("readable").count();
    let _another = edge.token("dc1");
    let (before, first) = (open(), world.path("first"));
    let out = format!("{},{}", first.display(), disk.path.join("second").display());
    let refused = edge.command(&["token", "create", "dc1", "--out", &out]).exited(1);
    let _ = refused.says(&["second: No space left on device", "is void"]);
    assert_eq!((open(), first.exists(), disk.files()), (before, false, Vec::new()));
}

#[test]
fn a_revocation_on_a_full_disk_closes_the_links_holds_and_is_recorded_once_there_is_room() {
    let world = World::new();
    let prod = world.vnet("prod");
    let disk = SmallDisk::mount(&world, "small");
    let mut edge = world.edge("edge-1").state_in(&disk.path.join("state")).grant_replicas("dc1", 2, &[&prod]).start();
    let dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);

    disk.fill();
    let told = edge.command(&["connector", "revoke", "dc1"]);
    assert_eq!(told.code, 1, "{}", told.text());
    let _ = told.says(&["kept out", "links are closed", "No space left on device"]);
    wait::soon_true("its links to be closed", || edge.links("dc1") == 0);
    wait::always("it stays out", Duration::from_millis(1500), || edge.links("dc1") == 0);
    let _ = dc1.process.wait_log(&["revoked"]);

    disk.empty();
    // The connector dials on; each time the edge tries to record what it knows.
    let file = edge.file.state_dir.join("revocations.json");
    wait::soon_true("it to be recorded", || fs::read_to_string(&file).is_ok_and(|text| text.contains("dc1")));
    edge.crash_and_restart();
    edge.wait_ready();
    wait::always("it stays out", Duration::from_millis(1500), || edge.links("dc1") == 0);
    let _again = world.connector("dc1").serve(&prod).start(&[&edge]);
    let _ = edge.process.wait_log(&["a connector that was revoked is back", "dc1"]);
}

#[test]
fn a_connector_with_a_full_disk_says_so_and_enrols_when_there_is_room() {
    let Stand { world, prod, edge, _origin } = stand();
    let disk = SmallDisk::mount(&world, "small");
    disk.fill();
    let token = edge.token("dc1");
    let file = world.connector("dc1").state_in(&disk.path.join("state")).serve(&prod).token(&token);
    let mut dc1 = file.dial(&edge.file).launch();
    assert_eq!(dc1.process.wait(SOON).code(), Some(1), "without room for an identity it cannot go on");
    let _ = dc1.process.wait_log(&["No space left on device"]);
    assert!(disk.files().iter().all(|(path, _)| !path.ends_with("replica")), "nothing half written");
    disk.empty();
    dc1.restart();
    edge.wait_links("dc1", 2);
}

#[test]
fn a_weak_admin_token_is_refused_and_loose_modes_are_told() {
    let world = World::new();
    let prod = world.vnet("prod");
    let mut edge = world.edge("edge-1").grant("dc1", &[&prod]).start();
    let mut dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    let set = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let key = edge.file.state_dir.join("ca.key");
    set(&key, 0o644);
    set(&edge.file.state_dir, 0o770);
    edge.crash_and_restart();
    let _ = edge.process.wait_log(&["others than its owner may use the secret", "ca.key", "0600"]);
    let _ = edge.process.wait_log(&["others than its owner may change what is kept here", "0700"]);
    edge.wait_ready();

    set(&dc1.file.state_dir.join("identity.pem"), 0o640);
    dc1.process.kill();
    dc1.restart();
    let _ = dc1.process.wait_log(&["others than its owner may use the secret", "identity.pem"]);
    edge.wait_links("dc1", 2);

    fs::write(edge.file.state_dir.join("admin.token"), "letmein\n").expect("writable");
    edge.crash_and_restart();
    let _ = edge.process.wait(SOON);
    let told = edge.process.wait_log(&["admin.token", "32 to 1024 bytes"]);
    assert!(!told.contains("letmein"), "{told}");
}

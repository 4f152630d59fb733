//! Certificates over time: processes whose clocks are ahead live through a certificate's life in seconds.

use std::time::Duration;

use underpass_tests::harness::{
    Connector, Edge, Service, Vnet, World, client,
    origin::{Origin, habits},
    wait,
};

/// An edge with an echo behind a connector. Keep it whole: what is dropped is gone.
struct Stand {
    _world: World,
    _prod: Vnet,
    edge: Edge,
    dc1: Connector,
    _origin: Origin,
}

fn stand() -> Stand {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let service = Service::tcp("echo").origin(&prod, origin.address());
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).service(&service).start();
    let dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    Stand { _world: world, _prod: prod, edge, dc1, _origin: origin }
}

/// When the certificates of the connector's links run out, as the edge shows it.
fn expiries(edge: &Edge) -> Vec<String> {
    let status = edge.status();
    let links = status["tunnels"][0]["links"].as_array().cloned().unwrap_or_default();
    links.iter().map(|link| link["certificate_expires"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_link_is_renewed_at_two_thirds_of_its_certificates_life_and_lives_on() {
    let mut stand = stand();
    let Stand { edge, dc1, .. } = &mut stand;
    let first = expiries(edge);
    dc1.process.kill();
    // Certificates go by the edge's clock, their renewal by the connector's.
    edge.travel("+1h");
    dc1.travel("+17h");
    edge.wait_links("dc1", 2);
    wait::soon_true("both links to be extended", || expiries(edge).iter().all(|e| !first.contains(e)));
    assert_eq!(edge.links("dc1"), 2, "no link was lost for it");
    let _ = dc1.process.wait_log(&["certificate renewed"]);
    assert_eq!(client::exchange(edge.listener("echo"), b"renewed").expect("it serves"), b"renewed");
}

#[test]
fn a_certificate_that_ran_out_while_the_connector_was_away_is_renewed_and_serves() {
    let mut stand = stand();
    let Stand { edge, dc1, .. } = &mut stand;
    dc1.process.kill();
    edge.travel("+5d");
    dc1.travel("+5d");
    edge.wait_links("dc1", 2);
    assert_eq!(client::exchange(edge.listener("echo"), b"back").expect("it serves"), b"back");
    let _ = edge.process.wait_log(&["certificate renewed after its end", "dc1"]);
}

#[test]
fn clocks_that_jump_a_day_ahead_keep_a_connector_out_for_seconds() {
    let mut stand = stand();
    let Stand { edge, dc1, .. } = &mut stand;
    dc1.process.kill();
    edge.travel("+1s");
    dc1.travel("+1s");
    edge.wait_links("dc1", 2);
    let first = expiries(edge);
    edge.jump("+30h");
    dc1.jump("+30h");
    let _ = edge.process.wait_log(&["the edge's certificate was renewed"]);
    let anew = || edge.links("dc1") == 2 && expiries(edge).iter().all(|expires| !first.contains(expires));
    wait::soon_true("both links to be there with new certificates", anew);
    assert_eq!(client::exchange(edge.listener("echo"), b"on").expect("it serves"), b"on");
}

#[test]
fn an_edges_clock_that_is_set_back_cuts_no_link() {
    let mut stand = stand();
    let Stand { edge, dc1, .. } = &mut stand;
    dc1.process.kill();
    edge.travel("+1s");
    dc1.restart();
    edge.wait_links("dc1", 2);
    edge.jump("-2d");
    let _ = edge.process.wait_log(&["the edge's certificate was renewed"]);
    wait::always("both links stay", Duration::from_secs(2), || edge.links("dc1") == 2);
    assert_eq!(client::exchange(edge.listener("echo"), b"on").expect("it serves"), b"on");
}

#[test]
fn a_certificate_that_ran_out_long_ago_is_refused_in_words() {
    let mut stand = stand();
    let Stand { edge, dc1, .. } = &mut stand;
    dc1.process.kill();
    edge.travel("+45d");
    dc1.travel("+45d");
    let _ = dc1.process.wait_log(&["enrol with a new join token"]);
    assert!(dc1.process.is_running(), "an enrolled connector keeps trying");
    assert_eq!(edge.links("dc1"), 0);
}

#[test]
fn a_revoked_connector_cannot_renew() {
    let mut stand = stand();
    let Stand { edge, dc1, .. } = &mut stand;
    dc1.process.kill();
    let _ = edge.command(&["connector", "revoke", "dc1"]).ok();
    edge.travel("+5d");
    dc1.travel("+5d");
    let _ = dc1.process.wait_log(&["revoked"]);
    assert_eq!(edge.links("dc1"), 0);
}

#[test]
fn a_revocation_holds_although_the_clock_was_ahead_at_enrolment() {
    let world = World::new();
    let prod = world.vnet("prod");
    let mut edge = world.edge("edge-1").grant_replicas("dc1", 2, &[&prod]).start();
    edge.travel("+50m");
    edge.wait_ready();
    let dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    edge.travel("+1s");
    edge.wait_links("dc1", 2);

    let _ = edge.command(&["connector", "revoke", "dc1"]).ok();
    wait::soon_true("its links to be closed", || edge.links("dc1") == 0);
    wait::always("it stays out", Duration::from_millis(1500), || edge.links("dc1") == 0);
    let _ = dc1.process.wait_log(&["revoked"]);
    let _again = world.connector("dc1").serve(&prod).start(&[&edge]);
    let _ = edge.process.wait_log(&["a connector that was revoked is back", "dc1"]);
}

#[test]
fn edges_whose_clocks_differ_agree_on_a_revocation_and_on_the_token_that_lifts_it() {
    let world = World::new();
    let prod = world.vnet("prod");
    let mut ahead = world.edge("edge-1").grant_replicas("dc1", 3, &[&prod]).start();
    ahead.travel("+5m");
    ahead.wait_ready();
    let other = world.edge("edge-2").fleet_of(&ahead.file).grant_replicas("dc1", 3, &[&prod]).start();
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&ahead, &other]);

    for edge in [&other, &ahead] {
        let _ = edge.command(&["connector", "revoke", "dc1"]).ok();
        wait::soon_true("its links to be closed", || edge.links("dc1") == 0);
        wait::always("it stays out", Duration::from_millis(1500), || edge.links("dc1") == 0);
    }
    // Whichever makes the token.
    for edges in [[&ahead, &other], [&other, &ahead]] {
        let again = world.connector("dc1").serve(&prod).start(&edges);
        drop(again);
        wait::soon_true("its links to be gone", || edges.iter().all(|edge| edge.links("dc1") == 0));
    }
}

#[test]
fn a_connector_whose_clock_is_hours_behind_joins_and_is_told_so() {
    let world = World::new();
    let prod = world.vnet("prod");
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).start();
    let mut dc1 = world.connector("dc1").clock("-2h").serve(&prod).start(&[&edge]);
    let _ = dc1.process.wait_log(&["this machine's clock is behind the edge's", "by_s=7"]);
    // Once it has an identity its clock may even be further behind than the certificate lasts.
    dc1.travel("-20h");
    edge.wait_links("dc1", 2);
}

#[test]
fn a_connector_whose_clock_is_days_off_names_the_clocks_and_keeps_trying() {
    let world = World::new();
    let prod = world.vnet("prod");
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).start();
    for off in ["-3d", "+3d"] {
        let file = world.connector("dc1").clock(off).serve(&prod).token(&edge.token("dc1")).dial(&edge.file);
        let mut dc1 = file.launch();
        let _ = dc1.process.wait_log(&["cannot enrol here yet", "their_certificate", "one of the two clocks is wrong"]);
        wait::always("it keeps trying", Duration::from_millis(1500), || dc1.process.is_running());
        dc1.travel("+1s");
        edge.wait_links("dc1", 2);
        drop(dc1);
        wait::soon_true("its links to be gone", || edge.links("dc1") == 0);
    }
}

#[test]
fn an_edge_of_another_ca_says_why_nobody_comes() {
    let world = World::new();
    let prod = world.vnet("prod");
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).start();
    let stranger = world.edge("edge-2").grant("dc1", &[&prod]).start();
    let dc1 =
        world.connector("dc1").serve(&prod).token(&edge.token("dc1")).dial(&edge.file).dial(&stranger.file).launch();
    edge.wait_links("dc1", 2);
    let told = stranger.process.wait_log(&["a connector does not accept this edge's certificate", "another CA"]);
    assert!(told.contains("cause=our_certificate") && !told.contains("error"), "{told}");
    let counted = || stranger.metrics().contains("handshakes_failed_total{cause=\"our_certificate\"}");
    wait::soon_true("it to be counted", counted);
    let _ = dc1.process.wait_log(&["no link yet", "the edge's certificate is not accepted", "another CA"]);
}

#[test]
fn an_edge_whose_clock_is_before_its_ca_waits_for_it() {
    let world = World::new();
    let prod = world.vnet("prod");
    let mut edge = world.edge("edge-1").grant("dc1", &[&prod]).start();
    edge.travel("-2h");
    let _ = edge.process.wait_log(&["the edge waits for its clock", "begins"]);
    wait::always("it goes on waiting", Duration::from_millis(1500), || edge.process.is_running());
    edge.travel("+1s");
    edge.wait_ready();
}

//! VNets, routes and grants: what a connector may claim, and which private network an address leads to.

use underpass_tests::harness::{Service, World, client, origin::habits, process::Signal, wait};

#[test]
fn two_vnets_with_the_same_addresses_reach_different_origins() {
    let world = World::new();
    let (red, blue) = (world.vnet("red"), world.vnet("blue"));
    let at_red = world.free_in(&red, 10);
    let at_blue = std::net::SocketAddr::new(world.free_in(&blue, 10).ip(), at_red.port());
    assert_eq!(red.inside(at_red), blue.inside(at_blue), "the very same virtual address");
    let _red_origin = habits::names_itself(at_red, "red");
    let _blue_origin = habits::names_itself(at_blue, "blue");

    let edge = world
        .edge("edge-1")
        .grant("dc-red", &[&red])
        .grant("dc-blue", &[&blue])
        .service(&Service::tcp("red").origin(&red, at_red))
        .service(&Service::tcp("blue").origin(&blue, at_blue))
        .start();
    let _red = world.connector("dc-red").serve(&red).start(&[&edge]);
    let _blue = world.connector("dc-blue").serve(&blue).start(&[&edge]);

    for _ in 0..20 {
        assert_eq!(client::listen_to(edge.listener("red")).expect("it answers"), "red");
        assert_eq!(client::listen_to(edge.listener("blue")).expect("it answers"), "blue");
    }
}

#[test]
fn one_connector_keeps_two_vnets_with_the_same_addresses_apart() {
    let world = World::new();
    let (red, blue) = (world.vnet("red"), world.vnet("blue"));
    let at_red = world.free_in(&red, 10);
    let at_blue = std::net::SocketAddr::new(world.free_in(&blue, 10).ip(), at_red.port());
    let _red_origin = habits::names_itself(at_red, "red");
    let _blue_origin = habits::names_itself(at_blue, "blue");
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&red, &blue])
        .service(&Service::tcp("red").origin(&red, at_red))
        .service(&Service::tcp("blue").origin(&blue, at_blue))
        .start();
    let _dc1 = world.connector("dc1").serve(&red).serve(&blue).start(&[&edge]);

    assert_eq!(client::listen_to(edge.listener("red")).expect("it answers"), "red");
    assert_eq!(client::listen_to(edge.listener("blue")).expect("it answers"), "blue");
}

#[test]
fn a_route_outside_the_grant_is_refused_and_shown_and_the_rest_works() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&prod])
        .service(&Service::tcp("echo").origin(&prod, origin.address()))
        .start();
    let dc1 =
        world.connector("dc1").serve(&prod).route("prod", "10.99.0.0/16").route("other", "10.7.0.0/24").start(&[&edge]);

    let tunnel = edge.tunnel("dc1").expect("the tunnel is up");
    let refused = tunnel["refused_routes"].as_array().expect("a list");
    assert_eq!(refused.len(), 2, "{tunnel}");
    for (vnet, cidr) in [("prod", "10.99.0.0/16"), ("other", "10.7.0.0/24")] {
        let found = refused.iter().find(|r| r["vnet"] == vnet && r["cidr"] == cidr).expect("each is shown");
        assert!(found["reason"].as_str().is_some_and(|reason| reason.contains("grant")), "{found}");
        let _ = dc1.process.wait_log(&[cidr, "grant"]);
        let _ = edge.process.wait_log(&[cidr, "grant"]);
    }
    assert_eq!(tunnel["routes"], serde_json::json!([{ "vnet": "prod", "cidr": "10.7.0.0/24" }]));
    assert_eq!(client::exchange(edge.listener("echo"), b"still").expect("the rest works"), b"still");
}

#[test]
fn the_longest_prefix_wins_and_the_shorter_one_takes_over_when_it_is_gone() {
    let world = World::new();
    let (wide, narrow) = (world.vnet("prod"), world.vnet("prod"));
    let at_wide = world.free_in(&wide, 10);
    let at_narrow = std::net::SocketAddr::new(world.free_in(&narrow, 10).ip(), at_wide.port());
    let _wide_origin = habits::names_itself(at_wide, "wide");
    let _narrow_origin = habits::names_itself(at_narrow, "narrow");
    let edge = world
        .edge("edge-1")
        .grant("wide", &[&wide])
        .grant("narrow", &[&wide])
        .service(&Service::tcp("who").origin(&wide, at_wide))
        .start();
    let _wide = world.connector("wide").serve(&wide).start(&[&edge]);
    let half = |cidr: &str| cidr.replace("0/24", "0/25");
    let map = format!("[[map]]\nvnet = \"prod\"\nfrom = \"10.7.0.0/25\"\nto = \"{}\"", half(&narrow.real_cidr()));
    let narrow_file = world.connector("narrow").route("prod", "10.7.0.0/25").raw(&map);
    let mut connector = narrow_file.allow(&format!("{}:*", narrow.real_cidr())).start(&[&edge]);

    let who = || client::listen_to(edge.listener("who")).unwrap_or_default();
    wait::soon_true("the narrow route to win", || who() == "narrow");
    wait::always("it keeps winning", std::time::Duration::from_millis(200), || who() == "narrow");
    connector.process.signal(Signal::TERM);
    let _ = connector.process.wait(wait::SOON);
    wait::soon_true("the wide route to take over", || who() == "wide");
}

#[test]
fn a_connector_does_not_dial_what_it_does_not_allow() {
    let world = World::new();
    let prod = world.vnet("prod");
    let allowed = habits::names_itself(world.free_in(&prod, 10), "allowed");
    let other = habits::names_itself(world.free_in(&prod, 11), "other");
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&prod])
        .service(&Service::tcp("allowed").origin(&prod, allowed.address()))
        .service(&Service::tcp("other").origin(&prod, other.address()))
        .start();
    let only = format!("{}/32:{}", allowed.address().ip(), allowed.address().port());
    let _dc1 = world.connector("dc1").serve(&prod).allow_nothing_yet().allow(&only).start(&[&edge]);

    assert_eq!(client::listen_to(edge.listener("allowed")).expect("it answers"), "allowed");
    let denied = client::listen_to(edge.listener("other"));
    assert!(!denied.is_ok_and(|text| text == "other"), "the connector's own word must hold");
    assert_eq!(other.accepted(), 0);
}

#[test]
fn loopback_behind_a_connector_is_closed_unless_an_entry_names_it() {
    let world = World::new();
    let at = world.free();
    let origin = habits::names_itself(at, "loopback");
    let grant = "[[connector]]\nname = \"dc1\"\nroutes = [{ vnet = \"prod\", cidr = \"0.0.0.0/0\" }]";
    let service = Service::tcp("loop").target(Some("prod"), &at.to_string());
    let edge = world.edge("edge-1").raw(grant).service(&service).start();
    let _dc1 = world.connector("dc1").route("prod", "0.0.0.0/0").allow("0.0.0.0/0:*").start(&[&edge]);

    let answer = client::listen_to(edge.listener("loop"));
    assert!(!answer.is_ok_and(|text| text == "loopback"), "an edge must not reach into the connector's own host");
    assert_eq!(origin.accepted(), 0);
}

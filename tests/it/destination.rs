//! Listeners whose flows go each to the very address that it was for, in a VNet: PROXY headers say which that is.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use underpass_tests::harness::{
    Edge, EdgeFile, Vnet, World, client,
    origin::habits,
    wait::{self, SOON},
};

/// Those who say by a header where a connection was for.
const PROXIES: [u8; 2] = [200, 201];
/// Somebody who may not.
const STRANGER: u8 = 250;

/// A listener whose flows go where they were for in this VNet, which is its name too.
fn lead(file: EdgeFile, (vnet, at): (&str, SocketAddr), world: &World) -> EdgeFile {
    let proxies = PROXIES.map(|host| format!("\"{}/32\"", world.source(host).ip()));
    file.raw(&format!(
        "[[listener]]\nname = \"{vnet}\"\nprotocol = \"tcp\"\nlisten = \"{at}\"\nvnet = \"{vnet}\"\n\
         proxy_protocol = [{}]",
        proxies.join(", ")
    ))
}

/// Whoever answers at the destination, over the listener at this address.
fn ask(world: &World, at: SocketAddr, destination: &str) -> io::Result<String> {
    let (ip, port) = destination.rsplit_once(':').expect("an address and a port");
    say(world.source(PROXIES[0]), at, &format!("PROXY TCP4 192.0.2.55 {ip} 4711 {port}\r\n"))
}

/// Whoever answers to one that comes from there and begins like this.
fn say(source: SocketAddr, at: SocketAddr, head: &str) -> io::Result<String> {
    let mut stream = client::connect_from(source, at)?;
    stream.write_all(head.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// An edge that grants `dc1` a VNet, and leads there from this address.
fn edge(world: &World, vnet: &Vnet, replicas: usize) -> (Edge, SocketAddr) {
    let at = world.free();
    let file = world.edge("edge-1").grant_replicas("dc1", replicas, &[vnet]);
    (lead(file, (&vnet.name, at), world).start(), at)
}

#[test]
fn destinations_in_two_vnets_with_the_same_addresses_are_kept_apart() {
    let world = World::new();
    let (red, blue) = (world.vnet("red"), world.vnet("blue"));
    let at_red = world.free_in(&red, 10);
    let at_blue = SocketAddr::new(world.free_in(&blue, 10).ip(), at_red.port());
    let (other_red, inside) = (world.free_in(&red, 11), red.inside(at_red));
    assert_eq!(inside, blue.inside(at_blue), "the very same virtual address");
    let _origins = [
        habits::names_itself(at_red, "red"),
        habits::names_itself(other_red, "another red"),
        habits::names_itself(at_blue, "blue"),
    ];
    let (to_red, to_blue) = (world.free(), world.free());
    let file = world.edge("edge-1").grant("dc1", &[&red, &blue]);
    let file = lead(lead(file, ("red", to_red), &world), ("blue", to_blue), &world);
    let edge = file.start();
    let _dc1 = world.connector("dc1").serve(&red).serve(&blue).start(&[&edge]);

    for _ in 0..10 {
        assert_eq!(ask(&world, to_red, &inside).expect("it answers"), "red");
        assert_eq!(ask(&world, to_blue, &inside).expect("it answers"), "blue");
        assert_eq!(ask(&world, to_red, &red.inside(other_red)).expect("it answers"), "another red");
    }
    let explained = edge.command(&["explain", "red", "--destination", &inside]).ok().out;
    assert!(explained.contains("where the flow was for, in VNet red") && explained.contains(" of dc1"), "{explained}");
    let unsaid = edge.command(&["explain", "red"]);
    assert!(unsaid.code != 0 && unsaid.err.contains("say which `destination`"), "{unsaid:?}");
    let told = format!("origin=\"{inside}\"");
    let line = edge.process.wait_log(&["access", "listener=blue", "pool=\"destination\"", &told, "finished"]);
    assert!(line.contains("source=192.0.2.55:4711") && line.contains("connector=\"dc1\""), "{line}");
    let listener = edge.status()["listeners"].as_array().and_then(|all| all.first().cloned()).expect("it is shown");
    assert_eq!(listener["vnet"], listener["listener"]);
    assert!(!edge.metrics().contains("10.7.0."), "no address is a label");
}

#[test]
fn destination_flows_that_a_link_takes_with_it_are_placed_again_over_another_replica() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::names_itself(world.free_in(&prod, 10), "here");
    let (edge, at) = edge(&world, &prod, 2);
    let _survivor = world.connector("dc1").serve(&prod).start(&[&edge]);
    let mut victim = world.connector("dc1").serve(&prod).start(&[&edge]);

    victim.process.kill();
    // They come before anybody can know, so that some are placed on links that are dead.
    let inside = prod.inside(origin.address());
    let answers: Vec<_> = thread::scope(|scope| {
        let asking: Vec<_> = (0..24).map(|_| scope.spawn(|| ask(&world, at, &inside))).collect();
        asking.into_iter().map(|asking| asking.join().expect("no panic")).collect()
    });
    for answer in answers {
        assert_eq!(answer.expect("it is placed again"), "here");
    }
    let _ = edge.process.wait_log(&["access", "listener=prod", "attempts=2", "finished"]);
}

#[test]
fn destination_that_nobody_has_said_is_never_the_edges_own_address() {
    let world = World::new();
    let prod = world.vnet("prod");
    let at = world.free();
    // Whatever address the connector is asked for, it is routed there.
    let grant = "[[connector]]\nname = \"dc1\"\nroutes = [{ vnet = \"prod\", cidr = \"0.0.0.0/0\" }]";
    let edge = lead(world.edge("edge-1").raw(grant), ("prod", at), &world).start();
    let dc1 = world.connector("dc1").route("prod", "0.0.0.0/0").allow("127.0.0.0/8:*").allow("0.0.0.0/0:*");
    let _dc1 = dc1.start(&[&edge]);
    let origin = habits::names_itself(world.free_in(&prod, 10), "here");

    assert_eq!(ask(&world, at, &origin.address().to_string()).expect("it is allowed"), "here");
    let local = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for (host, head, why) in [
        (PROXIES[0], local, "nothing has said where the flow was for"),
        (PROXIES[1], "PROXY UNKNOWN\r\n", "nothing has said where the flow was for"),
        (STRANGER, "", "nothing has said where the flow was for"),
        (STRANGER, "PROXY TCP4 192.0.2.55 198.51.100.1 4711 80\r\n", "nothing has said where the flow was for"),
        (PROXIES[0], "PROXY TCP4 192.0.2.55 198.51.100.1 4711 0\r\n", "it was for port 0"),
    ] {
        let before = edge.process.log().len();
        assert!(say(world.source(host), at, head).is_err(), "{host} {head:?}");
        let told = || edge.process.log()[before..].lines().any(|line| is_refusal(line, ("no_route", why)));
        wait::soon_true(&format!("the refusal of {host} {head:?} to be told"), told);
    }
    assert_eq!(origin.accepted(), 1);
}

fn is_refusal(line: &str, (reason, why): (&str, &str)) -> bool {
    let reason = format!("reason=\"{reason}\"");
    ["access", "ended=\"refused\"", &reason, why].iter().all(|part| line.contains(part))
}

#[test]
fn destination_outside_the_routes_not_allowed_or_special_is_refused() {
    let world = World::new();
    let prod = world.vnet("prod");
    let allowed = habits::names_itself(world.free_in(&prod, 10), "allowed");
    let other = habits::names_itself(world.free_in(&prod, 11), "other");
    let decoy = habits::names_itself(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), "decoy");
    let at = world.free();
    let grant = "[[connector]]\nname = \"dc1\"\n\
                 routes = [{ vnet = \"prod\", cidr = \"10.7.0.0/24\" }, { vnet = \"prod\", cidr = \"127.0.0.0/8\" }]";
    let edge = lead(world.edge("edge-1").raw(grant), ("prod", at), &world).start();
    let only = format!("{}/32:*", allowed.address().ip());
    let dc1 = world.connector("dc1").serve(&prod).allow_nothing_yet().allow(&only).allow("0.0.0.0/0:1");
    let dc1 = dc1.route("prod", "127.0.0.0/8").allow(&format!("0.0.0.0/0:{}", decoy.address().port()));
    let dc1 = dc1.start(&[&edge]);

    assert_eq!(ask(&world, at, &prod.inside(allowed.address())).expect("it is allowed"), "allowed");
    let own = dc1.file.admin.to_string();
    for (destination, reason, why) in [
        ("10.8.0.1:80", "no_route", "no connector is granted a route of VNet prod that covers 10.8.0.1:80"),
        (&prod.inside(other.address()), "policy_denied", "is not on this connector's allow list"),
        (&decoy.address().to_string(), "policy_denied", "is a loopback address"),
        (&own, "policy_denied", "is not on this connector's allow list"),
    ] {
        assert!(ask(&world, at, destination).is_err(), "{destination}");
        let told = format!("origin=\"{destination}\"");
        let line = edge.process.wait_log(&["access", "refused", reason, &told]);
        assert!(is_refusal(&line, (reason, why)) && line.contains("pool=\"destination\""), "{line}");
    }
    assert_eq!((other.accepted(), decoy.accepted()), (0, 0));
}

#[test]
fn destination_at_which_nobody_listens_is_told_as_refused() {
    let world = World::new();
    let prod = world.vnet("prod");
    let (edge, at) = edge(&world, &prod, 1);
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    let nobody = world.free_in(&prod, 10);
    assert!(ask(&world, at, &prod.inside(nobody)).is_err());
    let (origin, detail) = (format!("origin=\"{}\"", prod.inside(nobody)), format!("detail=\"{nobody}: "));
    let line = edge.process.wait_log(&["access", "listener=prod", &origin, "ended=\"refused\"", "connect_refused"]);
    assert!(line.contains(&detail) && line.contains("attempts=1 "), "{line}");
}

#[test]
fn destination_behind_a_link_that_is_away_is_waited_for_as_long_as_there_is_hope() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::names_itself(world.free_in(&prod, 10), "here");
    let (edge, at) = edge(&world, &prod, 1);
    let mut dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    let asked = || ask(&world, at, &prod.inside(origin.address()));
    let is_down = || edge.tunnel("dc1").is_some_and(|tunnel| tunnel["health"] == "down");
    assert_eq!(asked().expect("it answers"), "here");

    assert!(dc1.process.terminate(SOON).success());
    wait::soon_true("the tunnel to be down", is_down);
    thread::scope(|scope| {
        let waiting = scope.spawn(asked);
        dc1.restart();
        assert_eq!(waiting.join().expect("no panic").expect("it waits for the link"), "here");
    });

    edge.wait_links("dc1", 2);
    assert!(dc1.process.terminate(SOON).success());
    wait::soon_true("the tunnel to be down", is_down);
    let began = Instant::now();
    assert!(asked().is_err());
    assert!(began.elapsed() > Duration::from_secs(2), "a link might have come back: {:?}", began.elapsed());
    wait::pass(Duration::from_millis(500));
    let began = Instant::now();
    assert!(asked().is_err());
    assert!(began.elapsed() < Duration::from_millis(1500), "as long again would be in vain: {:?}", began.elapsed());
    let _ = edge.process.wait_log(&["access", "listener=prod", "ended=\"refused\"", "tunnel_down"]);
}

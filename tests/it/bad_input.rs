//! Mistakes and malice: a clear error with its place and its exit code, and nobody else pays.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
};

use underpass_tests::harness::{
    Service, World,
    client::{self, Pattern},
    http,
    load::LongFlow,
    origin::habits,
    process::Ran,
    relay::Relay,
    wait::SOON,
};

/// Exit code for what failed while running.
const FAILED: i32 = 1;
/// Exit code for a wrong command line.
const USAGE: i32 = 2;
/// Exit code for a wrong configuration.
const BAD_CONFIGURATION: i32 = 3;

/// Runs `check` and `edge` on the same text; both must refuse it alike.
fn refused_edge(world: &World, text: &str) -> Ran {
    let path = world.write("wrong.toml", text).display().to_string();
    let started = world.underpass(&["edge", "-c", &path]).exited(BAD_CONFIGURATION);
    let checked = world.underpass(&["check", &path]).exited(BAD_CONFIGURATION);
    for line in checked.text().lines().filter(|line| line.contains("wrong.toml:")) {
        assert!(started.text().contains(line), "only `check` says: {line}");
    }
    checked
}

/// Where `needle` stands in `text`, as `FILE:LINE:COLUMN`.
fn place(text: &str, needle: &str) -> String {
    let (line, column) = text
        .lines()
        .enumerate()
        .find_map(|(i, line)| line.find(needle).map(|column| (i + 1, column + 1)))
        .expect("the text holds it");
    format!("wrong.toml:{line}:{column}:")
}

#[test]
fn every_mistake_is_told_with_its_line_and_column() {
    let world = World::new();
    let origin = Service::tcp("web").direct(world.free()).monitor("no-such").pool("stering = \"random\"");
    let text = world.edge("edge-1").service(&origin).raw("[wrong_table]\nx = 1").text();

    let _ = refused_edge(&world, &text).says(&[
        &place(&text, "\"no-such\""),
        &place(&text, "stering"),
        "steering",
        &place(&text, "wrong_table"),
    ]);
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let world = World::new();
    let text = world.edge("edge-1").raw("[admin").text();
    let line = text.lines().count();
    let _ = refused_edge(&world, &text).says(&[&format!("wrong.toml:{line}:")]);
}

#[test]
fn overlapping_listeners_are_told() {
    let world = World::new();
    let at = world.free();
    let one = Service::tcp("one").direct(world.free());
    let two = Service::tcp("two").direct(world.free());
    let wildcard = std::net::SocketAddr::from(([0, 0, 0, 0], at.port()));
    for second in [at, wildcard] {
        let text = world.edge("edge-1").service_at(&one, at).service_at(&two, second).text();
        let last = text.lines().count() - text.lines().rev().position(|line| line.starts_with("listen")).unwrap_or(0);
        let _ = refused_edge(&world, &text).says(&[&format!("wrong.toml:{last}:"), "overlaps", "\"one\""]);
    }
}

#[test]
fn an_admin_endpoint_open_to_the_world_is_refused() {
    let world = World::new();
    let file = world.edge("edge-1");
    let text = file.text().replace(&file.admin.to_string(), "0.0.0.0:0");
    let _ = refused_edge(&world, &text).says(&["authenticat"]);
}

#[test]
fn an_unreadable_file_is_told() {
    let world = World::new();
    let garbled = world.path("garbled.toml");
    fs::write(&garbled, [0xff, 0xfe, 0x00]).expect("writable");
    for path in [world.path("missing.toml"), world.path(""), garbled] {
        let path = path.display().to_string();
        for command in [["edge", "-c", &path], ["connector", "-c", &path]] {
            let _ = world.underpass(&command).exited(BAD_CONFIGURATION).says(&[path.trim_end_matches('/')]);
        }
        let _ = world.underpass(&["check", &path]).exited(BAD_CONFIGURATION).says(&[path.trim_end_matches('/')]);
    }
}

#[test]
fn check_accepts_what_is_right_and_tells_connectors_mistakes_too() {
    let world = World::new();
    let prod = world.vnet("prod");
    let edge = world.edge("edge-1").grant("dc1", &[&prod]);
    edge.write();
    let _ = world.underpass(&["check", &edge.path.display().to_string()]).ok();
    let connector = world.connector("dc1").serve(&prod).dial(&edge);
    let path = world.write("right.toml", &connector.text());
    let _ = world.underpass(&["check", &path.display().to_string()]).ok();

    let text = connector.text().replace("links_per_edge", "links_per_egde");
    let path = world.write("wrong.toml", &text).display().to_string();
    let words = [&place(&text, "links_per_egde"), "links_per_edge"];
    let _ = world.underpass(&["check", &path]).exited(BAD_CONFIGURATION).says(&words);
    let _ = world.underpass(&["connector", "-c", &path]).exited(BAD_CONFIGURATION).says(&words);
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let world = World::new();
    for wrong in [&["egde"][..], &["edge", "--no-such-flag"], &["token", "create"], &["check"]] {
        let _ = world.underpass(wrong).exited(USAGE).says(&["--help"]);
    }
    let _ = world.underpass(&["--help"]).ok().says(&["edge", "connector", "token", "check", "status", "lab"]);
    let _ = world.underpass(&["--version"]).ok().says(&["underpass"]);
}

#[test]
fn a_port_in_use_is_told_by_its_address() {
    let world = World::new();
    let taken = TcpListener::bind(world.free()).expect("free");
    let at = taken.local_addr().expect("bound");
    let service = Service::tcp("echo").direct(world.free());
    let mut edge = world.edge("edge-1").service_at(&service, at).launch();
    assert_eq!(edge.process.wait(SOON).code(), Some(FAILED), "{}", edge.process.log());
    let _ = edge.process.wait_log(&[&at.to_string(), "in use"]);

    let file = world.edge("edge-2").service(&service);
    let _tunnel = UdpSocket::bind(file.tunnel).expect("free");
    let at = file.tunnel.to_string();
    let mut edge = file.launch();
    assert_eq!(edge.process.wait(SOON).code(), Some(FAILED), "{}", edge.process.log());
    let _ = edge.process.wait_log(&[&at, "in use"]);

    let file = world.edge("edge-3").service(&service);
    let _admin = TcpListener::bind(file.admin).expect("free");
    let at = file.admin.to_string();
    let mut edge = file.launch();
    assert_eq!(edge.process.wait(SOON).code(), Some(FAILED), "{}", edge.process.log());
    let _ = edge.process.wait_log(&[&at, "in use"]);
}

#[test]
fn commands_towards_an_edge_that_does_not_run_fail_in_words() {
    let world = World::new();
    let edge = world.edge("edge-1");
    edge.write();
    let path = edge.path.display().to_string();
    let admin = edge.admin.to_string();
    let _ = world.underpass(&["status", "-c", &path]).exited(FAILED).says(&[&admin]);
    let _ = world.underpass(&["connector", "list", "-c", &path]).exited(FAILED).says(&[&admin]);
}

#[test]
fn writes_need_the_admin_token_and_reads_a_proper_host() {
    let world = World::new();
    let prod = world.vnet("prod");
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).start();
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    let admin = edge.file.admin;

    assert!(http::get(admin, "/api/v1/status").is_some_and(|answer| answer.code == 200));
    let rebound = http::ask(admin, "GET", "/api/v1/status", "Host: evil.example.com\r\n").expect("it answers");
    assert!((400..500).contains(&rebound.code), "a rebound name must not read: {}", rebound.code);
    for headers in ["", "Authorization: Bearer wrong\r\n"] {
        let headers = format!("{headers}Content-Length: 0\r\n");
        for path in ["/api/v1/connectors/dc1/revoke", "/api/v1/connectors/dc1"] {
            for method in ["POST", "DELETE", "PUT"] {
                let answer = http::ask(admin, method, path, &headers).expect("it answers");
                assert!((400..500).contains(&answer.code), "{method} {path}: {}", answer.code);
            }
        }
    }
    assert_eq!(edge.links("dc1"), 2, "nothing was revoked");
}

#[test]
fn junk_on_the_tunnel_port_harms_nobody() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let service = Service::tcp("echo").origin(&prod, origin.address());
    let mut edge = world.edge("edge-1").grant("dc1", &[&prod]).service(&service).start();
    // The connector comes through a relay that remembers everything it said, for saying it again.
    let relay = Relay::start(world.free(), edge.file.tunnel);
    let dc1 = world.connector("dc1").serve(&prod).token(&edge.token("dc1")).dial_at(relay.address).launch();
    edge.wait_links("dc1", 2);
    let flow = LongFlow::start(edge.listener("echo"), 1).expect("it opens");
    let links = edge.tunnel("dc1").expect("it is up")["links"].clone();

    let mut dice = Pattern::new(0xBAD);
    let attacker = UdpSocket::bind(world.source(66)).expect("free");
    let captured = relay.recorded();
    assert!(!captured.is_empty());
    for round in 0..3000_usize {
        let mut packet = match round % 4 {
            // Noise.
            0 => noise(&mut dice),
            // The beginning of something like a QUIC version 1 Initial.
            1 => initial(&mut dice),
            // What the connector said, word for word, from somewhere else.
            2 => captured[round % captured.len()].clone(),
            // The same with a bit turned.
            _ => {
                let mut packet = captured[round % captured.len()].clone();
                let at = usize::try_from(dice.number()).unwrap_or(0) % packet.len();
                packet[at] ^= 1 << (round % 8);
                packet
            }
        };
        packet.truncate(1400);
        attacker.send_to(&packet, edge.file.tunnel).expect("loopback takes it");
    }

    assert_eq!(client::exchange(edge.listener("echo"), b"new").expect("new flows are served"), b"new");
    assert!(flow.stop().expect("the open flow is unharmed") > 0);
    let ids = |links: &serde_json::Value| -> Vec<String> {
        links.as_array().into_iter().flatten().map(|link| link["id"].to_string()).collect()
    };
    let now = edge.tunnel("dc1").expect("it is up")["links"].clone();
    assert_eq!(ids(&now), ids(&links), "the links are the same as before");
    assert!(edge.process.is_running());
    drop(dc1);
}

fn noise(dice: &mut Pattern) -> Vec<u8> {
    let len = 1 + usize::try_from(dice.number() % 1400).unwrap_or(0);
    dice.bytes(len)
}

fn initial(dice: &mut Pattern) -> Vec<u8> {
    let mut packet = vec![0xC3, 0, 0, 0, 1, 8];
    let len = usize::try_from(dice.number() % 1300).unwrap_or(0);
    packet.extend(dice.bytes(8));
    packet.extend([0, 0]);
    packet.extend(dice.bytes(len));
    packet
}

#[test]
fn junk_on_a_listener_and_the_admin_port_harms_nobody() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let (mut edge, _dc1) = world.stand(&prod, &[&Service::tcp("echo").origin(&prod, origin.address())]);
    let mut dice = Pattern::new(0xBAD);
    for round in 0..50 {
        let junk = noise(&mut dice);
        assert!(client::exchange(edge.listener("echo"), &junk).expect("bytes are bytes") == junk, "round {round}");
        // Whatever the endpoint says to this, it is still there afterwards.
        let _ = client::exchange(edge.file.admin, &junk);
    }
    assert!(edge.process.is_running());
    assert!(edge.try_status().is_some());
}

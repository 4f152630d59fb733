//! Running it: readiness, status, metrics, logs, reload, and an end that harms no open flow.

use std::{
    io::{Read, Write},
    time::Duration,
};

use underpass_tests::harness::{
    Service, World,
    client::{self, Pattern},
    http,
    load::LongFlow,
    origin::{habits, servers},
    process::Signal,
    service::any_port,
    wait::{self, SOON},
};

/// The value of the first sample whose line holds all of `parts`; 0 if there is none.
fn sample(metrics: &str, parts: &[&str]) -> f64 {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter(|line| parts.iter().all(|part| line.contains(part)))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[test]
fn metrics_move_with_what_happens() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let service = Service::tcp("echo").monitor("tcp").origin(&prod, origin.address());
    let (edge, dc1) = world.stand(&prod, &[&service]);
    edge.wait_health("echo-1", "healthy");
    let before = edge.metrics();

    for _ in 0..5 {
        let _ = client::exchange(edge.listener("echo"), &[7; 1000]).expect("it answers");
    }
    wait::soon_true("some counter of the listener to have moved by five", || {
        let now = edge.metrics();
        now.lines().filter(|line| !line.starts_with('#') && line.contains("\"echo\"")).any(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_default();
            (value.parse::<f64>().unwrap_or(0.0) - sample(&before, &[name]) - 5.0).abs() < 0.1
        })
    });
    wait::soon_true("the bytes to be counted both ways", || {
        let bytes: Vec<String> = edge.metrics().lines().filter(|l| l.contains("bytes")).map(str::to_owned).collect();
        bytes.iter().filter(|line| line.ends_with(" 5000")).count() >= 2
    });
    assert!(before.lines().filter(|line| line.starts_with("# TYPE")).all(|line| line.contains(" underpass_")));
    let connector = http::get(dc1.file.admin, "/metrics").expect("a connector has metrics too");
    assert!(connector.body.contains("underpass_"), "{}", connector.body);
}

#[test]
fn status_shows_what_runs_and_the_command_prints_the_same() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let service = Service::tcp("echo").monitor("tcp").origin(&prod, origin.address());
    let (edge, _dc1) = world.stand(&prod, &[&service]);
    edge.wait_health("echo-1", "healthy");
    let open = client::connect(edge.listener("echo")).expect("the edge listens");
    client::ping(&open, b"hello").expect("it echoes");

    let printed = edge.command(&["status", "--json"]).ok();
    let status: serde_json::Value = serde_json::from_str(&printed.out).expect("it prints JSON");
    assert_eq!(status["edge"], "edge-1");
    assert!(status["version"].is_string() && status["catalog_version"].is_u64());
    let tunnel = &status["tunnels"][0];
    assert_eq!((&tunnel["connector"], &tunnel["health"]), (&"dc1".into(), &"healthy".into()));
    for link in tunnel["links"].as_array().expect("a list") {
        for key in ["id", "replica", "remote", "since"] {
            assert!(link[key].is_string(), "{key}: {link}");
        }
        assert!(link["rtt_ms"].is_number() && link["streams"].is_u64(), "{link}");
    }
    let streams: u64 =
        tunnel["links"].as_array().into_iter().flatten().filter_map(|link| link["streams"].as_u64()).sum();
    assert!(streams >= 1, "the open flow is somewhere: {tunnel}");
    assert_eq!(status["pools"][0]["healthy_origins"], 1);
    assert_eq!(status["pools"][0]["health"], "healthy");
    assert_eq!(status["load_balancers"][0]["serving_pool"], "echo");
    assert_eq!(status["listeners"][0]["address"], edge.listener("echo").to_string());
    assert_eq!(status["listeners"][0]["flows"], 1);
    let words = edge.command(&["status"]).ok();
    let _ = words.says(&["dc1", "echo", "healthy"]);
    let _ = edge.command(&["connector", "list"]).ok().says(&["dc1"]);
}

#[test]
fn a_listener_on_any_port_tells_the_real_one() {
    let world = World::new();
    let origin = habits::names_itself(world.free(), "here");
    let edge = world.edge("edge-1").service_at(&Service::tcp("who").direct(origin.address()), any_port()).start();

    let at = edge.status()["listeners"][0]["address"].as_str().expect("an address").parse().expect("an address");
    assert_eq!(client::listen_to(at).expect("it serves there"), "here");
}

#[test]
fn readiness_follows_the_links_of_a_connector() {
    let world = World::new();
    let prod = world.vnet("prod");
    let mut edge = world.edge("edge-1").grant("dc1", &[&prod]).start();
    let dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    dc1.wait_ready();
    for admin in [edge.file.admin, dc1.file.admin] {
        assert!(http::get(admin, "/livez").is_some_and(|answer| answer.code == 200));
    }
    edge.process.kill();
    wait::soon_true("it to say that it is not ready", || dc1.ready_code() == Some(503));
    let reasons = http::get(dc1.file.admin, "/readyz").expect("it answers").body;
    assert!(!reasons.trim().is_empty(), "readiness says why");
    assert!(http::get(dc1.file.admin, "/livez").is_some_and(|answer| answer.code == 200), "it is alive all the same");
    edge.crash_and_restart();
    dc1.wait_ready();
}

#[test]
fn every_flow_leaves_one_line_in_the_log() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let (edge, _dc1) = world.stand(&prod, &[&Service::tcp("echo").origin(&prod, origin.address())]);
    let lines = || {
        let log = edge.process.log();
        log.lines().filter(|line| line.contains("echo-1")).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = lines().len();

    for _ in 0..3 {
        let _ = client::exchange(edge.listener("echo"), &[7; 12_345]).expect("it answers");
    }
    wait::soon_true("three lines", || lines().len() == before + 3);
    wait::always("no more than three", Duration::from_millis(200), || lines().len() == before + 3);
    for line in &lines()[before..] {
        assert_eq!(line.matches("12345").count(), 2, "bytes up and down: {line}");
    }
    assert!(!edge.process.log().contains("\u{7}\u{7}\u{7}"), "never the payload");
}

#[test]
fn logs_can_be_json() {
    let world = World::new();
    let edge = world.edge("edge-1");
    edge.write();
    let mut command = underpass_tests::harness::world::underpass();
    command.args(["edge", "--log-format", "json", "-c"]).arg(&edge.path);
    let mut process = underpass_tests::harness::Process::start("edge-1", command, &world.path("json.log"));
    wait::soon_true("it to be ready", || http::get(edge.admin, "/readyz").is_some_and(|a| a.code == 200));
    assert!(process.terminate(SOON).success());
    let log = process.log();
    assert!(log.lines().count() > 0);
    for line in log.lines() {
        let parsed = serde_json::from_str::<serde_json::Value>(line);
        assert!(parsed.is_ok_and(|value| value.is_object()), "{line}");
    }
}

#[test]
fn an_edge_that_is_asked_to_end_lets_an_open_transfer_finish() {
    let world = World::new();
    let prod = world.vnet("prod");
    let len = 48 << 20;
    let origin = habits::pours(world.free_in(&prod, 10), len);
    let (mut edge, _dc1) = world.stand(&prod, &[&Service::tcp("pour").origin(&prod, origin.address())]);
    let mut stream = client::connect(edge.listener("pour")).expect("the edge listens");
    stream.write_all(b"x").expect("the flow is open");
    let mut first = vec![0; 1 << 20];
    stream.read_exact(&mut first).expect("it pours");

    edge.process.signal(Signal::TERM);
    wait::soon_true("no new connection to be taken", || client::connect(edge.listener("pour")).is_err());
    assert!(edge.process.is_running(), "it waits for the transfer");
    let (rest, end) = client::read_all(&stream);
    end.expect("a clean end");
    assert!([first, rest].concat() == Pattern::new(1).bytes(len), "other bytes arrived");
    drop(stream);
    assert_eq!(edge.process.wait(SOON).code(), Some(0));
}

#[test]
fn a_connector_that_is_asked_to_end_lets_an_open_transfer_finish() {
    let world = World::new();
    let prod = world.vnet("prod");
    let len = 48 << 20;
    let origin = habits::pours(world.free_in(&prod, 10), len);
    let named = habits::names_itself(world.free_in(&prod, 11), "here");
    let edge = world
        .edge("edge-1")
        .grant_replicas("dc1", 2, &[&prod])
        .service(&Service::tcp("pour").origin(&prod, origin.address()))
        .service(&Service::tcp("who").origin(&prod, named.address()))
        .start();
    let mut leaving = world.connector("dc1").serve(&prod).start(&[&edge]);
    let mut stream = client::connect(edge.listener("pour")).expect("the edge listens");
    stream.write_all(b"x").expect("the flow is open");
    let mut first = vec![0; 1 << 20];
    stream.read_exact(&mut first).expect("it pours");
    let _staying = world.connector("dc1").serve(&prod).start(&[&edge]);

    leaving.process.signal(Signal::TERM);
    for _ in 0..50 {
        assert_eq!(client::listen_to(edge.listener("who")).expect("nothing new is placed on it"), "here");
    }
    let (rest, end) = client::read_all(&stream);
    end.expect("a clean end");
    assert!([first, rest].concat() == Pattern::new(1).bytes(len), "other bytes arrived");
    drop(stream);
    assert_eq!(leaving.process.wait(SOON).code(), Some(0));
}

#[test]
fn an_idle_edge_and_an_idle_connector_end_at_once_and_cleanly() {
    let world = World::new();
    let prod = world.vnet("prod");
    let mut edge = world.edge("edge-1").grant("dc1", &[&prod]).start();
    let mut dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    dc1.process.signal(Signal::INT);
    assert_eq!(dc1.process.wait(Duration::from_secs(3)).code(), Some(0));
    wait::until("its goodbye", Duration::from_secs(1), || (edge.links("dc1") == 0).then_some(()));
    assert_eq!(edge.process.terminate(Duration::from_secs(3)).code(), Some(0));
}

#[test]
fn a_second_signal_ends_an_edge_that_still_waits() {
    let world = World::new();
    let origin = habits::echo(world.free());
    let mut edge = world.edge("edge-1").service(&Service::tcp("echo").direct(origin.address())).start();
    let stream = client::connect(edge.listener("echo")).expect("the edge listens");
    client::ping(&stream, b"hello").expect("it echoes");
    edge.process.signal(Signal::TERM);
    wait::soon_true("no new connection to be taken", || client::connect(edge.listener("echo")).is_err());
    client::ping(&stream, b"still").expect("the open flow goes on");
    edge.process.signal(Signal::TERM);
    let _ = edge.process.wait(Duration::from_secs(3));
}

#[test]
fn a_reload_takes_effect_and_a_failed_one_changes_nothing() {
    let world = World::new();
    let one = habits::names_itself(world.free(), "one");
    let two = habits::names_itself(world.free(), "two");
    let echo = habits::echo(world.free());
    let first = Service::tcp("who").direct(one.address());
    let kept = Service::tcp("echo").direct(echo.address());
    let mut edge = world.edge("edge-1").service(&first).service(&kept).start();
    let at = edge.listener("who");
    let version = edge.status()["catalog_version"].clone();
    let flow = LongFlow::start(edge.listener("echo"), 1).expect("it opens");

    let right = edge.file.text();
    let changed = right.replace(&one.address().to_string(), &two.address().to_string());
    std::fs::write(&edge.file.path, &changed).expect("writable");
    edge.process.signal(Signal::HUP);
    wait::soon_true("the new origin", || client::listen_to(at).is_ok_and(|name| name == "two"));
    assert_ne!(edge.status()["catalog_version"], version);

    std::fs::write(&edge.file.path, changed.replace("[[listener]]", "[[lisener]]")).expect("writable");
    edge.process.signal(Signal::HUP);
    let _ = edge.process.wait_log(&["lisener"]);
    assert_eq!(client::listen_to(at).expect("the old configuration stands"), "two");
    assert!(flow.stop().is_ok(), "an open flow is not touched by either");
    assert!(edge.process.is_running());
}

#[test]
fn a_connector_that_is_asked_to_stop_does_not_wait_for_probes() {
    let world = World::new();
    let prod = world.vnet("prod");
    let nginx = servers::nginx(&world, world.free_in(&prod, 10), "web-1");
    let service = Service::http("web").monitor("web").origin(&prod, nginx.address);
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).http_monitor("web", "path = \"/who\"").service(&service);
    let edge = edge.start();
    let mut dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    edge.wait_health("web-1", "healthy");
    // The monitor keeps its connection from probe to probe; the grace period is 30 s.
    let ended = dc1.process.terminate(Duration::from_secs(20));
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn a_listener_takes_no_more_connections_than_it_may() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let service = Service::tcp("echo").listener("max_connections = 5").origin(&prod, origin.address());
    let (edge, _dc1) = world.stand(&prod, &[&service]);
    let at = edge.listener("echo");
    let open = || {
        let stream = client::connect(at)?;
        client::ping(&stream, b"hello").map(|()| stream)
    };

    let mut held: Vec<_> = (0..5).map(|_| open().expect("five may come")).collect();
    for _ in 0..3 {
        assert!(open().is_err(), "a sixth may not");
    }
    for stream in &held {
        client::ping(stream, b"still").expect("the five are unharmed");
    }
    assert_eq!(origin.accepted(), 5);
    held.pop();
    wait::soon_true("the next to be let in", || open().is_ok());
}

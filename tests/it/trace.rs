//! `underpass trace`: how far a flow comes now, stage by stage, and that nobody else notices.

use serde_json::Value;
use underpass_tests::harness::{
    Edge, Ran, Service, World,
    datagrams::UdpOrigin,
    http,
    origin::{habits, recorder::Recorder},
};

/// A trace that ends with this code.
fn traced(edge: &Edge, code: i32, arguments: &[&str]) -> Value {
    let ran = edge.command(&[&["trace", "--json"], arguments].concat()).exited(code);
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// Its stages, in order.
fn stages(trace: &Value) -> Vec<&str> {
    let stages = trace["stages"].as_array().expect("a list");
    stages.iter().map(|stage| stage["stage"].as_str().expect("a word")).collect()
}

fn stopped(trace: &Value) -> (&str, &str) {
    let word = |key: &str| trace[key].as_str().unwrap_or_else(|| panic!("no {key}: {trace}"));
    assert!(word("advice").len() > 20, "{trace}");
    assert_eq!(
        trace["stages"].as_array().and_then(|stages| stages.last()).map(|last| &last["failed"]),
        Some(&true.into())
    );
    (word("stopped_at"), word("reason"))
}

/// Every sample of these metrics that counts what clients do.
fn counted(edge: &Edge) -> Vec<String> {
    let counts = ["flows_ended_total", "flows_refused_total", "requests_total", "up_bytes_total", "down_bytes_total"];
    let metrics = edge.metrics();
    let counts =
        metrics.lines().filter(|line| counts.iter().any(|count| line.starts_with(&format!("underpass_{count}"))));
    counts.map(str::to_owned).collect()
}

#[test]
fn a_flow_of_every_kind_is_traced_to_its_end_and_counts_nowhere() {
    let world = World::new();
    let prod = world.vnet("prod");
    let recorder = Recorder::start(world.free_in(&prod, 11));
    let (echo, banner) = (habits::echo(world.free_in(&prod, 10)), habits::banner(world.free_in(&prod, 12), "hi"));
    let udp = UdpOrigin::echo(world.free_in(&prod, 13));
    let services = [
        Service::tcp("tcp").origin(&prod, echo.address()),
        Service::http("web").origin(&prod, recorder.address()),
        Service::tcp("banner").origin(&prod, banner.address()),
        Service::udp("udp").origin(&prod, udp.address()),
        Service::tcp("near").direct(echo.address()),
    ];
    let file = services.iter().fold(world.edge("edge-1").grant("dc1", &[&prod]), |file, service| file.service(service));
    let edge = file.start();
    let dc1 = world.connector("dc1").serve(&prod).log_level("debug").start(&[&edge]);
    let before = counted(&edge);

    let through = ["accept", "place", "open", "permit", "dial", "first_byte"];
    for listener in ["tcp", "banner", "udp"] {
        let trace = traced(&edge, 0, &[listener]);
        assert_eq!(stages(&trace), through, "{trace}");
        assert_eq!((&trace["through"], &trace["place"]["connector"]), (&true.into(), &"dc1".into()), "{trace}");
        assert!(trace["stages"][4]["took_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{trace}");
    }
    assert_eq!(stages(&traced(&edge, 0, &["near"])), ["accept", "place", "dial", "first_byte"]);

    let trace = traced(&edge, 0, &["web", "--host", "a.example", "--path", "/x?y=1", "--header", "X-Mine: yes"]);
    assert_eq!((stages(&trace), &trace["status"]), (through.to_vec(), &200.into()), "{trace}");
    let asked = recorder.take().concat().to_ascii_lowercase();
    let id = trace["flow"].as_str().expect("an id");
    for part in ["get /x?y=1 http/1.1", "host: a.example", "x-mine: yes", &format!("traceparent: 00-{id}-")] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    // It is a flow like others at the connector, and marked in the edge's log.
    let _ = dc1.process.wait_log(&["DEBUG", "flow ended", &format!("flow={id}")]);
    let _ = edge.process.wait_log(&["access", id, "listener=web traced=true", "path=\"/x\"", "status=200"]);
    assert_eq!(counted(&edge), before, "nobody sent it");

    let shown = edge.command(&["trace", "tcp"]).ok().out;
    for part in ["at listener tcp", "permit", "over link", "it came through"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn where_a_flow_stops_is_told_with_its_reason() {
    let world = World::new();
    let prod = world.vnet("prod");
    let lab = world.vnet("lab");
    let (echo, gone) = (habits::echo(world.free_in(&prod, 10)), world.free_in(&prod, 11));
    let denied = world.free_in(&prod, 12);
    let upgrade = world.free_in(&prod, 14);
    let services = [
        Service::tcp("open").origin(&prod, echo.address()),
        Service::tcp("gone").origin(&prod, gone),
        Service::tcp("denied").origin(&prod, denied),
        Service::tcp("named").target(Some("prod"), "nowhere.invalid:80"),
        Service::http("web").origin(&prod, upgrade),
        Service::http("wrong").origin(&prod, echo.address()).pool("upstream = \"https\""),
        Service::udp("away").origin(&lab, world.free_in(&lab, 10)),
    ];
    let file = services
        .iter()
        .fold(world.edge("edge-1").grant("dc1", &[&prod]).grant("dc2", &[&lab]), |file, service| file.service(service));
    let edge = file.start();
    let allow = |at: std::net::SocketAddr| format!("{}/32:{}", at.ip(), at.port());
    let dc1 = world.connector("dc1").serve(&prod).allow_nothing_yet();
    let dc1 = [echo.address(), gone].iter().fold(dc1, |dc1, at| dc1.allow(&allow(*at)));
    let _dc1 = dc1.start(&[&edge]);

    for (arguments, at, reason) in [
        (&["gone"][..], "dial", "connect_refused"),
        (&["denied"], "permit", "policy_denied"),
        (&["named"], "resolve", "dns_failed"),
        (&["away"], "place", "tunnel_down"),
        (&["wrong"], "tls", "tls_handshake"),
        (
            &["web", "--header", "Upgrade: spdy/3.1", "--header", "Connection: upgrade"],
            "request",
            "protocol_unsupported",
        ),
    ] {
        let trace = traced(&edge, 1, arguments);
        assert_eq!(stopped(&trace), (at, reason), "{trace}");
    }
    let _ = edge.command(&["drain", "listener", "open"]).ok();
    assert_eq!(stopped(&traced(&edge, 1, &["open"])), ("accept", "no_place"));
    let text: Ran = edge.command(&["trace", "gone"]).exited(1);
    assert!(text.err.contains("it stopped at dial: connect_refused") && text.err.contains("what to do: "), "{text:?}");

    // It sends something, so it needs the token; a question that cannot be asked is said to be none.
    let at = edge.file.admin;
    let asked = http::ask(at, "POST", "/api/v1/trace?listener=open", "").expect("it answers");
    assert_eq!(asked.code, 401);
    let ran = edge.command(&["trace", "wep"]);
    assert!(ran.code == 1 && ran.err.contains("there is no listener \"wep\"; did you mean \"web\""), "{ran:?}");
    let ran = edge.command(&["trace", "open", "--host", "a"]);
    assert!(ran.code == 1 && ran.err.contains("reads no host"), "{ran:?}");
}

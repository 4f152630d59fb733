//! Health from end to end: what a probe finds is what traffic would find, and the reason is in the status.

use std::{sync::atomic::Ordering, time::Duration};

use underpass_tests::harness::{
    Service, World, client,
    origin::{
        habits::{self, FullQueue},
        servers,
    },
    process::{self, command},
    wait::{self, SOON},
};

#[test]
fn an_origin_that_accepts_and_never_answers_is_found_out_and_passed_by() {
    let world = World::new();
    let prod = world.vnet("prod");
    let hanging = habits::hangs(world.free_in(&prod, 10));
    let (good, _) = habits::http(world.free_in(&prod, 11), "good");
    let service = Service::tcp("web")
        .monitor("web")
        .pool("steering = \"round_robin\"")
        .origin(&prod, hanging.address())
        .origin(&prod, good.address());
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).http_monitor("web", "").service(&service).start();
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);

    edge.wait_reason("web-1", "http_timeout");
    edge.wait_health("web-2", "healthy");
    for _ in 0..20 {
        let mut curl = command("curl");
        curl.args(["-sS", "--max-time", "5", &format!("http://{}/", edge.listener("web"))]);
        assert_eq!(process::run(curl, SOON).ok().out, "good");
    }
}

#[test]
fn every_way_to_fail_has_its_reason() {
    let world = World::new();
    let prod = world.vnet("prod");
    let refusing = world.free_in(&prod, 10);
    let silent = world.free_in(&prod, 11);
    let _queue = FullQueue::at(silent);
    let denied = habits::echo(world.free_in(&prod, 12));
    let hanging = habits::hangs(world.free_in(&prod, 13));
    let (wrong_code, code) = habits::http(world.free_in(&prod, 14), "hello");
    code.store(500, Ordering::SeqCst);
    let (wrong_body, _) = habits::http(world.free_in(&prod, 15), "hello");
    let babbling = habits::banner(world.free_in(&prod, 16), "220 this is no HTTP\r\n\r\n");
    let service = |name: &str, monitor: &str, at| Service::tcp(name).monitor(monitor).origin(&prod, at);
    let nowhere = Service::tcp("nowhere").monitor("tcp").target(Some("prod"), "10.7.0.200:1");
    let lost = Service::tcp("lost").monitor("tcp").target(Some("prod"), "10.8.0.1:80");
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&prod])
        .raw("[[connector]]\nname = \"dc2\"\nroutes = [{ vnet = \"prod\", cidr = \"10.8.0.0/24\" }]")
        .tcp_monitor("tcp")
        .http_monitor("web", "")
        .http_monitor("greets", "expected_body = \"welcome\"")
        .service(&service("refusing", "tcp", refusing))
        .service(&service("silent", "tcp", silent))
        .service(&service("denied", "tcp", denied.address()))
        .service(&service("hanging", "web", hanging.address()))
        .service(&service("code", "web", wrong_code.address()))
        .service(&service("body", "greets", wrong_body.address()))
        .service(&service("babbling", "web", babbling.address()))
        .service(&nowhere)
        .service(&lost)
        .start();
    let hosts = [10, 11, 13, 14, 15, 16, 200].map(|host| format!("{}/32:*", world.free_in(&prod, host).ip()));
    let file = world.connector("dc1").serve(&prod).allow_nothing_yet();
    let _dc1 = hosts.iter().fold(file, |file, host| file.allow(host)).start(&[&edge]);

    edge.wait_reason("refusing-1", "connect_refused");
    edge.wait_reason("silent-1", "connect_timeout");
    edge.wait_reason("denied-1", "policy_denied");
    edge.wait_reason("hanging-1", "http_timeout");
    edge.wait_reason("code-1", "code_mismatch");
    edge.wait_reason("body-1", "body_mismatch");
    edge.wait_reason("babbling-1", "http_invalid");
    edge.wait_reason("nowhere-1", "connect_refused");
    // A VNet's address without a live route has no path to blame.
    edge.wait_health("lost-1", "unhealthy");
    assert_eq!(denied.accepted(), 0, "the connector must not even dial it");
    for (origin, words) in [
        ("refusing-1", "refused"),
        ("silent-1", ""),
        ("denied-1", "allow list"),
        ("hanging-1", "no answer within 180ms"),
        ("code-1", "code 500"),
        ("body-1", "the expected text is not in"),
        ("babbling-1", ""),
        ("nowhere-1", "refused"),
        ("lost-1", "no link that serves it is up"),
    ] {
        let detail = edge.detail(origin);
        assert!(!detail.is_empty() && detail.contains(words), "{origin}: {detail}");
    }
    let _ = edge.process.wait_log(&["path is unhealthy", "code_mismatch", "code 500"]);

    code.store(204, Ordering::SeqCst);
    edge.wait_health("code-1", "healthy");
}

#[test]
fn a_tcp_monitor_judges_what_it_is_answered() {
    let world = World::new();
    let prod = world.vnet("prod");
    let redis = servers::redis(&world, world.free_in(&prod, 10));
    let greets = habits::banner(world.free_in(&prod, 11), "220 ready\r\n");
    let hanging = habits::hangs(world.free_in(&prod, 12));
    let service = |name: &str, monitor: &str, at| Service::tcp(name).monitor(monitor).origin(&prod, at);
    let monitor = |name: &str, lines: &str| {
        format!("[[monitor]]\nname = \"{name}\"\ntype = \"tcp\"\ninterval = \"200ms\"\nconsecutive_up = 1\n{lines}")
    };
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&prod])
        .raw(&monitor("ping", "send = \"PING\\r\\n\"\nexpect = \"+PONG\""))
        .raw(&monitor("greeted", "expect = \"220 \""))
        .service(&service("redis", "ping", redis.address))
        .service(&service("mail", "greeted", greets.address()))
        .service(&service("other", "ping", greets.address()))
        .service(&service("silent", "greeted", hanging.address()))
        .start();
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);

    edge.wait_health("redis-1", "healthy");
    edge.wait_health("mail-1", "healthy");
    edge.wait_reason("other-1", "body_mismatch");
    edge.wait_reason("silent-1", "body_mismatch");
    let mut cli = servers::redis_client("redis-cli", redis.address);
    cli.args(["CONFIG", "SET", "requirepass", "secret"]);
    assert_eq!(process::run(cli, SOON).ok().out.trim(), "OK");
    edge.wait_reason("redis-1", "body_mismatch");
    let mut cli = servers::redis_client("redis-cli", redis.address);
    cli.args(["--no-auth-warning", "-a", "secret", "CONFIG", "SET", "requirepass", ""]);
    assert_eq!(process::run(cli, SOON).ok().out.trim(), "OK");
    edge.wait_health("redis-1", "healthy");
}

#[test]
fn a_probe_speaks_what_requests_would_speak() {
    let world = World::new();
    let server = servers::nginx_h2c(&world, world.free(), "web-1");
    let pool = |name: &str, lines: &str| Service::tcp(name).monitor("web").pool(lines).direct(server.address);
    let edge = world
        .edge("edge-1")
        .http_monitor("web", "path = \"/who\"\nexpected_body = \"web-1\"")
        .service(&pool("h2c", "upstream = \"h2c\""))
        .service(&pool("http1", ""))
        .start();
    edge.wait_health("h2c-1", "healthy");
    edge.wait_reason("http1-1", "http_invalid");
}

#[test]
fn a_path_tells_its_times_and_an_origin_its_paths() {
    let world = World::new();
    let prod = world.vnet("prod");
    let (web, _) = habits::http(world.free_in(&prod, 10), "hello");
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&prod])
        .http_monitor("web", "path = \"/healthz\"")
        .service(&Service::tcp("web").monitor("web").origin(&prod, web.address()))
        .start();
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);

    wait::soon_true("both paths to be healthy", || {
        let origin = edge.origin("web-1").unwrap_or_default();
        origin["paths"].as_array().is_some_and(|p| p.len() == 2 && p.iter().all(|p| p["health"] == "healthy"))
    });
    let origin = edge.origin("web-1").expect("it is shown");
    assert_eq!(origin["address"], prod.inside(web.address()));
    assert_eq!((&origin["pool"], &origin["vnet"]), (&"web".into(), &"prod".into()));
    for path in origin["paths"].as_array().expect("a list") {
        assert_eq!(path["connector"], "dc1");
        assert!(path["rtt_ms"].as_f64().is_some_and(|ms| ms > 0.0 && ms < 1000.0), "{path}");
        assert!(path["stages_ms"]["first_byte"].as_f64().is_some(), "{path}");
        assert!(path["reason"].is_null(), "{path}");
        assert!(path["checked_at"].as_str().is_some_and(|at| at.starts_with("20")), "{path}");
    }
}

#[test]
fn a_lost_link_takes_its_paths_out_at_once() {
    let world = World::new();
    let prod = world.vnet("prod");
    let named = habits::names_itself(world.free_in(&prod, 10), "here");
    // A monitor that would need minutes to find out by itself.
    let slow = "[[monitor]]\nname = \"slow\"\ntype = \"tcp\"\ninterval = \"60s\"\nconsecutive_down = 5\njitter = 0.0";
    let service = Service::tcp("who").monitor("slow").origin(&prod, named.address());
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).raw(slow).service(&service).start();
    let mut dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    edge.wait_health("who-1", "healthy");

    dc1.process.kill();
    wait::until("the origin to be unhealthy", Duration::from_secs(5), || {
        edge.origin("who-1").filter(|origin| origin["health"] == "unhealthy")
    });
    dc1.restart();
    edge.wait_links("dc1", 2);
    wait::until("one good probe to re-admit it", Duration::from_secs(5), || {
        edge.origin("who-1").filter(|origin| origin["health"] == "healthy")
    });
    assert_eq!(client::listen_to(edge.listener("who")).expect("it serves"), "here");
}

#[test]
fn live_traffic_that_cannot_connect_counts_against_an_origin() {
    let world = World::new();
    let prod = world.vnet("prod");
    let mut first = habits::names_itself(world.free_in(&prod, 10), "first");
    let second = habits::names_itself(world.free_in(&prod, 11), "second");
    let slow = "[[monitor]]\nname = \"slow\"\ntype = \"tcp\"\ninterval = \"60s\"\njitter = 0.0";
    let service = Service::tcp("who")
        .monitor("slow")
        .pool("steering = \"round_robin\"")
        .origin(&prod, first.address())
        .origin(&prod, second.address());
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).raw(slow).service(&service).start();
    let _dc1 = world.connector("dc1").serve(&prod).links_per_edge(1).start(&[&edge]);
    edge.wait_health("who-1", "healthy");
    edge.wait_health("who-2", "healthy");

    first.stop();
    for _ in 0..20 {
        assert_eq!(client::listen_to(edge.listener("who")).expect("placed again"), "second");
    }
    edge.wait_reason("who-1", "passive_failures");
}

#[test]
fn an_origin_that_serves_only_who_is_connected_is_found_out() {
    let world = World::new();
    let (mut anew, _) = habits::http(world.free(), "anew");
    let (mut kept, _) = habits::http(world.free(), "kept");
    let (good, _) = habits::http(world.free(), "good");
    let service = |name: &str, at| {
        let service = Service::tcp(name).monitor(name).pool("steering = \"round_robin\"");
        service.direct(at).direct(good.address())
    };
    let edge = world
        .edge("edge-1")
        .http_monitor("anew", "")
        .http_monitor("kept", "keep_alive = true")
        .service(&service("anew", anew.address()))
        .service(&service("kept", kept.address()))
        .start();
    for origin in ["anew-1", "anew-2", "kept-1", "kept-2"] {
        edge.wait_health(origin, "healthy");
    }
    anew.refuse_new();
    kept.refuse_new();
    edge.wait_reason("anew-1", "connect_refused");
    // The kept connection goes on saying that all is well; live traffic knows better.
    for _ in 0..12 {
        let mut curl = command("curl");
        curl.args(["-sS", "--max-time", "5", &format!("http://{}/", edge.listener("kept"))]);
        assert_eq!(process::run(curl, SOON).ok().out, "good");
    }
    edge.wait_health("kept-1", "unhealthy");
    wait::always("the origin stays out", Duration::from_secs(2), || {
        edge.origin("kept-1").is_none_or(|origin| origin["health"] == "unhealthy")
    });
    kept.resume();
    edge.wait_health("kept-1", "healthy");
}

#[test]
fn a_direct_origin_is_probed_too() {
    let world = World::new();
    let mut origin = habits::echo(world.free());
    let service = Service::tcp("echo").monitor("tcp").direct(origin.address());
    let edge = world.edge("edge-1").tcp_monitor("tcp").service(&service).start();

    edge.wait_health("echo-1", "healthy");
    origin.stop();
    edge.wait_reason("echo-1", "connect_refused");
    origin.resume();
    edge.wait_health("echo-1", "healthy");
}

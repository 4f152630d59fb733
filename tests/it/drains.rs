//! `underpass drain` and `undrain`: what is drained takes nothing new and loses nothing, under load and over restarts.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;
use underpass_tests::harness::{
    Edge, Origin, Ran, Service, World, client,
    datagrams::{Right, SteadyUdp, UdpClient, UdpOrigin},
    disk::SmallDisk,
    load::{self, Load, LongFlow},
    origin::habits,
    process::Signal,
    wait::{self, SOON},
};

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A client of HTTP that asks one question after the other over a connection that it keeps.
struct Asking {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<String>>>,
    asks: JoinHandle<Result<(), String>>,
}

impl Asking {
    fn start(at: SocketAddr) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stopped, told) = (stop.clone(), seen.clone());
        let asks = thread::spawn(move || {
            let mut kept = client::http::Connection::open(at, SOON).map_err(|error| error.to_string())?;
            while !stopped.load(Ordering::Relaxed) {
                let answer = kept.exchange(ASK).map_err(|error| error.to_string())?;
                if answer.code != 200 {
                    return Err(format!("{answer:?}"));
                }
                told.lock().expect("no panic").push(answer.body);
            }
            Ok(())
        });
        Self { stop, seen, asks }
    }

    /// Who has answered since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().expect("no panic"))
    }

    /// Waits until so many more were answered; who they were by.
    fn next(&self, more: usize) -> Vec<String> {
        let _ = self.take();
        wait::soon_true("more answers", || {
            self.seen.lock().expect("no panic").len() >= more || self.asks.is_finished()
        });
        self.take()
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.asks.join().expect("no panic").expect("every question is answered");
    }
}

fn drain(edge: &Edge, arguments: &[&str]) -> Ran {
    edge.command(&[&["drain"], arguments].concat())
}

fn undrain(edge: &Edge, arguments: &[&str]) -> Ran {
    edge.command(&[&["undrain"], arguments].concat())
}

fn find(edge: &Edge, list: &str, (key, name): (&str, &str)) -> Option<Value> {
    edge.try_status()?[list].as_array()?.iter().find(|item| item[key] == name).cloned()
}

/// Who answers new connections.
fn answers(at: SocketAddr, count: usize) -> Vec<String> {
    (0..count).map(|_| client::listen_to(at).expect("it listens")).collect()
}

fn any(seen: &[String], name: &str) -> bool {
    seen.iter().any(|seen| seen == name)
}

fn write(edge: &Edge, text: &str) {
    fs::write(&edge.file.path, text).expect("writable");
    let version = edge.status()["catalog_version"].as_u64();
    edge.process.signal(Signal::HUP);
    wait::soon_true("the reload", || edge.status()["catalog_version"].as_u64() > version);
}

/// An edge and a connector with two origins for each of TCP, HTTP and UDP.
struct Stand {
    edge: Edge,
    _dc1: underpass_tests::harness::Connector,
    _tcp: [Origin; 2],
    _http: [Origin; 2],
    _udp: [UdpOrigin; 2],
}

fn stand(world: &World) -> Stand {
    let prod = world.vnet("prod");
    let at = |host| world.free_in(&prod, host);
    let names = ["one", "two"];
    let tcp = [10, 11].map(|host| habits::names_itself(at(host), names[host as usize - 10]));
    let http = [10, 11].map(|host| habits::http(at(host), names[host as usize - 10]).0);
    let udp = [10, 11].map(|host| UdpOrigin::names_itself(at(host), names[host as usize - 10]));
    let both = |service: Service, all: [SocketAddr; 2]| {
        all.into_iter().fold(service, |service, at| service.origin(&prod, at)).pool("steering = \"round_robin\"")
    };
    let services = [
        both(Service::tcp("tcp"), [tcp[0].address(), tcp[1].address()]),
        both(Service::http("http"), [http[0].address(), http[1].address()]),
        both(Service::udp("udp").listener("idle_timeout = \"1s\""), [udp[0].address(), udp[1].address()]),
    ];
    let (edge, dc1) = world.stand(&prod, &services.each_ref());
    Stand { edge, _dc1: dc1, _tcp: tcp, _http: http, _udp: udp }
}

/// Who answers new sessions.
fn sessions(at: SocketAddr, count: usize) -> Vec<String> {
    let ask = |_| String::from_utf8(UdpClient::new(at).ask(b"who")).expect("a name");
    (0..count).map(ask).collect()
}

#[test]
fn one_of_two_origins_empties_and_nothing_is_lost() {
    let world = World::new();
    let Stand { edge, .. } = &stand(&world);
    let load = Load::start(edge.listener("tcp"), 4, Duration::from_millis(5));
    let asking = [Asking::start(edge.listener("http")), Asking::start(edge.listener("http"))];
    load.wait_for(50);
    let seen = sessions(edge.listener("udp"), 4);
    assert!(any(&seen, "one") && any(&seen, "two"), "{seen:?}");

    // Sessions idle out, so theirs comes first.
    let drained: Vec<Ran> = ["udp/udp-1", "tcp/tcp-1", "http/http-1"]
        .into_iter()
        .map(|origin| {
            drain(edge, &["origin", origin, "--wait"]).ok().says(&["is drained: it takes nothing new", "is empty"])
        })
        .collect();
    assert!(drained[0].out.contains(" left, the oldest "), "{}", drained[0].out);
    let empty = load.now();
    load.wait_for(50);
    let still = load.now();
    for asking in &asking {
        assert!(!any(&asking.next(50), "one"));
    }
    assert!(!any(&sessions(edge.listener("udp"), 6), "one"));
    for origin in ["tcp-1", "http-1", "udp-1"] {
        let found = edge.origin(origin).expect("there");
        assert_eq!((&found["flows"], &found["drain"]["by"]), (&0.into(), &"api".into()), "{found}");
    }

    for origin in ["tcp/tcp-1", "http/http-1", "udp/udp-1"] {
        let _ = undrain(edge, &["origin", origin]).ok().says(&["takes new flows again"]);
    }
    wait::soon_true("it to take new flows again", || any(&answers(edge.listener("tcp"), 4), "one"));
    wait::soon_true("it to take requests again", || any(&asking[0].next(10), "one"));
    assert!(any(&sessions(edge.listener("udp"), 6), "one"));
    asking.into_iter().for_each(Asking::end);
    let samples = load.stop();
    load::holds(&samples, None);
    let meanwhile = samples.iter().filter(|sample| sample.began > empty && sample.ended < still);
    let by: Vec<_> = meanwhile.filter_map(|sample| Some(sample.placed.as_ref()?.origin.clone())).collect();
    assert!(by.len() > 20 && !any(&by, "one"), "{by:?}");
}

#[test]
fn what_flows_goes_on_and_the_wait_says_how_much_is_left() {
    let world = World::new();
    let prod = world.vnet("prod");
    let (origin, udp) = (habits::echo(world.free_in(&prod, 10)), UdpOrigin::echo(world.free_in(&prod, 10)));
    let services = [
        Service::tcp("echo").origin(&prod, origin.address()),
        Service::udp("dns").origin(&prod, udp.address()).listener("idle_timeout = \"30s\""),
    ];
    let (edge, _dc1) = world.stand(&prod, &services.each_ref());
    let flow = LongFlow::start(edge.listener("echo"), 1).expect("a flow");
    let session = SteadyUdp::start(UdpClient::new(edge.listener("dns")), Right::Echo);
    session.wait_for(10);
    for (what, name) in [("pool", "echo"), ("origin", "echo/echo-1"), ("load-balancer", "echo"), ("pool", "dns")] {
        let waited = drain(&edge, &[what, name, "--wait", "--timeout", "1s"]).exited(1);
        let waited = waited.says(&["still has 1 flow after 1s; it stays drained", "1 flow left, the oldest ", "B/s"]);
        assert!(waited.took < Duration::from_secs(6), "{waited:?}");
    }
    let json = drain(&edge, &["origin", "echo/echo-1", "--wait", "--timeout", "1s", "--json"]).exited(1);
    let lines: Vec<Value> = json.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&lines[0]["changed"], &lines[1]["flows"]), (&false.into(), &1.into()), "{lines:?}");
    assert!(
        lines.last().is_some_and(|last| last["bytes_per_second"].as_f64().is_some_and(|rate| rate > 1e3)),
        "{lines:?}"
    );
    assert!(client::exchange(edge.listener("echo"), b"new").is_err(), "nothing new is placed");
    session.wait_for(20);
    load::holds(&session.stop(Duration::ZERO), None);

    // An origin that has left the file is waited for as well.
    let text = edge.file.text();
    let (before, after) = text.split_once("[[pool.origin]]\nname = \"echo-1\"").expect("it is there");
    let gone = format!("{before}[[pool.origin]]\nname = \"echo-2\"{after}");
    write(&edge, &gone);
    let _ = edge.process.wait_log(&["forgotten", "origin echo/echo-1"]);
    let removed = drain(&edge, &["origin", "echo/echo-1", "--wait", "--timeout", "1s"]).exited(1);
    let _ = removed.says(&["is not in the edge's settings any more: it takes nothing new", "still has 1 flow"]);
    assert!(flow.stop().expect("nothing broke it") > 0);
    wait::soon_true("it to be empty", || drain(&edge, &["origin", "echo/echo-1", "--timeout", "9s"]).code == 1);
    let _ = drain(&edge, &["pool", "echo", "--wait"]).ok().says(&["pool echo is drained already, by ", "is empty"]);
}

#[test]
fn a_drained_connector_is_left_and_its_new_links_are_drained_too() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let file = world.edge("edge-1").grant("dc1", &[&prod]).grant("dc2", &[&prod]).tcp_monitor("tcp");
    let web = habits::http(world.free_in(&prod, 11), "one").0;
    let file = file.service(&Service::tcp("echo").monitor("tcp").origin(&prod, origin.address()));
    let file = file.service(&Service::http("web").origin(&prod, web.address()));
    let edge = file.service(&Service::udp("dns").origin(&prod, origin.address())).start();
    let udp = UdpOrigin::echo(origin.address());
    let mut dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    let flow = LongFlow::start(edge.listener("echo"), 1).expect("a flow");
    let session = SteadyUdp::start(UdpClient::new(edge.listener("dns")), Right::Echo);
    session.wait_for(10);
    let _dc2 = world.connector("dc2").serve(&prod).start(&[&edge]);
    edge.wait_health("echo-1", "healthy");
    let asking = Asking::start(edge.listener("web"));
    assert!(asking.next(20).len() >= 20);
    let _ = drain(&edge, &["connector", "dc1"]).ok();
    assert!(asking.next(20).len() >= 20);
    let by = |_| {
        let explained = edge.command(&["explain", "echo", "--json"]).ok().out;
        serde_json::from_str::<Value>(&explained).expect("JSON")["connector"].clone()
    };
    assert!((0..5).map(by).all(|connector| connector == "dc2"));
    let _ = edge.command(&["explain", "echo"]).ok().says(&[" of dc1 ", "passed over: draining"]);
    let tunnel = edge.tunnel("dc1").expect("there");
    assert_eq!((&tunnel["drain"]["by"], &tunnel["health"]), (&"api".into(), &"healthy".into()), "{tunnel}");
    assert!(tunnel["links"].as_array().is_some_and(|links| links.iter().all(|link| link["state"] == "draining")));
    // The session goes on over the other one; the flow stays where it is.
    session.wait_for(50);
    load::holds(&session.stop(Duration::ZERO), None);
    let waited = drain(&edge, &["connector", "dc1", "--wait", "--timeout", "1s"]).exited(1).says(&["still has 1 flow"]);
    assert!(waited.out.contains("is drained already"), "{waited:?}");
    assert!(flow.stop().expect("nothing broke it") > 0);
    let _ = drain(&edge, &["connector", "dc1", "--wait"]).ok();

    let _ = dc1.process.terminate(SOON);
    dc1.restart();
    edge.wait_links("dc1", 2);
    assert!((0..5).map(by).all(|connector| connector == "dc2"), "its new links are drained, too");
    let _ = undrain(&edge, &["connector", "dc1"]).ok();
    wait::soon_true("it to be used again", || (0..5).map(by).any(|connector| connector == "dc1"));

    assert!(asking.next(20).len() >= 20);
    asking.end();
    let replica = tunnel["links"][0]["replica"].as_str().expect("a name").to_owned();
    let _ = drain(&edge, &["connector", &format!("dc1/{replica}")]).ok();
    assert!((0..5).map(by).all(|connector| connector == "dc2"));
    let shown = edge.command(&["status"]).ok().out;
    assert!(shown.contains("they take nothing new") && shown.contains(&format!("dc1/{replica}")), "{shown}");
    drop(udp);
}

#[test]
fn drains_are_kept_over_restarts_and_a_damaged_file_is_named() {
    let world = World::new();
    let Stand { edge, .. } = &mut stand(&world);
    let _ = drain(edge, &["origin", "tcp/tcp-1"]).ok();
    let _ = drain(edge, &["listener", "http"]).ok();
    edge.crash_and_restart();
    edge.wait_ready();
    edge.wait_links("dc1", 2);
    assert!(!any(&answers(edge.listener("tcp"), 6), "one"));
    assert!(client::connect(edge.listener("http")).is_err(), "it is not listened on");
    let listener = find(edge, "listeners", ("listener", "http")).expect("it is told of");
    assert_eq!((&listener["flows"], &listener["drain"]["by"]), (&0.into(), &"api".into()), "{listener}");
    let named = |name: &&str| std::env::var(name).is_ok();
    let who = ["SUDO_USER", "USER", "LOGNAME"].iter().find(|name| named(name));
    let who = who.map_or_else(|| "uid ".to_owned(), |name| std::env::var(name).expect("found above"));
    let told = edge.origin("tcp-1").expect("there")["drain"]["who"].as_str().map(str::to_owned);
    assert!(told.as_ref().is_some_and(|told| told.starts_with(&who)), "{told:?}");
    let _ = undrain(edge, &["listener", "http"]).ok();
    assert!(client::connect(edge.listener("http")).is_ok(), "at once");

    edge.process.kill();
    let kept = edge.file.state_dir.join("drains.json");
    fs::write(&kept, "{\"drains\":").expect("writable");
    edge.crash_and_restart();
    assert_eq!(edge.process.wait(SOON).code(), Some(1));
    let _ = edge.process.wait_log(&["drains.json is damaged", "remove it if nothing is to stay drained"]);
}

#[test]
fn drains_and_reloads_at_once_lose_neither() {
    let world = World::new();
    let [one, two] = ["one", "two"].map(|name| habits::names_itself(world.free(), name));
    let service = Service::tcp("who").direct(one.address()).direct(two.address());
    let edge = world.edge("edge-1").service(&service).service(&Service::tcp("other").direct(two.address())).start();
    let (load, text) = (Load::start(edge.listener("other"), 2, Duration::from_millis(5)), edge.file.text());
    let drained = || edge.origin("who-1").is_some_and(|origin| origin["drain"].is_object());
    for round in 1..=8_u64 {
        let other = text.replace("name = \"who-2\"", &format!("weight = {round}.0\nname = \"who-2\""));
        fs::write(&edge.file.path, other).expect("writable");
        edge.process.signal(Signal::HUP);
        let _ = drain(&edge, &["origin", "who/who-1"]).ok().says(&["is drained: it takes nothing new"]);
        wait::soon_true("the reload", || edge.status()["catalog_version"] == 2 * round);
        assert!(drained() && !any(&answers(edge.listener("who"), 3), "one"), "round {round}");
        edge.process.signal(Signal::HUP);
        let _ = undrain(&edge, &["origin", "who/who-1"]).ok().says(&["takes new flows again"]);
        assert!(!drained(), "round {round}");
        wait::soon_true("the reload", || edge.status()["catalog_version"] == 2 * round + 1);
    }
    load::holds(&load.stop(), None);
}

#[test]
fn who_is_bound_to_a_drained_origin_stays_for_the_drain_duration() {
    let world = World::new();
    let [one, two] = ["one", "two"].map(|name| habits::names_itself(world.free(), name));
    let bound = |name: &str, duration: &str| {
        let affinity = format!("session_affinity = {{ type = \"source\", drain_duration = \"{duration}\" }}");
        let service = Service::tcp(name).direct(one.address()).direct(two.address());
        service.pool("steering = \"round_robin\"").balancer(&affinity)
    };
    let edge = world.edge("edge-1").service(&bound("long", "1h")).service(&bound("none", "0s")).start();
    let from = |host: u8, service: &str| {
        let stream = client::connect_from(world.source(host), edge.listener(service)).expect("it listens");
        String::from_utf8(client::read_all(&stream).0).expect("a name")
    };
    for service in ["long", "none"] {
        let mut hosts = 20..40;
        let host = hosts.find(|host| from(*host, service) == "one").expect("half of them go there");
        let _ = drain(&edge, &["origin", &format!("{service}/{service}-1")]).ok();
        let stays = if service == "long" { "one" } else { "two" };
        assert!((0..4).all(|_| from(host, service) == stays), "{service}");
        assert!((50..60).all(|host| from(host, service) == "two"), "{service}: new ones go elsewhere");
        let mut command = vec!["explain", service, "--source"];
        let source = world.source(host).ip().to_string();
        command.push(&source);
        let explained = edge.command(&command).ok().out;
        assert!(
            explained.contains(&format!("goes to origin {service}-{}", if stays == "one" { 1 } else { 2 })),
            "{explained}"
        );
    }
    let explained = edge.command(&["explain", "none", "--source", "192.0.2.1"]).ok();
    let _ = explained.says(&["passed over: draining"]);
}

#[test]
fn what_is_not_there_is_told_with_what_is_and_the_files_drains_are_the_files() {
    let world = World::new();
    let Stand { edge, .. } = &stand(&world);
    for (arguments, words) in [
        (&["origin", "tcp/tpc-1"][..], "there is no origin \"tcp/tpc-1\"; did you mean \"tcp/tcp-1\""),
        (&["origin", "tcp-1"], "POOL/ORIGIN"),
        (&["pool", "https"], "did you mean \"http\""),
        (&["load-balancer", "x"], "there is no load balancer \"x\"; known: \"http\", \"tcp\", \"udp\""),
        (&["listener", "x"], "there is no listener \"x\"; known: "),
        (&["connector", "dc2"], "there is no connector \"dc2\"; did you mean \"dc1\""),
        (&["connector", "dc1/x"], "there is no connector \"dc1/x\""),
        (&["pool", "A B"], "is no name"),
    ] {
        for ran in [drain(edge, arguments), undrain(edge, arguments)] {
            assert!(ran.code == 1 && ran.err.contains(words), "{arguments:?}: {ran:?}");
        }
    }
    assert_eq!(drain(edge, &["route", "x"]).code, 2);
    let _ = undrain(edge, &["pool", "tcp"]).ok().says(&["pool tcp was not drained"]);
    let refused = world.underpass(&["drain", "pool", "tcp", "--admin", &edge.file.admin.to_string()]);
    assert_eq!(refused.code, 4, "{refused:?}");

    let text = edge.file.text();
    let said = text.replace("[[pool]]\nname = \"tcp\"", "[[pool]]\nname = \"tcp\"\ndrain = true");
    let said = said.replace("name = \"http-1\"", "name = \"http-1\"\ndrain = true");
    let said = said.replace("[[listener]]\nname = \"udp\"", "[[listener]]\nname = \"udp\"\ndrain = true");
    write(edge, &said);
    let _ = edge.process.wait_log(&["catalog in force", "drain unset → true"]);
    assert!(client::listen_to(edge.listener("tcp")).map_or(true, |name| name.is_empty()), "nothing serves");
    let pool = find(edge, "pools", ("pool", "tcp")).expect("there");
    assert_eq!(pool["drain"]["by"], "file", "{pool}");
    let _ = undrain(edge, &["pool", "tcp"]).exited(1).says(&["drained by the settings (drain = true)"]);
    let _ = drain(edge, &["pool", "tcp"]).ok().says(&["is drained already, by the edge's settings, since "]);
    let asking = Asking::start(edge.listener("http"));
    assert!(!any(&asking.next(20), "one"));
    let client = UdpClient::new(edge.listener("udp"));
    client.send(b"who");
    assert_eq!(client.receive(Duration::from_millis(300)), None);
    write(edge, &text);
    assert!(any(&asking.next(20), "one"));
    asking.end();
    assert!(any(&sessions(edge.listener("udp"), 4), "one"));
    assert!(any(&answers(edge.listener("tcp"), 4), "one"));
}

fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(ASK).expect("it takes it");
    let mut answer = vec![0; 4096];
    let mut len = 0;
    while !answer[..len].ends_with(b"one") {
        match stream.read(&mut answer[len..]).expect("it answers") {
            0 => panic!("it ends before its answer"),
            more => len += more,
        }
    }
    String::from_utf8_lossy(&answer[..len]).to_ascii_lowercase()
}

#[test]
fn a_drained_listener_closes_its_socket_and_sends_nobody_away_in_the_middle() {
    let world = World::new();
    let (echo, web) = (habits::echo(world.free()), habits::http(world.free(), "one").0);
    let file = world.edge("edge-1").service(&Service::tcp("echo").direct(echo.address()));
    let edge = file.service(&Service::http("web").direct(web.address())).start();
    let flow = client::connect(edge.listener("echo")).expect("it listens");
    client::ping(&flow, b"hello").expect("it echoes");
    let asking = Asking::start(edge.listener("web"));
    assert!(asking.next(10).len() >= 10);
    let _ = drain(&edge, &["listener", "echo"]).ok();
    assert!(client::connect(edge.listener("echo")).is_err(), "nobody listens there");
    client::ping(&flow, b"still").expect("it goes on");
    let _ = drain(&edge, &["listener", "echo", "--wait", "--timeout", "1s"]).exited(1).says(&["still has 1 flow"]);
    let _ =
        edge.command(&["explain", "echo"]).ok().says(&["passed over: draining", "the listener accepts nothing new"]);
    drop(flow);
    let _ = drain(&edge, &["listener", "echo", "--wait"]).ok().says(&["listener echo is empty"]);
    // Somebody else may have the address by then.
    let taken = wait::soon("the address", || TcpListener::bind(edge.listener("echo")).ok());
    let refused = undrain(&edge, &["listener", "echo"]).exited(1).says(&["answered 409: listener echo: "]);
    assert!(refused.err.contains("in use"), "{refused:?}");
    assert!(find(&edge, "listeners", ("listener", "echo")).is_some_and(|listener| listener["drain"].is_object()));
    drop(taken);
    let _ = undrain(&edge, &["listener", "echo"]).ok();
    assert_eq!(client::exchange(edge.listener("echo"), b"again").expect("it listens"), b"again");
    asking.end();

    // Connections that are kept are told to go with an answer, so none of their requests is lost.
    let mut kept: Vec<_> = (0..4).map(|_| client::connect(edge.listener("web")).expect("it listens")).collect();
    assert!(kept.iter_mut().all(|kept| !ask(kept).contains("connection: close")));
    let until_told =
        |mut kept: TcpStream| thread::spawn(move || while !ask(&mut kept).contains("connection: close") {});
    let told: Vec<_> = kept.into_iter().map(until_told).collect();
    let idle = client::connect(edge.listener("web")).expect("it listens");
    let _ = drain(&edge, &["listener", "web", "--wait"]).ok();
    told.into_iter().for_each(|told| told.join().expect("every request is answered"));
    assert_eq!(client::read_all(&idle).0, b"", "nobody waits for it");
    assert!(client::connect(edge.listener("web")).is_err());
    let _ = undrain(&edge, &["listener", "web"]).ok();
    Asking::start(edge.listener("web")).end();
}

#[test]
fn a_drained_load_balancer_answers_requests_itself() {
    let world = World::new();
    let web = habits::http(world.free(), "one").0;
    let edge = world.edge("edge-1").service(&Service::http("web").direct(web.address())).start();
    let at = edge.listener("web");
    let _ = drain(&edge, &["load-balancer", "web", "--wait"]).ok();
    let answer = client::http::ask(at, SOON, ("GET", "/", "")).expect("an answer");
    assert_eq!((answer.code, answer.body.contains("draining")), (503, false), "{answer:?}");
    let told = ["access", "reason=\"no_place\"", "the load balancer takes nothing new: it is drained"];
    let _ = edge.process.wait_log(&told);
    assert!(edge.metrics().contains("underpass_drained 1"));
    let explained = edge.command(&["explain", "web"]).ok();
    let _ = explained.says(&["passed over: draining", "the load balancer takes nothing new: it is drained"]);
    let _ = undrain(&edge, &["load-balancer", "web"]).ok();
    assert_eq!(client::http::ask(at, SOON, ("GET", "/", "")).expect("an answer").code, 200);
}

#[test]
fn connections_to_a_drained_origin_are_closed_once_idle() {
    let world = World::new();
    let [one, two] = ["one", "two"].map(|name| habits::http(world.free(), name).0);
    let service = Service::http("web").direct(one.address()).direct(two.address());
    let service = service.pool("upstream_idle_timeout = \"1h\"\nsteering = \"round_robin\"");
    let edge = world.edge("edge-1").service(&service).start();
    let asking = Asking::start(edge.listener("web"));
    assert!(any(&asking.next(20), "one"));
    let _ = drain(&edge, &["origin", "web/web-1", "--wait"]).ok();
    wait::soon_true("every connection there to have ended", || one.endings().len() == one.accepted());
    assert!(any(&asking.next(20), "two"));
    asking.end();
    assert!(two.endings().len() < two.accepted(), "the other keeps its own");
}

#[test]
fn a_drain_that_cannot_be_recorded_holds_and_says_so() {
    let world = World::new();
    let disk = SmallDisk::mount(&world, "small");
    let [one, two] = ["one", "two"].map(|name| habits::names_itself(world.free(), name));
    let file = world.edge("edge-1").state_in(&disk.path.join("state"));
    let file = file.service(&Service::tcp("who").direct(one.address()).direct(two.address()));
    let edge = file.start();
    disk.fill();
    let failed = drain(&edge, &["origin", "who/who-1"]).exited(1);
    let _ =
        failed.says(&["in force, but could not be recorded", "a restart of this edge would undo it", "drains.json"]);
    assert!(!any(&answers(edge.listener("who"), 8), "one"));
    disk.empty();
    let _ = drain(&edge, &["origin", "who/who-1"]).ok().says(&["is drained already"]);
    assert!(edge.file.state_dir.join("drains.json").exists());
}

#[test]
fn drains_are_asked_for_over_the_admin_endpoint_as_well() {
    let world = World::new();
    let Stand { edge, .. } = &stand(&world);
    let token = fs::read_to_string(edge.file.state_dir.join("admin.token")).expect("it is there");
    let body = "{\"kind\":\"pool\",\"name\":\"tcp\",\"who\":\"a script\"}";
    let ask = |method: &str, query: &str, body: &str| {
        let fields = format!("Authorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}", token.trim(), body.len());
        let request = format!("{method} /api/v1/drains{query} HTTP/1.0\r\nHost: localhost\r\n{fields}");
        let mut kept = client::http::Connection::open(edge.file.admin, SOON).expect("it listens");
        let answer = kept.exchange(request.as_bytes()).expect("an answer");
        (answer.code, serde_json::from_str::<Value>(&answer.body).unwrap_or_default())
    };
    let (code, done) = ask("POST", "", body);
    assert_eq!((code, &done["changed"], &done["drain"]["who"]), (200, &true.into(), &"a script".into()), "{done}");
    assert_eq!(ask("POST", "", body).1["changed"], false, "two are one");
    let (_, all) = ask("GET", "", "");
    assert_eq!((&all["drains"][0]["kind"], &all["drains"][0]["name"]), (&"pool".into(), &"tcp".into()), "{all}");
    let (_, left) = ask("GET", "?kind=pool&name=tcp&sample_ms=10", "");
    assert_eq!((&left["flows"], &left["removed"]), (&0.into(), &false.into()), "{left}");
    assert_eq!(ask("GET", "?kind=pool&name=x", "").0, 404);
    assert_eq!(ask("POST", "", "{").0, 400);
    assert_eq!(ask("DELETE", "?kind=pool&name=tcp", "").1["changed"], true);
    assert_eq!(ask("GET", "", "").1["drains"], Value::Array(Vec::new()));
    let without = underpass_tests::harness::http::ask(edge.file.admin, "POST", "/api/v1/drains?kind=pool&name=tcp", "");
    assert_eq!(without.map(|answer| answer.code), Some(401));
}

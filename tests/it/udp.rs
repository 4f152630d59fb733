//! UDP through an edge and a connector: sizes, sessions, moves, bounds, monitors, and real software.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use underpass_tests::harness::{
    Edge, Service, World,
    client::Pattern,
    datagrams::{Right, SteadyUdp, UdpClient, UdpOrigin},
    load,
    origin::servers,
    process::{self, Signal, command},
    wait::{self, SOON},
};

const LARGEST: usize = 65_507;
/// A session goes on elsewhere within this time of its path's death.
const MOVED_WITHIN: Duration = Duration::from_secs(1);

fn flows(edge: &Edge, listener: &str) -> Option<u64> {
    let status = edge.try_status()?;
    let found = status["listeners"].as_array()?.iter().find(|l| l["listener"] == listener)?.clone();
    found["flows"].as_u64()
}

fn counted(edge: &Edge, metric: &str, part: &str) -> u64 {
    let metrics = edge.metrics();
    let line = metrics.lines().find(|line| line.starts_with(metric) && line.contains(part));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn udp_payloads_of_every_size_come_and_go_unharmed() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = UdpOrigin::echo(world.free_in(&prod, 10));
    let (edge, _dc1) = world.stand(&prod, &[&Service::udp("echo").origin(&prod, origin.address())]);
    let client = UdpClient::new(edge.listener("echo"));

    let classes = [0, 1, 2, 1_191, 1_192, 1_193, 1_199, 1_200, 1_201, 1_452, 1_472, 1_473, 6_400, 6_500, 8_192, 65_506];
    let sweep = (0..LARGEST).step_by(1_499);
    for size in classes.into_iter().chain([LARGEST]).chain(sweep) {
        let payload = Pattern::new(size as u64).bytes(size);
        client.send(&payload);
        let back = client.receive(SOON).unwrap_or_else(|| panic!("{size} bytes do not come back"));
        assert!(back == payload, "{size} bytes come back changed");
    }
    assert_eq!(origin.sources(), 1, "one session is one source at the origin");
    assert_eq!(flows(&edge, "echo"), Some(1));
    let metrics = edge.metrics();
    let mut dropped = metrics.lines().filter(|line| line.starts_with("underpass_datagrams_dropped_total{"));
    assert!(dropped.all(|line| line.ends_with(" 0")), "nothing was dropped");
}

#[test]
fn udp_the_first_payload_may_be_of_any_size() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = UdpOrigin::echo(world.free_in(&prod, 10));
    let (edge, _dc1) = world.stand(&prod, &[&Service::udp("echo").origin(&prod, origin.address())]);
    for size in [0, 1, 1_200, 1_201, 9_000, LARGEST] {
        let payload = Pattern::new(size as u64).bytes(size);
        let client = UdpClient::new(edge.listener("echo"));
        client.send(&payload);
        assert!(client.receive(SOON).is_some_and(|back| back == payload), "{size} bytes");
    }
}

#[test]
fn udp_payloads_that_come_in_a_burst_before_the_reply_are_all_delivered() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = UdpOrigin::echo(world.free_in(&prod, 10));
    let (edge, _dc1) = world.stand(&prod, &[&Service::udp("echo").origin(&prod, origin.address())]);
    let client = UdpClient::new(edge.listener("echo"));
    (0..30_u8).for_each(|number| client.send(&[number; 100]));
    let mut back: Vec<u8> = (0..30).map(|_| client.receive(SOON).expect("each comes back")[0]).collect();
    back.sort_unstable();
    assert_eq!(back, (0..30).collect::<Vec<u8>>());
}

#[test]
fn udp_a_client_that_changes_its_port_is_a_new_session_and_the_old_one_stays() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = UdpOrigin::echo(world.free_in(&prod, 10));
    let (edge, _dc1) = world.stand(&prod, &[&Service::udp("echo").origin(&prod, origin.address())]);
    let (before, after) = (UdpClient::new(edge.listener("echo")), UdpClient::new(edge.listener("echo")));
    assert_eq!(before.ask(b"before"), b"before");
    assert_eq!(after.ask(b"after"), b"after");
    assert_eq!(before.ask(b"again"), b"again");
    assert_eq!(origin.sources(), 2);
    assert_eq!(flows(&edge, "echo"), Some(2));
}

#[test]
fn udp_origins_that_are_reached_directly_work_too() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = UdpOrigin::echo(world.free());
    let (edge, _dc1) = world.stand(&prod, &[&Service::udp("echo").direct(origin.address())]);
    let client = UdpClient::new(edge.listener("echo"));
    for size in [0, 1, 1_472, LARGEST] {
        let payload = Pattern::new(7).bytes(size);
        client.send(&payload);
        let back = client.receive(Duration::from_secs(2));
        assert!(back.is_some_and(|back| back == payload), "{size} bytes");
    }
}

#[test]
fn udp_a_session_moves_to_another_connector_within_a_second_of_a_kill() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = UdpOrigin::echo(world.free_in(&prod, 10));
    let service = Service::udp("echo").origin(&prod, origin.address());
    let edge = world.edge("edge-1").grant_replicas("dc1", 2, &[&prod]).service(&service).start();
    let mut victim = world.connector("dc1").serve(&prod).start(&[&edge]);
    let steady = SteadyUdp::start(UdpClient::new(edge.listener("echo")), Right::Echo);
    steady.wait_for(20);
    let _survivor = world.connector("dc1").serve(&prod).start(&[&edge]);

    let death = steady.now();
    victim.process.kill();
    steady.wait_for(100);

    load::holds(&steady.stop(death), Some(MOVED_WITHIN));
    assert_eq!(counted(&edge, "underpass_sessions_moved_total", "echo"), 1);
    assert_eq!(origin.sources(), 2, "the same origin, from another connector");
}

#[test]
fn udp_a_session_leaves_a_connector_that_leaves() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = UdpOrigin::echo(world.free_in(&prod, 10));
    let service = Service::udp("echo").origin(&prod, origin.address());
    let edge = world.edge("edge-1").grant_replicas("dc1", 2, &[&prod]).service(&service).start();
    let mut leaver = world.connector("dc1").serve(&prod).start(&[&edge]);
    let steady = SteadyUdp::start(UdpClient::new(edge.listener("echo")), Right::Echo);
    steady.wait_for(20);
    let _stayer = world.connector("dc1").serve(&prod).start(&[&edge]);

    let leaving = steady.now();
    leaver.process.signal(Signal::TERM);
    assert!(leaver.process.wait(SOON).success(), "it need not wait for its grace period");
    steady.wait_for(50);

    load::holds(&steady.stop(leaving), Some(MOVED_WITHIN));
}

#[test]
fn udp_a_session_outlives_its_only_connector() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = UdpOrigin::echo(world.free_in(&prod, 10));
    let (edge, mut dc1) = world.stand(&prod, &[&Service::udp("echo").origin(&prod, origin.address())]);
    let client = UdpClient::new(edge.listener("echo"));
    assert_eq!(client.ask(b"before"), b"before");
    dc1.process.kill();
    dc1.restart();
    assert_eq!(client.ask(b"after"), b"after");
    assert_eq!(client.ask(b"and on"), b"and on");
}

#[test]
fn udp_an_idle_session_ends_and_is_told_in_one_line() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = UdpOrigin::echo(world.free_in(&prod, 10));
    let service = Service::udp("echo").listener("idle_timeout = \"1s\"").origin(&prod, origin.address());
    let (edge, _dc1) = world.stand(&prod, &[&service]);
    let client = UdpClient::new(edge.listener("echo"));
    assert_eq!(client.ask(b"hello"), b"hello");
    let used = Instant::now();
    assert_eq!(flows(&edge, "echo"), Some(1));
    wait::soon_true("the session to end", || flows(&edge, "echo") == Some(0));
    assert!(used.elapsed() >= Duration::from_millis(900), "not before its time: {:?}", used.elapsed());
    let line = edge.process.wait_log(&["session", "echo", "idle"]);
    for part in ["packets_up=1", "packets_down=1", "bytes_up=5", "bytes_down=5", "moved=0"] {
        assert!(line.replace('"', "").contains(part), "{part} is not in {line}");
    }
    assert_eq!(client.ask(b"again"), b"again", "the next payload begins a new one");
    assert_eq!(origin.sources(), 2);
}

#[test]
fn udp_a_full_listener_lets_go_of_the_longest_idle_session_only() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = UdpOrigin::echo(world.free_in(&prod, 10));
    let service = Service::udp("echo").listener("max_connections = 2").origin(&prod, origin.address());
    let (edge, _dc1) = world.stand(&prod, &[&service]);
    let clients: Vec<UdpClient> = (0..3).map(|_| UdpClient::new(edge.listener("echo"))).collect();
    assert_eq!(clients[0].ask(b"first"), b"first");
    assert_eq!(clients[1].ask(b"second"), b"second");
    clients[2].send(b"third");
    wait::soon_true("the third to be counted", || counted(&edge, "underpass_datagrams_dropped", "too_many") > 0);
    let second = SteadyUdp::start(UdpClient::new(edge.listener("echo")), Right::Echo);
    second.wait_for(1);
    assert_eq!(flows(&edge, "echo"), Some(2), "never more than the bound");
    load::holds(&second.stop(Duration::ZERO), None);
    assert_eq!(clients[2].ask(b"third"), b"third", "once another has been idle for a second");
    assert!(edge.process.wait_log(&["session", "evicted"]).contains("echo"));
}

#[test]
fn udp_a_source_that_stays_silent_is_sent_a_bounded_amount() {
    // No kernel's buffer on the way is too small for so many.
    const ANSWERS: u8 = 120;
    const ANSWER: usize = 1_000;
    let world = World::new();
    let prod = world.vnet("prod");
    let loud = UdpOrigin::start(world.free_in(&prod, 10), |payload| vec![vec![1; ANSWER]; payload[0].into()]);
    let (edge, _dc1) = world.stand(&prod, &[&Service::udp("loud").origin(&prod, loud.address())]);
    let client = UdpClient::new(edge.listener("loud"));
    let began = Instant::now();
    // As whoever spoofs an address: one payload, and nothing more.
    client.send(&[ANSWERS; 100]);
    let mut received = 0;
    wait::soon_true("every answer to have come or been held back", || {
        received += std::iter::from_fn(|| client.receive(Duration::from_millis(1))).count();
        received + counted(&edge, "underpass_datagrams_dropped", "reply_budget") as usize == usize::from(ANSWERS)
    });
    let on_wire = |payload| payload + 28;
    let trickle = began.elapsed().as_secs() as usize + 1;
    let bound = 3 * on_wire(100) + 64 * 1024 + trickle * 8 * 1024;
    assert!(received * on_wire(ANSWER) <= bound, "{received} answers are more than {bound} bytes");
    assert!(received >= 60, "one large answer's worth is let through: {received}");

    client.send(&[80; 100]);
    for _ in 0..80 {
        assert_eq!(client.receive(SOON).expect("whoever goes on is proven").len(), ANSWER);
    }
}

#[test]
fn udp_a_listener_that_is_dropped_frees_its_address_at_once() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = UdpOrigin::echo(world.free_in(&prod, 10));
    let kept = Service::udp("kept").origin(&prod, origin.address());
    let dropped = Service::udp("dropped").origin(&prod, origin.address());
    let (edge, _dc1) = world.stand(&prod, &[&kept, &dropped]);
    let at = edge.listener("dropped");
    let steady = SteadyUdp::start(UdpClient::new(at), Right::Echo);
    steady.wait_for(5);
    let other = UdpClient::new(edge.listener("kept"));
    assert_eq!(other.ask(b"before"), b"before");

    let version = |edge: &Edge| edge.try_status().map(|status| status["catalog_version"].clone());
    let before = version(&edge);
    let whole = edge.file.text();
    let end = whole.rfind("\n[[listener]]").expect("the last table is a listener");
    std::fs::write(&edge.file.path, &whole[..end]).expect("writable");
    edge.process.signal(Signal::HUP);
    wait::soon_true("the new catalog", || version(&edge) != before);
    drop(std::net::UdpSocket::bind(at).expect("the address is free, while a client still sends to it"));
    let _ = edge.process.wait_log(&["session", "dropped", "closed"]);
    assert_eq!(other.ask(b"after"), b"after", "other listeners are not touched");

    std::fs::write(&edge.file.path, &whole).expect("writable");
    edge.process.signal(Signal::HUP);
    steady.wait_for(5);
}

#[test]
fn udp_a_live_session_stays_where_it_is_when_the_verdict_flips() {
    let world = World::new();
    let prod = world.vnet("prod");
    let well = Arc::new(AtomicBool::new(true));
    let is_well = well.clone();
    let first = UdpOrigin::start(world.free_in(&prod, 10), move |payload| match payload {
        b"probe" if !is_well.load(Ordering::SeqCst) => Vec::new(),
        b"probe" => vec![b"ok".to_vec()],
        _ => vec![b"first".to_vec()],
    });
    let second = UdpOrigin::start(world.free_in(&prod, 11), |payload| {
        vec![if payload == b"probe" { b"ok".to_vec() } else { b"second".to_vec() }]
    });
    // The second takes new sessions only when the first does not.
    let service = Service::udp("who")
        .monitor("asks")
        .origin(&prod, first.address())
        .origin(&prod, second.address())
        .pool("steering = \"hash\"");
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&prod])
        .udp_monitor("asks", "send = \"probe\"\nexpect = \"ok\"")
        .service(&service)
        .start();
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    edge.wait_health("who-1", "healthy");
    edge.wait_health("who-2", "healthy");
    let from = |last: u8| UdpClient::from(([127, 0, 0, last], 0).into(), edge.listener("who"));
    let last = (1..60).find(|last| from(*last).ask(b"who?") == b"first").expect("hash spreads addresses");
    let live = from(last);
    assert_eq!(live.ask(b"who?"), b"first");

    well.store(false, Ordering::SeqCst);
    edge.wait_health("who-1", "unhealthy");
    assert_eq!(live.ask(b"still?"), b"first", "a live session is pinned");
    assert_eq!(from(last).ask(b"who?"), b"second", "a new one is placed by the verdict");
    well.store(true, Ordering::SeqCst);
    edge.wait_health("who-1", "healthy");
    assert_eq!(from(last).ask(b"who?"), b"first");
}

/// Two origins that say their names; the first one while it is not told to be silent.
fn two_names(world: &World) -> (Arc<AtomicBool>, [UdpOrigin; 2]) {
    let silent = Arc::new(AtomicBool::new(false));
    let is_silent = silent.clone();
    let first = UdpOrigin::start(world.free(), move |_| {
        if is_silent.load(Ordering::SeqCst) { Vec::new() } else { vec![b"first".to_vec()] }
    });
    (silent, [first, UdpOrigin::names_itself(world.free(), "second")])
}

/// The first of many addresses whose sessions go to the origin of this name.
fn client_of(edge: &Edge, listener: &str, name: &str) -> UdpClient {
    let from = |last: u8| UdpClient::from(([127, 0, 0, last], 0).into(), edge.listener(listener));
    let client = (1..60).map(from).find(|client| client.ask(b"who?") == name.as_bytes());
    client.expect("hash spreads addresses")
}

/// Sends every 50 ms until somebody answers, and says who and after how long.
fn answered_by(client: &UdpClient, limit: Duration) -> Option<(Vec<u8>, Duration)> {
    let began = Instant::now();
    wait::poll(limit, || {
        client.send(b"who?");
        client.receive(Duration::from_millis(50)).map(|answer| (answer, began.elapsed()))
    })
}

#[test]
fn udp_a_client_leaves_an_origin_that_is_silent_while_others_are_answered() {
    let world = World::new();
    let (silent, [first, second]) = two_names(&world);
    let service = |name: &str, lines: &str| {
        let lines = format!("steering = \"hash\"\n{lines}");
        Service::udp(name).direct(first.address()).direct(second.address()).pool(&lines)
    };
    let edge = world
        .edge("edge-1")
        .service(&service("moves", ""))
        .service(&service("stays", "on_unhealthy = \"stay\""))
        .start();
    let [moves, stays] = ["moves", "stays"].map(|listener| client_of(&edge, listener, "first"));
    let alone = client_of(&edge, "moves", "second");
    silent.store(true, Ordering::SeqCst);
    // What a busy machine made a client ask twice is answered twice, and the second answer is one that others got.
    while alone.receive(Duration::from_millis(300)).is_some() {}
    assert_eq!(answered_by(&moves, Duration::from_secs(3)), None, "nobody else is answered: it may be the question");
    let steady = SteadyUdp::start(alone, Right::Says(b"second"));
    let (answer, after) = answered_by(&moves, SOON).expect("it goes on elsewhere");
    assert_eq!(answer, b"second");
    assert!(after < Duration::from_secs(3), "{after:?}");
    steady.wait_for(5);
    assert_eq!(answered_by(&stays, Duration::from_secs(3)), None, "as it was told");
    assert_eq!(counted(&edge, "underpass_sessions_moved_total", "moves"), 1);
    silent.store(false, Ordering::SeqCst);
    assert_eq!(answered_by(&stays, SOON).map(|(answer, _)| answer), Some(b"first".to_vec()));
    assert_eq!(moves.ask(b"who?"), b"second", "it is answered where it is");
}

#[test]
fn udp_a_client_leaves_an_origin_that_its_monitor_finds_silent() {
    let world = World::new();
    let (silent, [first, second]) = two_names(&world);
    let service = Service::udp("who").monitor("asks").direct(first.address()).direct(second.address());
    let edge = world
        .edge("edge-1")
        .udp_monitor("asks", "send = \"probe\"")
        .service(&service.pool("steering = \"hash\""))
        .start();
    edge.wait_health("who-1", "healthy");
    edge.wait_health("who-2", "healthy");
    let client = client_of(&edge, "who", "first");
    silent.store(true, Ordering::SeqCst);
    edge.wait_reason("who-1", "udp_no_answer");
    let (answer, after) = answered_by(&client, SOON).expect("it goes on elsewhere");
    assert_eq!(answer, b"second");
    assert!(after < Duration::from_secs(2), "{after:?}");
}

#[test]
fn udp_source_affinity_keeps_an_address_where_its_first_session_went() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origins: Vec<UdpOrigin> = ["a", "b", "c", "d"]
        .iter()
        .zip(10_u8..)
        .map(|(name, n)| UdpOrigin::names_itself(world.free_in(&prod, n), name))
        .collect();
    let service = Service::udp("who").balancer("session_affinity = { type = \"source\", ttl = \"1h\" }");
    let service = origins.iter().fold(service, |service, origin| service.origin(&prod, origin.address()));
    let (edge, _dc1) = world.stand(&prod, &[&service]);
    let ask = |last: u8| UdpClient::from(([127, 0, 0, last], 0).into(), edge.listener("who")).ask(b"who?");
    let mut seen = std::collections::BTreeSet::new();
    for last in 1..12 {
        let first = ask(last);
        (0..3).for_each(|_| assert_eq!(ask(last), first, "from 127.0.0.{last}"));
        seen.insert(first);
    }
    assert!(seen.len() > 1, "addresses are spread");
}

#[test]
fn udp_an_origin_that_is_not_there_ends_the_session() {
    let world = World::new();
    let prod = world.vnet("prod");
    let nobody = world.free_in(&prod, 10);
    let service = Service::udp("gone").origin(&prod, nobody);
    let (edge, _dc1) = world.stand(&prod, &[&service]);
    let client = UdpClient::new(edge.listener("gone"));
    client.send(b"anyone?");
    let line = edge.process.wait_log(&["session", "unreachable", "connect_refused"]);
    assert!(line.contains("gone"), "{line}");
    wait::soon_true("the session to end", || flows(&edge, "gone") == Some(0));
}

#[test]
fn udp_of_a_name_with_several_addresses_one_that_is_there_is_found() {
    let world = World::new();
    let prod = world.vnet("prod");
    let there = UdpOrigin::names_itself(world.free_in(&prod, 11), "there");
    let port = there.address().port();
    // Whatever order a resolver has them in, somebody who is not there comes first.
    let names = [10, 11, 12].map(|host| ("many.test", world.free_in(&prod, host).ip()));
    let names = servers::dnsmasq_knowing(&world, (world.source(53).ip(), 53).into(), &names);
    let settings = world.write("resolv.conf", &format!("nameserver {}\n", names.address.ip()));
    let service = Service::udp("many").target(Some("prod"), &format!("many.test:{port}"));
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).service(&service).start();
    let _dc1 = world.connector("dc1").serve(&prod).resolving_as_in(&settings).start(&[&edge]);
    for _ in 0..4 {
        let client = UdpClient::new(edge.listener("many"));
        client.send(b"anyone?");
        assert_eq!(client.receive(SOON).as_deref(), Some(&b"there"[..]), "it was sent once");
    }
}

#[test]
fn udp_a_monitor_tells_answers_from_silence_from_nobody() {
    let world = World::new();
    let prod = world.vnet("prod");
    let echo = UdpOrigin::echo(world.free_in(&prod, 10));
    let silent = UdpOrigin::start(world.free_in(&prod, 11), |_| Vec::new());
    let other = UdpOrigin::names_itself(world.free_in(&prod, 12), "other");
    let service = Service::udp("echo")
        .monitor("asks")
        .origin(&prod, echo.address())
        .origin(&prod, silent.address())
        .origin(&prod, other.address())
        .origin(&prod, world.free_in(&prod, 13));
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&prod])
        .udp_monitor("asks", "send = \"0x00ff17\"\nexpect = \"0xff17\"")
        .service(&service)
        .start();
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    edge.wait_health("echo-1", "healthy");
    edge.wait_reason("echo-2", "udp_no_answer");
    edge.wait_reason("echo-3", "udp_no_answer");
    edge.wait_reason("echo-4", "connect_refused");
    let client = UdpClient::new(edge.listener("echo"));
    (0..10).for_each(|_| assert_eq!(client.ask(b"to the healthy one"), b"to the healthy one"));
}

#[test]
fn udp_hash_keeps_all_sessions_of_an_address_on_one_origin() {
    let world = World::new();
    let prod = world.vnet("prod");
    let names = ["a", "b", "c", "d"];
    let host = |n: u8| world.free_in(&prod, 10 + n);
    let origins: Vec<UdpOrigin> =
        names.iter().zip(0_u8..).map(|(name, n)| UdpOrigin::names_itself(host(n), name)).collect();
    let service = origins.iter().fold(Service::udp("who").pool("steering = \"hash\""), |service, origin| {
        service.origin(&prod, origin.address())
    });
    let (edge, _dc1) = world.stand(&prod, &[&service]);
    let ask = |last: u8| UdpClient::from(([127, 0, 0, last], 0).into(), edge.listener("who")).ask(b"who are you?");
    let mut seen = std::collections::BTreeSet::new();
    for last in 1..30 {
        let first = ask(last);
        (0..3).for_each(|_| assert_eq!(ask(last), first, "from 127.0.0.{last}"));
        seen.insert(first);
    }
    assert!(seen.len() > 1, "addresses are spread");
}

#[test]
fn udp_dig_and_dnsperf_are_answered_by_a_real_dns_server() {
    let world = World::new();
    let prod = world.vnet("prod");
    let server = servers::dnsmasq(&world, world.free_in(&prod, 53));
    let (edge, _dc1) = world.stand(&prod, &[&Service::udp("dns").origin(&prod, server.address)]);
    let at = edge.listener("dns");
    let mut dig = command("dig");
    dig.args(["+short", "+tries=1", "-p", &at.port().to_string(), &format!("@{}", at.ip()), "www.test"]);
    assert_eq!(process::run(dig, SOON).ok().out, "192.0.2.7\n");
    // Many times as large as the question, and each from an address that has shown nothing yet.
    for last in 41..46 {
        let mut dig = command("dig");
        dig.args([
            "+short",
            "+tries=1",
            "+time=10",
            "+notcp",
            "+ignore",
            "+bufsize=4096",
            "-b",
            &format!("127.0.0.{last}"),
        ]);
        dig.args(["-p", &at.port().to_string(), &format!("@{}", at.ip()), "big.test", "TXT"]);
        assert!(process::run(dig, SOON).ok().out.len() > servers::BIG_TXT, "all of a large answer");
    }

    let names: String = (0..100).map(|n| format!("host-{n}.test A\n")).collect();
    let queries = world.write("queries", &names);
    let mut dnsperf = command("dnsperf");
    dnsperf.args(["-s", &at.ip().to_string(), "-p", &at.port().to_string(), "-n", "20", "-c", "4", "-q", "50", "-d"]);
    dnsperf.arg(queries);
    let _ = process::run(dnsperf, SOON).ok().says(&["2000 (100.00%)", "NOERROR 2000"]);
}

#[test]
fn udp_iperf3_sends_through_a_tunnel_both_ways() {
    let world = World::new();
    let prod = world.vnet("prod");
    let server = servers::iperf(&world, world.free_in(&prod, 10));
    let at = world.free();
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&prod])
        .service_at(&Service::tcp("control").origin(&prod, server.address), at)
        .service_at(&Service::udp("data").origin(&prod, server.address), at)
        .start();
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    let bytes = servers::iperf_received(at, &["-u", "-b", "20M", "-l", "1200"]);
    assert!(bytes > 1_500_000, "{bytes} bytes of 2,500,000");
    // The client says one word over UDP and then only listens: its TCP connection has shown that it is there.
    let bytes = servers::iperf_received(at, &["-u", "-R", "-b", "20M", "-l", "1200"]);
    assert!(bytes > 1_500_000, "{bytes} bytes of 2,500,000 the other way");
}

#[tokio::test]
async fn udp_quic_works_through_a_listener() {
    use quinn::{ClientConfig, Endpoint, ServerConfig};
    use rustls::pki_types::PrivatePkcs8KeyDer;

    let world = World::new();
    let prod = world.vnet("prod");
    let made = rcgen::generate_simple_self_signed(["origin.test".to_owned()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::with_single_cert(vec![made.cert.der().clone()], key.into()).expect("its own key");
    let origin = Endpoint::server(config, world.free_in(&prod, 10)).expect("a free address");
    let at = origin.local_addr().expect("bound");
    let (edge, _dc1) = world.stand(&prod, &[&Service::udp("quic").origin(&prod, at)]);
    let serving = tokio::spawn(async move {
        let connection = origin.accept().await.expect("open").await.expect("a handshake");
        while let Ok((mut send, mut recv)) = connection.accept_bi().await {
            let all = recv.read_to_end(8 << 20).await.expect("the client finishes");
            send.write_all(&all).await.expect("the client reads");
            send.finish().expect("open");
        }
    });

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let config = ClientConfig::with_root_certificates(Arc::new(roots)).expect("TLS 1.3");
    let client = Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a port of loopback");
    let connecting = client.connect_with(config, edge.listener("quic"), "origin.test").expect("a good address");
    let connection = connecting.await.expect("a handshake through the tunnel");
    let sent = Pattern::new(3).bytes(1 << 20);
    for _ in 0..2 {
        let (mut send, mut recv) = connection.open_bi().await.expect("a live connection");
        let (written, read) = tokio::join!(
            async {
                send.write_all(&sent).await.expect("it is read");
                send.finish().expect("open");
            },
            recv.read_to_end(8 << 20),
        );
        let ((), back) = (written, read.expect("it comes back"));
        assert!(back == sent, "other bytes came back");
    }
    // The client's address changes under way.
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).expect("a port of loopback");
    client.rebind(socket).expect("another port");
    let (mut send, mut recv) = connection.open_bi().await.expect("a live connection");
    send.write_all(b"still here").await.expect("it is read");
    send.finish().expect("open");
    assert_eq!(recv.read_to_end(100).await.expect("it comes back"), b"still here");
    connection.close(0_u32.into(), b"");
    serving.await.expect("the origin does not panic");
}

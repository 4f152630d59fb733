//! Things that die under way: origins, links, connectors, edges; and what clients see of it.

use std::{
    io::{ErrorKind, Read, Write},
    time::{Duration, Instant},
};

use rig::sample::Sample;
use underpass_tests::harness::{
    Edge, Service, Vnet, World,
    client::{self, Pattern},
    http,
    load::{self, Load, LongFlow},
    origin::{Ending, habits, web},
    process::Signal,
    relay::Relay,
    wait::{self, SOON},
};

/// New connections are served again within this time of a death.
const RECOVERY: Duration = Duration::from_secs(1);

/// What began when a death had to be over was served, and promptly.
fn served_after(mut samples: Vec<Sample>, death: Duration) {
    samples.retain(|sample| sample.began > death + RECOVERY);
    assert!(samples.len() >= 20, "only {} connections after the recovery", samples.len());
    load::holds(&samples, Some(RECOVERY));
}

#[test]
fn a_refused_connection_is_placed_on_the_next_origin_with_its_first_bytes() {
    let world = World::new();
    let prod = world.vnet("prod");
    let nobody = world.free_in(&prod, 10);
    let origin = habits::echo(world.free_in(&prod, 11));
    let service =
        Service::tcp("echo").pool("steering = \"round_robin\"").origin(&prod, nobody).origin(&prod, origin.address());
    let (edge, _dc1) = world.stand(&prod, &[&service]);

    for round in 0..20 {
        let sent = Pattern::new(round).bytes(20_000);
        let back = client::exchange(edge.listener("echo"), &sent).expect("no client sees the refusal");
        assert!(back == sent, "round {round}");
    }
}

#[test]
fn an_origin_that_dies_under_load_costs_no_new_connection() {
    let world = World::new();
    let prod = world.vnet("prod");
    let mut first = habits::names_itself(world.free_in(&prod, 10), "first");
    let second = habits::names_itself(world.free_in(&prod, 11), "second");
    let service = Service::tcp("who")
        .monitor("tcp")
        .pool("steering = \"round_robin\"")
        .origin(&prod, first.address())
        .origin(&prod, second.address());
    let (edge, _dc1) = world.stand(&prod, &[&service]);
    edge.wait_health("who-1", "healthy");
    edge.wait_health("who-2", "healthy");

    let load = Load::start(edge.listener("who"), 2, Duration::from_millis(10));
    load.wait_for(50);
    first.stop();
    let death = load.now();
    edge.wait_reason("who-1", "connect_refused");
    load.wait_for(50);
    first.resume();
    edge.wait_health("who-1", "healthy");
    let before = first.accepted();
    load.wait_for(50);
    let mut samples = load.stop();

    // What the origin had accepted when it died is lost; everything that began later is not.
    samples.retain(|sample| sample.began > death);
    load::holds(&samples, None);
    assert!(first.accepted() > before, "it gets its share again");
}

/// Two replicas of one connector behind one edge.
fn two_replicas(world: &World, prod: &Vnet, services: &[&Service]) -> Edge {
    let file = world.edge("edge-1").grant_replicas("dc1", 2, &[prod]).tcp_monitor("tcp");
    services.iter().fold(file, |file, service| file.service(service)).start()
}

#[test]
fn a_killed_connector_costs_only_the_flows_it_carried() {
    let world = World::new();
    let prod = world.vnet("prod");
    let named = habits::names_itself(world.free_in(&prod, 10), "here");
    let echo = habits::echo(world.free_in(&prod, 11));
    let services = [
        Service::tcp("who").monitor("tcp").origin(&prod, named.address()),
        Service::tcp("echo").monitor("tcp").origin(&prod, echo.address()),
    ];
    let edge = two_replicas(&world, &prod, &[&services[0], &services[1]]);
    let _survivor = world.connector("dc1").serve(&prod).start(&[&edge]);
    edge.wait_health("echo-1", "healthy");
    // These can only go through the one that survives.
    let flows: Vec<LongFlow> =
        (0..6).map(|seed| LongFlow::start(edge.listener("echo"), seed).expect("it opens")).collect();
    let mut victim = world.connector("dc1").serve(&prod).start(&[&edge]);
    edge.wait_links("dc1", 4);

    let load = Load::start(edge.listener("who"), 2, Duration::from_millis(10));
    load.wait_for(50);
    let death = load.now();
    victim.process.kill();
    wait::always("the load goes on", RECOVERY, || true);
    load.wait_for(100);
    served_after(load.stop(), death);
    wait::soon_true("the dead links to go", || edge.links("dc1") == 2);
    assert_eq!(edge.tunnel("dc1").expect("it is shown")["health"], "degraded");
    for (seed, flow) in flows.into_iter().enumerate() {
        let rounds = flow.stop().unwrap_or_else(|error| panic!("flow {seed} was harmed: {error}"));
        assert!(rounds > 50, "flow {seed} stood still: {rounds} blocks");
    }
}

/// With time for a busy machine: silence alone takes 3 s.
const GONE: Duration = Duration::from_millis(1_500);

#[test]
fn what_a_killed_connector_carried_is_broken_off_at_once_because_its_host_says_so() {
    let world = World::new();
    let prod = world.vnet("prod");
    let echo = habits::echo(world.free_in(&prod, 10));
    let (edge, mut dc1) = world.stand(&prod, &[&Service::tcp("echo").origin(&prod, echo.address())]);
    let mut silent = client::connect(edge.listener("echo")).expect("the edge listens");
    client::ping(&silent, b"hello").expect("an echo");
    let busy = LongFlow::start(edge.listener("echo"), 1).expect("it opens");
    wait::pass(Duration::from_secs(1));

    dc1.process.kill();
    let death = Instant::now();
    let read = silent.read(&mut [0; 8]).map_err(|error| error.kind());
    assert_eq!((read, death.elapsed() < GONE), (Err(ErrorKind::ConnectionReset), true), "{:?}", death.elapsed());
    wait::until("the busy flow to be broken off", GONE, || busy.is_over().then_some(()));
    wait::until("the links to go", GONE, || (edge.links("dc1") == 0).then_some(()));
    assert!(death.elapsed() < GONE, "{:?}", death.elapsed());
    let _ = edge.process.wait_log(&["link ended", "nobody listens there"]);
}

#[test]
fn a_connector_leaves_a_killed_edge_at_once_because_its_host_says_so() {
    let world = World::new();
    let prod = world.vnet("prod");
    let echo = habits::echo(world.free_in(&prod, 10));
    let (mut edge, dc1) = world.stand(&prod, &[&Service::tcp("echo").origin(&prod, echo.address())]);
    let flow = client::connect(edge.listener("echo")).expect("the edge listens");
    client::ping(&flow, b"hello").expect("an echo");
    wait::pass(Duration::from_secs(1));

    edge.process.kill();
    wait::until("the connector to notice", GONE, || (dc1.ready_code() == Some(503)).then_some(()));
    let _ = dc1.process.wait_log(&["link lost", "nobody listens there"]);
}

#[test]
fn a_frozen_connector_is_passed_by_and_taken_back() {
    let world = World::new();
    let prod = world.vnet("prod");
    let named = habits::names_itself(world.free_in(&prod, 10), "here");
    let service = Service::tcp("who").monitor("tcp").origin(&prod, named.address());
    let edge = two_replicas(&world, &prod, &[&service]);
    let _survivor = world.connector("dc1").serve(&prod).start(&[&edge]);
    let victim = world.connector("dc1").serve(&prod).start(&[&edge]);
    edge.wait_health("who-1", "healthy");

    let load = Load::start(edge.listener("who"), 2, Duration::from_millis(10));
    load.wait_for(50);
    let death = load.now();
    victim.process.signal(Signal::STOP);
    wait::soon_true("the frozen links to be dead", || edge.links("dc1") == 2);
    load.wait_for(50);
    victim.process.signal(Signal::CONT);
    edge.wait_links("dc1", 4);
    served_after(load.stop(), death);
}

#[test]
fn a_network_that_loses_everything_is_noticed_and_its_return_too() {
    let world = World::new();
    let prod = world.vnet("prod");
    let named = habits::names_itself(world.free_in(&prod, 10), "here");
    let service = Service::tcp("who").monitor("tcp").origin(&prod, named.address());
    let edge = two_replicas(&world, &prod, &[&service]);
    let relay = Relay::start(world.free(), edge.file.tunnel);
    let _near = world.connector("dc1").serve(&prod).start(&[&edge]);
    let far = world.connector("dc1").serve(&prod).token(&edge.token("dc1")).dial_at(relay.address).launch();
    edge.wait_links("dc1", 4);
    far.wait_ready();
    edge.wait_health("who-1", "healthy");

    let load = Load::start(edge.listener("who"), 2, Duration::from_millis(10));
    load.wait_for(50);
    relay.cut(true);
    let death = load.now();
    wait::until("both lost links to be dead", Duration::from_secs(5), || (edge.links("dc1") == 2).then_some(()));
    wait::soon_true("the connector to say that it is not ready", || far.ready_code() == Some(503));
    load.wait_for(50);
    relay.cut(false);
    edge.wait_links("dc1", 4);
    far.wait_ready();
    served_after(load.stop(), death);
}

#[test]
fn links_are_back_soon_after_an_edge_restarts() {
    let world = World::new();
    let prod = world.vnet("prod");
    let named = habits::names_itself(world.free_in(&prod, 10), "here");
    let (mut edge, dc1) = world.stand(&prod, &[&Service::tcp("who").origin(&prod, named.address())]);

    for round in 0..3 {
        edge.crash_and_restart();
        edge.wait_ready();
        let limit = Duration::from_millis(1500);
        wait::until(&format!("links after restart {round}"), limit, || (edge.links("dc1") == 2).then_some(()));
        assert_eq!(client::listen_to(edge.listener("who")).expect("it serves again"), "here");
    }
    dc1.wait_ready();
}

#[test]
fn each_edge_is_dialled_on_its_own() {
    let world = World::new();
    let prod = world.vnet("prod");
    let named = habits::names_itself(world.free_in(&prod, 10), "here");
    let service = Service::tcp("who").origin(&prod, named.address());
    let first = world.edge("edge-1").grant("dc1", &[&prod]).service(&service).start();
    let second = world.edge("edge-2").fleet_of(&first.file).grant("dc1", &[&prod]).service(&service);
    let mut second = second.start();
    let dc1 = world.connector("dc1").serve(&prod).start(&[&first, &second]);

    for edge in [&first, &second] {
        assert_eq!(client::listen_to(edge.listener("who")).expect("both serve"), "here");
    }
    second.process.kill();
    assert_eq!(client::listen_to(first.listener("who")).expect("the other serves on"), "here");
    assert_eq!(first.links("dc1"), 2);
    assert_eq!(dc1.ready_code(), Some(200));
    second.crash_and_restart();
    second.wait_ready();
    second.wait_links("dc1", 2);
    assert_eq!(client::listen_to(second.listener("who")).expect("it serves again"), "here");
}

#[test]
fn neither_side_waits_for_the_other_to_start() {
    let world = World::new();
    let prod = world.vnet("prod");
    let named = habits::names_itself(world.free_in(&prod, 10), "here");
    let service = Service::tcp("who").origin(&prod, named.address());
    let file = world.edge("edge-1").grant("dc1", &[&prod]).service(&service);
    file.write();
    let token = underpass_tests::harness::edge::token(&file, "dc1");
    let dc1 = world.connector("dc1").serve(&prod).token(&token).dial(&file).launch();
    wait::soon_true("the connector to say that it is not ready", || dc1.ready_code() == Some(503));

    let edge = file.start();
    edge.wait_links("dc1", 2);
    dc1.wait_ready();
    assert_eq!(client::listen_to(edge.listener("who")).expect("it serves"), "here");
}

#[test]
fn a_second_pool_serves_when_the_first_one_fails() {
    let world = World::new();
    let prod = world.vnet("prod");
    let mut first = habits::names_itself(world.free_in(&prod, 10), "first");
    let spare = habits::names_itself(world.free_in(&prod, 11), "spare");
    let service = Service::tcp("who").monitor("tcp").origin(&prod, first.address());
    let spare_pool = format!(
        "[[pool]]\nname = \"spare\"\nmonitor = \"tcp\"\n[[pool.origin]]\nname = \"spare-1\"\nvnet = \"prod\"\n\
         address = \"{}\"\n[[load_balancer]]\nname = \"both\"\npools = [\"who\", \"spare\"]\n",
        prod.inside(spare.address())
    );
    let at = world.free();
    let listener =
        format!("[[listener]]\nname = \"both\"\nprotocol = \"tcp\"\nlisten = \"{at}\"\nload_balancer = \"both\"");
    let file = world.edge("edge-1").grant("dc1", &[&prod]).tcp_monitor("tcp").service(&service);
    let edge = file.raw(&spare_pool).raw(&listener).start();
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    edge.wait_health("who-1", "healthy");
    edge.wait_health("spare-1", "healthy");

    assert_eq!(client::listen_to(at).expect("it serves"), "first");
    first.stop();
    assert_eq!(client::listen_to(at).expect("at once, by placing again"), "spare");
    edge.wait_health("who-1", "unhealthy");
    let serving = || {
        let status = edge.status();
        let found = status["load_balancers"].as_array()?.iter().find(|lb| lb["load_balancer"] == "both").cloned()?;
        Some((found["serving_pool"].clone(), found["health"].clone()))
    };
    wait::soon_true("the status to say so", || serving() == Some(("spare".into(), "degraded".into())));
    first.resume();
    wait::soon_true("the first pool to serve again", || client::listen_to(at).is_ok_and(|name| name == "first"));
}

#[test]
fn a_flow_whose_connector_is_killed_is_reset_and_not_ended() {
    let world = World::new();
    let prod = world.vnet("prod");
    let echo = habits::echo(world.free_in(&prod, 10));
    let (edge, mut dc1) = world.stand(&prod, &[&Service::tcp("echo").origin(&prod, echo.address())]);
    let open = client::connect(edge.listener("echo")).expect("the edge listens");
    client::ping(&open, b"hello").expect("the flow is open");

    dc1.process.kill();
    let death = Instant::now();
    let (got, end) = client::read_all(&open);
    assert!(got.is_empty());
    assert_eq!(end.expect_err("an answer cut short must not look whole").kind(), ErrorKind::ConnectionReset);
    assert!(death.elapsed() < Duration::from_secs(5), "told only after {:?}", death.elapsed());
}

#[test]
fn what_a_killed_process_carried_is_taken_for_the_whole_by_nobody() {
    for (kill_edge, is_direct) in [(false, false), (true, false), (true, true)] {
        let world = World::new();
        let prod = world.vnet("prod");
        let reader = habits::reads_only(world.free_in(&prod, 10));
        let service = Service::tcp("sink");
        let service =
            if is_direct { service.direct(reader.address()) } else { service.origin(&prod, reader.address()) };
        let (mut edge, mut dc1) = world.stand(&prod, &[&service]);
        let mut upload = client::connect(edge.listener("sink")).expect("the edge listens");
        upload.write_all(b"a part of it").expect("written");
        wait::soon_true("the origin to have it", || reader.accepted() == 1);
        if kill_edge {
            edge.process.kill()
        } else {
            dc1.process.kill()
        }
        assert_eq!(wait::soon("the origin to see its end", || reader.endings().pop()), Ending::Reset);
        let (_, end) = client::read_all(&upload);
        assert_eq!(end.expect_err("the client too").kind(), ErrorKind::ConnectionReset, "{kill_edge} {is_direct}");
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_is_not_ended_by_a_kill() {
    let world = World::new();
    let origin = web::pours(world.free(), "HTTP/1.1 200 OK\r\n\r\n", 1000);
    let mut edge = world.edge("edge-1").service(&Service::http("web").direct(origin.address())).start();
    let mut old = client::connect(edge.listener("web")).expect("it accepts");
    old.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("written");
    let (mut got, mut byte) = (Vec::new(), [0]);
    while !got.ends_with(b"\r\n\r\n") {
        old.read_exact(&mut byte).expect("its head comes");
        got.push(byte[0]);
    }
    edge.process.kill();
    let (_, end) = client::read_all(&old);
    assert_eq!(end.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
}

#[test]
fn only_who_comes_soon_after_the_last_link_went_waits_for_another() {
    let world = World::new();
    let prod = world.vnet("prod");
    let web = web::mirror(world.free_in(&prod, 10));
    let tcp = habits::names_itself(world.free_in(&prod, 11), "tcp");
    let services =
        [Service::http("web").origin(&prod, web.address()), Service::tcp("tcp").origin(&prod, tcp.address())];
    let (edge, mut dc1) = world.stand(&prod, &[&services[0], &services[1]]);
    let asked = || http::get(edge.listener("web"), "/").expect("an answer").code;
    assert_eq!(asked(), 200);

    assert!(dc1.process.terminate(SOON).success());
    wait::soon_true("the tunnel to be down", || edge.tunnel("dc1").is_some_and(|tunnel| tunnel["health"] == "down"));
    let began = Instant::now();
    assert_eq!(asked(), 503);
    assert!(began.elapsed() > Duration::from_secs(2), "a link might have come back: {:?}", began.elapsed());

    // As long again would be in vain.
    wait::pass(Duration::from_millis(500));
    let began = Instant::now();
    assert_eq!(asked(), 503);
    assert!(client::listen_to(edge.listener("tcp")).is_err());
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());

    dc1.restart();
    wait::soon_true("requests to be answered again", || asked() == 200);
}

#[test]
fn a_source_stays_on_its_origin_by_hash_and_by_affinity() {
    let world = World::new();
    let prod = world.vnet("prod");
    let names = ["a", "b", "c", "d"];
    let origins: Vec<_> =
        (10..).zip(names).map(|(h, name)| habits::names_itself(world.free_in(&prod, h), name)).collect();
    let with = |service: Service| origins.iter().fold(service, |service, o| service.origin(&prod, o.address()));
    let hash = with(Service::tcp("hash").pool("steering = \"hash\""));
    let sticky = Service::tcp("sticky").pool("steering = \"random\"");
    let sticky = with(sticky.balancer("session_affinity = { type = \"source\", ttl = \"1m\" }"));
    let (edge, _dc1) = world.stand(&prod, &[&hash, &sticky]);

    for service in ["hash", "sticky"] {
        let ask = |host: u8| {
            let mut name = String::new();
            let stream = client::connect_from(world.source(host), edge.listener(service));
            stream.and_then(|mut s| s.read_to_string(&mut name)).expect("it answers");
            name
        };
        let homes: Vec<String> = (100..140).map(ask).collect();
        let again: Vec<String> = (100..140).map(ask).collect();
        assert_eq!(homes, again, "{service}");
        for name in names {
            assert!(homes.iter().any(|home| home == name), "{service}: forty sources, and none on {name}");
        }
    }
}

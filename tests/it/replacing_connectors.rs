//! One process of a connector takes over from another while both have links: nobody outside notices.

use std::time::Duration;

use underpass_tests::harness::{
    Connector, Edge, Service, Vnet, World, client,
    datagrams::{Right, SteadyUdp, UdpClient, UdpOrigin},
    load::{self, KeptAlive, Load, LongFlow},
    origin::{Origin, habits},
    process::{Process, Signal},
    wait,
};

const UPGRADES: usize = 10;

/// An edge, a connector, and one service of each kind.
struct Stand {
    edge: Edge,
    dc1: Connector,
    _origins: (Origin, Origin, UdpOrigin, Origin),
}

impl Stand {
    fn new(world: &World, prod: &Vnet, grace: &'static str) -> Self {
        let (web, _code) = habits::http(world.free_in(prod, 10), "web");
        let echo = habits::echo(world.free_in(prod, 11));
        let questions = UdpOrigin::echo(world.free_in(prod, 12));
        let who = habits::names_itself(world.free_in(prod, 13), "who");
        let services = [
            Service::http("web").origin(prod, web.address()),
            Service::tcp("echo").origin(prod, echo.address()),
            Service::udp("ask").origin(prod, questions.address()),
            Service::tcp("who").origin(prod, who.address()),
        ];
        let file = world.edge("edge-1").grant("dc1", &[prod]).tcp_monitor("tcp");
        let edge = services.iter().fold(file, |file, service| file.service(service)).start();
        let dc1 = world.connector("dc1").grace(grace).serve(prod).start(&[&edge]);
        Self { edge, dc1, _origins: (web, echo, questions, who) }
    }
}

fn ends_well(mut process: Process) {
    let ended = process.wait(wait::SOON);
    assert!(ended.success(), "{ended:?}");
}

#[test]
fn ten_upgrades_of_a_connector_are_noticed_by_nobody() {
    let world = World::new();
    let prod = world.vnet("prod");
    let Stand { edge, mut dc1, _origins } = Stand::new(&world, &prod, "2s");
    let requests = KeptAlive::start(edge.listener("web"), 2, Duration::from_millis(5));
    let connects = Load::start(edge.listener("who"), 2, Duration::from_millis(5));
    let asking = SteadyUdp::start(UdpClient::new(edge.listener("ask")), Right::Echo);
    for upgrade in 1..=UPGRADES {
        let flow = LongFlow::start(edge.listener("echo"), 1).expect("it opens");
        let before = dc1.replace();
        connects.wait_for(20);
        assert!(!flow.is_over(), "upgrade {upgrade}: it outlives that the one before takes anything");
        let blocks = flow.stop().unwrap_or_else(|broke| panic!("upgrade {upgrade}: {broke}"));
        assert!(blocks > 10, "upgrade {upgrade}: {blocks}");
        // A session of UDP is there until the grace is over, and goes on over the new one's links.
        ends_well(before);
        wait::soon_true("the links of the last alone", || edge.links("dc1") == 2);
    }
    load::holds(&requests.stop(), None);
    load::holds(&connects.stop(), None);
    load::holds(&asking.stop(Duration::ZERO), None);
    dc1.wait_ready();
}

#[test]
fn a_connector_that_fails_to_take_over_harms_nothing() {
    let world = World::new();
    let prod = world.vnet("prod");
    let Stand { edge, mut dc1, _origins } = Stand::new(&world, &prod, "30s");
    let connects = Load::start(edge.listener("who"), 2, Duration::from_millis(5));
    let flow = LongFlow::start(edge.listener("echo"), 1).expect("it opens");
    // No edge welcomes it.
    edge.process.signal(Signal::STOP);
    let mut killed = dc1.launch_successor();
    killed.wait_log(&["connector starts"]);
    killed.kill();
    edge.process.signal(Signal::CONT);
    connects.wait_for(50);
    assert!(dc1.process.is_running());
    wait::soon_true("its links to be there", || edge.links("dc1") == 2);
    // While flows of the one before are open, there is no number left for a third.
    let mut before = dc1.replace();
    let mut refused = dc1.launch_successor();
    assert!(!refused.wait(wait::SOON).success());
    assert!(refused.log().contains("try again when it has ended"), "{}", refused.log());
    assert!(before.is_running() && dc1.process.is_running());
    let blocks = flow.stop().expect("it is whole");
    assert!(blocks > 10, "{blocks}");
    ends_well(before);
    ends_well(dc1.replace());
    load::holds(&connects.stop(), None);
}

#[test]
fn without_a_connector_to_take_over_from_it_is_a_start_like_any_other() {
    let world = World::new();
    let prod = world.vnet("prod");
    let Stand { edge, mut dc1, _origins } = Stand::new(&world, &prod, "30s");
    dc1.process.kill();
    dc1.process = dc1.launch_successor();
    dc1.wait_ready();
    assert_eq!(client::listen_to(edge.listener("who")).expect("it serves"), "who");
    // An ordinary end leaves nothing behind that others would knock at.
    let _ = dc1.process.terminate(wait::SOON);
    assert!(!dc1.file.state_dir.join("handover.sock").exists());
}

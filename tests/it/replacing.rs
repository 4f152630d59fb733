//! One process of an edge takes over from another while both serve: nobody outside notices.

use std::{fs, sync::mpsc, thread, time::Duration};

use underpass_tests::harness::{
    Connector, Edge, Service, Vnet, World, client,
    datagrams::{Right, SteadyUdp, UdpClient, UdpOrigin},
    http,
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
            Service::http("web").monitor("tcp").origin(prod, web.address()),
            Service::tcp("echo").origin(prod, echo.address()),
            Service::udp("ask").origin(prod, questions.address()),
            Service::tcp("who").monitor("tcp").origin(prod, who.address()),
        ];
        let file = world.edge("edge-1").grace(grace).grant("dc1", &[prod]).tcp_monitor("tcp");
        let edge = services.iter().fold(file, |file, service| file.service(service)).start();
        let dc1 = world.connector("dc1").serve(prod).start(&[&edge]);
        edge.wait_health("who-1", "healthy");
        Self { edge, dc1, _origins: (web, echo, questions, who) }
    }
}

/// Clients of every service, all of whom are served rightly all the time.
struct Clients {
    requests: KeptAlive,
    asking: SteadyUdp,
    connects: Load,
    flow: LongFlow,
}

impl Clients {
    fn of(edge: &Edge) -> Self {
        Self {
            requests: KeptAlive::start(edge.listener("web"), 2, Duration::from_millis(5)),
            asking: SteadyUdp::start(UdpClient::new(edge.listener("ask")), Right::Echo),
            connects: Load::start(edge.listener("who"), 2, Duration::from_millis(5)),
            flow: LongFlow::start(edge.listener("echo"), 1).expect("it opens"),
        }
    }

    fn hold(self) {
        let blocks = self.flow.stop().expect("the long flow is whole");
        assert!(blocks > 10, "{blocks}");
        load::holds(&self.requests.stop(), None);
        load::holds(&self.connects.stop(), None);
        load::holds(&self.asking.stop(Duration::ZERO), None);
    }
}

fn ends_well(mut process: Process) {
    let ended = process.wait(wait::SOON);
    assert!(ended.success(), "{ended:?}");
}

/// Where links lead is told by the process that serves.
fn links(edge: &Edge) -> usize {
    edge.links("dc1")
}

#[test]
fn ten_upgrades_under_load_are_noticed_by_nobody() {
    let world = World::new();
    let mut stand = Stand::new(&world, &world.vnet("prod"), "3s");
    let edge = &mut stand.edge;
    let requests = KeptAlive::start(edge.listener("web"), 2, Duration::from_millis(5));
    let asking = SteadyUdp::start(UdpClient::new(edge.listener("ask")), Right::Echo);
    let connects = Load::start(edge.listener("who"), 2, Duration::from_millis(5));
    let mut all = Vec::new();
    for upgrade in 1..=UPGRADES {
        let flow = LongFlow::start(edge.listener("echo"), 1).expect("it opens");
        all.push(edge.replace());
        assert_eq!(links(edge), 2, "upgrade {upgrade}: they lead to the new one when it is ready");
        connects.wait_for(20);
        assert!(!flow.is_over(), "upgrade {upgrade}: it outlives that the one before accepts");
        let blocks = flow.stop().unwrap_or_else(|broke| panic!("upgrade {upgrade}: {broke}"));
        assert!(blocks > 10, "upgrade {upgrade}: {blocks}");
    }
    load::holds(&requests.stop(), None);
    load::holds(&connects.stop(), None);
    load::holds(&asking.stop(Duration::ZERO), None);
    // What is left there, sessions of UDP, is over with the grace.
    all.into_iter().for_each(ends_well);
}

#[test]
fn flows_that_are_open_go_on_where_they_are_and_the_process_ends_with_them() {
    let world = World::new();
    let mut stand = Stand::new(&world, &world.vnet("prod"), "30s");
    let clients = Clients::of(&stand.edge);
    let mut before = stand.edge.replace();
    clients.connects.wait_for(50);
    assert!(before.is_running(), "a flow and a session are open there");
    clients.hold();
    ends_well(before);
    let told = fs::read_dir(&stand.edge.file.state_dir).expect("it is there").flatten();
    assert!(told.map(|file| file.file_name()).any(|name| name == "handover.sock"), "the next may take over from here");
    // An ordinary end leaves nothing behind that others would knock at.
    let _ = stand.edge.process.terminate(wait::SOON);
    assert!(!stand.edge.file.state_dir.join("handover.sock").exists());
}

#[test]
fn a_process_that_fails_to_take_over_harms_nothing() {
    let world = World::new();
    let mut stand = Stand::new(&world, &world.vnet("prod"), "30s");
    let clients = Clients::of(&stand.edge);
    let right = stand.edge.file.text();
    // It does not even begin.
    fs::write(&stand.edge.file.path, "not toml").expect("writable");
    let mut refused = stand.edge.launch_successor();
    assert!(!refused.wait(wait::SOON).success());
    // It cannot bind what its settings say.
    let taken = std::net::TcpListener::bind(world.free()).expect("free");
    let at = taken.local_addr().expect("bound");
    let more = format!(
        "{right}\n[[listener]]\nname = \"more\"\nprotocol = \"tcp\"\nlisten = \"{at}\"\nload_balancer = \"who\"\n"
    );
    fs::write(&stand.edge.file.path, more).expect("writable");
    let mut refused = stand.edge.launch_successor();
    assert!(!refused.wait(wait::SOON).success());
    fs::write(&stand.edge.file.path, &right).expect("writable");
    // It is killed halfway, once connectors have dialled it: it waits for the first result of a probe that takes its time.
    let silent = std::net::TcpListener::bind(world.free()).expect("free");
    let slow = format!(
        "{right}\n[[monitor]]\nname = \"slow\"\ntype = \"http\"\ntimeout = \"8s\"\ninterval = \"30s\"\n\
         [[pool]]\nname = \"slow\"\nmonitor = \"slow\"\n[[pool.origin]]\nname = \"slow-1\"\naddress = \"{}\"\n",
        silent.local_addr().expect("bound")
    );
    fs::write(&stand.edge.file.path, slow).expect("writable");
    for stage in ["connectors may dial in", "link registered"] {
        let mut killed = stand.edge.launch_successor();
        killed.wait_log(&[stage]);
        let pid = killed.id();
        killed.kill();
        stand.edge.process.wait_log(&["the other process has not taken over", &format!("pid={pid}")]);
    }
    fs::write(&stand.edge.file.path, &right).expect("writable");
    clients.connects.wait_for(100);
    assert!(stand.edge.process.is_running());
    wait::soon_true("all links to be there", || links(&stand.edge) == 2);
    assert_eq!(http::get(stand.edge.file.admin, "/readyz").map(|answer| answer.code), Some(200));
    // And the next one can.
    let before = stand.edge.replace();
    assert_eq!(links(&stand.edge), 2);
    clients.connects.wait_for(50);
    clients.hold();
    ends_well(before);
}

/// An edge whose file has a probe that takes its time, so that whoever takes over waits for its first result.
fn slowly(stand: &Stand, world: &World) -> std::net::TcpListener {
    let silent = std::net::TcpListener::bind(world.free()).expect("free");
    let right = stand.edge.file.text();
    let slow = format!(
        "{right}\n[[monitor]]\nname = \"slow\"\ntype = \"http\"\ntimeout = \"1s\"\ninterval = \"3s\"\n\
         [[pool]]\nname = \"slow\"\nmonitor = \"slow\"\n[[pool.origin]]\nname = \"slow-1\"\naddress = \"{}\"\n",
        silent.local_addr().expect("bound")
    );
    fs::write(&stand.edge.file.path, slow).expect("writable");
    silent
}

#[test]
fn a_process_that_hangs_while_it_takes_over_holds_nobody_up() {
    let world = World::new();
    let mut stand = Stand::new(&world, &world.vnet("prod"), "3s");
    let clients = Clients::of(&stand.edge);
    let _silent = slowly(&stand, &world);
    let next = stand.edge.launch_successor();
    next.wait_log(&["link registered"]);
    next.signal(Signal::STOP);
    // Longer than a link may be silent.
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        clients.connects.wait_for(20);
        assert!(!clients.flow.is_over());
    }
    assert_eq!(http::get(stand.edge.file.admin, "/readyz").map(|answer| answer.code), Some(200));
    // Its links are given up at their other ends by now.
    next.signal(Signal::CONT);
    let mut next = next;
    assert_eq!(next.wait(wait::SOON).code(), Some(1));
    assert!(next.log().contains("kept from running"), "{}", next.log());
    fs::write(&stand.edge.file.path, stand.edge.file.text()).expect("writable");
    let before = stand.edge.replace();
    clients.connects.wait_for(20);
    clients.hold();
    assert_eq!(links(&stand.edge), 2);
    ends_well(before);
}

#[test]
fn what_is_changed_by_hand_meanwhile_is_in_force_and_the_process_that_does_not_know_of_it_goes() {
    let world = World::new();
    let mut stand = Stand::new(&world, &world.vnet("prod"), "3s");
    let _silent = slowly(&stand, &world);
    let mut next = stand.edge.launch_successor();
    next.wait_log(&["link registered"]);
    let _ = stand.edge.command(&["drain", "listener", "ask"]).ok();
    let ended = next.wait(wait::SOON);
    assert_eq!(ended.code(), Some(1));
    assert!(next.log().contains("drained or revoked meanwhile"), "{}", next.log());
    assert!(stand.edge.process.is_running());
    fs::write(&stand.edge.file.path, stand.edge.file.text()).expect("writable");
    ends_well(stand.edge.replace());
    let drained = stand.edge.status()["listeners"].as_array().expect("a list").clone();
    assert!(
        drained.iter().any(|listener| listener["listener"] == "ask" && listener["drain"].is_object()),
        "{drained:?}"
    );
}

#[test]
fn an_address_that_connectors_do_not_dial_is_refused_before_they_are_asked() {
    let world = World::new();
    let stand = Stand::new(&world, &world.vnet("prod"), "3s");
    let clients = Clients::of(&stand.edge);
    let (own, other) = (stand.edge.file.tunnel.to_string(), world.free().to_string());
    fs::write(&stand.edge.file.path, stand.edge.file.text().replace(&own, &other)).expect("writable");
    let mut refused = stand.edge.launch_successor();
    assert_eq!(refused.wait(wait::SOON).code(), Some(1));
    assert!(refused.log().contains("tunnel.listen"), "{}", refused.log());
    clients.connects.wait_for(50);
    clients.hold();
    assert_eq!(links(&stand.edge), 2);
    assert!(!stand.edge.process.log().contains("superseded"), "nobody was asked");
}

#[test]
fn what_is_left_in_the_process_before_is_told_and_heeds_revocations() {
    let world = World::new();
    let mut stand = Stand::new(&world, &world.vnet("prod"), "30s");
    let flow = LongFlow::start(stand.edge.listener("echo"), 1).expect("it opens");
    let before = stand.edge.replace();
    let waited = stand.edge.command(&["drain", "origin", "echo/echo-1", "--wait", "--timeout", "1s"]).exited(1);
    assert!(waited.out.contains("process before"), "{waited:?}");
    assert!(!flow.is_over());
    let _ = stand.edge.command(&["connector", "revoke", "dc1"]).ok();
    wait::soon_true("the flow through the revoked connector to be cut", || flow.is_over());
    ends_well(before);
    let _ = stand.edge.command(&["drain", "origin", "echo/echo-1", "--wait", "--timeout", "10s"]).ok();
}

#[test]
fn of_two_that_would_take_over_each_has_its_turn() {
    let world = World::new();
    let mut stand = Stand::new(&world, &world.vnet("prod"), "3s");
    let clients = Clients::of(&stand.edge);
    let (one, two) = (stand.edge.launch_successor(), stand.edge.launch_successor());
    one.wait_log(&["edge is ready"]);
    two.wait_log(&["edge is ready"]);
    clients.connects.wait_for(50);
    clients.hold();
    let (mut one, mut two) = (one, two);
    wait::soon_true("one of them to end", || !one.is_running() || !two.is_running());
    ends_well(std::mem::replace(&mut stand.edge.process, if one.is_running() { one } else { two }));
    assert_eq!(client::listen_to(stand.edge.listener("who")).expect("it serves"), "who");
}

#[test]
fn who_operates_an_edge_notices_nothing_either() {
    let world = World::new();
    let mut stand = Stand::new(&world, &world.vnet("prod"), "1s");
    let file = stand.edge.file.clone();
    let (stop, stopped) = mpsc::channel::<()>();
    let operator = thread::spawn(move || {
        let mut done = 0;
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            let _ = file.operate(&["reload"]).ok();
            let _ = file.operate(&["status"]).ok();
            done += 1;
        }
        done
    });
    for _ in 0..3 {
        ends_well(stand.edge.replace());
    }
    drop(stop);
    assert!(operator.join().expect("every command succeeds") > 3);
}

#[test]
fn a_process_that_is_killed_after_it_has_handed_over_takes_nothing_new_with_it() {
    let world = World::new();
    let mut stand = Stand::new(&world, &world.vnet("prod"), "30s");
    let requests = KeptAlive::start(stand.edge.listener("web"), 2, Duration::from_millis(5));
    let connects = Load::start(stand.edge.listener("who"), 2, Duration::from_millis(5));
    let flow = LongFlow::start(stand.edge.listener("echo"), 1).expect("it opens");
    let mut before = stand.edge.replace();
    // Whoever was told to come again has.
    connects.wait_for(50);
    before.kill();
    connects.wait_for(50);
    assert!(flow.stop().is_err(), "it was there");
    load::holds(&requests.stop(), None);
    load::holds(&connects.stop(), None);
    assert_eq!(links(&stand.edge), 2);
}

#[test]
fn other_settings_are_in_force_with_the_process_that_takes_over() {
    let world = World::new();
    let mut stand = Stand::new(&world, &world.vnet("prod"), "30s");
    let (other, gone) = (world.free(), stand.edge.listener("who"));
    let text = stand.edge.file.text().replace(&gone.to_string(), &other.to_string());
    fs::write(&stand.edge.file.path, text).expect("writable");
    let before = stand.edge.replace();
    assert_eq!(client::listen_to(other).expect("it is there"), "who");
    wait::soon_true("nobody to listen where nobody wants it", || client::connect(gone).is_err());
    ends_well(before);
    // What the process before had, and nobody wants, is free.
    std::net::TcpListener::bind(gone).expect("free");
}

#[test]
fn without_a_process_to_take_over_from_it_is_a_start_like_any_other() {
    let world = World::new();
    let who = habits::names_itself(world.free(), "who");
    let mut edge = world.edge("edge-1").service(&Service::tcp("who").direct(who.address())).start();
    edge.process.kill();
    assert!(edge.file.state_dir.join("handover.sock").exists(), "nobody has taken it away");
    edge.process = edge.launch_successor();
    edge.wait_ready();
    assert_eq!(client::listen_to(edge.listener("who")).expect("it serves"), "who");
    ends_well(edge.replace());
}

#[test]
fn a_signal_ends_a_process_that_is_about_to_take_over() {
    let world = World::new();
    let mut stand = Stand::new(&world, &world.vnet("prod"), "30s");
    // Its connector can reach nobody new: the process that takes over waits.
    stand.dc1.process.signal(Signal::STOP);
    let mut next = stand.edge.launch_successor();
    next.wait_log(&["connectors may dial in"]);
    next.signal(Signal::TERM);
    let ended = next.wait(wait::SOON);
    stand.dc1.process.signal(Signal::CONT);
    assert!(ended.success(), "{ended:?}");
    assert_eq!(client::listen_to(stand.edge.listener("who")).expect("it serves"), "who");
    assert!(stand.edge.process.is_running());
}

#[test]
fn a_signal_starts_the_program_again_to_take_over() {
    let world = World::new();
    let mut stand = Stand::new(&world, &world.vnet("prod"), "30s");
    let clients = Clients::of(&stand.edge);
    stand.edge.process.signal(Signal::USR2);
    stand.edge.process.wait_log(&["another process of this edge has taken over"]);
    clients.connects.wait_for(50);
    clients.hold();
    // It ends with its flows; what it has started goes on, as a process of its own.
    let ended = stand.edge.process.wait(wait::SOON);
    assert!(ended.success(), "{ended:?}");
    assert_eq!(client::listen_to(stand.edge.listener("who")).expect("it serves"), "who");
    assert_eq!(links(&stand.edge), 2);
}

//! A connector whose file changes while it runs: what it says is in force within a second, and what it does not touch stays.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use protocol::control::{Claims, Hello, Judged, Message, RouteClaim};
use serde_json::Value;
use underpass_tests::harness::{
    Connector, ConnectorFile, Edge, FalseEdge, Origin, Rogue, Service, Vnet, World, client,
    datagrams::{Right, SteadyUdp, UdpClient, UdpOrigin},
    http, load,
    origin::{habits, web},
    process::Signal,
    rogue::hello,
    wait,
};

/// A change is in force within this time.
const WITHIN: Duration = Duration::from_secs(1);

/// An edge that grants two VNets, with an echo in each, and a connector that serves the first of them over one link.
struct Stand {
    edge: Edge,
    dc1: Connector,
    lab: Vnet,
    udp: UdpOrigin,
    origins: [Origin; 2],
    _prod: Vnet,
    world: World,
}

impl Stand {
    fn new() -> Self {
        Self::of(|file| file)
    }

    fn of(manner: impl FnOnce(ConnectorFile) -> ConnectorFile) -> Self {
        let world = World::new();
        let (prod, lab) = (world.vnet("prod"), world.vnet("lab"));
        let origins = [&prod, &lab].map(|vnet| habits::echo(world.free_in(vnet, 10)));
        let udp = UdpOrigin::echo(world.free_in(&prod, 11));
        let edge = world
            .edge("edge-1")
            .grant("dc1", &[&prod, &lab])
            .service(&Service::tcp("old").origin(&prod, origins[0].address()))
            .service(&Service::tcp("new").origin(&lab, origins[1].address()))
            .service(&Service::udp("udp").origin(&prod, udp.address()))
            .start();
        let dc1 = manner(world.connector("dc1").links_per_edge(1)).serve(&prod).start(&[&edge]);
        Self { edge, dc1, lab, udp, origins, _prod: prod, world }
    }

    /// A flow of a service, if it leads anywhere.
    fn flow(&self, service: &str) -> Option<TcpStream> {
        flow(&self.edge, service)
    }

    fn wait_flow(&self, service: &str) -> TcpStream {
        wait::until(&format!("a flow of {service}"), WITHIN, || self.flow(service))
    }
}

fn flow(edge: &Edge, service: &str) -> Option<TcpStream> {
    let flow = client::connect(edge.listener(service)).ok()?;
    client::ping(&flow, b"hello").ok().map(|()| flow)
}

/// The links of dc1 at an edge that do not leave, by their numbers there.
fn links(edge: &Edge) -> Vec<String> {
    let tunnel = edge.tunnel("dc1").unwrap_or_default();
    let links = tunnel["links"].as_array().cloned().unwrap_or_default();
    let staying = links.iter().filter(|link| link["state"] != "draining");
    staying.map(|link| link["id"].as_str().expect("a number").to_owned()).collect()
}

/// The VNets that dc1 serves, as an edge says.
fn routes(edge: &Edge) -> Vec<String> {
    let tunnel = edge.tunnel("dc1").unwrap_or_default();
    let routes = tunnel["routes"].as_array().cloned().unwrap_or_default();
    routes.iter().map(|route| route["vnet"].as_str().expect("a name").to_owned()).collect()
}

fn still_open(flow: &TcpStream) {
    client::ping(flow, b"still here").expect("a flow that is not touched goes on");
}

#[test]
fn a_route_that_is_added_works_within_a_second_and_nothing_else_is_touched() {
    let mut stand = Stand::new();
    let (old, session) = (stand.wait_flow("old"), UdpClient::new(stand.edge.listener("udp")));
    assert_eq!(session.ask(b"one"), b"one");
    let before = links(&stand.edge);
    assert!(stand.flow("new").is_none(), "nothing leads there yet");
    assert_eq!(stand.dc1.status()["reload"], Value::Null);

    let lab = stand.lab.clone();
    stand.dc1.reload(|file| file.serve(&lab));
    let _new = stand.wait_flow("new");
    still_open(&old);
    assert_eq!(session.ask(b"two"), b"two");
    assert_eq!(stand.udp.sources(), 1, "the session is the same at its origin");
    assert_eq!(links(&stand.edge), before, "and the link at the edge");
    stand.dc1.process.wait_log(&["settings are in force", "route lab 10.7.0.0/24 added"]);
    let status = stand.dc1.status();
    assert_eq!(status["reload"]["applied"], true, "{status}");
    assert!(status["reload"]["at"].is_string());
    wait::soon_true("the connector to tell of both routes", || {
        stand.dc1.status()["edges"][0]["routes"].as_array().is_some_and(|routes| routes.len() == 2)
    });
    assert_eq!(stand.dc1.metric("underpass_reloads_total{outcome=\"applied\"}"), 1);
}

#[test]
fn a_route_that_is_withdrawn_takes_nothing_new_and_its_open_flows_finish() {
    let mut stand = Stand::new();
    let lab = stand.lab.clone();
    let both = stand.dc1.file.clone().serve(&lab);
    let one = stand.dc1.file.clone();
    stand.dc1.reload(|_| both);
    let (old, open) = (stand.wait_flow("old"), stand.wait_flow("new"));
    stand.dc1.reload(|_| one);
    wait::until("the route to be withdrawn", WITHIN, || (routes(&stand.edge) == ["prod"]).then_some(()));
    // A flow that comes before health has seen the change is refused by the connector, one that comes after by the edge.
    let told = ["access", "listener=new", "tunnel_down", "no link that serves it is up"];
    wait::soon_true("the edge to know that nothing leads there", || {
        assert!(stand.flow("new").is_none());
        stand.edge.process.find_log(&told).is_some()
    });
    still_open(&open);
    still_open(&old);
    stand.dc1.process.wait_log(&["route lab 10.7.0.0/24 removed"]);
}

#[test]
fn flows_of_a_route_that_is_withdrawn_are_cut_after_the_grace_period_where_the_file_says_so() {
    let mut stand = Stand::of(|file| file.grace("1s").top("withdrawn = \"cut\""));
    let (lab, one) = (stand.lab.clone(), stand.dc1.file.clone());
    stand.dc1.reload(|file| file.serve(&lab));
    let (old, open) = (stand.wait_flow("old"), stand.wait_flow("new"));
    let began = Instant::now();
    stand.dc1.reload(|_| one);
    wait::soon_true("the flow to be cut", || client::ping(&open, b"still here").is_err());
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(900), "it has its grace period: {took:?}");
    still_open(&old);
    assert_eq!(stand.dc1.metric("underpass_flows_ended_total{ended=\"withdrawn\"}"), 1);
}

#[test]
fn a_session_that_is_not_permitted_any_more_is_cut_likewise_and_none_comes_in_its_place() {
    let mut stand = Stand::of(|file| file.grace("1s").top("withdrawn = \"cut\""));
    let (old, session) = (stand.wait_flow("old"), UdpClient::new(stand.edge.listener("udp")));
    assert_eq!(session.ask(b"one"), b"one");
    let echo = stand.origins[0].address();
    stand.dc1.reload(|file| file.allow_nothing_yet().allow(&format!("{}/32:{}", echo.ip(), echo.port())));
    let cut = || stand.dc1.metric("underpass_flows_ended_total{ended=\"withdrawn\"}");
    wait::soon_true("the session to be cut", || cut() == 1);
    session.send(b"two");
    assert_eq!(session.receive(Duration::from_millis(300)), None);
    assert_eq!(stand.udp.sources(), 1);
    still_open(&old);
    assert_eq!(cut(), 1);
}

#[test]
fn an_allow_list_that_is_narrowed_holds_for_the_next_flow() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origins = [10, 11].map(|host| habits::echo(world.free_in(&prod, host)));
    let file = world.edge("edge-1").grant("dc1", &[&prod]);
    let file = file.service(&Service::tcp("one").origin(&prod, origins[0].address()));
    let edge = file.service(&Service::tcp("two").origin(&prod, origins[1].address())).start();
    let mut dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    let open = flow(&edge, "two").expect("all is permitted");
    dc1.reload(|file| file.allow_nothing_yet().allow(&format!("{}/32:*", origins[0].address().ip())));
    wait::until("the other to be refused", WITHIN, || flow(&edge, "two").is_none().then_some(()));
    assert!(flow(&edge, "one").is_some());
    still_open(&open);
    edge.process.wait_log(&["access", "policy_denied"]);
    dc1.process.wait_log(&["allow", "removed"]);
}

#[test]
fn edges_come_and_go_and_those_that_stay_are_not_touched() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let edge = |name: &str| world.edge(name).grant("dc1", &[&prod]);
    let service = Service::tcp("old").origin(&prod, origin.address());
    let one = edge("edge-1").service(&service).start();
    let two = edge("edge-2").fleet_of(&one.file).service(&service).start();
    let mut dc1 = world.connector("dc1").serve(&prod).grace("20s").start(&[&one]);
    let (open, before) = (flow(&one, "old").expect("it leads there"), links(&one));

    dc1.reload(|file| file.dial(&two.file));
    wait::until("links to the other edge", WITHIN, || (links(&two).len() == 2).then_some(()));
    dc1.process.wait_log(&[&format!("edge {} added", two.file.tunnel)]);
    assert_eq!(links(&one), before);
    let (other, stay) = (flow(&two, "old").expect("it leads there too"), links(&two));

    dc1.reload(|file| file.dial_nothing_yet().dial(&two.file));
    wait::until("the first edge to be left", WITHIN, || links(&one).is_empty().then_some(()));
    still_open(&open);
    // One waits for its flow, the other ends.
    one.wait_links("dc1", 1);
    assert_eq!(dc1.status()["edges"].as_array().map(Vec::len), Some(1), "it is kept no longer");

    // Back again, while a link of before is still there.
    dc1.reload(|file| file.dial(&one.file));
    wait::until("links to the first edge", WITHIN, || (links(&one).len() == 2).then_some(()));
    still_open(&open);
    assert_eq!(one.links("dc1"), 3, "beside the one that leaves");
    drop(open);
    one.wait_links("dc1", 2);
    still_open(&other);
    assert_eq!(links(&two), stay);
}

#[test]
fn links_are_added_and_taken_away_and_the_one_that_stays_is_the_same() {
    let mut stand = Stand::new();
    let (open, before) = (stand.wait_flow("old"), links(&stand.edge));
    let is_healthy = |edge: &Edge| edge.tunnel("dc1").is_some_and(|tunnel| tunnel["health"] == "healthy");
    for count in [3, 1, 2] {
        stand.dc1.reload(|file| file.links_per_edge(count));
        wait::until(&format!("{count} links"), WITHIN, || {
            (links(&stand.edge).len() == count && is_healthy(&stand.edge)).then_some(())
        });
        assert_eq!(links(&stand.edge)[0], before[0]);
        still_open(&open);
        assert_eq!(stand.dc1.metric(&format!("underpass_links{{edge=\"{}\"}}", stand.edge.file.tunnel)), count as u64);
    }
}

#[test]
fn a_bad_file_changes_nothing_and_what_is_wrong_is_told_everywhere() {
    let mut stand = Stand::new();
    let (open, before) = (stand.wait_flow("old"), links(&stand.edge));
    assert_eq!(stand.dc1.metric("underpass_config_last_reload_successful"), 1);
    stand.dc1.reload(|file| file.top("reloud = \"signal\"\nworkers = 0"));
    stand.dc1.process.wait_log(&["reload refused"]);
    let name = stand.dc1.file.path.display().to_string();
    stand.dc1.process.wait_log(&[&name, "unknown key `reloud`"]);
    let reload = stand.dc1.status()["reload"].clone();
    let mistakes = reload["mistakes"].as_array().cloned().unwrap_or_default();
    assert_eq!((&reload["applied"], mistakes.len()), (&false.into(), 2), "{reload}");
    let checked = stand.world.underpass(&["check", &name]);
    let all = mistakes.iter().all(|mistake| checked.text().contains(mistake.as_str().expect("a text")));
    assert!(all, "check says the same: {}", checked.text());
    let status = stand.world.underpass(&["status", "--admin", &format!("http://{}", stand.dc1.file.admin)]).ok();
    let _ = status.says(&["not in force", "unknown key `reloud`"]);
    assert_eq!(stand.dc1.metric("underpass_config_last_reload_successful"), 0);
    assert_eq!(stand.dc1.metric("underpass_reload_failed_total"), 1);
    assert_eq!(stand.dc1.metric("underpass_reloads_total{outcome=\"refused\"}"), 1);
    still_open(&open);
    assert_eq!(links(&stand.edge), before);

    let text = stand.dc1.file.text().replace("reloud = \"signal\"\nworkers = 0\n", "workers = 7\n");
    fs::write(&stand.dc1.file.path, text).expect("writable");
    stand.dc1.process.signal(Signal::HUP);
    wait::soon_true("it to be put right", || stand.dc1.metric("underpass_config_last_reload_successful") == 1);
    let reload = stand.dc1.status()["reload"].clone();
    assert_eq!((&reload["applied"], &reload["restart"]), (&true.into(), &serde_json::json!(["workers"])), "{reload}");
    stand.dc1.process.wait_log(&["workers", "changes only with a restart"]);
}

#[test]
fn a_file_is_read_again_by_itself_however_it_is_replaced() {
    let stand = Stand::of(ConnectorFile::watched);
    let (lab, open, path) = (stand.lab.clone(), stand.wait_flow("old"), stand.dc1.file.path.clone());
    let (one, both) = (stand.dc1.file.text(), stand.dc1.file.clone().serve(&lab).text());
    let serves = |what: &[&str]| {
        wait::until(&format!("{what:?} to be served"), WITHIN, || (routes(&stand.edge) == what).then_some(()));
    };
    fs::write(&path, &both).expect("written in place");
    serves(&["lab", "prod"]);
    let beside = stand.world.write("beside.toml", &one);
    fs::rename(beside, &path).expect("renamed over it");
    serves(&["prod"]);
    // As a cluster mounts it: the file is a link into a folder that is a link.
    let at = |name: &str| stand.world.path(name);
    for (folder, text) in [("v1", &one), ("v2", &both)] {
        fs::create_dir(at(folder)).expect("made");
        fs::write(at(folder).join("connector.toml"), text).expect("written");
    }
    symlink("v2", at("data")).expect("linked");
    symlink("data/connector.toml", at("link")).expect("linked");
    fs::rename(at("link"), &path).expect("renamed over it");
    serves(&["lab", "prod"]);
    symlink("v1", at("next")).expect("linked");
    fs::rename(at("next"), at("data")).expect("the link leads elsewhere");
    serves(&["prod"]);
    fs::write(at("v1").join("connector.toml"), "what is this").expect("written where the links lead");
    stand.dc1.process.wait_log(&["reload refused"]);
    still_open(&open);
}

#[test]
fn a_file_that_was_changed_before_the_connector_looked_is_compared_with_what_it_runs_by() {
    let stand = Stand::of(ConnectorFile::watched);
    // It has looked once, and found what it was started with: that is no reload.
    wait::always("nothing is told", Duration::from_millis(500), || stand.dc1.status()["reload"] == Value::Null);
    assert_eq!(stand.dc1.process.find_log(&["settings are in force"]), None);
}

#[test]
fn a_hundred_changes_of_other_things_harm_nobody_and_leave_nothing_behind() {
    let world = World::new();
    let (prod, lab) = (world.vnet("prod"), world.vnet("lab"));
    let echo = habits::echo(world.free_in(&prod, 10));
    let named = habits::names_itself(world.free_in(&prod, 11), "here");
    let udp = UdpOrigin::echo(world.free_in(&prod, 12));
    let (web, _heads) = web::says(world.free_in(&prod, 13), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&prod, &lab])
        .service(&Service::http("web").origin(&prod, web.address()))
        .service(&Service::tcp("echo").origin(&prod, echo.address()))
        .service(&Service::tcp("who").origin(&prod, named.address()))
        .service(&Service::udp("udp").origin(&prod, udp.address()))
        .start();
    let mut dc1 = world.connector("dc1").links_per_edge(1).serve(&prod).start(&[&edge]);
    let flow = load::LongFlow::start(edge.listener("echo"), 7).expect("it leads there");
    let connections = load::Load::start(edge.listener("who"), 2, Duration::from_millis(5));
    let udp_client = SteadyUdp::start(UdpClient::new(edge.listener("udp")), Right::Echo);
    connections.wait_for(20);
    let (at, ends) = (edge.listener("web"), Arc::new(AtomicBool::new(false)));
    let told = ends.clone();
    let requests = std::thread::spawn(move || {
        let mut codes = Vec::new();
        while !told.load(Ordering::Relaxed) {
            codes.push(http::get(at, "/").map(|answer| answer.code));
        }
        codes
    });
    let (files, plain) = (dc1.process.files(), dc1.file.clone());
    for change in 1..=100_u64 {
        let mut file = plain.clone();
        if change % 2 == 1 {
            file = file.serve(&lab);
        }
        if change % 3 == 1 {
            file = file.allow("192.0.2.0/24:*");
        }
        // At the end as many as at first.
        file = file.links_per_edge(if change % 4 == 1 { 3 } else { 1 });
        dc1.reload(|_| file);
        wait::soon_true(&format!("change {change}"), || {
            dc1.metric("underpass_reloads_total{outcome=\"applied\"}") == change
        });
    }
    connections.wait_for(20);
    udp_client.wait_for(5);
    ends.store(true, Ordering::Relaxed);
    let codes = requests.join().expect("it does not panic");
    assert!(codes.len() > 20 && codes.iter().all(|code| *code == Some(200)), "{codes:?}");
    load::holds(&connections.stop(), None);
    load::holds(&udp_client.stop(Duration::ZERO), None);
    assert!(flow.stop().expect("a long flow is not touched") > 0);
    assert_eq!(udp.sources(), 1, "nor is a session");
    wait::soon_true("links that were taken away to be gone", || edge.links("dc1") == 1);
    wait::soon_true("and their files", || dc1.process.files() <= files);
}

#[test]
fn an_edge_is_told_of_other_routes_over_the_links_there_are_one_change_after_the_other() {
    let world = World::new();
    let (prod, lab) = (world.vnet("prod"), world.vnet("lab"));
    let edge = world.edge("edge-1").grant("dc1", &[&prod, &lab]).start();
    let false_edge = FalseEdge::start(world.free(), &edge.file);
    let file = world.connector("dc1").serve(&prod).links_per_edge(1).token(&edge.token("dc1"));
    let mut dc1 = file.dial_at(false_edge.address).launch();
    let mut link = false_edge.capture();
    let one = dc1.file.clone();
    dc1.reload(|file| file.serve(&lab));
    let told = false_edge.hear(&mut link);
    let Message::Claims(Claims { links: 1, routes }) = &told else { panic!("{told:?}") };
    assert_eq!(routes.iter().map(|route| route.vnet.as_str()).collect::<Vec<_>>(), ["lab", "prod"]);
    // It is not told of the next before it has answered: of two changes meanwhile the last is told.
    dc1.reload(|_| one.clone());
    dc1.process.wait_log(&["route lab 10.7.0.0/24 removed"]);
    dc1.reload(|_| one.clone().route("third", "10.0.0.0/8"));
    dc1.process.wait_log(&["route third 10.0.0.0/8 added"]);
    let refused = protocol::control::RefusedRoute { route: routes[0].clone(), reason: "not today".to_owned() };
    let judged = Judged { accepted: vec![routes[1].clone()], refused: vec![refused] };
    false_edge.tell(&mut link, &Message::Judged(judged));
    let told = false_edge.hear(&mut link);
    let Message::Claims(Claims { routes, .. }) = &told else { panic!("{told:?}") };
    assert_eq!(routes.iter().map(|route| route.vnet.as_str()).collect::<Vec<_>>(), ["prod", "third"]);
    dc1.process.wait_log(&["the edge refused a route", "not today"]);
    let shown = dc1.status()["edges"][0]["refused_routes"][0]["vnet"].clone();
    assert_eq!(shown, "lab");
    // What nobody has asked for is an error.
    false_edge.tell(&mut link, &Message::Judged(Judged { accepted: routes.clone(), refused: Vec::new() }));
    false_edge.tell(&mut link, &Message::Judged(Judged { accepted: Vec::new(), refused: Vec::new() }));
    dc1.process.wait_log(&["link lost", "broke the protocol"]);
}

#[test]
fn an_edge_that_does_not_answer_other_claims_gets_a_link_that_makes_them() {
    let world = World::new();
    let (prod, lab) = (world.vnet("prod"), world.vnet("lab"));
    let edge = world.edge("edge-1").grant("dc1", &[&prod, &lab]).start();
    let mute = FalseEdge::start(world.free(), &edge.file);
    let file = world.connector("dc1").serve(&prod).links_per_edge(1).token(&edge.token("dc1"));
    let mut dc1 = file.dial_at(mute.address).launch();
    let mut link = mute.capture();
    dc1.reload(|file| file.serve(&lab));
    assert!(matches!(mute.hear(&mut link), Message::Claims(_)));
    let next = mute.capture();
    assert_eq!(next.hello.routes.len(), 2);
    dc1.process.wait_log(&["link lost", "did not answer other claims"]);
}

#[test]
fn an_older_edge_gets_a_new_link_with_the_new_routes_and_the_old_one_leaves() {
    let world = World::new();
    let (prod, lab) = (world.vnet("prod"), world.vnet("lab"));
    let origin = habits::echo(world.free_in(&prod, 10));
    let edge = world.edge("edge-1").grant("dc1", &[&prod, &lab]).start();
    let older = FalseEdge::start(world.free(), &edge.file);
    let file = world.connector("dc1").serve(&prod).links_per_edge(1).token(&edge.token("dc1"));
    let mut dc1 = file.dial_at(older.address).launch();
    let mut first = older.capture_as(2);
    let mut open = older.flow(&first, &prod.inside(origin.address()));
    dc1.reload(|file| file.serve(&lab));
    let second = older.capture_as(2);
    let vnets = |hello: &Hello| hello.routes.iter().map(|route| route.vnet.clone()).collect::<Vec<_>>();
    assert_eq!((vnets(&first.hello), vnets(&second.hello)), (vec!["prod".into()], vec!["lab".into(), "prod".into()]));
    assert_ne!(first.hello.slot, second.hello.slot, "they live side by side");
    let told = older.hear(&mut first);
    assert!(matches!(told, Message::Goodbye(_)), "{told:?}");
    let echoed = older.run(async {
        open.send.write_chunk(b"still here".to_vec().into()).await.expect("a live link");
        let mut back = [0; 10];
        tokio::io::AsyncReadExt::read_exact(&mut open.recv, &mut back).await.expect("it echoes");
        back
    });
    assert_eq!(&echoed, b"still here");
}

#[test]
fn an_edge_judges_what_a_link_claims_and_hears_one_change_at_a_time() {
    let world = World::new();
    let prod = world.vnet("prod");
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).start();
    let rogue = Rogue::at(world.source(66), &edge.file);
    let member = rogue.join(&world, &edge.token("dc1"));
    let crypto = certs::tls::link_client(&member.identity).expect("a good identity");
    let mut line = rogue.line(rogue.connect(crypto).expect("a good certificate")).expect("a live connection");
    let welcome = rogue.ask(&mut line, &Message::Hello(hello()));
    assert!(matches!(welcome, Ok(Message::Welcome(_))), "{welcome:?}");
    let claim = |cidr: &str| RouteClaim { vnet: "prod".to_owned(), cidr: cidr.to_owned() };
    let claims =
        |cidrs: &[&str]| Message::Claims(Claims { links: 1, routes: cidrs.iter().map(|cidr| claim(cidr)).collect() });
    let answer = rogue.ask(&mut line, &claims(&["10.7.0.0/25", "0.0.0.0/0"]));
    let Ok(Message::Judged(Judged { accepted, refused })) = answer else { panic!("{answer:?}") };
    assert_eq!(accepted, [claim("10.7.0.0/25")]);
    assert_eq!(refused.iter().map(|refused| &refused.route).collect::<Vec<_>>(), [&claim("0.0.0.0/0")]);
    let tunnel = edge.tunnel("dc1").expect("it is granted");
    assert_eq!(tunnel["routes"], serde_json::json!([{ "vnet": "prod", "cidr": "10.7.0.0/25" }]), "before it answers");
    let none = rogue.ask(&mut line, &claims(&[]));
    assert_eq!(none.ok(), Some(Message::Judged(Judged { accepted: Vec::new(), refused: Vec::new() })));
    rogue.run(async {
        for cidr in ["10.7.0.0/26", "10.7.0.0/27", "10.7.0.0/28"] {
            // It may be closed by then.
            let _ = protocol::wire::write_message(&mut line.send, &claims(&[cidr])).await;
        }
    });
    let end = rogue.end_of(&line.connection).to_string();
    assert!(end.contains("before the last are judged"), "{end}");
}

#[test]
fn a_connector_that_ends_does_not_wait_for_connections_that_nobody_uses() {
    let world = World::new();
    let prod = world.vnet("prod");
    let (origin, _heads) = web::says(world.free_in(&prod, 10), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let service = Service::http("web").pool("upstream_idle_timeout = \"1h\"").origin(&prod, origin.address());
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).service(&service).start();
    let mut dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    for _ in 0..4 {
        assert_eq!(http::get(edge.listener("web"), "/").map(|answer| answer.code), Some(200));
    }
    let began = Instant::now();
    let status = dc1.process.terminate(Duration::from_secs(10));
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < Duration::from_secs(3), "it waited {:?} of its 30 s", began.elapsed());
}

//! An edge that asks a connector for what no edge may have: metadata services, the connector's own host, its own ports; by
//! address, by another form of the address, by a name that leads there.
//!
//! Every form there is, and what permits it, is in the table of `connector::serve::policy`; here a real edge asks a real
//! connector that routes and allows everything.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use protocol::{error::Reason, stream::Reply};
use rig::dns::{self, Asked, Record};
use underpass_tests::harness::{
    ConnectorFile, FalseEdge, Origin, Service, Vnet, World, client,
    datagrams::UdpOrigin,
    edge::token,
    origin::habits,
    wait::{soon, soon_true},
};

/// Whatever address is asked for, the connector is routed there and allows it, if it is not special. What is inside this
/// VNet's own loopback network is named, so it may be dialled too.
fn allows_all(world: &World, prod: &Vnet) -> ConnectorFile {
    let file = world.connector("dc1").route("prod", "0.0.0.0/0").route("prod", "::/0");
    file.allow("0.0.0.0/0:*").allow("[::/0]:*").allow(&format!("{}:*", prod.real_cidr()))
}

const GRANT: &str = "[[connector]]\nname = \"dc1\"\n\
    routes = [{ vnet = \"prod\", cidr = \"0.0.0.0/0\" }, { vnet = \"prod\", cidr = \"::/0\" }]";

/// Something on the connector's own host that an edge must not reach: it listens on every address.
fn decoy() -> Origin {
    habits::names_itself(SocketAddr::from(([0, 0, 0, 0], 0)), "decoy")
}

#[test]
fn no_form_of_a_special_address_is_dialled_for_an_edge_in_the_wrong_hands() {
    let world = World::new();
    let prod = world.vnet("prod");
    let decoy = decoy();
    let port = decoy.address().port();
    let listening = UdpOrigin::names_itself(SocketAddr::from(([127, 0, 0, 1], port)), "decoy");
    let edge = world.edge("edge-1").raw(GRANT).start();
    let edge_gone_bad = FalseEdge::start(world.free(), &edge.file);
    let token = edge.token("dc1");
    let file = allows_all(&world, &prod).links_per_edge(1).token(&token);
    let dc1 = file.dial_at(edge_gone_bad.address).launch();
    let mut captive = edge_gone_bad.capture();

    let leading_home = [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "localhost",
        "LOCALHOST.",
    ];
    let metadata = [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "224.0.0.1",
        "255.255.255.255",
    ];
    for host in leading_home.iter().chain(&metadata) {
        let target = format!("{host}:{port}");
        for reply in [edge_gone_bad.ask_tcp(&captive, &target), edge_gone_bad.ask_udp(&mut captive, &target)] {
            assert!(matches!(reply, Reply::Refused { reason: Reason::PolicyDenied, .. }), "{target}: {reply:?}");
        }
    }
    let own = dc1.file.admin.to_string();
    let reply = edge_gone_bad.ask_tcp(&captive, &own);
    assert!(matches!(reply, Reply::Refused { reason: Reason::PolicyDenied, .. }), "its own endpoint: {reply:?}");
    // What is inside its VNet is dialled for this edge too: it is the fleet's.
    let good = habits::echo(world.free_in(&prod, 10));
    let reply = edge_gone_bad.ask_tcp(&captive, &good.address().to_string());
    assert!(matches!(reply, Reply::Connected { .. }), "{reply:?}");
    assert_eq!((decoy.accepted(), listening.sources()), (0, 0));
    let _ = dc1.process.wait_log(&["an edge asked for a target that is not permitted"]);
}

#[test]
fn a_name_that_leads_elsewhere_each_time_leads_nowhere_else() {
    let world = World::new();
    let prod = world.vnet("prod");
    let decoy = habits::names_itself(SocketAddr::from(([127, 0, 0, 1], 0)), "decoy");
    let port = decoy.address().port();
    let good = SocketAddr::new(world.free_in(&prod, 10).ip(), port);
    let _origin = habits::names_itself(good, "good");
    let (names, asked) = names(world.free_in(&prod, 53).ip(), good.ip());

    let hostile = ["home.test", "meta.test", "six.test"];
    let services = hostile.iter().fold(Service::tcp("hostile").monitor("tcp"), |service, name| {
        service.target(Some("prod"), &format!("{name}:{port}"))
    });
    let edge = world
        .edge("edge-1")
        .raw(GRANT)
        .tcp_monitor("tcp")
        .service(&services)
        .service(&Service::tcp("turns").target(Some("prod"), &format!("turns.test:{port}")))
        .service(&Service::tcp("both").target(Some("prod"), &format!("both.test:{port}")))
        .start();
    let _dc1 = allows_all(&world, &prod).resolving_by(&world, names.address().ip()).start(&[&edge]);

    for number in 1..=hostile.len() {
        edge.wait_reason(&format!("hostile-{number}"), "policy_denied");
    }
    let mut reached = 0;
    for _ in 0..20 {
        match client::listen_to(edge.listener("turns")) {
            Ok(text) if text == "good" => reached += 1,
            Ok(text) => assert_eq!(text, "", "the name has turned, and was followed"),
            Err(_) => {}
        }
        assert_eq!(client::listen_to(edge.listener("both")).expect("one of two is good"), "good");
    }
    assert!(reached > 0, "the name leads to the good one too");
    assert!(asked.load(Ordering::SeqCst) > 1, "it was asked for again, and turned");
    assert_eq!(decoy.accepted(), 0);
}

/// A DNS server whose every answer is good for no time at all, and how often it was asked for `turns.test`.
fn names(at: IpAddr, good: IpAddr) -> (UdpOrigin, Arc<AtomicUsize>) {
    let turns = Arc::new(AtomicUsize::new(0));
    let counted = turns.clone();
    let home = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let server =
        UdpOrigin::start(SocketAddr::new(at, 53), move |query| {
            let Some(asked) = Asked::read(query) else { return Vec::new() };
            let addresses =
                match asked.name().as_str() {
                    "home.test" => vec![home],
                    "meta.test" => vec![IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254))],
                    "six.test" => vec![IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0x7f00, 1))],
                    "both.test" => vec![home, good],
                    "turns.test" if asked.kind() == dns::A => {
                        if counted.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) { vec![good] } else { vec![home] }
                    }
                    _ => Vec::new(),
                };
            let records = addresses.into_iter().map(Record::Address).filter(|record| record.kind() == asked.kind());
            vec![asked.answer(&records.collect::<Vec<_>>())]
        });
    (server, turns)
}

#[test]
fn an_edge_does_not_reach_the_connectors_own_endpoint() {
    let world = World::new();
    // On a port that the system chooses.
    let host = world.source(77).ip();
    let mut file = world.connector("dc1").route("prod", "0.0.0.0/0").allow("127.0.0.0/8:*");
    file.admin = SocketAddr::new(host, 0);
    let edge_file = world.edge("edge-1").raw(GRANT).tcp_monitor("tcp");
    edge_file.write();
    let token = token(&edge_file, "dc1");
    let _dc1 = file.token(&token).dial(&edge_file).launch();
    let own = SocketAddr::new(host, soon("the connector to listen", || listening_port(host)));

    let other = habits::names_itself(SocketAddr::new(host, 0), "other");
    let service = Service::tcp("own").monitor("tcp").target(Some("prod"), &own.to_string());
    let beside = Service::tcp("beside").target(Some("prod"), &other.address().to_string());
    let edge = edge_file.service(&service).service(&beside).start();
    edge.wait_links("dc1", 2);
    edge.wait_reason("own-1", "policy_denied");
    let beside = || client::listen_to(edge.listener("beside")).is_ok_and(|text| text == "other");
    soon_true("what is beside it on the same host to be reached", beside);
}

/// The port that something listens on at this address, which is nobody else's.
fn listening_port(at: IpAddr) -> Option<u16> {
    let IpAddr::V4(at) = at else { return None };
    let wanted = format!("{:08X}", u32::from_le_bytes(at.octets()));
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let mut ports = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (local, state) = (words.nth(1)?, words.nth(1)?);
        let (address, port) = local.split_once(':')?;
        (address == wanted && state == "0A").then(|| u16::from_str_radix(port, 16).ok())?
    });
    ports.next()
}

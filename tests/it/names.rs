//! Names of edges: a connector that is started before they can be resolved, and one that comes back when they no longer can.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    time::Instant,
};

use underpass_tests::harness::{
    Connector, Edge, Service, Vnet, World, http,
    origin::servers,
    wait::{self, SOON},
};

/// The edge's name.
const NAME: &str = "edge.test";

struct Stand {
    world: World,
    prod: Vnet,
    edge: Edge,
}

fn stand() -> Stand {
    let world = World::new();
    let prod = world.vnet("prod");
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).start();
    Stand { world, prod, edge }
}

impl Stand {
    /// A connector that enrols by address and keeps its links by name, with a resolver file of its own.
    fn connector(&self, settings: &Path) -> Connector {
        let file = self.world.connector("dc1").serve(&self.prod).token(&self.edge.token("dc1"));
        file.dial_named(NAME, self.edge.file.tunnel.port()).resolving_as_in(settings).launch()
    }

    fn name_server(&self, at: SocketAddr) -> servers::Server {
        servers::dnsmasq_knowing(&self.world, at, &[(NAME, self.edge.file.tunnel.ip())])
    }

    /// A connector that has reached its edge by a name and is not running any more, nor is its name server, which was at this
    /// address; and where it keeps what it knows.
    fn reached_once(&self) -> (SocketAddr, Connector, PathBuf) {
        let at = (self.world.source(53).ip(), 53).into();
        let names = self.name_server(at);
        let settings = self.world.write("resolv.conf", &format!("nameserver {}\n", at.ip()));
        let mut dc1 = self.connector(&settings);
        self.edge.wait_links("dc1", 2);
        let kept = dc1.file.state_dir.join("edges.json");
        wait::soon_true("the address to be kept", || fs::read_to_string(&kept).is_ok_and(|text| text.contains(NAME)));
        drop(names);
        dc1.process.kill();
        wait::soon_true("its links to go", || self.edge.links("dc1") == 0);
        (at, dc1, kept)
    }
}

#[test]
fn a_connector_started_before_names_can_be_resolved_says_so_and_joins_once_they_can() {
    let stand = stand();
    let settings = stand.world.write("resolv.conf", "# the network is not up yet\n");
    let dc1 = stand.connector(&settings);
    let _ = dc1.process.wait_log(&["no link yet", "cannot resolve edge.test", "no nameservers"]);
    says_why_it_is_not_ready(&dc1, &["edge.test", "0 of 2 links up: cannot resolve edge.test", "no nameservers"]);

    let silent = UdpSocket::bind((stand.world.source(53).ip(), 53)).expect("the tests run as root");
    let silent_at = silent.local_addr().expect("bound").ip();
    let began = Instant::now();
    fs::write(&settings, format!("nameserver {silent_at}\n")).expect("writable");
    let _ = dc1.process.wait_log(&["no answer yet", "a name server", NAME]);
    assert!(began.elapsed() < SOON / 2, "it is told what is waited for: {:?}", began.elapsed());
    let _ = dc1.process.wait_log(&["no link yet", NAME, "no answer from name server", &silent_at.to_string()]);
    assert_eq!(stand.edge.links("dc1"), 0);

    let names = stand.name_server((stand.world.source(54).ip(), 53).into());
    fs::write(&settings, format!("nameserver {}\n", names.address.ip())).expect("writable");
    stand.edge.wait_links("dc1", 2);
}

fn says_why_it_is_not_ready(connector: &Connector, words: &[&str]) {
    wait::soon_true(&format!("readiness to say {words:?}"), || {
        let answer = http::get(connector.file.admin, "/readyz");
        answer.is_some_and(|answer| answer.code == 503 && words.iter().all(|word| answer.body.contains(word)))
    });
}

#[test]
fn a_connector_that_cannot_join_says_where_and_why() {
    let mut stand = stand();
    let token = stand.edge.token("dc1");
    stand.edge.process.kill();
    let at = stand.edge.file.tunnel.to_string();
    let file = stand.world.connector("dc1").serve(&stand.prod).token(&token).dial(&stand.edge.file);
    let dc1 = file.launch();
    says_why_it_is_not_ready(&dc1, &[&at, "not enrolled yet: no answer yet"]);
    says_why_it_is_not_ready(&dc1, &[&at, "not enrolled yet", "nothing came back over UDP"]);
    let config = dc1.file.path.display().to_string();
    let told = stand.world.underpass(&["ready", "-c", &config]).exited(1);
    let _ = told.says(&["not ready: ", &at, "nothing came back over UDP: is an edge running there"]);
    stand.edge.crash_and_restart();
    dc1.wait_ready();
}

#[test]
fn a_connector_comes_back_without_name_servers_to_where_it_reached_its_edge_last() {
    let stand = stand();
    let (_, mut dc1, _) = stand.reached_once();
    dc1.restart();
    stand.edge.wait_links("dc1", 2);
    let _ = dc1.process.wait_log(&["its last good addresses are used", NAME]);
}

#[test]
fn a_connector_comes_back_to_where_it_reached_its_edge_last_when_a_name_server_is_wrong() {
    let stand = stand();
    let (at, mut dc1, kept) = stand.reached_once();
    let nobody = stand.world.source(98).ip();
    let _wrong = servers::dnsmasq_knowing(&stand.world, at, &[(NAME, nobody)]);
    dc1.restart();
    stand.edge.wait_links("dc1", 2);
    let known = fs::read_to_string(&kept).expect("it is there");
    assert!(!known.contains(&nobody.to_string()), "where nobody was reached is not kept: {known}");
}

#[test]
fn a_name_server_that_does_not_answer_is_dns_failed_with_server_and_name() {
    let world = World::new();
    let prod = world.vnet("prod");
    let silent = UdpSocket::bind((world.source(53).ip(), 53)).expect("the tests run as root");
    let server = silent.local_addr().expect("bound").ip().to_string();
    let settings = world.write("resolv.conf", &format!("nameserver {server}\n"));
    let service = Service::tcp("db").monitor("tcp").target(Some("prod"), "db.test:5432");
    // Names are routed by what they resolve to: every connector of the VNet may be asked.
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).tcp_monitor("tcp").service(&service).start();
    let _dc1 = world.connector("dc1").serve(&prod).resolving_as_in(&settings).start(&[&edge]);
    edge.wait_reason("db-1", "dns_failed");
    let detail = edge.detail("db-1");
    assert!(detail.contains("db.test") && detail.contains(&server) && detail.contains("no answer"), "{detail}");
    let _ = edge.process.wait_log(&["path is unhealthy", "dns_failed", "db.test", &server]);
}

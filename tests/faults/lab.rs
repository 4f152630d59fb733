//! The lab: two edges and clients on a public network, two sites with the same addresses behind two connectors with two
//! replicas each, every host in a network namespace of its own.
//!
//! Only connectors stand in both worlds, and none of them forwards packets: sites have no route out and the public network
//! has none in. [`Lab::check_apart`] shows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    sync::{Arc, Mutex, atomic::AtomicU16},
    time::Duration,
};

use rig::{dns, judge::Clock};
use serde_json::Value;
use underpass_tests::harness::{
    Connector, ConnectorFile, Edge, EdgeFile, Origin, Process, Service, World,
    disk::SmallDisk,
    origin::{
        habits,
        servers::{self, Server},
        web,
    },
    wait,
};

use crate::{load::ports, netns::Netns};

/// What both sites are.
const SITE: &str = "10.7.0.0/24";
/// Links of a replica to each edge.
pub(crate) const LINKS: usize = 2;
/// Everything stands within this after a start.
const STANDS_WITHIN: Duration = Duration::from_secs(60);

/// Monitors: out after one interval plus two time-outs, back after two intervals.
const MONITOR: &str =
    "interval = \"500ms\"\ntimeout = \"300ms\"\nretries = 1\nconsecutive_up = 2\nconsecutive_down = 1\njitter = 0.0\n";
/// The same with more patience, for machines that are busy with other things.
const PATIENT_MONITOR: &str =
    "interval = \"1s\"\ntimeout = \"1s\"\nretries = 2\nconsecutive_up = 2\nconsecutive_down = 1\njitter = 0.0\n";
/// What the promise makes of these figures: interval + timeout × (retries + 1).
pub(crate) const PROBED_OUT: Duration = Duration::from_millis(500 + 2 * 300);

/// An edge on its host.
#[derive(Debug)]
pub(crate) struct EdgeHost {
    /// Its network.
    pub(crate) netns: Netns,
    /// The edge.
    pub(crate) edge: Edge,
}

/// A replica of a connector on its host.
#[derive(Debug)]
pub(crate) struct Replica {
    /// Its network: `wan` towards the edges, `lan` into its site.
    pub(crate) netns: Netns,
    /// Its number, which its addresses are made of.
    pub(crate) number: u8,
    /// The connector.
    pub(crate) connector: Connector,
}

/// The origins of site A, each on an address of its own.
#[derive(Debug)]
pub(crate) struct Origins {
    /// nginx `a-1` and `a-2`.
    pub(crate) web: Vec<Server>,
    /// PostgreSQL.
    pub(crate) database: Server,
    /// Redis, for clients that only sit there.
    _cache: Server,
    /// Sends everything back.
    _transfer: Origin,
    /// dnsmasq, two of it.
    pub(crate) dns: Vec<Server>,
    /// The only origin of a pool that `web` stands in for.
    _spare: Origin,
    /// What it answers with.
    pub(crate) spare_code: Arc<AtomicU16>,
    _pour: Origin,
    _pour_web: Origin,
}

/// How often each transfer has reached the origin.
type Arrived = Arc<Mutex<BTreeMap<u64, usize>>>;

/// Everything. Processes first, what they live in last.
#[derive(Debug)]
pub(crate) struct Lab {
    /// Both edges.
    pub(crate) edges: Vec<EdgeHost>,
    /// `a1`, `a2`, `b1`, `b2`.
    pub(crate) replicas: Vec<Replica>,
    /// What serves at site A.
    pub(crate) origins: Origins,
    _web_b: Server,
    arrived: Arrived,
    /// The network of site A.
    pub(crate) site_a: Netns,
    site_b: Netns,
    /// The public network's router.
    pub(crate) core: Netns,
    /// Where clients are.
    pub(crate) client: Netns,
    /// The small disks under the state of replica `a1` and of the second edge.
    pub(crate) disks: Vec<SmallDisk>,
    /// Files and directories.
    pub(crate) world: World,
}

/// The address of an edge.
#[must_use]
pub(crate) fn edge_address(number: usize) -> IpAddr {
    let host = u8::try_from(11 + number).expect("two edges");
    Ipv4Addr::new(203, 0, 113, host).into()
}

fn site(host: u8, port: u16) -> SocketAddr {
    (Ipv4Addr::new(10, 7, 0, host), port).into()
}

impl Lab {
    /// Builds it and waits until everything is healthy.
    #[must_use]
    pub(crate) fn build(clock: Clock) -> Self {
        let world = World::new();
        let (core, site_a, site_b) = (core(), site_network(), site_network());
        let client = host_on(&core, "client", 10);
        let (origins, arrived) = site_a.inside(|| origins(&world));
        let web_b = site_b.inside(|| servers::nginx_noting(&world, site(10, 80), "b-1"));
        let disks = vec![SmallDisk::mount(&world, "a1-disk"), SmallDisk::mount(&world, "edge-2-disk")];
        let edges = start_edges(&world, &core, &disks[1], clock);
        let mut lab = Self {
            edges,
            replicas: Vec::new(),
            origins,
            _web_b: web_b,
            arrived,
            site_a,
            site_b,
            core,
            client,
            disks,
            world,
        };
        for number in 0..4 {
            let replica = lab.start_replica(number, if number < 2 { "dc-a" } else { "dc-b" });
            lab.replicas.push(replica);
        }
        lab.check_apart();
        let lacking = lab.wait_whole(STANDS_WITHIN);
        assert!(lacking.is_none(), "the lab does not stand: {lacking:?}");
        lab.fill_database();
        lab
    }

    /// A replica of a connector of site A (`dc-a`, `dc-c`; `crowd`, whom no client wants) or B on a new host, with its identity
    /// to be fetched at the first edge.
    #[must_use]
    pub(crate) fn start_replica(&self, number: u8, connector: &str) -> Replica {
        self.start_replica_by(number, connector, |file| {
            self.edges.iter().fold(file, |file, host| file.dial(&host.edge.file))
        })
    }

    /// The same, with its edges given in another way.
    #[must_use]
    pub(crate) fn start_replica_by(
        &self,
        number: u8,
        connector: &str,
        dial: impl FnOnce(ConnectorFile) -> ConnectorFile,
    ) -> Replica {
        let (lan, vnet) = match connector {
            "dc-b" => (&self.site_b, "b"),
            "crowd" => (&self.site_a, "crowd"),
            _ => (&self.site_a, "a"),
        };
        let netns = self.replica_host(number, lan);
        let token = self.edges[0].edge.token(connector);
        let file = self.world.connector(connector).route(vnet, SITE).token(&token).links_per_edge(LINKS);
        let file = if number == 0 { file.state_in(&self.disks[0].path.join("state")) } else { file };
        let file = dial(file);
        let connector = netns.inside(|| file.launch());
        Replica { netns, number, connector }
    }

    fn replica_host(&self, number: u8, lan: &Netns) -> Netns {
        let netns = Netns::new();
        netns.set("ipv4/ip_forward", "0");
        netns.cable("wan", &self.core, &format!("up{number}"));
        self.core.ip(&format!("addr add {}/28 dev up{number}", uplink(number, 1)));
        netns.ip(&format!("addr add {}/28 dev wan", uplink(number, 2)));
        route_out(&netns, number);
        netns.cable("lan", lan, &format!("port{number}"));
        lan.ip(&format!("link set port{number} master lan0"));
        netns.ip(&format!("addr add 10.7.0.{}/24 dev lan", 100 + number));
        netns
    }

    /// Shows that only connectors join the two worlds.
    ///
    /// # Panics
    /// If there is another way.
    fn check_apart(&self) {
        let reaches = |from: &Netns, at: SocketAddr| {
            from.inside(|| TcpStream::connect_timeout(&at, Duration::from_millis(300)).is_ok())
        };
        let edge_listens = SocketAddr::new(edge_address(0), ports::WEB);
        for public in [&self.client, &self.core, &self.edges[0].netns] {
            assert!(!reaches(public, site(10, 80)), "the public network reaches an origin by itself");
            assert!(reaches(public, edge_listens), "the public network reaches an edge");
        }
        for private in [&self.site_a, &self.site_b] {
            assert!(!reaches(private, edge_listens), "an origin reaches an edge by itself");
            assert!(reaches(private, site(10, 80)), "a site reaches its own origin");
        }
    }

    /// Every process of the product, by name.
    pub(crate) fn processes(&mut self) -> Vec<(String, &mut Process)> {
        let edges =
            self.edges.iter_mut().enumerate().map(|(i, host)| (format!("edge-{}", i + 1), &mut host.edge.process));
        let names = ["a1", "a2", "b1", "b2"];
        let replicas = self.replicas.iter_mut().zip(names);
        edges.chain(replicas.map(|(replica, name)| (name.to_owned(), &mut replica.connector.process))).collect()
    }

    /// Starts nginx `a-1` or `a-2` again, after it was killed.
    pub(crate) fn restart_web(&mut self, index: usize) {
        let world = &self.world;
        self.origins.web[index] = self.site_a.inside(|| start_web(world, index));
    }

    /// Starts a replica again, after it has ended.
    pub(crate) fn restart_replica(&mut self, index: usize) {
        let replica = &mut self.replicas[index];
        replica.netns.inside(|| replica.connector.restart());
    }

    /// What keeps this lab from being whole, as an edge that runs sees it.
    fn lacking(&self) -> Option<String> {
        self.edges.iter().find_map(|host| {
            let Some(status) = host.netns.inside(|| host.edge.try_status()) else {
                return Some("an edge does not answer".to_owned());
            };
            lacking(&status)
        })
    }

    /// Waits until every edge has every link and finds every path healthy, or says what is lacking.
    #[must_use]
    pub(crate) fn wait_whole(&self, limit: Duration) -> Option<String> {
        let whole = wait::poll(limit, || self.lacking().is_none().then_some(()));
        whole.is_none().then(|| self.lacking()).flatten()
    }

    /// Whatever an origin has seen twice since the last look.
    ///
    /// # Panics
    /// If the transfer origin panicked.
    #[must_use]
    pub(crate) fn twice(&self) -> Vec<String> {
        let mut posts: BTreeMap<String, usize> = BTreeMap::new();
        for web in &self.origins.web {
            let text = std::fs::read_to_string(web.dir.join("ids")).unwrap_or_default();
            for id in text.lines().filter_map(|line| line.strip_prefix("POST ")) {
                *posts.entry(id.to_owned()).or_default() += 1;
            }
        }
        let posts = posts.into_iter().filter(|(_, times)| *times > 1);
        let mut twice: Vec<String> = posts.map(|(id, times)| format!("POST {id} came {times} times")).collect();
        let arrived = self.arrived.lock().expect("no panic while held");
        let doubled = arrived.iter().filter(|(_, times)| **times > 1);
        twice.extend(doubled.map(|(id, times)| format!("the beginning of transfer {id} came {times} times")));
        twice
    }

    fn fill_database(&self) {
        self.site_a.inside(|| {
            let mut fill = servers::postgres_client("pgbench", self.origins.database.address);
            fill.args(["-i", "-q", "-s", "2"]);
            let _ = underpass_tests::harness::process::run(fill, Duration::from_secs(60)).ok();
        });
    }

    /// What is wrong with the books of the database, `committed` transactions being known to have been committed.
    #[must_use]
    pub(crate) fn audit_database(&self, committed: u64) -> Option<String> {
        let sql = "select (select sum(abalance) from pgbench_accounts) = (select coalesce(sum(delta), 0) from \
                   pgbench_history), (select count(*) from pgbench_history)";
        let ran = self.site_a.inside(|| {
            let mut ask = servers::postgres_client("psql", self.origins.database.address);
            ask.args(["-XAtq", "-c", sql]);
            underpass_tests::harness::process::run(ask, Duration::from_secs(60)).ok()
        });
        let (balanced, entries) = ran.out.trim().split_once('|').expect("two columns were asked for");
        let entries: u64 = entries.parse().expect("a count is a number");
        match balanced {
            "t" if entries >= committed => None,
            "t" => Some(format!("{committed} transactions were confirmed, {entries} are in the books")),
            _ => Some("the books of the database do not balance".to_owned()),
        }
    }
}

/// Address `host` of the uplink of a replica.
#[must_use]
pub(crate) fn uplink(replica: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, replica * 16 + host)
}

/// The default route of a replica's host.
pub(crate) fn route_out(netns: &Netns, number: u8) {
    netns.ip(&format!("route replace default via {}", uplink(number, 1)));
}

fn core() -> Netns {
    let core = Netns::new();
    core.set("ipv4/ip_forward", "1");
    core.set("ipv4/conf/all/rp_filter", "0");
    core.set("ipv4/conf/default/rp_filter", "0");
    bridge(&core, "pub0", "203.0.113.1/24");
    core
}

fn bridge(netns: &Netns, name: &str, address: &str) {
    // Of its own: it would else take the lowest of its ports', and another with each port that comes or goes.
    netns.ip(&format!("link add {name} address 02:00:00:00:00:01 type bridge"));
    netns.ip(&format!("addr add {address} dev {name}"));
    netns.ip(&format!("link set {name} up"));
}

/// A site: one host with an address for each origin, and ports for the replicas.
fn site_network() -> Netns {
    let netns = Netns::new();
    bridge(&netns, "lan0", "10.7.0.10/24");
    for host in 11..=17 {
        netns.ip(&format!("addr add 10.7.0.{host}/24 dev lan0"));
    }
    netns
}

/// A host on the public network.
fn host_on(core: &Netns, name: &str, host: u8) -> Netns {
    let netns = Netns::new();
    netns.cable("pub", core, name);
    core.ip(&format!("link set {name} master pub0"));
    netns.ip(&format!("addr add 203.0.113.{host}/24 dev pub"));
    netns.ip("route add default via 203.0.113.1");
    netns
}

fn start_web(world: &World, index: usize) -> Server {
    let host = if index == 0 { 10 } else { 11 };
    servers::nginx_noting(world, site(host, 80), if index == 0 { "a-1" } else { "a-2" })
}

fn origins(world: &World) -> (Origins, Arrived) {
    let arrived = Arrived::default();
    let (spare, spare_code) = habits::http(site(17, 80), "spare");
    let origins = Origins {
        web: vec![start_web(world, 0), start_web(world, 1)],
        database: servers::postgres(world, site(12, 5432)),
        _cache: servers::redis(world, site(15, 6379)),
        _transfer: transfer(site(13, 7000), arrived.clone()),
        dns: vec![servers::dnsmasq(world, site(14, 53)), servers::dnsmasq(world, site(16, 53))],
        _spare: spare,
        spare_code,
        _pour: habits::pours(site(15, 9000), 1 << 32),
        _pour_web: web::pours(site(15, 9001), "HTTP/1.1 200 OK\r\nContent-Length: 4294967296\r\n\r\n", 1 << 32),
    };
    (origins, arrived)
}

/// Sends everything back, and counts how often it has seen the number that a transfer begins with.
fn transfer(at: SocketAddr, arrived: Arrived) -> Origin {
    Origin::start(at, move |stream| {
        let mut begun = Vec::new();
        rig::origin::habits::echo_telling(stream, |came| {
            if begun.len() < 8 {
                begun.extend_from_slice(came);
                if let Some(id) = begun.first_chunk::<8>() {
                    let mut arrived = arrived.lock().expect("no panic while held");
                    *arrived.entry(u64::from_be_bytes(*id)).or_default() += 1;
                }
            }
        })
    })
}

fn services() -> Vec<(Service, u16)> {
    let a = |service: Service, host: u8, port: u16| service.target(Some("a"), &site(host, port).to_string());
    let web = Service::http("web").monitor("web").pool("steering = \"round_robin\"");
    vec![
        (a(a(web, 10, 80), 11, 80), ports::WEB),
        (Service::http("web-b").monitor("web").target(Some("b"), &site(10, 80).to_string()), ports::WEB_B),
        (a(Service::tcp("transfer").monitor("tcp"), 13, 7000), ports::TRANSFER),
        (a(Service::tcp("database").monitor("tcp"), 12, 5432), ports::DATABASE),
        (a(a(Service::udp("dns").monitor("dns"), 14, 53), 16, 53), ports::DNS),
        (a(Service::tcp("cache").listener("max_connections = 12000").monitor("tcp"), 15, 6379), ports::CACHE),
        (a(Service::tcp("pour").monitor("tcp"), 15, 9000), ports::POUR),
        (a(Service::http("pour-web").monitor("tcp"), 15, 9001), ports::POUR_WEB),
    ]
}

fn start_edges(world: &World, core: &Netns, disk: &SmallDisk, clock: Clock) -> Vec<EdgeHost> {
    let mut edges: Vec<EdgeHost> = Vec::new();
    for number in 0..2 {
        let address = edge_address(number);
        let name = format!("edge-{}", number + 1);
        let host = u8::try_from(11 + number).expect("two edges");
        let netns = host_on(core, &name, host);
        let file = world.edge(&name).tunnel_at(SocketAddr::new(address, 7843));
        let file = match edges.first() {
            None => file,
            Some(first) => file.fleet_of(&first.edge.file).state_in(&disk.path.join("state")),
        };
        let file = services().iter().fold(settings(file, clock), |file, (service, port)| {
            file.service_at(service, SocketAddr::new(address, *port))
        });
        let edge = netns.inside(|| file.raw(&spare(address)).start());
        edges.push(EdgeHost { netns, edge });
    }
    edges
}

/// A load balancer whose first pool has one origin, and whose second is `web`.
fn spare(edge: IpAddr) -> String {
    let (origin, port) = (site(17, 80), ports::SPARE);
    format!(
        "[[pool]]\nname = \"spare\"\nmonitor = \"web\"\n\
         [[pool.origin]]\nname = \"spare-1\"\nvnet = \"a\"\naddress = \"{origin}\"\n\
         [[load_balancer]]\nname = \"spare\"\npools = [\"spare\", \"web\"]\n\
         [[listener]]\nname = \"spare\"\nprotocol = \"http\"\nlisten = \"{edge}:{port}\"\nload_balancer = \"spare\"\n"
    )
}

fn settings(file: EdgeFile, clock: Clock) -> EdgeFile {
    let grant = |name: &str, replicas: usize, vnet: &str| {
        format!(
            "[[connector]]\nname = \"{name}\"\nreplicas = {replicas}\nroutes = [{{ vnet = \"{vnet}\", cidr = \"{SITE}\" }}]"
        )
    };
    let probe = dns::question(7, &["probe", "test"], dns::A);
    let probe: String = probe.iter().map(|byte| format!("{byte:02x}")).collect();
    let monitor = match clock {
        Clock::Trusted => MONITOR,
        Clock::Busy => PATIENT_MONITOR,
    };
    file.raw(&grant("dc-a", 2, "a"))
        .raw(&grant("dc-b", 2, "b"))
        .raw(&grant("dc-c", 1, "a"))
        .raw(&grant("crowd", 1000, "crowd"))
        .raw(&format!("[[monitor]]\nname = \"web\"\ntype = \"http\"\npath = \"/who\"\n{monitor}"))
        .raw(&format!("[[monitor]]\nname = \"tcp\"\ntype = \"tcp\"\n{monitor}"))
        .raw(&format!("[[monitor]]\nname = \"dns\"\ntype = \"udp\"\nsend = \"0x{probe}\"\n{monitor}"))
}

/// What an edge's status lacks. Pure.
fn lacking(status: &Value) -> Option<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut up = BTreeSet::new();
    for connector in ["dc-a", "dc-b"] {
        let tunnels = list(&status["tunnels"]);
        let tunnel = tunnels.iter().find(|tunnel| tunnel["connector"] == connector);
        let links = tunnel.map(|tunnel| list(&tunnel["links"])).unwrap_or_default();
        let of_it: Vec<&Value> = links.iter().filter(|link| link["state"] == "up").collect();
        if of_it.len() != 2 * LINKS {
            return Some(format!("{}: {} links of {connector} are up", status["edge"], of_it.len()));
        }
        up.extend(of_it.iter().map(|link| link["id"].to_string()));
    }
    let origins = list(&status["origins"]);
    let sick = origins.iter().flat_map(|origin| list(&origin["paths"]).into_iter().map(move |path| (origin, path)));
    let mut sick = sick.filter(|(_, path)| path["health"] != "healthy" && up.contains(&path["link"].to_string()));
    sick.next().map(|(origin, path)| {
        format!("{}: a path to {} is {} ({})", status["edge"], origin["origin"], path["health"], path["reason"])
    })
}

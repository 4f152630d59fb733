//! The real edge and real connectors in one process, over networks in memory: nothing here opens a socket.
//!
//! Every test has its own world: a public network with the edge and a client, and private networks behind connectors. The
//! clock is the real one.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use certs::{
    ca::Ca,
    token::JoinToken,
    tokens::{LIFETIME_DEFAULT, NewToken, Tokens},
};
use edge::{
    config::{CatalogStore, Overrides, Settings},
    store::Reloads,
};
use futures_util::future::join_all;
use net::{
    Listener, Network, Socket, Unreachables,
    memory::{MemoryHost, MemoryNetwork},
    network::Boxed,
};
use quinn::AsyncUdpSocket;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    runtime::{Handle, Runtime},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use underpass_tests::harness::wait::{SOON, soon, soon_true};

const EDGE: &str = "203.0.113.1";
const CLIENT: &str = "198.51.100.1";
const ORIGIN: &str = "10.7.0.10";
const BACKUP: &str = "198.51.100.9:80";
const BLUE: &str = "203.0.113.1:8001";
const GREEN: &str = "203.0.113.1:8002";

/// An edge on the public network; connectors and origins are added.
struct World {
    runtime: Runtime,
    dir: TempDir,
    public: MemoryNetwork,
    edge: MemoryHost,
    client: MemoryHost,
    stop: CancellationToken,
    reloads: Option<Reloads>,
    running: Vec<JoinHandle<Result<(), String>>>,
}

impl World {
    /// Connectors by name, with the VNet each may serve: `blue` or `green`, whose origins have the same address.
    fn new(grants: &[(&str, &str)]) -> Self {
        Self::of(&edge_file(grants))
    }

    /// An edge with this file.
    fn of(file: &str) -> Self {
        let mut world = Self::without_edge();
        world.start_edge(file);
        world
    }

    fn without_edge() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let public = MemoryNetwork::new(7);
        let (edge, client) = (public.host(ip(EDGE)), public.host(ip(CLIENT)));
        Self {
            runtime: runtime.expect("threads"),
            dir: tempfile::tempdir().expect("a directory"),
            public,
            edge,
            client,
            stop: CancellationToken::new(),
            reloads: None,
            running: Vec::new(),
        }
    }

    /// Where an edge with this file finds its settings.
    fn settings(&self, file: &str) -> Settings {
        let path = self.dir.path().join("edge.toml");
        std::fs::write(&path, file).expect("writable");
        Settings { store: CatalogStore::File(path), over: Overrides::default() }
    }

    fn start_edge(&mut self, file: &str) {
        let ready = self.begin_edge(file, Arc::new(self.edge.clone()));
        self.within(ready.cancelled());
    }

    /// An edge in this network that is not awaited.
    fn begin_edge(&mut self, file: &str, network: Arc<dyn Network>) -> CancellationToken {
        let settings = self.settings(file);
        let config = settings.current().unwrap_or_else(|wrong| panic!("{wrong}"));
        // The CA is there before the edge is, so that tokens can be made at once.
        Ca::open(&config.state_dir, SystemTime::now()).expect("a CA");
        let (ready, (reloads, wishes)) = (CancellationToken::new(), Reloads::new());
        self.reloads = Some(reloads.clone());
        let start = edge::edge::Start {
            config,
            settings,
            network,
            succession: None,
            pre_stop: Duration::ZERO,
            grace: SOON,
            stop: self.stop.clone(),
            cut: CancellationToken::new(),
            reloads,
            wishes,
            log_level: watch::Sender::default(),
            ready: ready.clone(),
            lost_lines: Arc::default(),
        };
        let run = async { Box::pin(edge::edge::run(start)).await.map_err(|e| e.to_string()) };
        self.running.push(self.runtime.spawn(run));
        ready
    }

    fn reload(&self, file: &str) {
        let _ = self.settings(file);
        let reloads = self.reloads.clone().expect("the edge runs");
        drop(self.runtime.spawn(async move { reloads.ask(false).await }));
    }

    /// A connector with one leg in the public network and one, at an address that may be anywhere else too, in a private
    /// one.
    fn connector(&mut self, name: &str, at: &str, vnet: &str, (private, leg): (&MemoryNetwork, &str)) {
        let host = self.public.host(ip(at));
        host.join(private, ip(leg));
        let config = connector::config::Config {
            state_dir: self.dir.path().join(name),
            links_per_edge: 1,
            routes: vec![(vnet.parse().expect("a name"), "10.7.0.0/24".parse().expect("a network"))],
            workers: 1,
            ..connector::config::Config::default()
        };
        let start = connector::connector::Start {
            config,
            settings: connector::config::Settings::default(),
            reloads: mpsc::channel(1).1,
            token: Some(self.token(name)),
            network: Arc::new(host),
            succession: None,
            grace: SOON,
            stop: self.stop.clone(),
            cut: CancellationToken::new(),
            lost_lines: Arc::default(),
        };
        let run = async { Box::pin(connector::connector::run(start)).await.map_err(|e| e.to_string()) };
        self.running.push(self.runtime.spawn(run));
    }

    fn token(&self, connector: &str) -> JoinToken {
        let state: PathBuf = self.dir.path().join("edge-state");
        let ca = Ca::open(&state, SystemTime::now()).expect("the edge's CA");
        let new = NewToken {
            connector: connector.parse().expect("a name"),
            lifetime: LIFETIME_DEFAULT,
            edges: vec![format!("{EDGE}:7843").parse().expect("a target")],
        };
        let tokens = Tokens::open(&state).expect("the edge's tokens");
        tokens.create(new, ca.fingerprint(), SystemTime::now()).expect("a token")
    }

    /// An origin that says its name and who has connected, then sends back what it gets.
    fn origin(&self, name: &'static str, private: &MemoryNetwork) {
        let listener = private.host(ip(ORIGIN)).listen(format!("{ORIGIN}:7").parse().expect("an address"));
        let listener = listener.expect("free");
        self.runtime.spawn(async move {
            while let Ok((mut socket, source)) = listener.accept().await {
                tokio::spawn(async move {
                    socket.write_all(format!("{name} {}\n", source.ip()).as_bytes()).await?;
                    let (mut read, mut write) = tokio::io::split(socket);
                    tokio::io::copy(&mut read, &mut write).await?;
                    write.shutdown().await
                });
            }
        });
    }

    fn dial(&self, listener: &str) -> Flow {
        let socket = self.within(self.client.dial(listener.parse().expect("an address")));
        let mut socket = BufReader::new(socket.expect("the edge listens"));
        let mut greeting = String::new();
        let read = self.within(socket.read_line(&mut greeting));
        Flow { socket, greeting: read.map(|_| greeting.trim_end().to_owned()).unwrap_or_default() }
    }

    /// Who answers a client that connects now, and whom that origin sees.
    fn greeting(&self, listener: &str) -> String {
        self.dial(listener).greeting
    }

    /// An origin of HTTP that has the same answer to everything.
    fn answering(&self, status: &'static str, (network, at): (&MemoryNetwork, &str)) {
        let at: SocketAddr = at.parse().expect("an address");
        let listener = network.host(at.ip()).listen(at).expect("free");
        self.runtime.spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut head = BufReader::new(&mut socket).lines();
                    while head.next_line().await?.is_some_and(|line| !line.is_empty()) {}
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    socket.write_all(answer.as_bytes()).await?;
                    socket.shutdown().await
                });
            }
        });
    }

    /// The status that a request through a TCP listener gets.
    fn ask(&self, listener: &str) -> String {
        let asking = async {
            let mut socket = self.client.dial(listener.parse().expect("an address")).await?;
            socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.map(|_| answer)
        };
        let answer = self.within(asking).unwrap_or_else(|error| error.to_string());
        answer.lines().next().unwrap_or_default().to_owned()
    }

    /// Sends bytes and their end, and gets what comes back until its end.
    fn exchange(&self, flow: Flow, bytes: &[u8]) -> Vec<u8> {
        let (mut read, mut write) = tokio::io::split(flow.socket);
        let sending = async {
            write.write_all(bytes).await?;
            write.shutdown().await
        };
        let mut back = Vec::new();
        let (sent, got) = self.within(async { tokio::join!(sending, read.read_to_end(&mut back)) });
        sent.and(got).expect("an unbroken flow");
        back
    }

    /// The edge's own account, asked for on its loopback.
    fn status(&self) -> Value {
        let text = self.within(async {
            let mut socket = self.edge.dial("127.0.0.1:7842".parse().expect("an address")).await?;
            socket.write_all(b"GET /api/v1/status HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").await?;
            let mut text = String::new();
            socket.read_to_string(&mut text).await.map(|_| text)
        });
        let text = text.expect("the edge listens");
        let (_, body) = text.split_once("\r\n\r\n").expect("an answer");
        serde_json::from_str(body).expect("JSON")
    }

    fn tunnel_health(&self, connector: &str) -> Option<String> {
        let status = self.status();
        let tunnels = status["tunnels"].as_array().expect("a list");
        let tunnel = tunnels.iter().find(|tunnel| tunnel["connector"] == connector)?;
        tunnel["health"].as_str().map(str::to_owned)
    }

    fn link_states(&self, connector: &str) -> Vec<String> {
        let status = self.status();
        let tunnels = status["tunnels"].as_array().expect("a list");
        let of_it = tunnels.iter().filter(|tunnel| tunnel["connector"] == connector);
        let links = of_it.flat_map(|tunnel| tunnel["links"].as_array().expect("a list"));
        links.map(|link| link["state"].as_str().expect("a word").to_owned()).collect()
    }

    fn paths(&self, which: impl Fn(&Value) -> bool) -> usize {
        let status = self.status();
        let origins = status["origins"].as_array().expect("a list");
        let paths = origins.iter().flat_map(|origin| origin["paths"].as_array().expect("a list"));
        paths.filter(|path| which(path)).count()
    }

    fn healthy_paths(&self) -> usize {
        self.paths(|path| path["health"] == "healthy")
    }

    fn within<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { timeout(SOON, work).await }).expect("done in time")
    }

    /// Everything stops when it is told to, and nothing has failed.
    fn end(mut self) {
        self.stop.cancel();
        for running in std::mem::take(&mut self.running) {
            let ended = self.within(running).expect("no panic");
            assert_eq!(ended, Ok(()));
        }
    }
}

/// A connection of the client whose origin has spoken.
struct Flow {
    socket: BufReader<Socket>,
    greeting: String,
}

fn edge_file(grants: &[(&str, &str)]) -> String {
    let mut text = format!(
        "name = \"edge-1\"\nstate_dir = \"edge-state\"\nworkers = 2\n\n[tunnel]\nlisten = \"{EDGE}:7843\"\n\n\
         [[monitor]]\nname = \"port\"\ntype = \"tcp\"\ninterval = \"200ms\"\ntimeout = \"180ms\"\nretries = 0\n"
    );
    for (connector, vnet) in grants {
        text += &format!(
            "\n[[connector]]\nname = \"{connector}\"\nroutes = [{{ vnet = \"{vnet}\", cidr = \"10.7.0.0/24\" }}]\n"
        );
    }
    let granted = |(vnet, _): &(&str, &str)| grants.iter().any(|(_, granted)| granted == vnet);
    for (vnet, listen) in [("blue", BLUE), ("green", GREEN)].into_iter().filter(granted) {
        text += &format!(
            "\n[[pool]]\nname = \"{vnet}\"\nmonitor = \"port\"\n[[pool.origin]]\nname = \"echo\"\nvnet = \"{vnet}\"\n\
             address = \"{ORIGIN}:7\"\n\n[[load_balancer]]\nname = \"{vnet}\"\npools = [\"{vnet}\"]\n\n\
             [[listener]]\nname = \"{vnet}\"\nprotocol = \"tcp\"\nlisten = \"{listen}\"\nload_balancer = \"{vnet}\"\n"
        );
    }
    text
}

/// A load balancer whose first pool's origin, behind connectors, answers 500, and whose second answers 200. Probed every
/// `interval`.
fn failing_over(interval: &str) -> String {
    let grants: String = ["dc1", "dc2", "dc3", "dc4"]
        .map(|name| {
            format!("[[connector]]\nname = \"{name}\"\nroutes = [{{ vnet = \"blue\", cidr = \"10.7.0.0/24\" }}]\n")
        })
        .concat();
    let pool = |name: &str, origin: &str| {
        format!("[[pool]]\nname = \"{name}\"\nmonitor = \"web\"\n[[pool.origin]]\nname = \"{name}\"\n{origin}\n")
    };
    let first = pool("first", &format!("vnet = \"blue\"\naddress = \"{ORIGIN}:80\""));
    let second = pool("second", &format!("address = \"{BACKUP}\""));
    format!(
        "name = \"edge-1\"\nstate_dir = \"edge-state\"\nworkers = 2\n\n[tunnel]\nlisten = \"{EDGE}:7843\"\n\n\
         [[monitor]]\nname = \"web\"\ntype = \"http\"\ninterval = \"{interval}\"\ntimeout = \"180ms\"\nretries = 0\n\
         {grants}{first}{second}\
         [[load_balancer]]\nname = \"www\"\npools = [\"first\", \"second\"]\n\
         [[listener]]\nname = \"www\"\nprotocol = \"tcp\"\nlisten = \"{BLUE}\"\nload_balancer = \"www\"\n"
    )
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Bytes that a mix-up of any two pieces would show in.
fn bytes(length: u32) -> Vec<u8> {
    (0..length / 4).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[test]
fn networks_with_the_same_addresses_are_reached_each_through_its_own_connector() {
    let mut world = World::new(&[("dc1", "blue"), ("dc2", "green")]);
    let (blue, green) = (MemoryNetwork::new(1), MemoryNetwork::new(2));
    world.origin("blue", &blue);
    world.origin("green", &green);
    world.connector("dc1", "192.0.2.1", "blue", (&blue, "10.7.0.1"));
    world.connector("dc2", "192.0.2.2", "green", (&green, "10.7.0.1"));
    soon_true("both origins to be healthy", || world.healthy_paths() == 2);
    for (listener, greeting) in [(BLUE, "blue 10.7.0.1"), (GREEN, "green 10.7.0.1")] {
        let flow = world.dial(listener);
        assert_eq!(flow.greeting, greeting);
        let sent = bytes(1_000_000);
        assert!(world.exchange(flow, &sent) == sent, "what went through {listener} came back changed");
    }
    world.end();
}

/// The edge's network, in which one address is not listened at before the test says so.
#[derive(Debug)]
struct Late {
    network: MemoryHost,
    late: SocketAddr,
    asked: std::sync::mpsc::Sender<()>,
    now: Mutex<std::sync::mpsc::Receiver<()>>,
    /// The one it is waited on: who takes this thread's place is its own, not that of a worker whose context is entered.
    runtime: Handle,
}

impl Network for Late {
    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>> {
        if address == self.late {
            self.asked.send(()).expect("the test listens");
            let _own = self.runtime.enter();
            let told = tokio::task::block_in_place(|| self.now.lock().expect("no panic").recv_timeout(SOON));
            told.expect("the test says when");
        }
        self.network.listen(address)
    }

    fn dial(&self, address: SocketAddr) -> Boxed<'_, io::Result<Socket>> {
        self.network.dial(address)
    }

    fn bind_quic(&self, address: SocketAddr, heard: &Unreachables) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.network.bind_quic(address, heard)
    }
}

#[test]
fn a_connector_that_dials_an_edge_which_still_starts_is_no_stranger() {
    let mut world = World::without_edge();
    let ((asked, is_there), (go_on, now)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let (network, late) = (world.edge.clone(), BLUE.parse().expect("an address"));
    let late = Late { network, late, asked, now: Mutex::new(now), runtime: world.runtime.handle().clone() };
    let ready = world.begin_edge(&edge_file(&[("dc1", "blue")]), Arc::new(late));
    is_there.recv_timeout(SOON).expect("the edge comes to its listeners");
    let private = MemoryNetwork::new(1);
    world.connector("dc1", "203.0.113.11", "blue", (&private, "10.7.0.1"));
    soon_true("the connector is here, or has given up", || {
        world.running.iter().any(JoinHandle::is_finished) || world.tunnel_health("dc1").as_deref() == Some("healthy")
    });
    assert_eq!(world.tunnel_health("dc1").as_deref(), Some("healthy"));
    assert!(!ready.is_cancelled(), "the edge still starts");
    go_on.send(()).expect("the edge waits");
    world.within(ready.cancelled());
    world.end();
}

#[test]
fn a_connector_that_is_cut_off_leaves_the_rotation_and_comes_back_when_the_cut_heals() {
    let mut world = World::new(&[("dc1", "blue"), ("dc2", "blue")]);
    let blue = MemoryNetwork::new(1);
    world.origin("echo", &blue);
    world.connector("dc1", "192.0.2.1", "blue", (&blue, "10.7.0.1"));
    world.connector("dc2", "192.0.2.2", "blue", (&blue, "10.7.0.2"));
    soon_true("both paths to be healthy", || world.healthy_paths() == 2);
    let through = |leg: &str| {
        soon("a flow through each connector", || Some(world.dial(BLUE)).filter(|f| f.greeting == format!("echo {leg}")))
    };
    let (mut doomed, survivor) = (through("10.7.0.1"), through("10.7.0.2"));

    world.public.cut(ip("192.0.2.1"), ip(EDGE));
    // From the first moment on: the edge does not know yet, and places again what finds no answer.
    for _ in 0..20 {
        assert_eq!(world.greeting(BLUE), "echo 10.7.0.2");
    }
    soon_true("the tunnel to be down", || world.tunnel_health("dc1").as_deref() == Some("down"));
    assert_eq!(world.healthy_paths(), 1);
    let cut_off = world.within(doomed.socket.read_u8()).map_err(|e| e.kind());
    assert_eq!(cut_off, Err(io::ErrorKind::ConnectionReset), "nobody waits for ever");

    world.public.heal(ip("192.0.2.1"), ip(EDGE));
    soon_true("both paths to be healthy again", || world.healthy_paths() == 2);
    drop(through("10.7.0.1"));
    let sent = bytes(100_000);
    assert!(world.exchange(survivor, &sent) == sent, "a flow through the other connector noticed");
    world.end();
}

#[test]
fn a_link_that_is_dead_one_way_is_not_called_alive_for_what_comes_the_other_way() {
    for is_towards_the_edge in [false, true] {
        let mut world = World::new(&[("dc1", "blue"), ("dc2", "blue")]);
        let blue = MemoryNetwork::new(1);
        world.origin("echo", &blue);
        world.connector("dc1", "192.0.2.1", "blue", (&blue, "10.7.0.1"));
        world.connector("dc2", "192.0.2.2", "blue", (&blue, "10.7.0.2"));
        soon_true("both paths to be healthy", || world.healthy_paths() == 2);

        let (edge, connector) = (ip(EDGE), ip("192.0.2.1"));
        let (from, to) = if is_towards_the_edge { (connector, edge) } else { (edge, connector) };
        world.public.cut_one_way(from, to);
        let began = Instant::now();
        soon_true("the link to be suspect", || world.link_states("dc1") == ["suspect"]);
        soon_true("the link to go", || match world.link_states("dc1").as_slice() {
            [] => true,
            states => {
                let is_doubted = matches!(states, [state] if state == "suspect" || state == "dead");
                assert!(is_doubted, "{states:?} {:?} after nothing came any more", began.elapsed());
                false
            }
        });
        assert_eq!(world.greeting(BLUE), "echo 10.7.0.2");
        world.public.heal(from, to);
        soon_true("both paths to be healthy again", || world.healthy_paths() == 2);
        world.end();
    }
}

#[test]
fn nobody_is_sent_to_a_dead_origin_because_a_path_to_it_or_its_monitor_is_new() {
    let mut world = World::of(&failing_over("300ms"));
    let blue = MemoryNetwork::new(1);
    world.answering("500 Ill", (&blue, &format!("{ORIGIN}:80")));
    world.answering("200 OK", (&world.public, BACKUP));
    world.connector("dc1", "192.0.2.1", "blue", (&blue, "10.7.0.1"));
    let found = |world: &World, ill: usize| {
        let is_ill = |path: &Value| path["health"] == "unhealthy" && !path["checked_at"].is_null();
        world.paths(is_ill) == ill && world.healthy_paths() == 1
    };
    soon_true("both origins to be probed", || found(&world, 1));
    let meanwhile = |world: &World, until: &dyn Fn() -> bool| {
        soon_true("the new paths to be probed", || {
            for _ in 0..20 {
                assert_eq!(world.ask(BLUE), "HTTP/1.1 200 OK");
            }
            until()
        });
    };
    for (number, name) in [(2, "dc2"), (3, "dc3"), (4, "dc4")] {
        let (at, leg) = (format!("192.0.2.{number}"), format!("10.7.0.{number}"));
        world.connector(name, &at, "blue", (&blue, &leg));
        meanwhile(&world, &|| found(&world, number));
    }
    world.reload(&failing_over("301ms"));
    meanwhile(&world, &|| found(&world, 4) && world.paths(|path| path["interval_ms"] == 301.0) == 5);
    world.end();
}

#[test]
fn a_flow_crosses_a_link_that_loses_packets_unharmed() {
    let mut world = World::new(&[("dc1", "blue")]);
    let blue = MemoryNetwork::new(1);
    world.origin("echo", &blue);
    world.public.lose(ip("192.0.2.1"), ip(EDGE), 0.02);
    world.connector("dc1", "192.0.2.1", "blue", (&blue, "10.7.0.1"));
    soon_true("the path to be healthy", || world.healthy_paths() == 1);
    let sent = bytes(300_000);
    let flow = soon("an answer", || Some(world.dial(BLUE)).filter(|flow| flow.greeting == "echo 10.7.0.1"));
    assert!(world.exchange(flow, &sent) == sent);
    assert!(world.edge.dropped().lost > 0, "packets were lost");
    world.end();
}

#[test]
fn more_flows_at_once_than_a_link_allows_at_first_are_all_served_and_kept() {
    const CLIENTS: usize = 1_500;
    let mut world = World::new(&[("dc1", "blue")]);
    let blue = MemoryNetwork::new(1);
    world.origin("echo", &blue);
    world.connector("dc1", "192.0.2.1", "blue", (&blue, "10.7.0.1"));
    soon_true("the path to be healthy", || world.healthy_paths() == 1);
    let dial = async |_| {
        let mut socket = BufReader::new(world.client.dial(BLUE.parse().expect("an address")).await?);
        let mut greeting = String::new();
        socket.read_line(&mut greeting).await.map(|_| (socket, greeting))
    };
    let dialled = world.within(join_all((0..CLIENTS).map(dial)));
    let kept: Vec<_> = dialled.into_iter().filter_map(Result::ok).collect();
    assert_eq!(kept.iter().filter(|(_, greeting)| greeting == "echo 10.7.0.1\n").count(), CLIENTS);
    drop(kept);
    world.end();
}

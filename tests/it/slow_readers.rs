//! Clients that read little and origins that take little, in crowds, beside others over the same link.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use socket2::SockRef;
use underpass_tests::harness::{
    Connector, Edge, Service, World, client,
    frames::{self, Raw, kind},
    http,
    origin::{Origin, habits, servers, web},
    wait,
};

/// One edge, one connector, one link; much to read, a sink that takes nothing, and what others want.
struct Stage {
    edge: Edge,
    dc1: Connector,
    _origins: Vec<Origin>,
    _world: World,
}

/// What one client may read: with a crowd of them more than a link's whole window once was.
const MUCH: u64 = 2 << 20;
const ENDLESS: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

impl Stage {
    fn new() -> Self {
        let world = World::new();
        let prod = world.vnet("prod");
        let pours = web::pours(world.free_in(&prod, 10), "", MUCH);
        let hangs = habits::hangs(world.free_in(&prod, 11));
        let endless = web::pours(world.free_in(&prod, 12), ENDLESS, MUCH);
        let switched = web::pours(world.free_in(&prod, 13), SWITCHED, MUCH);
        let (small, _) = habits::http(world.free_in(&prod, 14), "small");
        let echo = habits::echo(world.free_in(&prod, 15));
        let services = [
            Service::tcp("pours").origin(&prod, pours.address()),
            Service::tcp("hangs").origin(&prod, hangs.address()),
            Service::http("endless").origin(&prod, endless.address()),
            Service::http("switched").origin(&prod, switched.address()),
            Service::http("swallows").origin(&prod, hangs.address()),
            Service::http("small").origin(&prod, small.address()),
            Service::tcp("echo").origin(&prod, echo.address()),
        ];
        let edge = services.iter().fold(world.edge("edge-1").grant("dc1", &[&prod]), |edge, s| edge.service(s)).start();
        let dc1 = world.connector("dc1").serve(&prod).links_per_edge(1).start(&[&edge]);
        let origins = vec![pours, hangs, endless, switched, small, echo];
        Self { edge, dc1, _origins: origins, _world: world }
    }

    fn at(&self, service: &str) -> SocketAddr {
        self.edge.listener(service)
    }

    /// For a while, others are answered at once, over TCP and HTTP, and probes find nothing; `meanwhile` goes on.
    fn others_are_served(&self, mut meanwhile: impl FnMut()) {
        // A crowd that comes all at once takes the machine's processors for a moment, whatever the link does.
        wait::until("the crowd to be in", Duration::from_secs(10), || {
            let began = Instant::now();
            let answer = http::get(self.at("small"), "/")?;
            (answer.code == 200 && began.elapsed() < Duration::from_millis(200)).then_some(())
        });
        let mut worst = Duration::ZERO;
        wait::always("others are served", Duration::from_secs(4), || {
            meanwhile();
            let began = Instant::now();
            let answer = http::get(self.at("small"), "/");
            let echoed = client::exchange(self.at("echo"), &[7; 8192]);
            worst = worst.max(began.elapsed());
            answer.is_some_and(|answer| answer.code == 200) && echoed.is_ok()
        });
        assert!(worst < Duration::from_secs(2), "the slowest of them took {worst:?}");
        assert_eq!(self.edge.process.find_log(&["unhealthy"]), None);
    }

    /// There was room for all: whoever reads little is not cut off for it.
    fn nobody_was_sacrificed(&self) {
        let metrics = self.edge.metrics();
        assert!(metrics.contains("underpass_flows_sacrificed_total 0\n"), "{metrics}");
    }

    /// What flows that nobody takes from hold of the link, at the edge and at the connector.
    fn held(&self) -> [u64; 2] {
        [self.edge.file.admin, self.dc1.file.admin].map(|admin| {
            let metrics = http::get(admin, "/metrics").expect("it answers").body;
            let held = metrics.lines().find_map(|line| line.strip_prefix("underpass_held_bytes ")?.parse().ok());
            held.expect("it is counted")
        })
    }

    /// A crowd that asks for much, and reads nothing.
    fn crowd(&self, service: &str, clients: usize, question: &str) -> Vec<TcpStream> {
        let ask = |_| {
            let mut stream = client::connect(self.at(service)).expect("the edge listens");
            stream.write_all(question.as_bytes()).expect("room");
            stream.set_nonblocking(true).expect("a live connection");
            stream
        };
        (0..clients).map(ask).collect()
    }
}

/// How many of them are open.
fn open(crowd: &[TcpStream]) -> usize {
    let is_open = |stream: &&TcpStream| stream.set_nonblocking(true).is_ok() && !matches!(stream.peek(&mut [0]), Ok(0));
    crowd.iter().filter(is_open).count()
}

/// Asks over HTTP/2.
fn get(raw: &mut Raw, path: &[u8]) -> u32 {
    let request: [(&[u8], &[u8]); 4] =
        [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", path)];
    raw.open(&request, frames::END_STREAM)
}

/// Writes until nothing is taken any more.
fn fill(at: SocketAddr, head: &'static str) -> TcpStream {
    let mut stream = client::connect(at).expect("the edge listens");
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a live connection");
    stream.write_all(head.as_bytes()).expect("room");
    for _ in 0..8 {
        if stream.write_all(&[0; 1 << 18]).is_err() {
            break;
        }
    }
    stream
}

#[test]
fn eighty_tcp_clients_that_read_a_little_leave_a_link_to_others() {
    let stage = Stage::new();
    let crowd = stage.crowd("pours", 80, "\r\n\r\n");
    stage.others_are_served(|| {
        for mut client in &crowd {
            let _ = client.read(&mut [0; 1024]);
        }
    });
    stage.nobody_was_sacrificed();
}

#[test]
fn eighty_http_clients_that_read_a_little_leave_a_link_to_others() {
    let stage = Stage::new();
    let crowd = stage.crowd("endless", 80, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    stage.others_are_served(|| {
        for mut client in &crowd {
            let _ = client.read(&mut [0; 1024]);
        }
    });
    stage.nobody_was_sacrificed();
}

#[test]
fn one_http2_client_without_a_window_leaves_a_link_to_others() {
    let stage = Stage::new();
    // SETTINGS_INITIAL_WINDOW_SIZE.
    let mut raw = Raw::connect(stage.at("endless"), &[(4, 0)]);
    for _ in 0..100 {
        let _ = get(&mut raw, b"/");
    }
    stage.others_are_served(|| {});
    raw.send(kind::PING, 0, 0, &[0; 8]).expect("its connection is open");
}

#[test]
fn answers_that_nobody_reads_leave_a_shared_connection_to_others() {
    let world = World::new();
    let prod = world.vnet("prod");
    let server = servers::nginx_h2c(&world, world.free_in(&prod, 10), "web-1");
    fs::write(server.dir.join("www/big"), vec![0; 3 << 20]).expect("writable");
    let service = Service::http("web").origin(&prod, server.address).pool("upstream = \"h2c\"");
    let (edge, _dc1) = world.stand(&prod, &[&service]);
    let at = edge.listener("web");
    let mut raw = Raw::connect(at, &[(4, 0)]);
    for _ in 0..30 {
        let _ = get(&mut raw, b"/big");
    }
    wait::always("others share the connection", Duration::from_secs(3), || {
        let began = Instant::now();
        let answer = http::get(at, "/who");
        assert!(answer.is_some_and(|answer| answer.body == "web-1"));
        began.elapsed() < Duration::from_secs(2)
    });
}

#[test]
fn forty_websockets_that_read_nothing_leave_a_link_to_others() {
    let stage = Stage::new();
    let question = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let _crowd = stage.crowd("switched", 40, question);
    stage.others_are_served(|| {});
    stage.nobody_was_sacrificed();
}

#[test]
fn clients_that_come_again_leave_a_link_to_others() {
    let stage = Stage::new();
    let mut crowd = stage.crowd("pours", 48, "\r\n\r\n");
    stage.others_are_served(|| {
        // Whoever was cut off comes again; a few go by themselves.
        crowd.retain(|client| open(std::slice::from_ref(client)) == 1);
        crowd.truncate(44);
        crowd.extend(stage.crowd("pours", 48 - crowd.len(), "\r\n\r\n"));
    });
}

#[test]
fn origins_that_take_nothing_leave_a_link_to_others() {
    let stage = Stage::new();
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000000\r\n\r\n";
    let (tcp, web) = (stage.at("hangs"), stage.at("swallows"));
    let filling: Vec<_> =
        (0..80).map(|n| thread::spawn(move || if n % 2 == 0 { fill(tcp, "x") } else { fill(web, post) })).collect();
    let _crowd: Vec<_> = filling.into_iter().map(|one| one.join().expect("no panic")).collect();
    stage.others_are_served(|| {});
    stage.nobody_was_sacrificed();
}

#[test]
fn what_slow_readers_and_slow_origins_held_is_free_once_they_have_gone() {
    let stage = Stage::new();
    assert_eq!(stage.held(), [0, 0]);
    let readers = stage.crowd("pours", 20, "\r\n\r\n");
    let at = stage.at("hangs");
    let filling: Vec<_> = (0..20).map(|_| thread::spawn(move || fill(at, "x"))).collect();
    let writers: Vec<_> = filling.into_iter().map(|one| one.join().expect("no panic")).collect();
    wait::soon_true("both to hold something", || stage.held().iter().all(|held| *held > 1 << 20));
    for stream in readers.iter().chain(&writers) {
        // Not with an end of data, behind which an origin might still take what was sent, but with a reset.
        SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("a live connection");
    }
    drop((readers, writers));
    // What a client has sent before its reset still has some time to reach the origin: twice `LAST_BYTES_WAIT` at most.
    wait::until("nothing to be held any more", Duration::from_secs(30), || (stage.held() == [0, 0]).then_some(()));
    stage.nobody_was_sacrificed();
}

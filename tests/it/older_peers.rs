//! Links to peers of version 1, which know no windows of flows: they carry as they always did, and use a stream's whole
//! window whatever its reader does, so few unread flows are too many.

use std::{
    collections::BTreeSet,
    io::Write,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use protocol::{
    control::{Hello, Message},
    limits::STREAM_WINDOW,
    splice::Stream,
    stream::Reply,
    wire,
};
use quinn::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use underpass_tests::harness::{
    Edge, FalseEdge, Service, World,
    client::{self, Pattern},
    frames::{self, Raw, kind},
    origin::habits,
    rogue::{Line, Rogue, hello, stream_of},
    wait,
};

/// A beginning, and so much of an answer without end that it does not fit between the edge and a client that reads nothing.
const ENDLESS: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n";
const MUCH: usize = 2 << 20;
/// A stream's window is 4 MiB, of which clients' sockets take little: so many of them are more than a link bears.
const READERS: usize = 44;
const STREAMS: usize = 4;
/// Of a stream's window, more than clients' sockets and the edge's own buffers take.
const MIB: u32 = 1024 * 1024;

/// An edge with one service, and a connector of version 1 by hand.
struct Stand {
    line: Line,
    rogue: Rogue,
    edge: Edge,
    _world: World,
}

impl Stand {
    fn new(service: fn(&str) -> Service) -> Self {
        let world = World::new();
        let prod = world.vnet("prod");
        let service = service("far").origin(&prod, world.free_in(&prod, 10));
        let edge = world.edge("edge-1").grant("dc1", &[&prod]).service(&service).start();
        let rogue = Rogue::at(world.source(66), &edge.file);
        let member = rogue.join(&world, &edge.token("dc1"));
        let crypto = certs::tls::link_client(&member.identity).expect("a good identity");
        let mut line = rogue.line(rogue.connect(crypto).expect("a good certificate")).expect("a live connection");
        let answer = rogue.ask(&mut line, &Message::Hello(Hello { version_max: 1, ..hello() }));
        assert!(matches!(&answer, Ok(Message::Welcome(welcome)) if welcome.version == 1), "{answer:?}");
        Self { line, rogue, edge, _world: world }
    }

    fn at(&self) -> SocketAddr {
        self.edge.listener("far")
    }
}

/// Connects every flow to something that echoes.
async fn echo(connection: Connection) {
    while let Some(mut stream) = flow(&connection).await {
        tokio::spawn(async move {
            let copied = tokio::io::copy(&mut stream.recv, &mut stream.send).await;
            copied.and_then(|_| stream.send.finish().map_err(std::io::Error::other))
        });
    }
}

/// Answers the request of every flow with much, and then keeps still.
async fn pour(connection: Connection) {
    while let Some(mut stream) = flow(&connection).await {
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.recv.read_u8().await?);
            }
            stream.send.write_all(&[ENDLESS, &vec![0; MUCH]].concat()).await?;
            let _ = stream.send.stopped().await;
            Ok::<_, std::io::Error>(())
        });
    }
}

/// The next flow, with its reply.
async fn flow(connection: &Connection) -> Option<Stream> {
    let mut stream = stream_of(connection.accept_bi().await.ok()?);
    wire::read_open(&mut stream.recv).await.ok()?;
    let reply = Reply::Connected { connect: Duration::ZERO };
    stream.send.write_all(&reply.encode()).await.ok()?;
    Some(stream)
}

#[test]
fn an_older_connector_carries_as_much_as_ever() {
    let stand = Stand::new(Service::tcp);
    drop(stand.rogue.spawn(echo(stand.line.connection.clone())));
    for seed in 0..3 {
        let bytes = Pattern::new(seed).bytes(6 << 20);
        let back = client::exchange(stand.at(), &bytes).expect("the flow ends well");
        assert!(back == bytes, "{} of {} bytes came back", back.len(), bytes.len());
    }
}

#[test]
fn whoever_reads_nothing_is_reset_at_once_when_its_answer_is_sacrificed() {
    let stand = Stand::new(Service::http);
    drop(stand.rogue.spawn(pour(stand.line.connection.clone())));
    // Who comes first has taken nothing for longest. Without a window (SETTINGS_INITIAL_WINDOW_SIZE).
    let mut raw = Raw::connect(stand.at(), &[(4, 0)]);
    let request: [(&[u8], &[u8]); 4] =
        [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/two")];
    let mut streams: BTreeSet<u32> = (0..STREAMS).map(|_| raw.open(&request, frames::END_STREAM)).collect();
    let held =
        || stand.edge.metrics().lines().find_map(|line| line.strip_prefix("underpass_held_bytes ")?.parse().ok());
    wait::soon_true("them to hold their windows", || held() >= Some(STREAMS as u64 * u64::from(STREAM_WINDOW - MIB)));
    let readers: Vec<TcpStream> = (STREAMS..READERS)
        .map(|_| {
            let mut stream = client::connect(stand.at()).expect("the edge listens");
            stream.write_all(b"GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("room");
            stream
        })
        .collect();
    let reset = || readers.iter().filter(|reader| matches!(reader.take_error(), Ok(Some(_)))).count();
    wait::until("somebody to be reset", Duration::from_secs(25), || (reset() > 0).then_some(()));
    while !streams.is_empty() {
        let frame = raw.read().expect("the connection goes on");
        if frame.kind == kind::RST_STREAM {
            streams.remove(&frame.stream);
        }
    }
    for path in ["/one", "/two"] {
        stand.edge.process.wait_log(&[path, "stalled"]);
    }
    assert!(reset() < readers.len() / 2, "as few as it takes");
}

#[test]
fn a_connector_of_an_older_edge_stays_open_beside_uploads_that_nobody_reads() {
    let world = World::new();
    let prod = world.vnet("prod");
    let (silent, echo) = (habits::hangs(world.free_in(&prod, 10)), habits::echo(world.free_in(&prod, 11)));
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).start();
    let older = FalseEdge::start(world.free(), &edge.file);
    let file = world.connector("dc1").serve(&prod).links_per_edge(1).token(&edge.token("dc1"));
    let dc1 = file.dial_at(older.address).launch();
    let captive = older.capture_as(1);

    let mut uploads: Vec<_> = (0..READERS)
        .map(|_| {
            let mut stream = older.flow(&captive, &prod.inside(silent.address()));
            older.spawn(async move {
                let written = stream.send.write_all(&vec![0; 2 * STREAM_WINDOW as usize]).await;
                written.expect_err("nobody reads so much").to_string()
            })
        })
        .collect();
    // Those who still wait are never heard of again.
    let mut ended = || {
        let (over, open) = std::mem::take(&mut uploads).into_iter().partition(|upload| upload.is_finished());
        uploads = open;
        over
    };
    let over: Vec<_> =
        wait::soon("some to be told that they are not read", || Some(ended()).filter(|over| !over.is_empty()));
    for upload in over {
        let told = older.run(upload).expect("it does not panic");
        assert!(told.contains("stopped"), "{told}");
    }
    // Larger than what the others leave of the link at any one time.
    let bytes = Pattern::new(1).bytes(16 << 20);
    let Stream { mut send, mut recv } = older.flow(&captive, &prod.inside(echo.address()));
    let sent = bytes.clone();
    drop(older.spawn(async move { send.write_all(&sent).await.map(|()| send.finish()) }));
    let mut back = Vec::new();
    let _ = older.run(recv.read_to_end(&mut back)).expect("the flow ends well");
    assert!(back == bytes, "{} of {} bytes came back", back.len(), bytes.len());
    let reset = READERS - uploads.len();
    assert!(reset < READERS / 2, "{reset}: as few as it takes");
    let metrics = underpass_tests::harness::http::get(dc1.file.admin, "/metrics").expect("it answers").body;
    let counted = metrics.lines().find_map(|line| line.strip_prefix("underpass_flows_sacrificed_total ")?.parse().ok());
    assert!(counted >= Some(1), "{metrics}");
}

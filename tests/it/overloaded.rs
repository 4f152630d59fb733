//! A connector that has run out of files, ports or memory: it refuses everything, and whoever asks is served elsewhere.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Shutdown, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use certs::tls;
use protocol::{
    control::Message,
    error::Reason,
    splice::Stream,
    stream::Reply,
    wire::{self, WireError},
};
use quinn::Connection;
use underpass_tests::harness::{
    Edge, Origin, Rogue, Service, World, client, http,
    origin::{Ending, habits},
    rogue::{Line, hello, stream_of},
    wait,
};

/// Origins behind the one that has run out: more than one flow is tried at.
const ORIGINS: usize = 20;
/// A monitor that does not find anything out while a test runs, once it has found everything well.
const SLOW: &str = "[[monitor]]\nname = \"slow\"\ntype = \"tcp\"\ninterval = \"60s\"\njitter = 0.0";

/// A connector that accepts whatever it is asked for, until it is overloaded. Keep it whole: what is dropped is gone.
struct Busy {
    overloaded: Arc<AtomicBool>,
    _line: Line,
    _rogue: Rogue,
}

impl Busy {
    fn join(world: &World, edge: &Edge) -> Self {
        let rogue = Rogue::at(world.source(66), &edge.file);
        let member = rogue.join(world, &edge.token("dc1"));
        let crypto = tls::link_client(&member.identity).expect("a good identity");
        let mut line = rogue.line(rogue.connect(crypto).expect("a good certificate")).expect("a live connection");
        let overloaded = Arc::new(AtomicBool::new(false));
        rogue.spawn(serve(line.connection.clone(), overloaded.clone()));
        let answer = rogue.ask(&mut line, &Message::Hello(hello()));
        assert!(matches!(answer, Ok(Message::Welcome(_))), "{answer:?}");
        Self { overloaded, _line: line, _rogue: rogue }
    }

    fn run_out(&self) {
        self.overloaded.store(true, Ordering::SeqCst);
    }
}

async fn serve(connection: Connection, overloaded: Arc<AtomicBool>) {
    while let Ok(pair) = connection.accept_bi().await {
        // A stream that breaks is the edge's to worry about.
        let _ = answer(stream_of(pair), overloaded.load(Ordering::SeqCst)).await;
    }
}

async fn answer(mut stream: Stream, overloaded: bool) -> Result<(), WireError> {
    let _ = wire::read_open(&mut stream.recv).await?;
    let reply = if overloaded {
        Reply::Refused { reason: Reason::ConnectorOverloaded, text: "too many open files".to_owned() }
    } else {
        Reply::Connected { connect: Duration::ZERO }
    };
    // Nobody waits for a reply that does not get through.
    let _ = stream.send.write_chunk(reply.encode()).await;
    let _ = stream.send.finish();
    Ok(())
}

/// Answers a request over HTTP/1 and closes.
fn answers_once(at: SocketAddr) -> Origin {
    Origin::start(at, |mut stream| {
        let mut head = BufReader::new(stream).lines();
        let _ = head.find(|line| line.as_ref().is_ok_and(String::is_empty));
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nspare")?;
        stream.shutdown(Shutdown::Write).map(|()| Ending::Clean)
    })
}

/// Load balancer `who` of pools `busy` and `spare`, with a TCP and an HTTP listener.
fn two_pools(spare: SocketAddr, [tcp, http]: [SocketAddr; 2]) -> String {
    let origin = |n| format!("[[pool.origin]]\nname = \"busy-{n}\"\nvnet = \"prod\"\naddress = \"10.7.0.{n}:80\"\n");
    let origins: String = (1..=ORIGINS).map(origin).collect();
    let listener = |protocol: &str, at: SocketAddr| {
        format!(
            "[[listener]]\nname = \"{protocol}\"\nprotocol = \"{protocol}\"\nlisten = \"{at}\"\nload_balancer = \"who\"\n"
        )
    };
    format!(
        "{SLOW}\n[[pool]]\nname = \"busy\"\nmonitor = \"slow\"\nsteering = \"round_robin\"\n{origins}\
         [[pool]]\nname = \"spare\"\n[[pool.origin]]\nname = \"spare\"\naddress = \"{spare}\"\n\
         [[load_balancer]]\nname = \"who\"\npools = [\"busy\", \"spare\"]\n{}{}",
        listener("tcp", tcp),
        listener("http", http),
    )
}

#[test]
fn what_an_overloaded_connector_refuses_is_served_by_the_next_pool_from_the_first_request_on() {
    let world = World::new();
    let prod = world.vnet("prod");
    let spare = answers_once(world.free());
    let [tcp, http] = [world.free(), world.free()];
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).raw(&two_pools(spare.address(), [tcp, http])).start();
    let busy = Busy::join(&world, &edge);
    (1..=ORIGINS).for_each(|n| edge.wait_health(&format!("busy-{n}"), "healthy"));

    busy.run_out();
    for at in [tcp, http].into_iter().cycle().take(8 * ORIGINS) {
        let answer = http::get(at, "/").expect("an answer");
        assert_eq!((answer.code, &answer.body[..]), (200, "spare"));
    }
    (1..=ORIGINS).for_each(|n| edge.wait_reason(&format!("busy-{n}"), "passive_failures"));
    assert!(edge.detail("busy-1").contains("connector_overloaded"), "{}", edge.detail("busy-1"));
}

#[test]
fn the_paths_of_an_overloaded_connector_leave_and_those_of_another_to_the_same_origin_stay() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::names_itself(world.free_in(&prod, 10), "here");
    let service = Service::tcp("who").monitor("slow").origin(&prod, origin.address());
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).grant("dc2", &[&prod]).raw(SLOW).service(&service).start();
    let _dc2 = world.connector("dc2").serve(&prod).links_per_edge(1).start(&[&edge]);
    let busy = Busy::join(&world, &edge);
    let healths = || {
        let origin = edge.origin("who-1")?;
        let paths = origin["paths"].as_array()?.iter();
        let mut healths: Vec<String> = paths.map(|path| path["health"].to_string()).collect();
        healths.sort();
        Some(healths)
    };
    let healths_are = |wanted: [&str; 2]| healths().is_some_and(|healths| healths == wanted);
    wait::soon_true("both paths to be healthy", || healths_are(["\"healthy\"", "\"healthy\""]));

    busy.run_out();
    for _ in 0..40 {
        assert_eq!(client::listen_to(edge.listener("who")).expect("placed again"), "here");
    }
    // Found out by live traffic, or by a first probe that came in between.
    wait::soon_true("the one path to have left, and the other to be there", || {
        healths_are(["\"healthy\"", "\"unhealthy\""])
    });
}

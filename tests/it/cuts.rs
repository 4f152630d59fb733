//! What is cut when a process is told twice to end, and ends at once: clients and origins see that it was, and take no part for the whole.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use underpass_tests::harness::{
    Process, Service, Vnet, World, client, http,
    origin::{Ending, Origin, habits},
    process::Signal,
    wait,
};

/// What is told twice to end has gone within this.
const AT_ONCE: Duration = Duration::from_secs(2);

/// An answer that has no end but that of its connection; of it, the beginning.
fn answers_in_part(at: SocketAddr) -> Origin {
    Origin::start(at, |mut stream| {
        let mut byte = [0];
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            request.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart")?;
        let (_, end) = client::read_all(stream);
        end.map(|()| Ending::Clean)
    })
}

/// Reads a flow until what has come ends with `end`.
fn read_until(mut stream: &TcpStream, end: &[u8]) {
    let (mut got, mut byte) = (Vec::new(), [0]);
    while !got.ends_with(end) {
        stream.read_exact(&mut byte).expect("it comes");
        got.push(byte[0]);
    }
}

/// Origins in a network, how to reach them, and a flow to each under way.
struct Stage {
    echo: Origin,
    web: Origin,
}

impl Stage {
    fn in_network(world: &World, prod: &Vnet) -> Self {
        Self { echo: habits::echo(world.free_in(prod, 10)), web: answers_in_part(world.free_in(prod, 11)) }
    }

    fn flows(tcp: SocketAddr, web: SocketAddr) -> [TcpStream; 3] {
        let [echo, old, new] = [tcp, web, web].map(|at| client::connect(at).expect("it listens"));
        client::ping(&echo, b"hello").expect("it echoes");
        for (mut stream, version) in [(&old, "1.0"), (&new, "1.1")] {
            stream.write_all(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n").as_bytes()).expect("a fresh flow");
            read_until(stream, b"part");
        }
        [echo, old, new]
    }

    /// All flows were reset, but for answers in chunks, which the last chunk ends and nothing else. So were the origins of TCP; a
    /// request has an end of its own, whole or not, which tells.
    fn is_cut(&self, flows: &[[TcpStream; 3]]) {
        for (number, flow) in flows.as_flattened().iter().enumerate() {
            let (bytes, end) = client::read_all(flow);
            let was_reset = end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
            let is_in_chunks = number % 3 == 2;
            let is_open = is_in_chunks && !bytes.ends_with(b"0\r\n\r\n");
            assert!(was_reset || is_open, "flow {number}: a part must not look whole");
        }
        let [echo, web] = [&self.echo, &self.web].map(|origin| move || (origin.accepted(), origin.endings()));
        wait::soon_true("the origins to see the end", || {
            [echo(), web()].iter().all(|(accepted, endings)| *accepted == endings.len())
        });
        assert!(echo().1.iter().all(|ending| *ending == Ending::Reset), "{:?}", echo());
    }
}

fn end_twice(process: &mut Process, is_told: impl Fn() -> bool) {
    process.signal(Signal::TERM);
    wait::soon_true("the first signal to be obeyed", is_told);
    process.signal(Signal::TERM);
    assert_eq!(process.wait(AT_ONCE).code(), Some(1));
}

#[test]
fn flows_that_a_second_signal_to_an_edge_cuts_are_reset() {
    let world = World::new();
    let prod = world.vnet("prod");
    let stage = Stage::in_network(&world, &prod);
    let (echo, web) = (stage.echo.address(), stage.web.address());
    let services = [
        Service::tcp("far").origin(&prod, echo),
        Service::tcp("near").direct(echo),
        Service::http("far-web").origin(&prod, web),
        Service::http("near-web").direct(web),
    ];
    let (mut edge, _dc1) = world.stand(&prod, &services.each_ref()[..]);
    let near = Stage::flows(edge.listener("near"), edge.listener("near-web"));
    let far = Stage::flows(edge.listener("far"), edge.listener("far-web"));
    let admin = edge.file.admin;
    end_twice(&mut edge.process, || http::get(admin, "/readyz").is_some_and(|answer| answer.code == 503));
    stage.is_cut(&[near, far]);
}

#[test]
fn flows_that_a_second_signal_to_an_edge_without_tunnels_cuts_are_reset() {
    let world = World::new();
    let prod = world.vnet("prod");
    let stage = Stage::in_network(&world, &prod);
    let file = world.edge("edge-1").service(&Service::tcp("near").direct(stage.echo.address()));
    let mut edge = file.service(&Service::http("near-web").direct(stage.web.address())).start();
    let flows = Stage::flows(edge.listener("near"), edge.listener("near-web"));
    let admin = edge.file.admin;
    end_twice(&mut edge.process, || http::get(admin, "/readyz").is_some_and(|answer| answer.code == 503));
    stage.is_cut(&[flows]);
}

#[test]
fn flows_that_a_second_signal_to_a_connector_cuts_are_reset() {
    let world = World::new();
    let prod = world.vnet("prod");
    let stage = Stage::in_network(&world, &prod);
    let far = Service::tcp("far").origin(&prod, stage.echo.address());
    let web = Service::http("far-web").origin(&prod, stage.web.address());
    let (edge, mut dc1) = world.stand(&prod, &[&far, &web]);
    let flows = Stage::flows(edge.listener("far"), edge.listener("far-web"));
    let admin = dc1.file.admin;
    end_twice(&mut dc1.process, || http::get(admin, "/readyz").is_some_and(|answer| answer.code == 503));
    stage.is_cut(&[flows]);
}

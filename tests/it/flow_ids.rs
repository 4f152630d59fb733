//! The id of a flow at the connector: in its log, and for peers that know no ids, not at all.

use std::io::Write;

use protocol::{
    control::{Hello, Message},
    stream::{Open, Reply, Stages},
    wire,
};
use underpass_tests::harness::{
    Service, World, client,
    datagrams::{UdpClient, UdpOrigin},
    origin::habits,
    rogue::{Rogue, hello, stream_of},
    wait,
};

/// The word behind `key=` in a line.
fn word<'a>(line: &'a str, key: &str) -> &'a str {
    let (_, rest) = line.split_once(key).unwrap_or_else(|| panic!("no {key} in {line}"));
    rest.split(' ').next().expect("a word")
}

#[test]
fn a_connectors_log_calls_a_flow_as_the_edges_does() {
    let world = World::new();
    let prod = world.vnet("prod");
    let echo = habits::echo(world.free_in(&prod, 10));
    let (web, _code) = habits::http(world.free_in(&prod, 11), "web");
    let datagrams = UdpOrigin::echo(world.free_in(&prod, 12));
    let services = [
        Service::tcp("tcp").origin(&prod, echo.address()),
        Service::http("web").origin(&prod, web.address()),
        Service::udp("udp").origin(&prod, datagrams.address()).listener("idle_timeout = \"1s\""),
        Service::tcp("gone").origin(&prod, world.free_in(&prod, 13)),
    ];
    let file = services.iter().fold(world.edge("edge-1").grant("dc1", &[&prod]), |file, service| file.service(service));
    let edge = file.start();
    let dc1 = world.connector("dc1").serve(&prod).log_level("debug").start(&[&edge]);

    assert_eq!(client::exchange(edge.listener("tcp"), b"hello").expect("it echoes"), b"hello");
    let stream = client::connect(edge.listener("web")).expect("it listens");
    (&stream).write_all(b"GET /who HTTP/1.0\r\nHost: a\r\n\r\n").expect("open");
    let _ = client::read_all(&stream);
    assert_eq!(UdpClient::new(edge.listener("udp")).ask(b"hello"), b"hello");
    let _ = client::exchange(edge.listener("gone"), b"hello");
    for (listener, says) in [("tcp", "flow ended"), ("udp", "session ended"), ("gone", "dial failed")] {
        let line = edge.process.wait_log(&["access", &format!("listener={listener} ")]);
        let id = format!("flow={}", word(&line, " id="));
        let _ = dc1.process.wait_log(&["DEBUG", says, &id]);
    }
    let line = edge.process.wait_log(&["access", "listener=web "]);
    drop(web);
    let _ = dc1.process.wait_log(&["DEBUG", "flow ended", &format!("flow={}", word(&line, " id="))]);
}

#[test]
fn a_connector_is_told_of_a_flow_what_its_version_knows() {
    for (version, knows) in [(3, false), (4, true)] {
        let world = World::new();
        let prod = world.vnet("prod");
        let service = Service::tcp("far").origin(&prod, world.free_in(&prod, 10));
        let edge = world.edge("edge-1").grant("dc1", &[&prod]).service(&service).start();
        let rogue = Rogue::at(world.source(66), &edge.file);
        let member = rogue.join(&world, &edge.token("dc1"));
        let crypto = certs::tls::link_client(&member.identity).expect("a good identity");
        let mut line = rogue.line(rogue.connect(crypto).expect("a good certificate")).expect("a live connection");
        let answer = rogue.ask(&mut line, &Message::Hello(Hello { version_max: version, ..hello() }));
        assert!(matches!(&answer, Ok(Message::Welcome(welcome)) if welcome.version == version), "{answer:?}");
        let connection = line.connection.clone();
        let told = rogue.spawn(async move {
            let mut stream = stream_of(connection.accept_bi().await.expect("a flow"));
            let open = wire::read_open(&mut stream.recv).await.expect("a header");
            let Open::Tcp(open) = open else { panic!("{open:?}") };
            let reply = Reply::accepted(open.flow, Stages::default());
            stream.send.write_chunk([&reply.encode()[..], b"hi"].concat().into()).await.expect("open");
            stream.send.finish().expect("open");
            // What is dropped before the client has its answer is cut.
            (open.flow, stream)
        });
        assert_eq!(client::listen_to(edge.listener("far")).expect("it speaks"), "hi");
        wait::soon_true("the flow to be told", || told.is_finished());
        assert_eq!(rogue.run(told).expect("no panic").0.is_some(), knows, "version {version}");
    }
}

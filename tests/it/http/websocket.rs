//! WebSocket, between clients and origins of both versions of HTTP, with the libraries people use.

use std::{io::Write, net::SocketAddr, process::Command, time::Duration};

use underpass_tests::harness::{
    Edge, Service, Vnet, World, client,
    origin::{
        self,
        servers::{self, Server},
    },
    process::{self, Process},
};

use super::answer;

fn http1(world: &World, vnet: &Vnet) -> Server {
    servers::python(world, "websocket_origin", world.free_in(vnet, 10))
}

fn http2(world: &World, vnet: &Vnet) -> Server {
    servers::python(world, "http2_origin", world.free_in(vnet, 11))
}

/// What a client prints by its end. A mebibyte through Python takes its time on a busy machine.
fn said(client: Command) -> String {
    process::run(client, Duration::from_secs(40)).ok().out
}

/// The client that speaks HTTP/2.
fn over_http2(at: SocketAddr, path: &str, what: &str) -> Command {
    let mut client = servers::python_client("websocket_http2");
    client.args([&at.ip().to_string(), &at.port().to_string(), path, what]);
    client
}

/// One that stays, and what it prints.
fn staying(world: &World, edge: &Edge, path: &str, what: &str) -> Process {
    let log = world.path(&format!("staying{}-{what}", path.replace('/', "-")));
    Process::start("client", over_http2(edge.listener("web"), path, what), &log)
}

#[test]
fn messages_of_every_kind_cross_between_both_versions() {
    let world = World::new();
    let prod = world.vnet("prod");
    let (one, two) = (http1(&world, &prod), http2(&world, &prod));
    let services = [
        Service::http("one").origin(&prod, one.address),
        Service::http("two").origin(&prod, two.address).pool("upstream = \"h2c\""),
    ];
    let (edge, _dc1) = world.stand(&prod, &[&services[0], &services[1]]);
    for (service, what) in [("one", "end"), ("two", "echo")] {
        let at = edge.listener(service);
        let mut library = servers::python_client("websocket_client");
        library.arg(format!("ws://{at}/chat"));
        assert_eq!(said(library), "good\n", "HTTP/1.1 to {service}");
        assert_eq!(said(over_http2(at, "/chat", what)), "good\n", "HTTP/2 to {service}");
    }
    two.process.wait_log(&["asked 2 /chat"]);
    one.process.wait_log(&["closed /chat 4001"]);
}

#[test]
fn what_is_not_websocket_is_refused_and_an_origins_own_refusal_passed_on() {
    let world = World::new();
    let prod = world.vnet("prod");
    let (one, two) = (http1(&world, &prod), http2(&world, &prod));
    let bare = servers::nginx_h2c(&world, world.free_in(&prod, 12), "web-1");
    let services = [
        Service::http("one").origin(&prod, one.address),
        Service::http("two").origin(&prod, two.address).pool("upstream = \"h2c\""),
        Service::http("bare").origin(&prod, bare.address).pool("upstream = \"h2c\""),
    ];
    let (edge, _dc1) = world.stand(&prod, &[&services[0], &services[1], &services[2]]);
    let told = |service: &str, path: &str, what: &str| said(over_http2(edge.listener(service), path, what));
    assert_eq!(told("one", "/", "plain"), "405 method_refused\n");
    assert_eq!(told("one", "/", "connect-udp"), "501 protocol_unsupported\n");
    assert_eq!(told("one", "/refuse", "echo"), "403 \n");
    assert_eq!(told("two", "/refuse", "echo"), "403 \n");
    assert_eq!(told("bare", "/who", "echo"), "502 upgrade_unsupported\n");
    let stream = client::connect(edge.listener("bare")).expect("it accepts");
    (&stream).write_all(super::UPGRADE).expect("written");
    let got = answer(&stream);
    assert!(got.starts_with("HTTP/1.1 502") && got.contains("underpass-reason: upgrade_unsupported"), "{got}");
}

#[test]
fn a_reset_crosses_either_way_and_a_lost_link_resets() {
    let world = World::new();
    let prod = world.vnet("prod");
    let one = http1(&world, &prod);
    let (edge, mut dc1) = world.stand(&prod, &[&Service::http("web").origin(&prod, one.address)]);

    assert_eq!(said(over_http2(edge.listener("web"), "/abort", "hold")), "open\nreset 8\n");
    assert_eq!(said(over_http2(edge.listener("web"), "/two", "reset")), "good\n");
    one.process.wait_log(&["lost /two ConnectionResetError"]);

    let stream = client::connect(edge.listener("web")).expect("it accepts");
    let head = "GET /one HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    (&stream).write_all(head.as_bytes()).expect("written");
    let got = answer(&stream).to_ascii_lowercase();
    assert!(got.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{got}");
    origin::reset(&stream).expect("it is one of TCP");
    drop(stream);
    one.process.wait_log(&["lost /one ConnectionResetError"]);

    let client = staying(&world, &edge, "/stay", "hold");
    client.wait_log(&["open"]);
    dc1.process.kill();
    client.wait_log(&["reset 8"]);
}

#[test]
fn what_carries_nothing_for_idle_timeout_is_closed() {
    let world = World::new();
    let prod = world.vnet("prod");
    let one = http1(&world, &prod);
    let service = Service::http("web").origin(&prod, one.address).listener("idle_timeout = \"1s\"");
    let (edge, _dc1) = world.stand(&prod, &[&service]);
    let (websocket, connection) = (staying(&world, &edge, "/stay", "hold"), staying(&world, &edge, "/", "idle"));
    websocket.wait_log(&["open"]);
    websocket.wait_log(&["reset 8"]);
    connection.wait_log(&["connection"]);
    let stream = client::connect(edge.listener("web")).expect("it accepts");
    (&stream).write_all(b"GET /refuse HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    assert!(answer(&stream).starts_with("HTTP/1.1 "));
    let (rest, ended) = client::read_all(&stream);
    assert!(rest.is_empty() && ended.is_ok(), "{rest:?} {ended:?}");
}

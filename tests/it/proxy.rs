//! The PROXY protocol, in from load balancers in front and out to origins, with real software at both ends.

use std::{
    io::{self, Write},
    net::{SocketAddr, UdpSocket},
    process::Command,
    time::Duration,
};

use underpass_tests::harness::{
    Edge, Service, World, client,
    datagrams::{UdpClient, UdpOrigin},
    origin::servers,
    process::{self, command},
    wait::{self, SOON},
};

const ASK: &str = "GET /client HTTP/1.0\r\n\r\n";

/// What nginx says of its client, to one that begins with `head`; and where that one asked from.
fn ask(at: SocketAddr, source: SocketAddr, head: &str) -> io::Result<(String, SocketAddr)> {
    let mut stream = client::connect_from(source, at)?;
    stream.write_all(format!("{head}{ASK}").as_bytes())?;
    let (answer, ended) = client::read_all(&stream);
    ended?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Ok((answer.trim_end().rsplit("\r\n\r\n").next().unwrap_or_default().to_owned(), stream.local_addr()?))
}

fn told(of: SocketAddr) -> String {
    format!("{} {}", of.ip(), of.port())
}

fn refused(edge: &Edge) -> bool {
    let metrics = edge.metrics();
    metrics.lines().any(|line| line.starts_with("underpass_flows_refused_total") && line.contains("proxy_header"))
}

#[test]
fn proxy_origins_are_told_of_clients_and_probes_speak_for_themselves() {
    let world = World::new();
    let prod = world.vnet("prod");
    let far = servers::nginx_behind_proxy(&world, world.free_in(&prod, 10), "far");
    let near = servers::nginx_behind_proxy(&world, world.free(), "near");
    let service = |name| Service::tcp(name).pool("proxy_protocol = \"v2\"");
    let line = Service::tcp("line").pool("proxy_protocol = \"v1\"").monitor("asks").origin(&prod, far.address);
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&prod])
        .http_monitor("asks", "path = \"/who\"")
        .tcp_monitor("dials")
        .service(&line)
        .service(&service("far").monitor("asks").origin(&prod, far.address))
        .service(&service("near").monitor("asks").direct(near.address))
        .service(&service("dialled").monitor("dials").origin(&prod, far.address))
        .start();
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    ["line-1", "far-1", "near-1", "dialled-1"].iter().for_each(|origin| edge.wait_health(origin, "healthy"));
    for service in ["line", "far", "near", "dialled"] {
        let (answer, from) = ask(edge.listener(service), world.source(200), "").expect("an answer");
        assert_eq!(answer, told(from), "over {service}");
    }
}

#[test]
fn proxy_headers_are_believed_and_demanded_from_those_listed_only() {
    let world = World::new();
    let prod = world.vnet("prod");
    let nginx = servers::nginx_behind_proxy(&world, world.free_in(&prod, 10), "web");
    let (listed, other) = (world.source(201), world.source(202));
    let service = Service::tcp("web")
        .listener(&format!("proxy_protocol = [\"{}/32\"]", listed.ip()))
        .pool("proxy_protocol = \"v2\"")
        .origin(&prod, nginx.address);
    let (edge, _dc1) = world.stand(&prod, &[&service]);
    let at = edge.listener("web");

    let named = ask(at, listed, "PROXY TCP4 192.0.2.55 198.51.100.1 4711 80\r\n").expect("an answer");
    assert_eq!(named.0, "192.0.2.55 4711");
    assert!(edge.process.wait_log(&["flow", "192.0.2.55:4711"]).contains("web"), "and logged");
    let unnamed = ask(at, listed, "PROXY UNKNOWN\r\n").expect("an answer");
    assert_eq!(unnamed.0, told(unnamed.1));
    assert!(ask(at, listed, "").is_err(), "from those listed a header is a must");
    wait::soon_true("the refusal to be counted", || refused(&edge));

    let plain = ask(at, other, "").expect("an answer");
    assert_eq!(plain.0, told(plain.1));
    let lie = ask(at, other, "PROXY TCP4 192.0.2.55 198.51.100.1 4711 80\r\n").expect("an answer");
    assert!(lie.0.contains("400 Bad Request"), "to others it is a request like any: {}", lie.0);
}

#[test]
fn proxy_haproxy_and_curl_in_front_name_the_client_of_an_http_listener() {
    let world = World::new();
    let prod = world.vnet("prod");
    let nginx = servers::nginx(&world, world.free_in(&prod, 10), "web");
    let (front, client) = (world.source(203), world.source(204));
    let listed = format!("proxy_protocol = [\"{}/32\"]", front.ip());
    let (edge, _dc1) = world.stand(&prod, &[&Service::http("web").listener(&listed).origin(&prod, nginx.address)]);
    let haproxy = servers::haproxy(&world, world.free(), edge.listener("web"), front.ip());
    let forwarded = |at: SocketAddr, source: SocketAddr, arguments: &[&str]| {
        let mut curl = command("curl");
        curl.args(["-sS", "--fail", "--max-time", "20", "--interface", &source.ip().to_string()]).args(arguments);
        process::run(with_url(curl, at), SOON).ok().out
    };
    assert_eq!(forwarded(haproxy.address, client, &[]), client.ip().to_string(), "version 2");
    assert_eq!(forwarded(edge.listener("web"), front, &["--haproxy-protocol"]), front.ip().to_string(), "version 1");
}

fn with_url(mut curl: Command, at: SocketAddr) -> Command {
    curl.arg(format!("http://{at}/forwarded"));
    curl
}

#[test]
fn each_payload_begins_with_a_header_for_origins_that_want_one() {
    let world = World::new();
    let prod = world.vnet("prod");
    for direct in [false, true] {
        let at = world.free_in(&prod, if direct { 31 } else { 30 });
        let origin = UdpSocket::bind(at).expect("the address is free");
        origin.set_read_timeout(Some(client::PATIENCE)).expect("open");
        let service = Service::udp("dns").pool("proxy_protocol = \"v2\"");
        let service = if direct { service.direct(at) } else { service.origin(&prod, at) };
        let (edge, _dc1) = world.stand(&prod, &[&service]);
        let socket = UdpSocket::bind(world.source(7)).expect("the address is free");
        socket.set_read_timeout(Some(client::PATIENCE)).expect("open");
        let (source, to) = (socket.local_addr().expect("bound"), edge.listener("dns"));
        for payload in ["first", "", "third"] {
            socket.send_to(payload.as_bytes(), to).expect("sent");
            let mut bytes = [0; 100];
            let (length, from) = origin.recv_from(&mut bytes).expect("it comes");
            let SocketAddr::V4(source) = source else { panic!("IPv4") };
            let SocketAddr::V4(to) = to else { panic!("IPv4") };
            let head = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c"[..], &source.ip().octets(), &to.ip().octets()].concat();
            let head = [&head[..], &source.port().to_be_bytes(), &to.port().to_be_bytes()].concat();
            assert_eq!(bytes[..length], [&head[..], payload.as_bytes()].concat(), "direct: {direct}");
            origin.send_to(b"answer", from).expect("sent");
            let length = socket.recv(&mut bytes).expect("an answer comes");
            assert_eq!(&bytes[..length], b"answer", "answers have no header");
        }
    }
}

/// A server that speaks the Simple Proxy Protocol: it answers what its client said, behind the header that came with it.
fn simple_echo(at: SocketAddr, forgets: bool) -> UdpOrigin {
    UdpOrigin::start(at, move |payload| {
        let (header, said) = payload.split_at_checked(38).expect("each payload has a header");
        assert_eq!(header[..2], [0x56, 0xec]);
        let answer = if forgets { said.to_vec() } else { [header, b"you said ", said].concat() };
        vec![answer]
    })
}

#[test]
fn each_payload_and_each_answer_begins_with_a_simple_header_where_origins_speak_it() {
    let world = World::new();
    let prod = world.vnet("prod");
    let (far, near) = (simple_echo(world.free_in(&prod, 10), false), simple_echo(world.free(), false));
    let forgetful = simple_echo(world.free(), true);
    let service = |name: &str| Service::udp(name).pool("proxy_protocol = \"spp\"");
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&prod])
        .udp_monitor("asks", "send = \"ping\"\nexpect = \"you said ping\"")
        .service(&service("far").monitor("asks").origin(&prod, far.address()))
        .service(&service("near").monitor("asks").direct(near.address()))
        .service(&service("forgetful").direct(forgetful.address()))
        .start();
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    for service in ["far", "near"] {
        edge.wait_health(&format!("{service}-1"), "healthy");
        let client = UdpClient::new(edge.listener(service));
        assert_eq!(client.ask(b"hello"), b"you said hello");
        assert_eq!(client.ask(b""), b"you said ");
    }
    let client = UdpClient::new(edge.listener("forgetful"));
    client.send(b"hello");
    assert_eq!(client.receive(Duration::from_millis(300)), None, "an answer without a header is for nobody");
}

/// What each payload of a load balancer in front begins with, in either way.
fn header(simple: bool, client: &str, to: SocketAddr) -> Vec<u8> {
    let (SocketAddr::V4(client), SocketAddr::V4(to)) = (client.parse().expect("an address"), to) else {
        panic!("IPv4");
    };
    let ports = [client.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let addresses = if simple {
        [client, to].map(|address| address.ip().to_ipv6_mapped().octets().to_vec()).concat()
    } else {
        [client, to].map(|address| address.ip().octets().to_vec()).concat()
    };
    let begin = if simple { &[0x56, 0xec][..] } else { &b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c"[..] };
    [begin, &addresses, &ports].concat()
}

#[test]
fn each_client_that_a_load_balancer_in_front_names_over_udp_has_a_session_of_its_own() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = UdpOrigin::echo(world.free_in(&prod, 10));
    let (front, other) = (world.source(203), world.source(204));
    let lines = format!("proxy_protocol = [\"{}/32\"]", front.ip());
    let service = Service::udp("echo").listener(&lines).origin(&prod, origin.address());
    let (edge, _dc1) = world.stand(&prod, &[&service]);
    let at = edge.listener("echo");
    let client = UdpClient::from(front, at);
    for simple in [false, true] {
        let clients = ["192.0.2.55:4711", "192.0.2.55:4712", "198.51.100.7:4711"];
        for client_named in clients {
            let head = header(simple, client_named, at);
            let answer = client.ask(&[&head[..], client_named.as_bytes()].concat());
            let expected = if simple { &head[..] } else { &[] };
            assert_eq!(answer, [expected, client_named.as_bytes()].concat(), "simple: {simple}");
        }
    }
    assert_eq!(origin.sources(), 6, "answers go back as payloads came");
    assert_eq!(edge.status()["listeners"][0]["flows"], 6);
    client.send(b"no header");
    wait::soon_true("the refusal to be counted", || refused(&edge));
    assert_eq!(UdpClient::from(other, at).ask(b"plain"), b"plain", "others say nothing of clients");
    drop(edge);
}

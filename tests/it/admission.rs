//! Who may use a listener, and how much of it: the same over TCP, UDP and HTTP.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use underpass_tests::harness::{
    Edge, Service, World, client,
    datagrams::{UdpClient, UdpOrigin},
    origin::{habits, servers},
    process::{self, command},
    wait::{self, SOON},
};

/// An answer that does not come is waited for no longer.
const SILENT: Duration = Duration::from_millis(300);

/// A connection from there, if the listener keeps it: what goes in comes back.
fn echoed(at: SocketAddr, source: SocketAddr) -> io::Result<TcpStream> {
    let stream = client::connect_from(source, at)?;
    client::ping(&stream, b"still there?").map(|()| stream)
}

/// Whether a payload from there is answered by nobody.
fn is_ignored(at: SocketAddr, source: SocketAddr) -> bool {
    let client = UdpClient::from(source, at);
    client.send(b"a payload");
    client.receive(SILENT).is_none()
}

/// How often a listener has refused for this reason.
fn refused(edge: &Edge, listener: &str, why: &str) -> u64 {
    let series = format!("underpass_flows_refused_total{{listener=\"{listener}\",why=\"{why}\"}} ");
    let metrics = edge.metrics();
    let count = metrics.lines().find_map(|line| line.strip_prefix(&series));
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no {series}in {metrics}"))
}

/// The status that curl is answered with from there, if it is.
fn curl(at: SocketAddr, source: SocketAddr) -> Option<String> {
    let mut curl = command("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20"]);
    curl.args(["--interface", &source.ip().to_string()]).arg(format!("http://{at}/who"));
    let ran = process::run(curl, SOON);
    (ran.code == 0).then_some(ran.out)
}

#[test]
fn admission_by_network_holds_over_every_protocol() {
    let world = World::new();
    let prod = world.vnet("prod");
    let (far, udp) = (habits::echo(world.free_in(&prod, 10)), UdpOrigin::echo(world.free_in(&prod, 11)));
    let nginx = servers::nginx(&world, world.free_in(&prod, 12), "web");
    let (guest, stranger) = (world.source(201), world.source(202));
    let allow = format!("allow = [\"{}/32\"]", guest.ip());
    let deny = format!("deny = [\"{}/32\"]", stranger.ip());
    let tcp = Service::tcp("tcp").listener(&allow).origin(&prod, far.address());
    let udp = Service::udp("udp").listener(&allow).origin(&prod, udp.address());
    let web = Service::http("web").listener(&deny).origin(&prod, nginx.address);
    let (edge, _dc1) = world.stand(&prod, &[&tcp, &udp, &web]);

    assert!(echoed(edge.listener("tcp"), guest).is_ok());
    assert!(echoed(edge.listener("tcp"), stranger).is_err());
    assert_eq!(UdpClient::from(guest, edge.listener("udp")).ask(b"a payload"), b"a payload");
    assert!(is_ignored(edge.listener("udp"), stranger));
    assert_eq!(curl(edge.listener("web"), guest).as_deref(), Some("200"));
    assert_eq!(curl(edge.listener("web"), stranger), None);
    for listener in ["tcp", "udp", "web"] {
        wait::soon_true("the refusal to be counted", || refused(&edge, listener, "denied") > 0);
    }
    let explained = edge.command(&["explain", "tcp", "--source", &stranger.ip().to_string()]);
    assert!(explained.out.contains("denied") && explained.out.contains("`allow`"), "{}", explained.out);
}

#[test]
fn admission_goes_by_the_client_that_a_proxy_header_names() {
    let world = World::new();
    let origin = habits::echo(world.free());
    let front = world.source(203);
    let lines = format!("proxy_protocol = [\"{}/32\"]\nallow = [\"192.0.2.0/24\"]", front.ip());
    let edge = world.edge("edge-1").service(&Service::tcp("tcp").listener(&lines).direct(origin.address())).start();
    let named = |client: &str| {
        let mut stream = client::connect_from(front, edge.listener("tcp"))?;
        stream.write_all(format!("PROXY TCP4 {client} 198.51.100.1 4711 80\r\n").as_bytes())?;
        client::ping(&stream, b"still there?")
    };
    assert!(named("192.0.2.55").is_ok());
    assert!(named("198.51.100.7").is_err());
}

#[test]
fn admission_of_one_client_ends_at_its_connections_and_leaves_others_alone() {
    let world = World::new();
    let origin = habits::echo(world.free());
    let service = Service::tcp("tcp").listener("connections_per_source = 2").direct(origin.address());
    let edge = world.edge("edge-1").service(&service).start();
    let (at, greedy, other) = (edge.listener("tcp"), world.source(201), world.source(202));
    let one = echoed(at, greedy).expect("the first");
    let _two = echoed(at, greedy).expect("the second");
    assert!(echoed(at, greedy).is_err(), "a third");
    assert!(echoed(at, other).is_ok(), "somebody else");
    assert_eq!(refused(&edge, "tcp", "connections_per_source"), 1);
    drop(one);
    wait::soon_true("room for another", || echoed(at, greedy).is_ok());
}

#[test]
fn admission_of_a_client_that_comes_too_often_ends_and_leaves_others_alone() {
    let world = World::new();
    let (origin, udp) = (habits::echo(world.free()), UdpOrigin::echo(world.free()));
    let tcp = Service::tcp("tcp").listener("rate_per_source = \"3/h\"").direct(origin.address());
    let udp = Service::udp("udp").listener("rate_per_source = \"3/h\"").direct(udp.address());
    let edge = world.edge("edge-1").service(&tcp).service(&udp).start();
    let (often, other) = (world.source(201), world.source(202));
    let come = |source| echoed(edge.listener("tcp"), source).is_ok();
    assert_eq!([(); 5].map(|()| come(often)), [true, true, true, false, false]);
    assert!(come(other));
    for source in [often, often, often, other] {
        assert_eq!(UdpClient::from(source, edge.listener("udp")).ask(b"a payload"), b"a payload");
    }
    assert!(is_ignored(edge.listener("udp"), often));
    assert!(is_ignored(edge.listener("udp"), often));
    for listener in ["tcp", "udp"] {
        assert_eq!(refused(&edge, listener, "rate_per_source"), 2);
    }
}

#[test]
fn admission_of_requests_is_told_by_429_and_the_connection_goes_on() {
    let world = World::new();
    let (origin, _) = habits::http(world.free(), "web");
    let service = Service::http("web").listener("requests_per_source = \"2/h\"").direct(origin.address());
    let edge = world.edge("edge-1").service(&service).start();
    let mut curl = command("curl");
    curl.args(["-sS", "--max-time", "20", "-D", "-", "-w", "\ntold %{http_code} over %{num_connects} new\n"]);
    curl.args([(); 4].map(|()| format!("http://{}/", edge.listener("web"))));
    let told = process::run(curl, SOON).ok().out.to_ascii_lowercase();
    let all: Vec<_> = told.lines().filter(|line| line.starts_with("told ")).collect();
    assert_eq!(all, ["told 200 over 1 new", "told 200 over 0 new", "told 429 over 0 new", "told 429 over 0 new"]);
    assert!(told.contains("retry-after: 1") && told.contains("underpass-reason: requests_per_source"), "{told}");
}

#[test]
fn admission_that_a_reload_changes_cuts_nobody_who_is_there() {
    let world = World::new();
    let origin = habits::echo(world.free());
    let service = |lines: &str| Service::tcp("tcp").listener(lines).direct(origin.address());
    let edge = world.edge("edge-1").service(&service("")).start();
    let (at, source) = (edge.listener("tcp"), world.source(201));
    let stays = echoed(at, source).expect("everybody may");
    let denied = format!("load_balancer = \"tcp\"\ndeny = [\"{}/32\"]", source.ip());
    let text = std::fs::read_to_string(&edge.file.path).expect("readable");
    std::fs::write(&edge.file.path, text.replace("load_balancer = \"tcp\"", &denied)).expect("writable");
    let _ = edge.command(&["reload"]).ok();
    assert!(echoed(at, source).is_err());
    client::ping(&stays, b"still there?").expect("whoever is there stays");
}

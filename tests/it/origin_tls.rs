//! TLS to origins: who is believed, what is spoken, and what is told where it fails.

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustix::process::Signal;
use serde_json::Value;
use underpass_tests::harness::{
    Edge, Service, World,
    origin::{habits, servers},
    process::{self, command},
    wait::{self, SOON},
};

/// An authority of our own.
pub(crate) struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// A new one, whose certificate is `FILE.pem`.
    pub(crate) fn new(world: &World, file: &str) -> Self {
        let key = KeyPair::generate().expect("keys can be made");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, file);
        let certificate = params.self_signed(&key).expect("the parameters are right");
        let _ = world.write(&format!("{file}.pem"), &certificate.pem());
        Self(Issuer::new(params, key))
    }

    /// Issues `FILE.pem` and `FILE.key` for a name or address.
    pub(crate) fn issue(&self, world: &World, file: &str, name: &str) {
        self.issue_until(world, file, name, 2099);
    }

    fn issue_until(&self, world: &World, file: &str, name: &str, year: i32) {
        let key = KeyPair::generate().expect("keys can be made");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name or an address");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.0).expect("the parameters are right");
        let _ = world.write(&format!("{file}.pem"), &certificate.pem());
        let _ = world.write(&format!("{file}.key"), &key.serialize_pem());
    }
}

fn curl(edge: &Edge, (service, path): (&str, &str), arguments: &[&str]) -> Command {
    let mut curl = command("curl");
    curl.args(["-sS", "--max-time", "20"]).args(arguments);
    curl.arg(format!("http://{}{path}", edge.listener(service)));
    curl
}

fn get(edge: &Edge, service: &str, path: &str) -> String {
    process::run(curl(edge, (service, path), &[]), SOON).ok().out
}

/// The status and the reason of an answer the edge makes itself.
fn reason(edge: &Edge, service: &str) -> String {
    let told = ["-o", "/dev/null", "-w", "%{http_code} %header{underpass-reason}"];
    process::run(curl(edge, (service, "/who"), &told), SOON).ok().out
}

fn over_tls(name: &str, lines: &str) -> Service {
    Service::http(name).pool(&format!("upstream = \"https\"\n{lines}"))
}

#[test]
fn origins_choose_what_is_spoken_over_tls() {
    let world = World::new();
    let prod = world.vnet("prod");
    let ca = Authority::new(&world, "ca");
    ca.issue(&world, "web", "web.test");
    let new = servers::nginx_tls(&world, world.free_in(&prod, 10), "new", ("web", " http2"));
    let old = servers::nginx_tls(&world, world.free_in(&prod, 11), "old", ("web", ""));
    let named = "tls = { ca = \"ca.pem\", server_name = \"web.test\" }";
    let direct = world.free();
    ca.issue(&world, "address", &direct.ip().to_string());
    let near = servers::nginx_tls(&world, direct, "near", ("address", " http2"));
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&prod])
        .https_monitor("web", "path = \"/who\"")
        .service(&over_tls("new", named).monitor("web").origin(&prod, new.address))
        .service(&over_tls("old", named).monitor("web").origin(&prod, old.address))
        .service(&over_tls("near", "tls = { ca = \"ca.pem\" }").monitor("web").direct(near.address))
        .start();
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    for name in ["new", "old", "near"] {
        edge.wait_health(&format!("{name}-1"), "healthy");
        assert_eq!(get(&edge, name, "/who"), name);
    }
    assert_eq!(get(&edge, "new", "/tls"), "HTTP/2.0 web.test");
    assert_eq!(get(&edge, "old", "/tls"), "HTTP/1.1 web.test");
    assert_eq!(get(&edge, "near", "/tls"), "HTTP/2.0 ", "an address is verified, but not asked for by name");
    // What can only be asked in HTTP/1.1 is.
    let upgrade = ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13"];
    let upgrade = [&upgrade[..], &["-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]].concat();
    assert_eq!(process::run(curl(&edge, ("new", "/tls"), &upgrade), SOON).ok().out, "HTTP/1.1 web.test");

    let path = edge.healthy_path("new-1");
    assert!(path["stages_ms"]["tls"].as_f64().is_some(), "{path}");

    let body = vec![b'x'; 3 << 20];
    fs::write(new.dir.join("www/big"), &body).expect("writable");
    let got = new.dir.join("got");
    let big = curl(&edge, ("new", "/big"), &["-o", &got.display().to_string()]);
    let _ = process::run(big, SOON).ok();
    assert!(fs::read(&got).expect("curl wrote it") == body, "other bytes arrived");
    let mut h2load = command("h2load");
    h2load.args(["-n", "1000", "-c", "4", "-m", "8"]).arg(format!("http://{}/who", edge.listener("new")));
    let _ = process::run(h2load, SOON).ok().says(&["1000 succeeded, 0 failed", "1000 2xx"]);
}

#[test]
fn a_trace_tells_how_long_tls_took_or_why_it_failed() {
    let world = World::new();
    let prod = world.vnet("prod");
    Authority::new(&world, "ca").issue(&world, "web", "web.test");
    let origin = servers::nginx_tls(&world, world.free_in(&prod, 10), "web", ("web", " http2"));
    let named = |name: &str| format!("tls = {{ ca = \"ca.pem\", server_name = \"{name}\" }}");
    let good = over_tls("good", &named("web.test")).origin(&prod, origin.address);
    let doubted = over_tls("doubted", &named("other.test")).origin(&prod, origin.address);
    let (edge, _dc1) = world.stand(&prod, &[&good, &doubted]);
    let trace = |listener: &str, code: i32| -> Value {
        let ran = edge.command(&["trace", listener, "--path", "/who", "--json"]).exited(code);
        serde_json::from_str(&ran.out).expect("JSON")
    };
    let through = trace("good", 0);
    let stages: Vec<&Value> = through["stages"].as_array().expect("a list").iter().collect();
    let names: Vec<&str> = stages.iter().filter_map(|stage| stage["stage"].as_str()).collect();
    assert_eq!(names, ["accept", "place", "open", "permit", "dial", "tls", "first_byte"], "{through}");
    assert!(stages[5]["took_ms"].as_f64().is_some_and(|took| took > 0.0), "{through}");
    assert_eq!(through["status"], 200, "{through}");
    let doubted = trace("doubted", 1);
    assert_eq!((&doubted["stopped_at"], &doubted["reason"]), (&"tls".into(), &"tls_name_mismatch".into()), "{doubted}");
}

#[test]
fn websockets_cross_tls_to_their_origin() {
    let world = World::new();
    let prod = world.vnet("prod");
    Authority::new(&world, "ca").issue(&world, "web", "web.test");
    let origin = servers::python(&world, "websocket_origin", world.free_in(&prod, 10));
    let front = servers::nginx_tls_before(&world, world.free_in(&prod, 11), "web", &origin);
    let service = over_tls("web", "tls = { ca = \"ca.pem\", server_name = \"web.test\" }").origin(&prod, front.address);
    let (edge, _dc1) = world.stand(&prod, &[&service]);
    let at = edge.listener("web");
    let mut http1 = servers::python_client("websocket_client");
    http1.arg(format!("ws://{at}/chat"));
    let mut http2 = servers::python_client("websocket_http2");
    http2.args([&at.ip().to_string(), &at.port().to_string(), "/chat", "end"]);
    for client in [http1, http2] {
        assert_eq!(process::run(client, Duration::from_secs(40)).ok().out, "good\n");
    }
}

#[test]
fn every_way_a_handshake_fails_has_its_reason() {
    let world = World::new();
    let prod = world.vnet("prod");
    let (ca, stranger) = (Authority::new(&world, "ca"), Authority::new(&world, "stranger"));
    ca.issue(&world, "good", "web.test");
    ca.issue(&world, "other", "other.test");
    ca.issue_until(&world, "expired", "web.test", 2021);
    stranger.issue(&world, "untrusted", "web.test");
    let tls = |host, file| servers::nginx_tls(&world, world.free_in(&prod, host), file, (file, " http2"));
    let started = [tls(10, "good"), tls(11, "other"), tls(12, "expired"), tls(13, "untrusted")];
    let plain = servers::nginx(&world, world.free_in(&prod, 14), "plain");
    let hanging = habits::hangs(world.free_in(&prod, 15));
    let lines = "tls = { ca = \"ca.pem\", server_name = \"web.test\" }";
    let at = |name: &str, address: SocketAddr| {
        let impatient = if name == "hanging" { "connect_timeout = \"500ms\"" } else { "" };
        over_tls(name, lines).pool(impatient).origin(&prod, address)
    };
    let mut file = world.edge("edge-1").grant("dc1", &[&prod]).https_monitor("web", "path = \"/who\"");
    let cases = [
        ("other", started[1].address, "tls_name_mismatch"),
        ("expired", started[2].address, "tls_untrusted"),
        ("untrusted", started[3].address, "tls_untrusted"),
        ("plain", plain.address, "tls_handshake"),
        ("hanging", hanging.address(), "tls_handshake"),
    ];
    for (name, address, _) in cases {
        file = file.service(&at(name, address));
    }
    let probed = Service::tcp("probed").pool("upstream = \"https\"").pool(lines).monitor("web");
    let probed = cases.iter().fold(probed, |probed, (_, address, _)| probed.origin(&prod, *address));
    // The good one comes last: whoever fails before it has been sent nothing.
    let mixed = cases[..3].iter().fold(over_tls("mixed", lines), |mixed, (_, at, _)| mixed.origin(&prod, *at));
    let mixed = mixed.pool("steering = \"round_robin\"").origin(&prod, started[0].address);
    let anyone = over_tls("anyone", "tls = { verify = false }").origin(&prod, started[3].address);
    let edge = file.service(&probed).service(&mixed).service(&anyone).start();
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);

    for (name, _, expected) in cases {
        assert_eq!(reason(&edge, name), format!("502 {expected}"), "{name}");
    }
    for (number, (_, _, expected)) in cases.iter().enumerate() {
        edge.wait_reason(&format!("probed-{}", number + 1), expected);
    }
    for (origin, words) in [
        ("probed-1", "not for web.test"),
        ("probed-2", "its certificate expired"),
        ("probed-3", "issued by nobody who is believed here"),
        ("probed-5", "no TLS handshake within"),
    ] {
        let detail = edge.detail(origin);
        assert!(detail.contains(words), "{origin}: {detail}");
    }
    for _ in 0..4 {
        let post = curl(&edge, ("mixed", "/who"), &["-d", "order=1"]);
        assert_eq!(process::run(post, SOON).ok().out, "good", "what was not sent goes elsewhere, whatever it is");
    }
    // Who is believed decides who may use a connection.
    for _ in 0..4 {
        assert_eq!(get(&edge, "anyone", "/who"), "untrusted");
        assert_eq!(reason(&edge, "untrusted"), "502 tls_untrusted");
    }
}

#[test]
fn a_reload_reads_authorities_again() {
    let world = World::new();
    let (one, _two) = (Authority::new(&world, "one"), Authority::new(&world, "two"));
    one.issue(&world, "web", "web.test");
    let server = servers::nginx_tls(&world, world.free(), "web-1", ("web", " http2"));
    let believe = |file: &str| {
        let _ = fs::copy(world.path(file), world.path("ca.pem")).expect("both are files");
    };
    believe("one.pem");
    let service = over_tls("web", "tls = { ca = \"ca.pem\", server_name = \"web.test\" }").direct(server.address);
    let edge = world.edge("edge-1").service(&service).start();
    assert_eq!(get(&edge, "web", "/who"), "web-1");

    believe("two.pem");
    assert_eq!(get(&edge, "web", "/who"), "web-1", "files are read at a reload, not before");
    edge.process.signal(Signal::HUP);
    // The connection that is open was opened to somebody who is believed no more.
    wait::soon_true("the new authority to count", || reason(&edge, "web") == "502 tls_untrusted");

    fs::remove_file(world.path("ca.pem")).expect("it is there");
    edge.process.signal(Signal::HUP);
    let _ = edge.process.wait_log(&["pool web", "ca.pem"]);
    let _ = edge.process.wait_log(&["reload refused"]);
    assert_eq!(reason(&edge, "web"), "502 tls_untrusted");
    believe("one.pem");
    edge.process.signal(Signal::HUP);
    wait::soon_true("the first authority to count again", || get(&edge, "web", "/who") == "web-1");
}

#[test]
fn an_authority_that_cannot_be_read_is_told_at_the_start() {
    let world = World::new();
    let _ = world.write("empty.pem", "nothing\n");
    for (name, said) in [("none.pem", "No such file"), ("empty.pem", "no PEM certificate")] {
        let service = over_tls("web", &format!("tls = {{ ca = \"{name}\" }}")).direct(world.free());
        let mut edge = world.edge(name.trim_end_matches(".pem")).service(&service).launch();
        assert!(!edge.process.wait(SOON).success());
        let _ = edge.process.wait_log(&["pool web", name, said]);
    }
}

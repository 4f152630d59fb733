//! HTTP listeners: what clients see, and what reaches origins.

mod broken;
mod grpc;
mod retries;
mod websocket;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    thread,
};

use underpass_tests::harness::{
    Connector, Edge, Origin, Service, Vnet, World,
    client::{self, Pattern},
    origin::{
        servers::{self, Server},
        web,
    },
    process::{self, Signal, command},
    wait::{self, SOON},
};

fn nginx(world: &World, vnet: &Vnet) -> Server {
    servers::nginx(world, world.free_in(vnet, 10), "web-1")
}

fn curl(edge: &Edge, path: &str, arguments: &[&str]) -> Command {
    let mut curl = command("curl");
    curl.args(["-sS", "--max-time", "20"]).args(arguments);
    curl.arg(format!("http://{}{path}", edge.listener("web")));
    curl
}

fn out(command: Command) -> String {
    process::run(command, SOON).ok().out
}

/// A world with one origin behind an HTTP listener.
fn with_origin<T>(
    start: impl FnOnce(SocketAddr) -> T,
    address: impl Fn(&T) -> SocketAddr,
) -> (World, T, Edge, Connector) {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = start(world.free_in(&prod, 10));
    let (edge, dc1) = world.stand(&prod, &[&Service::http("web").origin(&prod, address(&origin))]);
    (world, origin, edge, dc1)
}

fn mirrored() -> (World, Origin, Edge, Connector) {
    with_origin(web::mirror, Origin::address)
}

fn saying(answer: &'static str) -> (World, (Origin, web::Heads), Edge, Connector) {
    with_origin(|at| web::says(at, answer), |(origin, _)| origin.address())
}

/// Sends bytes, and returns all that comes back until the edge closes.
fn raw(edge: &Edge, bytes: &[u8]) -> String {
    let mut stream = client::connect(edge.listener("web")).expect("the listener accepts");
    // The edge may close before it has read everything.
    let _ = stream.write_all(bytes);
    String::from_utf8_lossy(&client::read_all(&stream).0).into_owned()
}

/// Reads one head and a body of the length it says.
fn answer(mut stream: &TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer comes");
        bytes.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).expect("its body comes");
    head + &String::from_utf8_lossy(&body)
}

#[test]
fn curl_speaks_both_versions_to_nginx() {
    let (_world, server, edge, _dc1) = with_nginx();
    let body = Pattern::new(3).bytes(5 << 20);
    fs::write(server.dir.join("www/big"), &body).expect("writable");
    for version in ["--http1.1", "--http2-prior-knowledge", "--http1.0"] {
        let got = server.dir.join("got");
        let ran = out(curl(&edge, "/big", &[version, "-o", &got.display().to_string(), "-w", "%{http_code}"]));
        assert_eq!(ran, "200", "{version}");
        assert!(fs::read(&got).expect("curl wrote it") == body, "{version}: other bytes arrived");
        assert_eq!(
            out(curl(&edge, "/big", &[version, "-r", "0-9", "-o", "/dev/null", "-w", "%{http_code} %{size_download}"])),
            "206 10"
        );
        assert_eq!(out(curl(&edge, "/who", &[version])), "web-1");
        assert_eq!(out(curl(&edge, "/missing", &[version, "-o", "/dev/null", "-w", "%{http_code}"])), "404");
    }
    assert!(edge.metrics().contains("underpass_requests_total{listener=\"web\",code=\"2xx\"} "), "{}", edge.metrics());
}

fn with_nginx() -> (World, Server, Edge, Connector) {
    let world = World::new();
    let prod = world.vnet("prod");
    let server = nginx(&world, &prod);
    let (edge, dc1) = world.stand(&prod, &[&Service::http("web").origin(&prod, server.address)]);
    (world, server, edge, dc1)
}

#[test]
fn head_and_304_have_no_body_whatever_they_say() {
    let (_world, server, edge, _dc1) = with_nginx();
    fs::write(server.dir.join("www/file"), "12345").expect("writable");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let head = out(curl(&edge, "/file", &[version, "-I"])).to_ascii_lowercase();
        assert!(head.contains(" 200") && head.contains("content-length: 5"), "{head}");
        let etag = head.lines().find_map(|l| l.strip_prefix("etag: ")).expect("nginx sends one").to_owned();
        let condition = format!("If-None-Match: {etag}");
        let arguments = [version, "-H", &condition, "-w", "%{http_code}", "-o", "/dev/null"];
        assert_eq!(out(curl(&edge, "/file", &arguments)), "304", "{version}");
    }
}

#[test]
fn an_answer_that_can_have_no_body_has_no_length_either() {
    let (_world, _origin, edge, _dc1) = saying("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n");
    for version in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        let seen = out(curl(&edge, "/", &[version, "-i"])).to_ascii_lowercase();
        assert!(seen.contains(" 204") && !seen.contains("content-length"), "{version}: {seen}");
    }
    let hint = "HTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (_world, _origin, edge, _dc1) = saying(hint);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let seen = out(curl(&edge, "/", &[version, "-i"])).to_ascii_lowercase();
        assert!(seen.contains(" 103") && seen.matches("content-length").count() == 1, "{version}: {seen}");
    }
}

#[test]
fn upstream_connections_are_used_again() {
    let (_world, origin, mut edge, _dc1) = mirrored();
    // One client connection stays on one worker, which keeps connections to origins for itself.
    let seen = out(curl(&edge, "/x?[1-10]", &[]));
    assert_eq!(seen.matches("GET /x?").count(), 10, "{seen}");
    let log = edge.process.log_to_its_end();
    let reused = log.lines().filter(|line| line.contains(" request ") && line.contains("reused=true")).count();
    assert!(reused >= 8, "{log}");
    // Each of the others, and no more, opened one; the monitor's connections ask nothing and are not counted there.
    assert!(origin.accepted() >= 10 - reused);
}

#[test]
fn what_reaches_the_origin_is_written_anew() {
    let (_world, _origin, edge, _dc1) = mirrored();
    let fields = [
        "-H",
        "Connection: x-secret, keep-alive",
        "-H",
        "X-Secret: 1",
        "-H",
        "X-Forwarded-For: 6.6.6.6",
        "-H",
        "x_forwarded_for: 6.6.6.6",
        "-H",
        "TE: gzip",
        "-H",
        "Host: www.example.com",
    ];
    let seen = out(curl(&edge, "/a/./b//%61?q=%2e", &[&fields[..], &["--path-as-is"]].concat()));
    assert!(seen.starts_with("GET /a/b//%61?q=%2e HTTP/1.1\r\n"), "{seen}");
    let lower = seen.to_ascii_lowercase();
    for gone in ["x-secret", "connection:", "6.6.6.6", "te:"] {
        assert!(!lower.contains(gone), "{gone} in {seen}");
    }
    for there in ["host: www.example.com\r\n", "x-forwarded-for: 127.", "x-forwarded-proto: http\r\n"] {
        assert!(lower.contains(there), "{there} not in {seen}");
    }
}

#[test]
fn rules_choose_by_host_and_path() {
    let world = World::new();
    let (one, two, three) = (world.free(), world.free(), world.free());
    let (one, two, three) = (
        servers::nginx(&world, one, "one"),
        servers::nginx(&world, two, "two"),
        servers::nginx(&world, three, "three"),
    );
    let rules = "[[listener.rule]]\nhost = \"api.example\"\npath = \"/who/v1\"\nload_balancer = \"two\"\n\
                 [[listener.rule]]\nhost = \"*.example\"\nload_balancer = \"three\"\n";
    let edge = world.edge("edge-1").tcp_monitor("tcp");
    let edge =
        edge.service(&Service::http("two").direct(two.address)).service(&Service::http("three").direct(three.address));
    let edge = edge.service(&Service::http("web").direct(one.address).listener(rules)).start();
    let ask = |host: &str, path: &str| out(curl(&edge, path, &["--path-as-is", "-H", &format!("Host: {host}")]));
    assert_eq!(ask("api.example", "/who/v1/x"), "two");
    assert_eq!(ask("API.example:80", "/x/../who/%761"), "two");
    assert_eq!(ask("api.example", "/who/v10"), "three");
    assert_eq!(ask("other", "/who/v1"), "one");
}

#[test]
fn smuggling_attempts_are_refused_and_reach_no_origin() {
    let (_world, (_origin, heads), edge, _dc1) = saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    for (request, reason) in [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
            "length_and_encoding",
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", "bad_content_length"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "bad_transfer_encoding"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "bad_field_name"),
        ("GET / HTTP/1.1\nHost: a\n\n", "bad_line_end"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", "bad_line_end"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", "folded_field"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", "bad_field_value"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "bad_host"),
        ("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", "bad_path"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "method_refused"),
        ("TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "method_refused"),
        ("GET /\r\n", "bad_request_line"),
    ] {
        let got = raw(&edge, request.as_bytes());
        assert!(got.contains(&format!("underpass-reason: {reason}\r\n")), "{request:?}: {got}");
        assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "one answer, then the end: {got}");
    }
    assert!(heads.lock().expect("no panic").is_empty(), "{heads:?}");
}

#[test]
fn a_bad_request_behind_a_good_one_is_refused_and_the_good_one_answered() {
    let (_world, (_origin, heads), edge, _dc1) = saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let got = raw(&edge, b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhi\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\nGET /4 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(got.matches("HTTP/1.1 200").count(), 2, "{got}");
    assert_eq!(got.matches("HTTP/1.1 400").count(), 1, "{got}");
    let paths: Vec<String> =
        heads.lock().expect("no panic").iter().filter_map(|h| Some(h.split_once(" /")?.1[..1].to_owned())).collect();
    assert_eq!(paths, ["1", "2"]);
}

#[test]
fn a_request_with_a_bad_chunk_is_refused_or_cut_and_never_answered_as_a_good_one() {
    let (_world, origin, edge, _dc1) =
        with_origin(underpass_tests::harness::origin::habits::reads_only, Origin::address);
    let got =
        raw(&edge, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0x1\r\nx\r\n0\r\n\r\n");
    assert!(got.is_empty() || got.contains("underpass-reason: bad_chunk"), "{got}");
    let _ = origin;
}

#[test]
fn a_large_upload_arrives_and_an_early_refusal_is_heard() {
    let (world, server, edge, _dc1) = with_nginx();
    let body = world.path("upload");
    fs::write(&body, Pattern::new(9).bytes(8 << 20)).expect("writable");
    let data = format!("@{}", body.display());
    // nginx answers 413 to a POST beyond its limit, without reading it.
    let arguments = ["--http1.1", "--data-binary", &data, "-o", "/dev/null", "-w", "%{http_code}"];
    assert_eq!(out(curl(&edge, "/who", &arguments)), "413");
    // curl 7.88 loses an early answer over HTTP/2, whoever sends it.
    let mut nghttp = command("nghttp");
    nghttp.args(["-v", "-d", &body.display().to_string()]).arg(format!("http://{}/who", edge.listener("web")));
    let ran = process::run(nghttp, SOON).ok();
    assert!(ran.out.contains(":status: 413") && ran.out.contains("</html>"), "{}", ran.out);
    let _ = server;
}

#[test]
fn half_an_answer_is_never_taken_for_the_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nhalf\r\n",
    ] {
        let (_world, _origin, edge, _dc1) = saying(answer);
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            // A small one has not begun for the client: then it is told so.
            let ran = process::run(curl(&edge, "/", &[version, "-f"]), SOON);
            assert!(ran.code != 0, "{version}: {}", ran.out);
        }
    }
}

#[test]
fn doubtful_answers_are_502() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok",
        "nonsense\r\n\r\nConnection: close",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nConnection: close",
    ] {
        let (_world, _origin, edge, _dc1) = saying(answer);
        let got = out(curl(&edge, "/", &["-D", "-", "-o", "/dev/null"]));
        assert!(got.starts_with("HTTP/1.1 502") && got.contains("underpass-reason: http_invalid"), "{answer}: {got}");
    }
}

#[test]
fn faults_say_why() {
    let world = World::new();
    let prod = world.vnet("prod");
    let hangs = underpass_tests::harness::origin::habits::reads_only(world.free_in(&prod, 11));
    let services = [
        Service::http("web").origin(&prod, world.free_in(&prod, 10)),
        Service::http("slow").origin(&prod, hangs.address()).pool("response_timeout = \"300ms\""),
    ];
    let (edge, _dc1) = world.stand(&prod, &[&services[0], &services[1]]);
    let at = |service: &str| {
        let mut curl = command("curl");
        curl.args(["-sS", "-D", "-", "-o", "/dev/null"]).arg(format!("http://{}/", edge.listener(service)));
        out(curl)
    };
    let refused = at("web");
    assert!(refused.starts_with("HTTP/1.1 502") && refused.contains("underpass-reason: connect_refused"), "{refused}");
    let slow = at("slow");
    assert!(slow.starts_with("HTTP/1.1 504") && slow.contains("underpass-reason: http_timeout"), "{slow}");
}

#[test]
fn requests_move_away_from_an_origin_that_closes() {
    let world = World::new();
    let prod = world.vnet("prod");
    let dying = Origin::start(world.free_in(&prod, 10), |mut stream| {
        let _ = stream.read(&mut [0; 1000])?;
        Ok(underpass_tests::harness::origin::Ending::Clean)
    });
    let good = web::mirror(world.free_in(&prod, 11));
    let service = Service::http("web").origin(&prod, dying.address()).origin(&prod, good.address());
    let (edge, _dc1) = world.stand(&prod, &[&service.pool("steering = \"round_robin\"")]);
    for _ in 0..6 {
        assert!(out(curl(&edge, "/", &[])).starts_with("GET / "), "idempotent requests are sent again");
    }
    let codes: Vec<String> =
        (0..6).map(|_| out(curl(&edge, "/", &["-d", "x", "-o", "/dev/null", "-w", "%{http_code}"]))).collect();
    assert!(codes.contains(&"502".to_owned()), "a POST that was sent is not: {codes:?}");
}

#[test]
fn idempotent_requests_move_away_from_an_origin_that_hangs() {
    let world = World::new();
    let prod = world.vnet("prod");
    let hanging = servers::nginx(&world, world.free_in(&prod, 10), "hanging");
    let good = servers::nginx(&world, world.free_in(&prod, 11), "good");
    let service = Service::http("web").monitor("web").pool("steering = \"round_robin\"");
    let service = service.origin(&prod, hanging.address).origin(&prod, good.address);
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).http_monitor("web", "path = \"/who\"").service(&service);
    let edge = edge.start();
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    edge.wait_health("web-1", "healthy");
    edge.wait_health("web-2", "healthy");

    hanging.process.signal(Signal::STOP);
    let asking: Vec<_> = (0..2).map(|_| curl(&edge, "/who", &[])).collect();
    let asking: Vec<_> = asking.into_iter().map(|curl| thread::spawn(move || out(curl))).collect();
    for asked in asking {
        assert_eq!(asked.join().expect("curl answers"), "good", "whichever waited for the other has moved");
    }
    edge.wait_health("web-1", "unhealthy");
    assert_eq!(out(curl(&edge, "/who", &["-d", "x"])), "good", "nothing new goes there");
}

#[test]
fn a_body_waits_for_100_continue() {
    let (_world, (_origin, heads), edge, _dc1) =
        saying("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let mut stream = client::connect(edge.listener("web")).expect("it accepts");
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .expect("written");
    let got = answer(&stream);
    assert!(got.starts_with("HTTP/1.1 403"), "{got}");
    assert!(heads.lock().expect("no panic")[0].to_ascii_lowercase().contains("expect: 100-continue"));

    // Asks for the body, and answers with what it then got.
    let asks = |at| {
        Origin::start(at, |mut stream| {
            while web::head(stream)?.is_some() {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                let mut body = [0; 5];
                stream.read_exact(&mut body)?;
                stream.write_all(&[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", &body[..]].concat())?;
            }
            Ok(underpass_tests::harness::origin::Ending::Clean)
        })
    };
    let (_world, _origin, edge, _dc1) = with_origin(asks, Origin::address);
    let mut stream = client::connect(edge.listener("web")).expect("it accepts");
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .expect("written");
    assert!(answer(&stream).starts_with("HTTP/1.1 100 Continue\r\n"));
    stream.write_all(b"hello").expect("written");
    let got = answer(&stream);
    assert!(got.starts_with("HTTP/1.1 200") && got.ends_with("hello"), "{got}");

    let got = raw(&edge, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: a-pony\r\n\r\n");
    assert!(got.starts_with("HTTP/1.1 417"), "{got}");
}

#[test]
fn early_hints_are_passed_on_and_100_is_not_for_1_0_clients() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (_world, _origin, edge, _dc1) = saying(hints);
    let got = raw(&edge, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(got.starts_with("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200"), "{got}");
    let got = raw(&edge, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(got.starts_with("HTTP/1.0 200") || got.starts_with("HTTP/1.1 200"), "{got}");
    assert!(!got.contains("103"), "{got}");
}

const UPGRADE: &[u8] =
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";

#[test]
fn nothing_follows_an_upgrade_before_the_101_and_then_everything_does() {
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: y\r\n\r\n";
    let (_world, (_origin, heads), edge, _dc1) =
        with_origin(|at| web::echoes_after(at, switching), |(origin, _)| origin.address());
    let mut stream = client::connect(edge.listener("web")).expect("it accepts");
    stream.write_all(&[UPGRADE, b"early bytes"].concat()).expect("written");
    let got = answer(&stream);
    assert!(got.starts_with("HTTP/1.1 101") && got.to_ascii_lowercase().contains("sec-websocket-accept: y"), "{got}");
    let mut back = [0; 11];
    stream.read_exact(&mut back).expect("what was held back came after all");
    assert_eq!(&back, b"early bytes");
    client::ping(&stream, &Pattern::new(5).bytes(200_000)[..60_000]).expect("it echoes");
    let head = heads.lock().expect("no panic")[0].clone();
    assert!(head.ends_with("[0]"), "the origin had more than the head: {head}");
    stream.shutdown(std::net::Shutdown::Write).expect("open");
    assert_eq!(stream.read(&mut back).expect("the end crosses"), 0);
}

#[test]
fn what_follows_a_refused_upgrade_is_not_carried() {
    let (_world, (_origin, heads), edge, _dc1) = saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let got = raw(&edge, &[UPGRADE, b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
    assert_eq!(got.matches("HTTP/1.1 200").count(), 1, "{got}");
    assert_eq!(heads.lock().expect("no panic").len(), 1);
}

#[test]
fn a_slow_reader_holds_back_the_origin_and_gets_everything() {
    let (_world, server, edge, _dc1) = with_nginx();
    let body = Pattern::new(8).bytes(16 << 20);
    fs::write(server.dir.join("www/big"), &body).expect("writable");
    let got = server.dir.join("got");
    let slowly = ["--limit-rate", "8M", "-o", &got.display().to_string()];
    let _ = out(curl(&edge, "/big", &slowly));
    assert!(fs::read(&got).expect("curl wrote it") == body, "other bytes arrived");
}

#[test]
fn trailers_come_through() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, host\r\nConnection: close\r\n\r\n\
                  2\r\nok\r\n0\r\nx-sum: 7\r\nhost: evil\r\n\r\n";
    let (_world, _origin, edge, _dc1) = saying(answer);
    let got = raw(&edge, b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close, te\r\n\r\n");
    assert!(got.ends_with("2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n"), "{got}");
    let mut nghttp = command("nghttp");
    nghttp.args(["-v", "-H", "te: trailers"]).arg(format!("http://{}/", edge.listener("web")));
    let ran = process::run(nghttp, SOON).ok();
    assert!(ran.out.contains("x-sum: 7") && !ran.out.contains("evil"), "{}", ran.out);
}

#[test]
fn h2load_loses_no_request() {
    let (_world, _server, edge, _dc1) = with_nginx();
    for mode in [&["-c", "4", "-m", "16"][..], &["-c", "8", "--h1"]] {
        let mut h2load = command("h2load");
        h2load.args(["-n", "2000"]).args(mode).arg(format!("http://{}/who", edge.listener("web")));
        let _ = process::run(h2load, SOON).ok().says(&["2000 succeeded, 0 failed", "2000 2xx"]);
    }
}

#[test]
fn an_edge_that_stops_ends_idle_connections() {
    let (_world, _origin, mut edge, _dc1) = mirrored();
    let mut stream = client::connect(edge.listener("web")).expect("it accepts");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    let _ = answer(&stream);
    let _ = edge.process.terminate(SOON);
    assert_eq!(stream.read(&mut [0]).expect("a clean end"), 0);
}

/// Makes a certificate for a name, `NAME.pem` and `NAME.key` in the world's directory.
pub(crate) fn certificate(world: &World, file: &str, name: &str) {
    let mut openssl = command("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]);
    openssl.args(["-subj", &format!("/CN={name}"), "-addext", &format!("subjectAltName=DNS:{name}")]);
    openssl.arg("-keyout").arg(world.path(&format!("{file}.key"))).arg("-out").arg(world.path(&format!("{file}.pem")));
    let _ = process::run(openssl, SOON).ok();
}

#[test]
fn certificates_are_chosen_by_name_and_read_again_when_they_change() {
    let world = World::new();
    let server = servers::nginx(&world, world.free(), "web-1");
    certificate(&world, "a", "a.example");
    certificate(&world, "b", "b.example");
    let files =
        "certificates = [{ certificate = \"a.pem\", key = \"a.key\" }, { certificate = \"b.pem\", key = \"b.key\" }]";
    let edge = world.edge("edge-1").service(&Service::https("web").direct(server.address).listener(files)).start();
    let at = edge.listener("web");
    let ask = |name: &str, ca: &str, more: &[&str]| {
        let mut curl = command("curl");
        curl.args(["-sS", "--resolve", &format!("{name}:{}:{}", at.port(), at.ip())]).args(more);
        curl.arg("--cacert").arg(world.path(ca)).args(["-w", " %{http_version}"]);
        curl.arg(format!("https://{name}:{}/who", at.port()));
        process::run(curl, SOON)
    };
    assert_eq!(ask("a.example", "a.pem", &["--http1.1"]).ok().out, "web-1 1.1");
    assert_eq!(ask("b.example", "b.pem", &["--http2"]).ok().out, "web-1 2");
    assert_eq!(ask("b.example", "b.pem", &["--tls-max", "1.2"]).ok().out, "web-1 2");
    assert_ne!(ask("c.example", "b.pem", &[]).code, 0, "another name is not vouched for");

    for version in ["--http1.1", "--http2"] {
        let misdirected = ask("a.example", "a.pem", &[version, "-H", "Host: b.example"]).ok().out;
        assert!(misdirected.starts_with("421 misdirected\n"), "{version}: {misdirected}");
        assert!(ask("a.example", "a.pem", &[version, "-H", "Host: A.example:1"]).ok().out.starts_with("web-1 "));
    }
    // Who has named no server may ask for any.
    let mut nameless = command("curl");
    nameless.args(["-sSk", "-H", "Host: b.example"]).arg(format!("https://{at}/who"));
    assert_eq!(out(nameless), "web-1");

    certificate(&world, "a", "a.example");
    wait::soon_true("the new certificate to be shown", || ask("a.example", "a.pem", &[]).code == 0);
}

#[test]
fn a_missing_certificate_is_told_at_the_start() {
    let world = World::new();
    let file = world.edge("edge-1");
    let lines = "certificates = [{ certificate = \"none.pem\", key = \"none.key\" }]";
    let mut edge = file.service(&Service::https("web").direct(world.free()).listener(lines)).launch();
    assert!(!edge.process.wait(SOON).success());
    assert!(edge.process.log().contains("none.pem"), "{}", edge.process.log());
}

#[test]
fn origins_may_speak_http_2_without_tls() {
    let world = World::new();
    let prod = world.vnet("prod");
    let server = servers::nginx_h2c(&world, world.free_in(&prod, 10), "web-1");
    let (edge, _dc1) =
        world.stand(&prod, &[&Service::http("web").origin(&prod, server.address).pool("upstream = \"h2c\"")]);
    let body = Pattern::new(3).bytes(3 << 20);
    fs::write(server.dir.join("www/big"), &body).expect("writable");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        assert_eq!(out(curl(&edge, "/who", &[version])), "web-1");
        let got = server.dir.join("got");
        let _ = out(curl(&edge, "/big", &[version, "-o", &got.display().to_string()]));
        assert!(fs::read(&got).expect("curl wrote it") == body, "{version}: other bytes arrived");
    }
    let mut h2load = command("h2load");
    h2load.args(["-n", "2000", "-c", "4", "-m", "16"]).arg(format!("http://{}/who", edge.listener("web")));
    let _ = process::run(h2load, SOON).ok().says(&["2000 succeeded, 0 failed", "2000 2xx"]);
}

#[test]
fn edges_that_share_a_key_honour_each_others_cookies() {
    let world = World::new();
    let (one, two) = (servers::nginx(&world, world.free(), "one"), servers::nginx(&world, world.free(), "two"));
    let service = Service::http("web").direct(one.address).direct(two.address).pool("steering = \"round_robin\"");
    let service = service.balancer("session_affinity = { type = \"cookie\", ttl = \"1h\" }");
    let secret = "0123456789abcdef0123456789abcdef";
    let key = world.write("shared.key", secret);
    let edge = |name: &str| {
        let file = world.edge(name).top(&format!("affinity_key = \"{}\"", key.display()));
        file.service(&service).start()
    };
    let (edge_1, edge_2) = (edge("edge-1"), edge("edge-2"));
    let jar = world.path("jar").display().to_string();
    let first = out(curl(&edge_1, "/who", &["-c", &jar]));
    // Cookies know no ports, but they know addresses.
    let cookie = fs::read_to_string(&jar).expect("curl wrote it");
    let value = cookie.split_whitespace().last().expect("a value");
    for _ in 0..6 {
        assert_eq!(out(curl(&edge_2, "/who", &["-b", &format!("underpass-web={value}")])), first);
    }
    assert!(![edge_1, edge_2].iter_mut().any(|edge| edge.process.log_to_its_end().contains(secret)));

    fs::write(&key, "short").expect("writable");
    let mut refused = world.edge("edge-3").top(&format!("affinity_key = \"{}\"", key.display())).launch();
    assert!(!refused.process.wait(SOON).success());
    assert!(refused.process.log().contains("a secret is text of 32 to 1024 bytes"), "{}", refused.process.log());
}

#[test]
fn a_cookie_keeps_a_client_on_its_origin() {
    let world = World::new();
    let (one, two) = (servers::nginx(&world, world.free(), "one"), servers::nginx(&world, world.free(), "two"));
    let service = Service::http("web").direct(one.address).direct(two.address).pool("steering = \"round_robin\"");
    let edge =
        world.edge("edge-1").service(&service.balancer("session_affinity = { type = \"cookie\", ttl = \"1h\" }"));
    let edge = edge.start();
    let jar = world.path("jar").display().to_string();
    let first = out(curl(&edge, "/who", &["-c", &jar]));
    for _ in 0..6 {
        assert_eq!(out(curl(&edge, "/who", &["-b", &jar])), first);
    }
    let strangers: Vec<String> = (0..6).map(|_| out(curl(&edge, "/who", &["-b", "underpass-web=forged"]))).collect();
    assert!(strangers.iter().any(|who| *who != first), "{strangers:?}");
    let again = out(curl(&edge, "/who", &["-b", &jar, "-D", "-"])).to_ascii_lowercase();
    assert!(!again.contains("set-cookie"), "its end is absolute: {again}");
}

//! HTTP as real clients speak it beyond the plain case: what they say on purpose is carried, and what one request comes to
//! costs the next nothing.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

use underpass_tests::harness::{
    Edge, Origin, Service, World, client,
    frames::{self, Raw, kind},
    origin::{Ending, web},
    process::{self, command},
    wait::{self, SOON},
};

use super::http_rules::Stage;

/// An edge before one origin that it reaches by itself.
fn before(origin: &Origin, pool: &str, listener: &str) -> (World, Edge) {
    let world = World::new();
    let service = Service::http("web").direct(origin.address()).pool(pool).listener(listener);
    let edge = world.edge("edge-1").service(&service).start();
    (world, edge)
}

/// Reads one head and a body of the length it says.
fn answer(mut stream: &TcpStream) -> io::Result<String> {
    let head = web::head(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    Ok(head + &String::from_utf8_lossy(&body))
}

#[test]
fn how_a_body_is_framed_is_told_on() {
    let stage = Stage::new();
    for method in ["PUT", "POST", "DELETE", "GET"] {
        let seen =
            stage.carries(format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
        assert!(seen.contains("\r\ncontent-length: 0\r\n"), "{seen}");
        let seen = stage.carries(format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        assert!(!seen.contains("content-length") && !seen.contains("transfer-encoding"), "nothing was said: {seen}");
        let body = "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        let seen = stage.carries(format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{body}"));
        assert!(seen.contains("\r\ntransfer-encoding: chunked\r\n") && seen.contains("2\r\nhi\r\n"), "{seen}");
    }
    // HTTP/2 needs no length; a server of HTTP/1 may ask for one.
    for (method, length) in [("POST", true), ("PUT", true), ("DELETE", false), ("GET", false)] {
        let mut curl = command("curl");
        curl.args(["-sS", "--http2-prior-knowledge", "-X", method])
            .arg(format!("http://{}/", stage.edge.listener("web")));
        assert_eq!(process::run(curl, SOON).ok().out, "ok");
        let seen = stage.origin.take().concat();
        assert_eq!(seen.contains("\r\ncontent-length: 0\r\n"), length, "{seen}");
    }
}

/// Answers 401 to what goes to `/early`, as soon as its head is there, and closes over the rest, of which it says no word
/// unless that is `/early/told`; hears everything else out.
fn impatient(at: std::net::SocketAddr) -> Origin {
    Origin::start(at, |mut stream| {
        while let Some(head) = web::head(stream)? {
            if head.starts_with("POST /early") {
                let told = if head.starts_with("POST /early/told") { "Connection: close\r\n" } else { "" };
                stream
                    .write_all(format!("HTTP/1.1 401 Unauthorized\r\n{told}Content-Length: 2\r\n\r\nno").as_bytes())?;
                return Ok(Ending::Clean);
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            stream.read_exact(&mut vec![0; length.unwrap_or(0)])?;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        }
        Ok(Ending::Clean)
    })
}

#[test]
fn an_early_answer_costs_the_next_request_nothing() {
    let world = World::new();
    let origin = impatient(world.free());
    let (_world, edge) = before(&origin, "", "");
    // A small body is on its way before the origin can say anything, so only the origin can know that it is not read.
    let cases = [("/early/told", 0), ("/early/told", 1), ("/early/told", 10_000), ("/early", 1_000_000)];
    for (early, size) in cases.into_iter().chain([("/early", 5_000_000)]) {
        let mut stream = client::connect(edge.listener("web")).expect("it accepts");
        for round in 0..5 {
            let ask = |path: &str| {
                let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
                [head.as_bytes(), &vec![b'x'; size]].concat()
            };
            stream.write_all(&ask(early)).expect("a client that sends everything is heard out");
            let got = answer(&stream).expect("an answer comes");
            assert!(got.starts_with("HTTP/1.1 401") && got.ends_with("no"), "{size}, {round}: {got}");
            assert!(!got.to_ascii_lowercase().contains("connection: close"), "{got}");
            stream.write_all(&ask("/")).expect("the connection is good");
            let got = answer(&stream).unwrap_or_else(|e| panic!("{size}, {round}: {e}"));
            assert!(got.starts_with("HTTP/1.1 200"), "{size}, {round}: {got}");
        }
    }
}

#[test]
fn the_edges_own_answer_costs_the_next_request_nothing() {
    let world = World::new();
    let nobody = world.free();
    let service = Service::http("web").direct(nobody);
    let edge = world.edge("edge-1").service(&service).start();
    let mut stream = client::connect(edge.listener("web")).expect("it accepts");
    for _ in 0..3 {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
        stream.write_all(&[&head[..], &vec![b'x'; 1_000_000]].concat()).expect("it is heard out");
        let got = answer(&stream).expect("an answer comes");
        assert!(got.starts_with("HTTP/1.1 502") && got.contains("connect_refused"), "{got}");
    }
}

#[test]
fn an_answer_after_which_nothing_is_read_says_so() {
    let world = World::new();
    let origin = impatient(world.free());
    let (_world, edge) = before(&origin, "", "");
    for lines in ["Content-Length: 100000000\r\n", "Content-Length: 5\r\nExpect: 100-continue\r\n"] {
        let mut stream = client::connect(edge.listener("web")).expect("it accepts");
        stream.write_all(format!("POST /early HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes()).expect("written");
        let got = String::from_utf8_lossy(&client::read_all(&stream).0).to_ascii_lowercase();
        assert!(got.starts_with("http/1.1 401") && got.contains("\r\nconnection: close\r\n"), "{lines}: {got}");
    }
}

#[test]
fn a_pool_says_which_host_its_origins_hear() {
    let world = World::new();
    let origin = web::mirror(world.free());
    let (_world, edge) = before(&origin, "host = \"www.internal\"", "");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let mut curl = command("curl");
        curl.args(["-sS", version, "-H", "Host: www.example.com"]).arg(format!("http://{}/", edge.listener("web")));
        let seen = process::run(curl, SOON).ok().out;
        assert!(seen.contains("\r\nhost: www.internal\r\n"), "{seen}");
        assert!(seen.contains("\r\nx-forwarded-host: www.example.com\r\n"), "{seen}");
    }
}

#[test]
fn a_rule_sets_and_removes_fields() {
    let rule = "[[listener.rule]]\npath = \"/\"\nload_balancer = \"web\"\n\
                request_headers = { set = { x-env = \"prod\" }, remove = [\"x-debug\", \"user-agent\"] }\n\
                response_headers = { set = { x-frame-options = \"DENY\" }, remove = [\"server\"] }\n";
    let stage = Stage::with(rule);
    let seen = stage.get("X-Env: test\r\nX_Env: test\r\nX-Debug: 1\r\nUser-Agent: me\r\nX-Other: 1\r\n");
    assert!(seen.contains("\r\nx-env: prod\r\n") && seen.contains("\r\nx-other: 1\r\n"), "{seen}");
    assert!(!seen.contains("test") && !seen.contains("debug") && !seen.contains("user-agent"), "{seen}");
    let got =
        stage.answered("HTTP/1.1 200 OK\r\nServer: me\r\nX-Frame-Options: SAMEORIGIN\r\nContent-Length: 2\r\n\r\nok");
    assert!(got.contains("\r\nx-frame-options: DENY\r\n") && !got.contains("server") && !got.contains("SAME"), "{got}");
}

#[test]
fn names_with_underscores_are_carried_dropped_or_refused() {
    let lines = "X_Request_Id: 7\r\nX_Forwarded_For: 6.6.6.6\r\nContent_Length: 5\r\n";
    let seen = Stage::new().get(lines);
    assert!(seen.contains("\r\nx_request_id: 7\r\n"), "{seen}");
    assert!(!seen.contains("6.6.6.6") && !seen.contains("content_length"), "{seen}");
    let seen = Stage::with("underscores_in_headers = \"drop\"").get(lines);
    assert!(!seen.contains('_'), "{seen}");
    let strict = Stage::with("underscores_in_headers = \"refuse\"");
    strict.refuses(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"), "underscore_in_field");
}

/// Answers a request for another protocol as Docker does, once its body has come, and then echoes.
fn switching(at: std::net::SocketAddr) -> (Origin, web::Heads) {
    let heads = web::Heads::default();
    let seen = heads.clone();
    let origin = Origin::start(at, move |mut stream| {
        while let Some(head) = web::head(stream)? {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            stream.read_exact(&mut body)?;
            seen.lock().expect("no panic while held").push(head.clone() + &String::from_utf8_lossy(&body));
            if !head.contains("\r\nupgrade: ") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
                continue;
            }
            stream.write_all(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: TCP\r\n\r\n")?;
            io::copy(&mut &*stream, &mut stream)?;
            return stream.shutdown(std::net::Shutdown::Write).map(|()| Ending::Clean);
        }
        Ok(Ending::Clean)
    });
    (origin, heads)
}

#[test]
fn any_protocol_that_the_listener_names_is_carried_and_another_is_refused() {
    let world = World::new();
    let (origin, heads) = switching(world.free());
    let (_world, edge) = before(&origin, "", "upgrade = [\"websocket\", \"tcp\"]");
    let ask = |protocol: &str| {
        let mut stream = client::connect(edge.listener("web")).expect("it accepts");
        let head = format!("POST /exec HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n");
        stream.write_all(format!("{head}Content-Length: 2\r\n\r\n{{}}early").as_bytes()).expect("written");
        stream
    };
    let mut stream = ask("spdy/3.1, tcp");
    let got = answer(&stream).expect("an answer comes").to_ascii_lowercase();
    assert!(got.starts_with("http/1.1 101") && got.contains("\r\nupgrade: tcp\r\n"), "{got}");
    stream.write_all(b" and late").expect("open");
    let mut back = [0; 14];
    stream.read_exact(&mut back).expect("it echoes");
    assert_eq!(&back, b"early and late");
    stream.shutdown(std::net::Shutdown::Write).expect("open");
    assert_eq!(stream.read(&mut back).expect("the end crosses"), 0);
    let seen = heads.lock().expect("no panic")[0].clone();
    assert!(seen.contains("\r\nupgrade: tcp\r\n") && seen.ends_with("\r\n\r\n{}"), "{seen}");

    let got = String::from_utf8_lossy(&client::read_all(&ask("spdy/3.1")).0).into_owned();
    assert!(got.starts_with("HTTP/1.1 501") && got.contains("protocol_unsupported"), "{got}");
    assert!(got.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{got}");
    assert_eq!(got.matches("HTTP/1.1").count(), 1, "what follows is nobody's request: {got}");

    // More HTTP is only offered.
    let mut curl = command("curl");
    curl.args(["-sS", "--http2"]).arg(format!("http://{}/", edge.listener("web")));
    assert_eq!(process::run(curl, SOON).ok().out, "ok");
}

#[test]
fn a_client_that_closes_its_side_behind_its_request_is_answered() {
    let stage = Stage::new();
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    ] {
        let mut stream = client::connect(stage.edge.listener("web")).expect("it accepts");
        stream.write_all(request.as_bytes()).expect("written");
        stream.shutdown(std::net::Shutdown::Write).expect("open");
        let got = String::from_utf8_lossy(&client::read_all(&stream).0).into_owned();
        assert!(got.contains(" 200 OK\r\n") && got.ends_with("ok"), "{request:?}: {got:?}");
    }
}

#[test]
fn a_client_that_closes_its_side_in_its_body_is_told_so() {
    let stage = Stage::new();
    let mut stream = client::connect(stage.edge.listener("web")).expect("it accepts");
    stream.write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\nhi").expect("written");
    stream.shutdown(std::net::Shutdown::Write).expect("open");
    let got = String::from_utf8_lossy(&client::read_all(&stream).0).into_owned();
    assert!(got.starts_with("HTTP/1.1 400") && got.contains("bad_body"), "{got:?}");
}

#[test]
fn clients_of_version_1_0_are_served_as_they_expect() {
    let stage = Stage::new();
    let ended = |text: &str| text.replace("connection: close\r\n", "");
    // Origins of version 1.1 want a Host.
    let seen = stage.carries("GET / HTTP/1.0\r\n\r\n");
    assert!(seen.contains(&format!("\r\nhost: {}\r\n", stage.origin.address())), "{seen}");
    let seen = stage
        .carries("GET / HTTP/1.0\r\nHost: a\r\nUpgrade: tcp\r\nConnection: upgrade\r\nExpect: 100-continue\r\n\r\n");
    assert!(seen.contains("\r\nhost: a\r\n") && !seen.contains("upgrade") && !seen.contains("expect"), "{seen}");
    // They know no chunks: the end of the connection is the end.
    stage.origin.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let got = stage.raw(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").to_ascii_lowercase();
    assert!(ended(&got).ends_with("\r\n\r\nok") && !got.contains("chunked") && !got.contains("keep-alive"), "{got}");
    // With a length the connection goes on, if they ask for that.
    stage.origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let twice = b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\nHost: a\r\n\r\n";
    let got = stage.raw(twice);
    assert_eq!(got.matches(" 200 OK\r\n").count(), 2, "{got}");
    assert!(got.to_ascii_lowercase().contains("\r\nconnection: keep-alive\r\n"), "{got}");
}

#[test]
fn a_client_that_is_waited_for_too_long_is_told_and_logged() {
    let world = World::new();
    let big = web::says(world.free(), BIG.get_or_init(big));
    let (_world, edge) = before(&big.0, "", "client_timeout = \"1s\"");
    // A body that does not come.
    let mut quiet = client::connect(edge.listener("web")).expect("it accepts");
    quiet.write_all(b"PUT /quiet HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\nhi").expect("written");
    let got = answer(&quiet).expect("an answer comes");
    assert!(got.starts_with("HTTP/1.1 408") && got.contains("body_timeout"), "{got}");
    // An answer that nobody takes.
    let mut deaf = client::connect(edge.listener("web")).expect("it accepts");
    deaf.write_all(b"GET /deaf HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    let told = || edge.process.log().lines().any(|l| l.contains("/deaf") && l.contains("ended=\"client_timeout\""));
    wait::soon_true("the deaf client to be given up", told);
}

#[test]
fn a_client_that_reads_slowly_and_steadily_is_not_given_up() {
    let world = World::new();
    let big = web::says(world.free(), BIG.get_or_init(big));
    let (_world, edge) = before(&big.0, "", "client_timeout = \"3s\"");
    // Little room: what its system holds says nothing of what it reads.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a size");
    socket.connect(&edge.listener("web").into()).expect("it accepts");
    let mut slow = TcpStream::from(socket);
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    let mut next = std::time::Instant::now();
    for _ in 0..20 {
        wait::beat(&mut next, std::time::Duration::from_millis(250));
        slow.read_exact(&mut [0; 2048]).expect("it goes on");
    }
    // Once it reads no more, it is.
    let told = || edge.process.log().lines().any(|l| l.contains("/slow") && l.contains("ended=\"client_timeout\""));
    wait::soon_true("it to be given up", told);
}

#[test]
fn a_client_that_reads_slowly_and_steadily_over_http_2_is_not_given_up() {
    let world = World::new();
    let big = web::says(world.free(), BIG.get_or_init(big));
    let (_world, edge) = before(&big.0, "", "client_timeout = \"3s\"");
    let mut raw = Raw::connect(edge.listener("web"), &[]);
    let request: [(&[u8], &[u8]); 4] =
        [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/slow")];
    let stream = raw.open(&request, frames::END_STREAM);
    // Half a frame every quarter of a second; from the origin more is taken at a time.
    let more = (8_u32 * 1024).to_be_bytes();
    let (mut next, mut got) = (std::time::Instant::now(), 0);
    for round in 0..20 {
        wait::beat(&mut next, std::time::Duration::from_millis(250));
        for window in [stream, 0] {
            raw.send(kind::WINDOW_UPDATE, 0, window, &more).expect("it is open");
        }
        while got < 65_535 + round * 8 * 1024 {
            let frame = raw.read().expect("it goes on");
            assert_ne!(frame.kind, kind::RST_STREAM, "given up after {got} bytes");
            got += if frame.kind == kind::DATA { frame.payload.len() } else { 0 };
        }
    }
}

static BIG: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// More than sockets hold.
fn big() -> String {
    let body = "x".repeat(32 << 20);
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

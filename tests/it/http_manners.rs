//! HTTP as real clients speak it beyond the plain case: what they say on purpose is carried, and what one request comes to
//! costs the next nothing.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

use underpass_tests::harness::{
    Edge, Origin, Service, World, client,
    origin::{Ending, web},
    process::{self, command},
    wait::SOON,
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

//! The same requests to the edge and to nginx as a reverse proxy, side by side: where they differ, it is on purpose, and the
//! table says so. What an outcome shows: the codes of the answers, and what reached the origin.

use std::{io::Write, net::Shutdown};

use underpass_tests::harness::{
    Service, World, client,
    origin::{
        recorder::Recorder,
        servers::{self, Server},
    },
};

/// Whom the same request is sent to.
struct Beside {
    edge: (underpass_tests::harness::Edge, Recorder),
    nginx: (Server, Recorder),
    _world: World,
}

impl Beside {
    fn start() -> Self {
        let world = World::new();
        let (one, two) = (Recorder::start(world.free()), Recorder::start(world.free()));
        let edge = world.edge("edge-1").service(&Service::http("web").direct(one.address())).start();
        let nginx = servers::nginx_before(&world, world.free(), two.address());
        Self { edge: (edge, one), nginx: (nginx, two), _world: world }
    }

    /// What comes of these bytes, at the edge and at nginx.
    fn outcomes(&self, case: &Case) -> [String; 2] {
        let ((edge, one), (nginx, two)) = (&self.edge, &self.nginx);
        [outcome(edge.listener("web"), one, case), outcome(nginx.address, two, case)]
    }
}

/// A request, how its client goes on, and what comes of it.
struct Case {
    request: String,
    half_closes: bool,
    edge: &'static str,
    nginx: &'static str,
    why: &'static str,
}

/// Both do the same.
fn same(request: impl Into<String>, outcome: &'static str) -> Case {
    Case { request: request.into(), half_closes: false, edge: outcome, nginx: outcome, why: "" }
}

/// They differ, for a reason.
fn differ(request: impl Into<String>, edge: &'static str, nginx: &'static str, why: &'static str) -> Case {
    Case { request: request.into(), half_closes: false, edge, nginx, why }
}

impl Case {
    fn half_closing(self) -> Self {
        Self { half_closes: true, ..self }
    }
}

fn outcome(at: std::net::SocketAddr, origin: &Recorder, case: &Case) -> String {
    let mut stream = client::connect(at).expect("it accepts");
    // It may close before it has read everything.
    let _ = stream.write_all(case.request.as_bytes());
    if case.half_closes {
        stream.shutdown(Shutdown::Write).expect("open");
    }
    let got: String = client::read_all(&stream).0.iter().map(|b| char::from(*b)).collect();
    let codes = got.match_indices("HTTP/1.").filter_map(|(at, _)| got.get(at + 9..at + 12));
    // Words of a refusal may name versions too.
    let codes = codes.filter(|code| code.bytes().all(|b| b.is_ascii_digit()));
    let codes = codes.collect::<Vec<_>>().join(" ");
    let mut seen: Vec<String> = origin.take().iter().flat_map(|bytes| requests(bytes)).collect();
    // How far nginx has come with a client that has gone, and when it comes further, is chance.
    seen.retain(|request| !request.contains(" /half"));
    [vec![codes], seen].concat().join(" | ")
}

/// What is compared of the requests in these bytes: method, target, fields of the test's own, a length of nothing, the body.
fn requests(bytes: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = bytes;
    while let Some((head, behind)) = rest.split_once("\r\n\r\n") {
        let mut lines = head.lines();
        let line = lines.next().unwrap_or_default();
        let mut shown = line.rsplit_once(' ').map_or(line, |(asked, _)| asked).to_owned();
        let fields: Vec<(String, &str)> =
            lines.filter_map(|l| l.split_once(": ")).map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let own = fields.iter().filter(|(name, _)| name.starts_with("x-own") || name.contains('_'));
        own.for_each(|(name, value)| shown += &format!(" {name}={value}"));
        let value = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
        let body = if value("transfer-encoding").is_some() {
            let (body, behind) = chunked(behind);
            rest = behind;
            body
        } else {
            let length = value("content-length").and_then(|l| l.parse().ok()).unwrap_or(0).min(behind.len());
            rest = &behind[length..];
            behind[..length].to_owned()
        };
        if value("content-length") == Some("0") {
            shown += " of nothing";
        }
        if !body.is_empty() {
            shown += &format!(" with {body:?}");
        }
        all.push(shown);
    }
    all
}

/// A chunked body, and what is behind it.
fn chunked(mut bytes: &str) -> (String, &str) {
    let mut body = String::new();
    while let Some((size, behind)) = bytes.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0).min(behind.len());
        body += &behind[..size];
        bytes = behind.get(size + 2..).unwrap_or_default();
        if size == 0 {
            break;
        }
    }
    (body, bytes)
}

/// A request with these lines more, after which the connection ends.
fn ask(line: &str, lines: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n")
}

const CHUNKS: &str = "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n";
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn cases() -> Vec<Case> {
    [methods_and_bodies(), targets_and_hosts(), versions(), framing(), fields()].into_iter().flatten().collect()
}

fn methods_and_bodies() -> Vec<Case> {
    vec![
        same(ask("GET /a?b=c", ""), "200 | GET /a?b=c"),
        same(ask("HEAD /a", ""), "200 | HEAD /a"),
        same(ask("OPTIONS /a", ""), "200 | OPTIONS /a"),
        same(ask("PROPFIND /a", ""), "200 | PROPFIND /a"),
        same(ask("POST /a", "Content-Length: 2\r\n") + "hi", "200 | POST /a with \"hi\""),
        same(ask("PUT /a", "Content-Length: 0\r\n"), "200 | PUT /a of nothing"),
        same(ask("POST /a", "Content-Length: 0\r\n"), "200 | POST /a of nothing"),
        same(ask("DELETE /a", "Content-Length: 0\r\n"), "200 | DELETE /a of nothing"),
        same(ask("POST /a", ""), "200 | POST /a"),
        same(ask("GET /a", "Content-Length: 2\r\n") + "hi", "200 | GET /a with \"hi\""),
        same(ask("POST /a", CHUNKS), "200 | POST /a with \"hi\""),
        same(ask("GET /a", CHUNKS), "200 | GET /a with \"hi\""),
        same(ask("DELETE /a", CHUNKS), "200 | DELETE /a with \"hi\""),
        same(ask("TRACE /a", ""), "405"),
        differ(ask("CONNECT a:1", ""), "405", "400", "the target is right, the method is not served"),
        same("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned() + NEXT, "200 200 | GET /1 | GET /next"),
        same(
            "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".to_owned() + NEXT,
            "200 200 | POST /1 with \"hi\" | GET /next",
        ),
        same(ask("PUT /a", "Content-Length: 2\r\nExpect: 100-continue\r\n") + "hi", "100 200 | PUT /a with \"hi\""),
        differ(
            ask("PUT /a", "Content-Length: 0\r\nExpect: 200-maybe\r\n"),
            "417",
            "200 | PUT /a of nothing",
            "nobody meets it",
        ),
        differ("GET /half HTTP/1.1\r\nHost: a\r\n\r\n", "200", "", "it is answered, decision 0043").half_closing(),
    ]
}

fn targets_and_hosts() -> Vec<Case> {
    vec![
        same(ask("GET http://b/x?y", ""), "200 | GET /x?y"),
        same(ask("GET /a b", ""), "400"),
        same(ask("GET a", ""), "400"),
        differ(
            ask("GET /a/../b/./c", ""),
            "200 | GET /b/c",
            "200 | GET /a/../b/./c",
            "rules and origins read one path",
        ),
        same(ask("GET /../a", ""), "400"),
        same(ask("GET /a%00", ""), "400"),
        same(ask("GET *", ""), "400"),
        differ(ask("GET /a#b", ""), "400", "200 | GET /a#b", "no target has a fragment"),
        differ(
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(40_000)),
            "431",
            "414",
            "one bound for the whole head",
        ),
        same("GET / HTTP/1.1\r\n\r\n", "400"),
        same("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
        same("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400"),
        same("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"),
        same("GET / HTTP/1.1\r\nHost:\r\n\r\n", "400"),
        same("GET / HTTP/1.1\r\nHost: a:\r\nConnection: close\r\n\r\n", "200 | GET /"),
    ]
}

fn versions() -> Vec<Case> {
    vec![
        same("GET /a HTTP/1.0\r\n\r\n", "200 | GET /a"),
        same("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n", "200 200 | GET /a | GET /b"),
        same("POST /a HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", "200 | POST /a with \"hi\""),
        same("POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
        same("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505"),
        differ(
            "GET / HTTP/1.2\r\nHost: a\r\nConnection: close\r\n\r\n",
            "505",
            "200 | GET /",
            "nobody has written 1.2 down",
        ),
        differ("GET /\r\n", "400", " | GET /", "HTTP/0.9 has no head to judge"),
        same("\r\n".to_owned() + &ask("GET /a", ""), "200 | GET /a"),
        same("\r\n".repeat(8) + &ask("GET /a", ""), "200 | GET /a"),
        differ("\r\n".repeat(9) + &ask("GET /a", ""), "400", "200 | GET /a", "eight empty lines are forgiven"),
        same(
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\r\n".to_owned() + NEXT,
            "200 200 | POST /a with \"hi\" | GET /next",
        ),
        differ("GET / HTTP/1.1\nHost: a\nConnection: close\n\n", "400", "200 | GET /", "lines end in CRLF"),
    ]
}

fn framing() -> Vec<Case> {
    let body =
        |lines: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n{body}");
    vec![
        same(body("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), "400"),
        same(body("Content-Length: 2\r\nContent-Length: 2\r\n", "hi"), "400"),
        same(body("Content-Length: +2\r\n", "hi"), "400"),
        same(body("Content-Length: 2, 2\r\n", "hi"), "400"),
        differ(
            body("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
            "400",
            "501",
            "what cannot be framed is refused like all that cannot",
        ),
        same(body("Transfer-Encoding: chunked\r\n", "0x2\r\nhi\r\n0\r\n\r\n"), "400"),
        differ(ask("PUT /half", "Content-Length: 20\r\n") + "hi", "400", "", "it is told what is missing")
            .half_closing(),
    ]
}

fn fields() -> Vec<Case> {
    let field = |line: &str| ask("GET /", &format!("{line}\r\n"));
    vec![
        same(field("X-Own: 1"), "200 | GET / x-own=1"),
        same(field("X-Own:"), "200 | GET / x-own="),
        differ(field("x_own: 1"), "200 | GET / x_own=1", "200 | GET /", "carried, unless it passes for the edge's own"),
        same(field("X-Own : 1"), "400"),
        same(field(": 1"), "400"),
        same(field("X-Own: a\r\n b"), "400"),
        same(field("X-Own: a\0b"), "400"),
        same(field("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"), "200 | GET /"),
        differ(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Own\r\nX-Own: 1\r\n\r\n",
            "200 | GET /",
            "200 | GET / x-own=1",
            "what Connection names ends here",
        ),
        differ(field(&format!("X-Own: {}", "a".repeat(40_000))), "431", "400", "the code that is made for it"),
    ]
}

#[test]
fn the_edge_and_nginx_do_the_same_or_differ_on_purpose() {
    let beside = Beside::start();
    let mut wrong = Vec::new();
    for case in cases() {
        let [edge, nginx] = beside.outcomes(&case);
        if [&edge[..], &nginx[..]] != [case.edge, case.nginx] {
            let shown: String = case.request.chars().take(200).collect();
            wrong.push(format!("{shown:?}\n  edge:  {edge}\n  nginx: {nginx}"));
        }
        assert!(case.edge == case.nginx || !case.why.is_empty(), "{:?} differs for no reason", case.request);
    }
    assert!(wrong.is_empty(), "{} cases came out otherwise:\n{}", wrong.len(), wrong.join("\n"));
}

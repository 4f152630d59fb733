//! The rules of HTTP/1.1 and of forwarding, one test a rule: what the client is told, and what the origin received.

use std::{io::Write, net::Shutdown};

use underpass_tests::harness::{
    Edge, Service, World, client,
    origin::recorder::{OK, Recorder},
    wait,
};

/// An edge, a recording origin behind it, and the world they live in.
pub(super) struct Stage {
    pub(super) edge: Edge,
    pub(super) origin: Recorder,
    world: World,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::with("")
    }

    /// With these lines for the listener.
    pub(super) fn with(listener: &str) -> Self {
        let world = World::new();
        let origin = Recorder::start(world.free());
        let service = Service::http("web").direct(origin.address()).listener(listener);
        Self { edge: world.edge("edge-1").service(&service).start(), origin, world }
    }

    /// Sends bytes and returns all that comes back until the edge closes.
    pub(super) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = client::connect(self.edge.listener("web")).expect("the listener accepts");
        // The edge may close before it has read everything.
        let _ = stream.write_all(bytes);
        client::read_all(&stream).0.iter().map(|b| char::from(*b)).collect()
    }

    /// The request is answered with this reason, the connection closed, and the origin hears nothing of it.
    pub(super) fn refuses(&self, request: impl AsRef<[u8]>, reason: &str) {
        let request = request.as_ref();
        let shown = String::from_utf8_lossy(request);
        let got = self.raw(request);
        assert!(got.contains(&format!("underpass-reason: {reason}\r\n")), "{shown:?}: {got}");
        assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "one answer, then the end: {got}");
        assert_eq!(self.origin.take(), Vec::<String>::new(), "{shown:?} reached the origin");
    }

    /// The request is answered with 200; returns what the origin received.
    pub(super) fn carries(&self, request: impl AsRef<[u8]>) -> String {
        let request = request.as_ref();
        let got = self.raw(request);
        assert!(got.contains(" 200 OK\r\n"), "{:?}: {got}", String::from_utf8_lossy(request));
        self.origin.take().concat()
    }

    /// A GET of `/` with these field lines more, as the origin received it.
    pub(super) fn get(&self, lines: &str) -> String {
        self.carries(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n"))
    }

    /// What the client is told of this answer to a GET.
    pub(super) fn answered(&self, answer: &str) -> String {
        self.origin.answer(answer);
        let got = self.raw(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let _ = self.origin.take();
        got
    }
}

fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}")
}

fn field(line: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n")
}

#[test]
fn lines_end_in_crlf_only_and_values_have_no_control_characters() {
    let stage = Stage::new();
    for bad in ["GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost: a\n\r\n"] {
        stage.refuses(bad, "bad_line_end");
    }
    for value in ["a\rb", "a\r\r"] {
        stage.refuses(field(&format!("X: {value}")), "bad_line_end");
    }
    for value in ["a\0", "\x01", "a\x08b", "a\x1f", "a\x7fb"] {
        stage.refuses(field(&format!("X: {value}")), "bad_field_value");
    }
}

#[test]
fn field_names_are_tokens_and_no_field_is_folded() {
    let stage = Stage::new();
    for line in ["X : a", ": a", "X", "X(: a", "X y: a", "\u{e9}: a"] {
        stage.refuses(field(line), "bad_field_name");
    }
    for line in ["X: a\r\n b", "X: a\r\n\tb", "X: a\r\n  Transfer-Encoding: chunked"] {
        stage.refuses(field(line), "folded_field");
    }
    stage.refuses("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "folded_field");
}

#[test]
fn only_space_and_tab_are_blanks() {
    let stage = Stage::new();
    let mut request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: \t \x85a\xa0 \t\r\n\r\n".to_vec();
    assert!(stage.carries(&request).contains("\r\nx: \u{85}a\u{a0}\r\n"));
    request = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\xa0\r\n\r\n0\r\n\r\n".to_vec();
    stage.refuses(request, "bad_transfer_encoding");
}

#[test]
fn a_folded_field_of_an_answer_is_one_line() {
    let stage = Stage::new();
    let got = stage.answered("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\r\n  b\r\n\tc\r\n\r\nok");
    let line = got.lines().find(|line| line.starts_with("x: ")).expect("the field came");
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["x:", "a", "b", "c"], "{got}");
    assert!(got.ends_with("\r\n\r\nok"), "{got}");
}

#[test]
fn a_body_has_one_length_or_is_chunked_and_nothing_else() {
    let stage = Stage::new();
    let smuggled = "0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n";
    for (lines, reason) in [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "length_and_encoding"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "length_and_encoding"),
        ("Transfer-Encoding: gzip, chunked\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunked, identity\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunked, chunked\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunked,\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: ,chunked\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: \"chunked\"\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding: xchunked\r\n", "bad_transfer_encoding"),
        ("Transfer-Encoding:\r\n", "bad_transfer_encoding"),
        ("Content-Length: 4\r\nContent-Length: 5\r\n", "bad_content_length"),
        ("Content-Length: 4\r\nContent-Length: 4\r\n", "bad_content_length"),
        ("Content-Length: 4, 4\r\n", "bad_content_length"),
        ("Content-Length:\r\n", "bad_content_length"),
        ("Content-Length: +4\r\n", "bad_content_length"),
        ("Content-Length: -4\r\n", "bad_content_length"),
        ("Content-Length: 0x4\r\n", "bad_content_length"),
        ("Content-Length: 4_0\r\n", "bad_content_length"),
        ("Content-Length: 9223372036854775808\r\n", "bad_content_length"),
    ] {
        stage.refuses(post(lines, smuggled), reason);
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    stage.refuses(old, "bad_transfer_encoding");
}

#[test]
fn a_bad_chunk_never_ends_a_request_at_the_origin() {
    let stage = Stage::new();
    let head = "Transfer-Encoding: chunked\r\n";
    for bad in [
        "0x1\r\nx\r\n",
        "+1\r\nx\r\n",
        "1_0\r\nx\r\n",
        " 1\r\nx\r\n",
        "1 \r\nx\r\n",
        "00000000000000001\r\nx\r\n",
        "g\r\n",
        "ffffffffffffffff\r\n",
        "1\r\nxy\r\n",
        "1\nx\n",
        "1\r\nx\n",
    ] {
        let ended = stage.origin.ended();
        let got = stage
            .raw(post(head, &format!("2\r\nhi\r\n{bad}0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n")).as_bytes());
        assert!(got.is_empty() || got.contains("underpass-reason: bad_chunk"), "{bad:?}: {got}");
        // It may have begun; then both connections end, and it never does.
        let seen = stage.origin.take().concat();
        assert!(!seen.contains("0\r\n\r\n") && !seen.contains("evil"), "{bad:?}: {seen}");
        if !seen.is_empty() {
            wait::soon_true("the origin's connection to end", || stage.origin.ended() > ended);
        }
    }
}

#[test]
fn chunk_extensions_are_dropped_and_bounded() {
    let stage = Stage::new();
    let lines = "Connection: close\r\nTransfer-Encoding: chunked\r\n";
    let seen = stage.carries(post(lines, "2;a=\"b\";c\r\nhi\r\n002\r\nho\r\n0;last\r\n\r\n"));
    assert!(
        seen.ends_with("\r\n\r\n2\r\nhi\r\n2\r\nho\r\n0\r\n\r\n") || seen.ends_with("\r\n\r\n4\r\nhiho\r\n0\r\n\r\n"),
        "{seen}"
    );
    let long = "x".repeat(5000);
    let got = stage.raw(post(lines, &format!("2;{long}\r\nhi\r\n0\r\n\r\n")).as_bytes());
    assert!(!got.contains(" 200"), "{got}");
    assert!(!stage.origin.take().concat().ends_with("0\r\n\r\n"));
}

#[test]
fn request_trailers_neither_frame_nor_route_nor_authenticate() {
    let stage = Stage::new();
    let lines = "Connection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Host, Authorization\r\n";
    let trailers = "X-Sum: 7\r\nHost: evil\r\nAuthorization: evil\r\nContent-Length: 5\r\nX-Forwarded-For: evil\r\nX_Forwarded_For: evil\r\n";
    let seen = stage.carries(post(lines, &format!("2\r\nhi\r\n0\r\n{trailers}\r\n")));
    let (_, body) = seen.split_once("\r\n\r\n").expect("a head");
    assert!(body == "2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n" || body == "2\r\nhi\r\n0\r\n\r\n", "{seen}");
    stage.refuses_body("0\r\nX-Sum : 7\r\n\r\n");
    stage.refuses_body("0\r\nX-Sum: 7\r\n folded\r\n\r\n");
}

impl Stage {
    /// A chunked body that begins well and goes on like this is never answered as a good one.
    fn refuses_body(&self, rest: &str) {
        let got = self.raw(post("Transfer-Encoding: chunked\r\n", &format!("2\r\nhi\r\n{rest}")).as_bytes());
        assert!(!got.contains(" 200"), "{rest:?}: {got}");
        assert!(!self.origin.take().concat().ends_with("\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), "{rest:?}");
    }
}

#[test]
fn a_message_is_written_anew_and_one_request_is_one_request() {
    let stage = Stage::new();
    let hidden = "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = hidden.len();
    let request = format!(
        "PUT  HTTP/1.1\r\nHOST:a\r\nContent-Length:\t00{length} \r\nACCEPT:*/*\r\nconnection:close\r\n\r\n{hidden}"
    );
    stage.refuses(&request, "bad_target");
    let seen = stage.carries(request.replace("PUT  ", "PUT / "));
    assert!(seen.starts_with("PUT / HTTP/1.1\r\n") && seen.contains("\r\naccept: */*\r\n"), "{seen}");
    assert!(seen.contains(&format!("\r\ncontent-length: {length}\r\n")), "{seen}");
    assert!(seen.ends_with(&format!("\r\n\r\n{hidden}")), "what was a body stays one: {seen}");
    let got = stage.raw(post(&format!("Connection: close\r\nContent-Length: {length}\r\n"), hidden).as_bytes());
    assert_eq!(got.matches("HTTP/1.1 200").count(), 1, "{got}");
}

#[test]
fn a_target_has_the_form_that_its_method_wants() {
    let stage = Stage::new();
    let asks = |line: &str| format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    for (line, reason) in [
        ("GET *", "bad_target"),
        ("GET a", "bad_target"),
        ("GET /a#b", "bad_target"),
        ("GET /a\\b", "bad_path"),
        ("GET http://[::1/", "bad_target"),
        ("GET /a\x7f", "bad_target"),
        ("GET /a b", "bad_request_line"),
        ("GET ftp://b/", "bad_target"),
        ("GET http://u@b/", "bad_host"),
        ("CONNECT a:80", "method_refused"),
        ("G@T /", "bad_request_line"),
    ] {
        stage.refuses(asks(line), reason);
    }
    let seen = stage.carries(asks("GET http://b.example:81/x?y"));
    assert!(seen.starts_with("GET /x?y HTTP/1.1\r\n") && seen.contains("\r\nhost: b.example:81\r\n"), "{seen}");
    assert!(stage.carries(asks("OPTIONS *")).starts_with("OPTIONS * HTTP/1.1\r\n"));
}

#[test]
fn a_request_has_exactly_one_valid_host() {
    let stage = Stage::new();
    for hosts in
        ["", "Host: a\r\nHost: a\r\n", "Host:\r\n", "Host: a b\r\n", "Host: u@a\r\n", "Host: a:b\r\n", "Host: a,b\r\n"]
    {
        stage.refuses(format!("GET / HTTP/1.1\r\n{hosts}\r\n"), "bad_host");
    }
    assert!(stage.carries("GET / HTTP/1.0\r\n\r\n").starts_with("GET / HTTP/1.1\r\n"), "1.0 needs none");
}

#[test]
fn old_and_unknown_versions_are_refused() {
    let stage = Stage::new();
    stage.refuses("GET /\r\n", "bad_request_line");
    stage.refuses("GET / HTTP/0.9\r\n\r\n", "bad_version");
    stage.refuses("GET / HTTP/1.2\r\nHost: a\r\n\r\n", "bad_version");
    stage.refuses("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "bad_version");
    stage.refuses("GET / http/1.1\r\nHost: a\r\n\r\n", "bad_request_line");
}

#[test]
fn connection_and_what_it_names_end_here_before_our_own_fields_are_added() {
    let stage = Stage::new();
    let lines = "Connection: x-secret, X-Forwarded-For, via, host, close\r\nX-Secret: 1\r\nKeep-Alive: 5\r\n\
                 Proxy-Connection: x\r\nTE: gzip\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nProxy-Authorization: x\r\n";
    let seen = stage.carries(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    for gone in ["x-secret", "connection:", "keep-alive", "te:", "upgrade", "http2-settings", "proxy-"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    for there in ["\r\nhost: a\r\n", "\r\nx-forwarded-for: 127.0.0.1\r\n"] {
        assert!(seen.contains(there), "{there} not in {seen}");
    }
    assert!(stage.get("TE: deflate, trailers\r\n").contains("\r\nte: trailers\r\n"));
    let got = stage.answered(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Authenticate: x\r\n\r\nok",
    );
    assert!(
        got.ends_with("ok") && !got.contains("x-hop") && !got.contains("keep-alive") && !got.contains("proxy-"),
        "{got}"
    );
}

#[test]
fn max_forwards_counts_down_and_the_last_hop_answers_itself() {
    let stage = Stage::new();
    let options =
        |hops: &str| format!("OPTIONS / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nMax-Forwards: {hops}\r\n\r\n");
    for none in ["0", "000"] {
        assert_eq!(stage.carries(options(none)), "", "answered here");
    }
    assert!(stage.carries(options("2")).contains("\r\nmax-forwards: 1\r\n"));
    stage.refuses("TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nMax-Forwards: 0\r\n\r\n", "method_refused");
}

#[test]
fn interim_answers_are_bounded_and_nobody_changes_protocol_unasked() {
    let stage = Stage::new();
    let many = |count| format!("{}{OK}", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(count));
    assert_eq!(stage.answered(&many(16)).matches("HTTP/1.1 103").count(), 16);
    assert_eq!(stage.answered(&many(17)).matches("HTTP/1.1 103").count(), 16, "no more than 16");
    let got = stage.answered(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nConnection: close",
    );
    assert!(got.starts_with("HTTP/1.1 502") && got.contains("underpass-reason: http_invalid"), "{got}");
    stage.origin.answer(many(1));
    let got = stage.raw(b"GET / HTTP/1.0\r\n\r\n");
    assert!(!got.contains("103") && got.ends_with("ok"), "a 1.0 client knows none: {got}");
}

#[test]
fn a_body_is_sent_although_the_origin_leaves_its_expectation_unanswered() {
    let stage = Stage::new();
    let seen = stage.carries(post("Connection: close\r\nContent-Length: 2\r\nExpect: 100-continue\r\n", "hi"));
    assert!(seen.contains("\r\nexpect: 100-continue\r\n") && seen.ends_with("\r\n\r\nhi"), "{seen}");
    let other = post("Connection: close\r\nContent-Length: 2\r\nExpect: 200-maybe\r\n", "hi");
    stage.refuses(other, "unknown_expectation");
}

#[test]
fn head_204_and_304_have_no_body_whatever_their_fields_say() {
    let stage = Stage::new();
    // The second answer would be swallowed by a body that is not there.
    let next = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for (method, status) in [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")] {
        stage.origin.answer(format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n"));
        let got = stage
            .raw(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n{next}").replace("GET /next", "HEAD /next").as_bytes());
        assert_eq!(got.matches("HTTP/1.1 ").count(), 2, "{method} {status}: {got}");
        assert!(!got.contains("502"), "{method} {status}: {got}");
    }
}

#[test]
fn a_doubtful_answer_is_502_and_its_connection_is_not_used_again() {
    let stage = Stage::new();
    for bad in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/3.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "ok",
    ] {
        let ended = stage.origin.ended();
        let got = if bad == "ok" { stage.answered("nonsense\r\n\r\n") } else { stage.answered(bad) };
        assert!(got.starts_with("HTTP/1.1 502") && got.contains("underpass-reason: http_invalid"), "{bad:?}: {got}");
        wait::soon_true("the origin's connection to end", || stage.origin.ended() > ended);
    }
}

#[test]
fn what_an_origin_says_beyond_its_answer_is_nobodys_answer() {
    let stage = Stage::new();
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for _ in 0..5 {
        let ended = stage.origin.ended();
        let got = stage.answered(&format!("{OK}{evil}"));
        assert!(got.ends_with("\r\n\r\nok") && !got.contains("evil"), "{got}");
        wait::soon_true("the origin's connection to end", || stage.origin.ended() > ended);
    }
}

fn at(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}

#[test]
fn a_path_goes_on_as_it_came_but_for_dot_segments_and_what_stands_in_no_target() {
    let stage = Stage::new();
    for (path, expected) in [
        ("/a/../b/./c", "/b/c"),
        ("//a///b", "//a///b"),
        ("/%41%2e%2Ex/%7e", "/%41%2e%2Ex/%7e"),
        ("/bucket/a%2fb%2F?X-Signature=%2b%2F", "/bucket/a%2fb%2F?X-Signature=%2b%2F"),
        ("/a/%2e%2e/b", "/b"),
        ("/a?q=/../%zz", "/a?q=/../%zz"),
        ("/\"a\"{b}|^[c]?d=`{e}|^[f]\\'", "/\"a\"{b}|^[c]?d=`{e}|^[f]\\'"),
        ("/`a`<b>?c=\"d\"<e>", "/%60a%60%3Cb%3E?c=%22d%22%3Ce%3E"),
        ("/caf\u{e9}?\u{e9}", "/caf%C3%A9?%C3%A9"),
    ] {
        let seen = stage.carries(at(path));
        assert!(seen.starts_with(&format!("GET {expected} HTTP/1.1\r\n")), "{path}: {seen}");
    }
    for bad in ["/%00", "/a%", "/%zz", "/..", "/a/%2e%2e/../b", "/a/..%2fb", "/a/..;/b", "/a/..%5cb"] {
        stage.refuses(at(bad), "bad_path");
    }
}

#[test]
fn a_listener_may_send_paths_in_one_spelling() {
    let stage = Stage::with("paths = \"normalised\"");
    for (path, expected) in [("//a///b", "/a/b"), ("/%61%2e%2Ex", "/a..x"), ("/a%2fb", "/a%2Fb")] {
        assert!(stage.carries(at(path)).starts_with(&format!("GET {expected} HTTP/1.1\r\n")), "{path}");
    }
}

#[test]
fn a_refusal_says_in_words_what_is_wrong() {
    let stage = Stage::new();
    for request in ["GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\n\r\n", "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let got = stage.raw(request.as_bytes());
        let (_, body) = got.split_once("\r\n\r\n").expect("a head");
        let mut lines = body.lines();
        assert!(lines.next().is_some_and(|line| line.starts_with("400 bad_")), "{got}");
        assert!(lines.next().is_some_and(|line| line.split(' ').count() > 4), "{got}");
    }
}

#[test]
fn via_and_reasons_are_the_listeners_to_say() {
    let stage = Stage::with("via = \"on\"\nreasons = \"off\"");
    assert!(stage.carries(at("/")).contains("\r\nvia: 1.1 underpass\r\n"));
    let got = stage.answered("nonsense");
    assert!(got.starts_with("HTTP/1.1 502 ") && !got.contains("http_invalid"), "{got}");
    assert!(got.ends_with("\r\n\r\n502 Bad Gateway\n") && !got.contains("underpass-reason"), "{got}");
    let got = stage.raw(at("/%00").as_bytes());
    assert!(got.contains("\r\n\r\n400 bad_path\n") && !got.contains("underpass-reason"), "{got}");
}

const STORY: &str = "X-Forwarded-For: 6.6.6.6, 127.0.0.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /p\r\n\
                     Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n";

#[test]
fn forwarded_fields_of_strangers_are_replaced() {
    let stage = Stage::new();
    let seen = stage.get(STORY);
    for gone in ["6.6.6.6", "https", "prefix"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    for there in [
        "\r\nx-forwarded-for: 127.0.0.1\r\n",
        "\r\nx-real-ip: 127.0.0.1\r\n",
        "\r\nx-forwarded-proto: http\r\n",
        "\r\nx-forwarded-host: a\r\n",
        "\r\nforwarded: for=127.0.0.1;proto=http;host=\"a\"\r\n",
    ] {
        assert!(seen.contains(there), "{there} not in {seen}");
    }
}

#[test]
fn forwarded_fields_of_trusted_proxies_are_continued() {
    let stage = Stage::with("trusted_proxies = [\"127.0.0.0/8\"]");
    let seen = stage.get(STORY);
    for there in [
        "\r\nx-forwarded-for: 6.6.6.6, 127.0.0.9, 127.0.0.1\r\n",
        "\r\nx-real-ip: 6.6.6.6\r\n",
        "\r\nx-forwarded-proto: https\r\n",
        "\r\nforwarded: for=6.6.6.6, for=127.0.0.1;proto=http;host=\"a\"\r\n",
    ] {
        assert!(seen.contains(there), "{there} not in {seen}");
    }
}

#[test]
fn what_follows_a_doubtful_request_is_not_read() {
    let stage = Stage::new();
    let mut stream = client::connect(stage.edge.listener("web")).expect("it accepts");
    stream
        .write_all(
            b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost : a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .expect("written");
    stream.shutdown(Shutdown::Write).expect("open");
    let got = String::from_utf8_lossy(&client::read_all(&stream).0).into_owned();
    assert_eq!((got.matches("HTTP/1.1 200").count(), got.matches("HTTP/1.1 400").count()), (1, 1), "{got}");
    let seen = stage.origin.take().concat();
    assert!(seen.starts_with("GET /1 ") && !seen.contains("/2") && !seen.contains("/3"), "{seen}");
    let _ = &stage.world;
}

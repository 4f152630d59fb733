//! The rules of HTTP/2, one test a rule: how the stream ends, and what the origin received.

use underpass_tests::harness::{
    Edge, Service, World,
    frames::{self, BAD_REQUEST, END_STREAM, Ended, OK, PROTOCOL_ERROR, Raw, kind},
    origin::recorder::Recorder,
    wait,
};

type Field<'a> = (&'a [u8], &'a [u8]);

const GET: [Field<'static>; 4] = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")];
const POST: [Field<'static>; 4] =
    [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")];
const MALFORMED: Ended = Ended::Reset(PROTOCOL_ERROR);

/// An edge, a recording origin behind it, and the world they live in.
struct Stage {
    edge: Edge,
    origin: Recorder,
    _world: World,
}

impl Stage {
    fn new() -> Self {
        let world = World::new();
        let origin = Recorder::start(world.free());
        let service = Service::http("web").direct(origin.address());
        Self { edge: world.edge("edge-1").service(&service).start(), origin, _world: world }
    }

    fn connect(&self) -> Raw {
        Raw::connect(self.edge.listener("web"), &[])
    }

    /// One request without a body: how it ended, and what the origin received.
    fn ask(&self, fields: &[Field<'_>]) -> (Ended, String) {
        let mut raw = self.connect();
        let stream = raw.open(fields, END_STREAM);
        (raw.end_of(stream), self.origin.take().concat())
    }

    /// A stream error, of which the origin hears nothing.
    fn malformed(&self, fields: &[Field<'_>]) {
        assert_eq!(self.ask(fields), (MALFORMED, String::new()), "{}", shown(fields));
    }

    /// The request is answered with 200; returns what the origin received.
    fn carries(&self, fields: &[Field<'_>]) -> String {
        let (ended, seen) = self.ask(fields);
        assert_eq!(ended, OK, "{}", shown(fields));
        seen
    }
}

fn shown(fields: &[Field<'_>]) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    fields.iter().map(|(name, value)| format!("{:?}: {:?}, ", text(name), text(value))).collect()
}

fn with<'a>(base: &[Field<'a>], more: &[Field<'a>]) -> Vec<Field<'a>> {
    [base, more].concat()
}

/// A GET with this pseudo field in place of its own.
fn instead<'a>(name: &'a [u8], value: &'a [u8]) -> Vec<Field<'a>> {
    GET.iter().map(|field| if field.0 == name { (name, value) } else { *field }).collect()
}

fn without(name: &[u8]) -> Vec<Field<'static>> {
    GET.iter().filter(|field| field.0 != name).copied().collect()
}

#[test]
fn pseudo_fields_are_known_single_early_and_complete() {
    let stage = Stage::new();
    for missing in [&b":method"[..], b":scheme", b":path", b":authority"] {
        stage.malformed(&without(missing));
    }
    for twice in [(&b":method"[..], &b"GET"[..]), (b":path", b"/evil"), (b":scheme", b"http"), (b":authority", b"a")] {
        stage.malformed(&with(&GET, &[twice]));
    }
    stage.malformed(&instead(b":path", b""));
    stage.malformed(&with(&GET, &[(b":status", b"200")]));
    stage.malformed(&with(&GET, &[(b":protocol", b"websocket")]));
    let late = [&GET[..3], &[(&b"x"[..], &b"y"[..]), GET[3]]].concat();
    stage.malformed(&late);
}

#[test]
fn an_unknown_pseudo_field_reaches_no_origin() {
    let stage = Stage::new();
    let (ended, seen) = stage.ask(&with(&GET, &[(b":unknown", b"x")]));
    assert!(matches!(ended, Ended::Reset(_) | Ended::Closed(Some(_))), "{ended:?}");
    assert_eq!(seen, "");
}

#[test]
fn fields_of_http_1_connections_are_malformed() {
    let stage = Stage::new();
    for field in [
        (&b"connection"[..], &b"close"[..]),
        (b"keep-alive", b"5"),
        (b"proxy-connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"websocket"),
        (b"http2-settings", b"AAAA"),
        (b"te", b"gzip"),
        (b"te", b"trailers, gzip"),
    ] {
        stage.malformed(&with(&GET, &[field]));
    }
    assert!(stage.carries(&with(&GET, &[(b"te", b"trailers")])).contains("\r\nte: trailers\r\n"));
}

#[test]
fn names_are_lower_case_and_values_have_no_line_ends_or_outer_blanks() {
    let stage = Stage::new();
    for value in [&b" x"[..], b"x ", b"\tx", b"x\t"] {
        stage.malformed(&with(&GET, &[(b"x", value)]));
    }
    for field in [
        (&b"X"[..], &b"y"[..]),
        (b"x y", b"z"),
        (b"x:", b"z"),
        (b"x\r\n", b"z"),
        (b"", b"z"),
        (b"x", b"y\r\nevil: 1"),
        (b"x", b"y\nevil: 1"),
        (b"x", b"y\rz"),
        (b"x", b"y\0z"),
    ] {
        let (ended, seen) = stage.ask(&with(&GET, &[field]));
        // The library ends the whole connection over some of them, which is stricter.
        assert!(matches!(ended, MALFORMED | Ended::Closed(Some(_))), "{field:?}: {ended:?}");
        assert_eq!(seen, "", "{field:?}");
    }
}

#[test]
fn method_path_and_authority_keep_their_grammar() {
    let stage = Stage::new();
    for (name, value) in [
        (&b":path"[..], &b"/ HTTP/1.1\r\nevil: 1"[..]),
        (b":path", b"/a b"),
        (b":path", b"/a\r\n"),
        (b":path", b"evil"),
        (b":path", b"*"),
        (b":method", b"GET / HTTP/1.1"),
        (b":method", b"G\tT"),
        (b":method", b""),
        (b":authority", b"a b"),
        (b":authority", b"u@a"),
        (b":authority", b"a/b"),
        (b":authority", b"a\r\nevil: 1"),
        (b":authority", b""),
        (b":scheme", b"ftp"),
        (b":scheme", b"http\r\n"),
    ] {
        let (ended, seen) = stage.ask(&instead(name, value));
        let refused = matches!(ended, MALFORMED | Ended::Closed(Some(_))) || ended == BAD_REQUEST;
        assert!(refused, "{}: {ended:?}", shown(&[(name, value)]));
        assert_eq!(seen, "", "{}", shown(&[(name, value)]));
    }
    assert_eq!(stage.ask(&instead(b":path", b"/%00")), (BAD_REQUEST, String::new()));
    // The library drops a fragment before anybody sees it.
    assert!(stage.carries(&instead(b":path", b"/a#b")).starts_with("GET /a HTTP/1.1\r\n"));
}

#[test]
fn authority_and_host_agree_and_host_is_built_from_authority() {
    let stage = Stage::new();
    stage.malformed(&with(&GET, &[(b"host", b"b")]));
    stage.malformed(&with(&GET, &[(b"host", b"a"), (b"host", b"a")]));
    let seen = stage.carries(&with(&instead(b":authority", b"A.example:80"), &[(b"host", b"a.example")]));
    assert_eq!(seen.matches("host:").count() - seen.matches("-host:").count(), 1, "{seen}");
    assert!(seen.contains("\r\nhost: a.example:80\r\n"), "{seen}");
}

#[test]
fn cookie_crumbs_are_joined_and_nothing_else_is() {
    let stage = Stage::new();
    let seen = stage.carries(&with(&GET, &[(b"cookie", b"a=1"), (b"x", b"1"), (b"cookie", b"b=2"), (b"x", b"2")]));
    assert!(seen.contains("\r\ncookie: a=1; b=2\r\n"), "{seen}");
    assert!(seen.contains("\r\nx: 1\r\n") && seen.contains("\r\nx: 2\r\n"), "{seen}");
}

#[test]
fn a_length_is_one_number_and_equals_what_comes() {
    let stage = Stage::new();
    stage.malformed(&with(&POST, &[(b"content-length", b"5")]));
    stage.malformed(&with(&POST, &[(b"content-length", b"+0")]));
    stage.malformed(&with(&POST, &[(b"content-length", b"0"), (b"content-length", b"1")]));
    for (length, body) in [(&b"5"[..], &b"hi"[..]), (b"1", b"hi")] {
        let ended = stage.origin.ended();
        let mut raw = stage.connect();
        let stream = raw.open(&with(&POST, &[(b"content-length", length)]), 0);
        raw.send(kind::DATA, END_STREAM, stream, body).expect("written");
        assert_eq!(raw.end_of(stream), MALFORMED);
        // It may have begun; then its connection ends, and it never does.
        let seen = stage.origin.take().concat();
        assert!(!seen.contains("\r\n\r\nhi") || !seen.contains("content-length: 2"), "{seen}");
        if !seen.is_empty() {
            wait::soon_true("the origin's connection to end", || stage.origin.ended() > ended);
        }
    }
    let mut raw = stage.connect();
    let stream = raw.open(&with(&POST, &[(b"content-length", b"2")]), 0);
    raw.send(kind::DATA, END_STREAM, stream, b"hi").expect("written");
    assert_eq!(raw.end_of(stream), OK);
    let seen = stage.origin.take().concat();
    assert!(seen.contains("\r\ncontent-length: 2\r\n") && seen.ends_with("\r\n\r\nhi"), "{seen}");
}

#[test]
fn trailers_are_filtered_and_pseudo_fields_in_them_are_nothing() {
    let stage = Stage::new();
    let trailed = |trailers: &[Field<'_>]| {
        let mut raw = stage.connect();
        let stream = raw.open(&with(&POST, &[(b"trailer", b"x-sum")]), 0);
        raw.send(kind::DATA, 0, stream, b"hi").expect("written");
        raw.send(kind::HEADERS, END_STREAM | frames::END_HEADERS, stream, &frames::head(trailers)).expect("written");
        (raw.end_of(stream), stage.origin.take().concat())
    };
    let (ended, seen) = trailed(&[(b"x-sum", b"7"), (b"host", b"evil"), (b"authorization", b"evil")]);
    assert_eq!(ended, OK);
    assert!(seen.ends_with("\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n") && !seen.contains("evil"), "{seen}");
    // The library drops them before anybody sees them.
    let (_, seen) = trailed(&[(b":path", b"/evil"), (b"x-sum", b"7")]);
    assert!(!seen.contains("evil"), "{seen}");
}

#[test]
fn faults_of_grpc_calls_are_a_grpc_status() {
    let world = World::new();
    let service = Service::http("web").direct(world.free());
    let edge = world.edge("edge-1").service(&service).start();
    let mut raw = Raw::connect(edge.listener("web"), &[]);
    let stream = raw.open(&with(&POST, &[(b"content-type", b"application/grpc")]), END_STREAM);
    assert_eq!(raw.end_of(stream), OK, "HTTP says 200 and a field says what is wrong");
}

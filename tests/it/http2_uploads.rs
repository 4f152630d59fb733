//! Uploads of HTTP/2 clients: when an answer comes before the client has ended its request, and when it waits to be asked
//! for the body.

use std::{
    io::{self, Read, Write},
    time::{Duration, Instant},
};

use underpass_tests::harness::{
    Edge, Service, World, client,
    frames::{END_STREAM, Frame, OK, Raw, kind},
    origin::{Connection, Ending, Origin, recorder},
    wait,
};

type Field<'a> = (&'a [u8], &'a [u8]);

const POST: [Field<'static>; 4] =
    [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")];
const RST_NO_ERROR: [u8; 4] = [0; 4];

/// An edge, an origin with this habit behind it, and the world they live in.
struct Stage {
    edge: Edge,
    origin: Origin,
    _world: World,
}

impl Stage {
    fn new(habit: impl Fn(&Connection) -> io::Result<Ending> + Send + Sync + 'static) -> Self {
        let world = World::new();
        let origin = Origin::start(world.free(), habit);
        let service = Service::http("web").direct(origin.address());
        Self { edge: world.edge("edge-1").service(&service).start(), origin, _world: world }
    }

    fn connect(&self) -> Raw {
        Raw::connect(self.edge.listener("web"), &[])
    }
}

/// The head of a POST with these fields more.
fn post<'a>(more: &[Field<'a>]) -> Vec<Field<'a>> {
    [&POST[..], more].concat()
}

/// Reads a head and so many bytes behind it.
fn hear(mut stream: &Connection, body: usize) -> io::Result<()> {
    let mut seen = Vec::new();
    while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        seen.push(byte[0]);
    }
    stream.read_exact(&mut vec![0; body])
}

/// Answers as soon as the head has come, and then reads whatever comes.
fn answers_at_once(mut stream: &Connection) -> io::Result<Ending> {
    hear(stream, 0)?;
    stream.write_all(recorder::OK.as_bytes())?;
    io::copy(&mut stream, &mut io::sink())?;
    Ok(Ending::Clean)
}

/// Answers once four bytes of body have come.
fn answers_four_bytes(mut stream: &Connection) -> io::Result<Ending> {
    loop {
        hear(stream, 4)?;
        stream.write_all(recorder::OK.as_bytes())?;
    }
}

#[test]
fn a_request_whose_announced_bytes_have_come_is_not_reset_before_its_last_frame() {
    let stage = Stage::new(answers_four_bytes);
    let mut raw = stage.connect();
    for _ in 0..20 {
        let stream = raw.open(&post(&[(b"content-length", b"4")]), 0);
        raw.send(kind::DATA, 0, stream, b"four").expect("written");
        assert_eq!(raw.end_of(stream), OK);
        assert_eq!(raw.until_pong(stream), []);
        raw.send(kind::DATA, END_STREAM, stream, b"").expect("written");
        assert_eq!(raw.until_pong(stream), []);
    }
    assert_eq!(stage.origin.accepted(), 1, "a connection whose request was whole is used again");
}

#[test]
fn a_client_that_is_answered_early_may_say_the_rest() {
    let stage = Stage::new(answers_at_once);
    let mut raw = stage.connect();
    for announced in [true, false] {
        let length: &[Field<'_>] = if announced { &[(b"content-length", b"8")] } else { &[] };
        let stream = raw.open(&post(length), 0);
        raw.send(kind::DATA, 0, stream, b"half").expect("written");
        assert_eq!(raw.end_of(stream), OK);
        raw.send(kind::DATA, END_STREAM, stream, b"rest").expect("written");
        let seen = raw.until_pong(stream);
        assert!(seen.iter().all(|frame| frame.kind == kind::WINDOW_UPDATE), "{seen:?}");
    }
}

#[test]
fn a_client_that_never_says_the_rest_is_told_that_nobody_waits_for_it() {
    let stage = Stage::new(answers_at_once);
    let mut raw = stage.connect();
    let stream = raw.open(&post(&[(b"content-length", b"8")]), 0);
    assert_eq!(raw.end_of(stream), OK);
    let reset = std::iter::from_fn(|| raw.read()).find(|frame| frame.kind == kind::RST_STREAM).expect("a reset");
    assert_eq!((reset.stream, &reset.payload[..]), (stream, &RST_NO_ERROR[..]));
}

#[test]
fn an_upload_that_its_client_gives_up_is_not_whole_at_the_origin_whatever_the_code() {
    for code in [[0, 0, 0, 0], [0, 0, 0, 8]] {
        let world = World::new();
        let origin = recorder::Recorder::start(world.free());
        let edge = world.edge("edge-1").service(&Service::http("web").direct(origin.address())).start();
        let mut raw = Raw::connect(edge.listener("web"), &[]);
        let stream = raw.open(&POST, 0);
        raw.send(kind::DATA, 0, stream, b"half").expect("written");
        let mut seen = String::new();
        wait::soon_true("half of it at the origin", || {
            seen += &origin.take().concat();
            seen.contains("half")
        });
        raw.send(kind::RST_STREAM, 0, stream, &code).expect("written");
        wait::soon_true("the origin's connection to end", || origin.ended() == 1);
        seen += &origin.take().concat();
        assert!(!seen.contains("\r\n0\r\n"), "{code:?}: {seen}");
    }
}

#[test]
fn a_client_that_waits_for_a_word_gets_it_when_the_origin_gives_it() {
    let stage = Stage::new(|mut stream| {
        hear(stream, 0)?;
        stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")?;
        // Chunked: `4`, the bytes, `0`.
        stream.read_exact(&mut [0; 14])?;
        stream.write_all(recorder::OK.as_bytes())?;
        Ok(Ending::Clean)
    });
    let mut raw = stage.connect();
    let stream = raw.open(&post(&[(b"expect", b"100-continue")]), 0);
    let heads = std::iter::from_fn(|| raw.read()).filter(|frame| frame.kind == kind::HEADERS && frame.stream == stream);
    let heads: Vec<Frame> = heads.take(2).collect();
    let says = |frame: &Frame, text: &[u8]| frame.payload.windows(text.len()).any(|w| w == text);
    // `103` and `100` in Huffman's code.
    assert!(says(&heads[0], &[0x82, 0x08, 0x19]) && says(&heads[1], &[0x82, 0x08, 0x01]), "{heads:?}");
    assert!(heads.iter().all(|frame| frame.flags & END_STREAM == 0));
    raw.send(kind::DATA, END_STREAM, stream, b"four").expect("written");
    assert!(matches!(raw.end_of(stream), OK));
}

#[test]
fn an_origin_that_does_not_know_the_word_costs_a_second_at_most_and_a_refusal_nothing() {
    let stage = Stage::new(answers_four_bytes);
    let mut raw = stage.connect();
    let began = Instant::now();
    let stream = raw.open(&post(&[(b"expect", b"100-continue"), (b"content-length", b"4")]), 0);
    let word = std::iter::from_fn(|| raw.read()).find(|frame| frame.kind == kind::HEADERS).expect("a word");
    assert!(word.stream == stream && word.flags & END_STREAM == 0, "{word:?}");
    assert!(began.elapsed() >= Duration::from_millis(900));
    raw.send(kind::DATA, END_STREAM, stream, b"four").expect("written");
    assert_eq!(raw.end_of(stream), OK);

    // A client that does not wait for the word costs nothing, in either version.
    let began = Instant::now();
    let stream = raw.open(&post(&[(b"expect", b"100-continue"), (b"content-length", b"4")]), 0);
    raw.send(kind::DATA, END_STREAM, stream, b"four").expect("written");
    assert_eq!(raw.end_of(stream), OK);
    let mut client = client::connect(stage.edge.listener("web")).expect("it accepts");
    let post_1 =
        b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfour";
    client.write_all(post_1).expect("written");
    let got = String::from_utf8_lossy(&client::read_all(&client).0).into_owned();
    assert!(got.contains("HTTP/1.1 200"), "{got}");
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());

    let stage = Stage::new(answers_at_once);
    let mut raw = stage.connect();
    let stream = raw.open(&post(&[(b"expect", b"100-continue"), (b"content-length", b"4")]), 0);
    assert_eq!(raw.end_of(stream), OK, "no interim head comes first");
}

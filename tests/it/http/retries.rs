//! When a request is sent again, and how often: counted where it arrives.

use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use underpass_tests::harness::{
    Connector, Edge, Origin, Service, World,
    frames::{self, END_STREAM, Ended, Raw, kind},
    origin::{
        Ending,
        frames::{Answer, Deliveries, REFUSED_STREAM, answers},
        web,
    },
    wait,
};

use super::{curl, out};

const CANCEL: u32 = 8;
const INTERNAL_ERROR: u32 = 2;
const NO_ERROR: u32 = 0;
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// An HTTP/2 origin that answers by number, behind a tunnel.
fn numbered(
    settings: &[(u16, u32)],
    pool: &str,
    answer: impl Fn(usize) -> Answer + Send + Sync + 'static,
) -> (World, (Origin, Deliveries), Edge, Connector) {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = answers(world.free_in(&prod, 10), settings, answer);
    let pool = format!("upstream = \"h2c\"\n{pool}");
    let (edge, dc1) = world.stand(&prod, &[&Service::http("web").origin(&prod, origin.0.address()).pool(&pool)]);
    (world, origin, edge, dc1)
}

fn status(edge: &Edge, arguments: &[&str]) -> String {
    out(curl(edge, "/", &[arguments, &["-o", "/dev/null", "-w", "%{http_code}"]].concat()))
}

const METHODS: [&[&str]; 3] = [&["-X", "GET"], &["-X", "DELETE"], &["-d", "x"]];

#[test]
fn a_stream_that_the_origin_resets_is_not_asked_again() {
    for code in [INTERNAL_ERROR, CANCEL] {
        let (_world, (_origin, deliveries), edge, _dc1) = numbered(&[], "", move |_| Answer::Reset(code));
        for method in METHODS {
            for _ in 0..3 {
                let before = deliveries.load(Ordering::SeqCst);
                assert_eq!(status(&edge, method), "502", "{method:?}");
                assert_eq!(deliveries.load(Ordering::SeqCst) - before, 1, "{method:?}: one request, one delivery");
            }
        }
    }
}

#[test]
fn what_the_origin_says_it_did_not_look_at_is_asked_once_more_whatever_it_is() {
    for not_looked_at in [Answer::Reset(REFUSED_STREAM), Answer::Leave(NO_ERROR), Answer::Leave(INTERNAL_ERROR)] {
        let by_turns = move |number| if number % 2 == 0 { not_looked_at } else { Answer::Ok };
        let (_world, (_origin, deliveries), edge, _dc1) = numbered(&[], "", by_turns);
        for method in METHODS {
            assert_eq!(status(&edge, method), "200", "{not_looked_at:?} {method:?}");
        }
        assert_eq!(deliveries.load(Ordering::SeqCst), 6, "{not_looked_at:?}");

        let (_world, (_origin, deliveries), edge, _dc1) = numbered(&[], "", move |_| not_looked_at);
        for method in METHODS {
            assert_eq!(status(&edge, method), "502", "{not_looked_at:?} {method:?}");
        }
        assert!(deliveries.load(Ordering::SeqCst) <= 6, "{not_looked_at:?}: twice at most, each");
    }
}

#[test]
fn one_deadline_covers_all_that_is_sent() {
    let late = |number| {
        if number == 0 {
            std::thread::park_timeout(Duration::from_millis(700));
            return Answer::Reset(REFUSED_STREAM);
        }
        Answer::Nothing
    };
    let (_world, (_origin, deliveries), edge, _dc1) = numbered(&[], "response_timeout = \"1s\"", late);
    let asked = Instant::now();
    assert_eq!(status(&edge, &["-d", "x"]), "504");
    assert_eq!(deliveries.load(Ordering::SeqCst), 2);
    assert!(asked.elapsed() < Duration::from_millis(1600), "{:?}", asked.elapsed());
}

#[test]
fn an_origin_has_as_long_for_a_request_with_a_body_as_for_any() {
    let (_world, _origin, edge, _dc1) = numbered(&[], "response_timeout = \"1s\"", |_| Answer::Nothing);
    for method in METHODS {
        let asked = Instant::now();
        assert_eq!(status(&edge, method), "504", "{method:?}");
        assert!(asked.elapsed() < Duration::from_millis(1600), "{method:?}: {:?}", asked.elapsed());
    }
}

#[test]
fn an_origin_s_time_begins_anew_with_what_its_client_sends() {
    let (_world, _origin, edge, _dc1) = numbered(&[], "response_timeout = \"1s\"", |_| Answer::Nothing);
    let mut raw = Raw::connect(edge.listener("web"), &[]);
    let post = [(&b":method"[..], &b"POST"[..]), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")];
    let asked = Instant::now();
    let stream = raw.open(&post, 0);
    // Longer than an origin has, all in all.
    for _ in 0..3 {
        wait::pass(Duration::from_millis(600));
        raw.send(kind::DATA, 0, stream, b"piece").expect("written");
    }
    wait::pass(Duration::from_millis(100));
    raw.send(kind::DATA, END_STREAM, stream, b"").expect("written");
    let said = Instant::now();
    assert!(matches!(raw.end_of(stream), Ended::Answered(_)));
    let (whole, since) = (asked.elapsed(), said.elapsed());
    assert!(whole >= Duration::from_millis(2800), "{whole:?} in all");
    assert!(since < Duration::from_millis(1600), "{since:?} since the end");
}

fn get(raw: &mut Raw, method: &[u8]) -> u32 {
    raw.open(&[(b":method", method), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")], END_STREAM)
}

#[test]
fn more_connections_are_opened_when_an_origin_takes_no_more_streams() {
    const HELD: usize = 7;
    let hold = |number| if number < HELD { Answer::Nothing } else { Answer::Ok };
    let (_world, (origin, deliveries), edge, _dc1) = numbered(&[(MAX_CONCURRENT_STREAMS, 2)], "", hold);
    let mut raw = Raw::connect(edge.listener("web"), &[]);
    for number in 1..=HELD {
        let _ = get(&mut raw, b"GET");
        wait::soon_true("the request to arrive", || deliveries.load(Ordering::SeqCst) == number);
    }
    for _ in 0..3 {
        let asked = get(&mut raw, b"GET");
        assert_eq!(raw.end_of(asked), frames::OK);
    }
    // Monitors connect as well, and say nothing.
    assert!(origin.accepted() >= 4, "{} connections", origin.accepted());
}

/// Answers the first request on each connection, all at once when `together` have come, and hangs up on the second.
fn hangs_up(world: &World, together: usize) -> (Origin, Arc<AtomicUsize>) {
    let deliveries = Arc::new(AtomicUsize::new(0));
    let counted = deliveries.clone();
    let origin = Origin::start(world.free(), move |mut stream| {
        if web::head(stream)?.is_none() {
            return Ok(Ending::Clean);
        }
        counted.fetch_add(1, Ordering::SeqCst);
        wait::soon_true("all to have come", || counted.load(Ordering::SeqCst) >= together);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        if web::head(stream)?.is_some() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Ok(Ending::Clean)
    });
    (origin, deliveries)
}

#[test]
fn of_many_kept_connections_that_are_dead_one_is_tried() {
    const KEPT: usize = 8;
    for method in ["DELETE", "POST"] {
        let world = World::new();
        let (origin, deliveries) = hangs_up(&world, KEPT);
        let edge = world.edge("edge-1").service(&Service::http("web").direct(origin.address())).start();
        // One client connection is served by one worker, which keeps connections to origins for itself.
        let mut raw = Raw::connect(edge.listener("web"), &[]);
        let asked: Vec<u32> = (0..KEPT).map(|_| get(&mut raw, b"GET")).collect();
        let mut left = KEPT;
        while left > 0 {
            let frame = raw.read().expect("open");
            left -= usize::from(asked.contains(&frame.stream) && frame.flags & END_STREAM != 0 && frame.kind < 2);
        }
        assert_eq!(deliveries.load(Ordering::SeqCst), KEPT);
        let asked = get(&mut raw, method.as_bytes());
        let ended = raw.end_of(asked);
        let sent = deliveries.load(Ordering::SeqCst) - KEPT;
        match method {
            "DELETE" => assert_eq!((ended, sent), (frames::OK, 2), "once more, over a new connection"),
            _ => assert_eq!((matches!(ended, Ended::Answered(_)), sent), (true, 1), "nobody knows what came of it"),
        }
    }
}

#[test]
fn a_request_that_kills_whoever_gets_it_does_not_go_round_all_origins() {
    let world = World::new();
    let deliveries = Arc::new(AtomicUsize::new(0));
    let dies = || {
        let counted = deliveries.clone();
        Origin::start(world.free(), move |mut stream| {
            while let Some(head) = web::head(stream)? {
                if head.contains(" /poison ") {
                    counted.fetch_add(1, Ordering::SeqCst);
                    break;
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            }
            Ok(Ending::Clean)
        })
    };
    let origins: Vec<_> = (0..6).map(|_| dies()).collect();
    let service = origins.iter().fold(Service::http("web"), |service, origin| service.direct(origin.address()));
    let edge = world.edge("edge-1").service(&service.pool("steering = \"round_robin\"")).start();
    // Every worker has a kept connection to each, some of which die in vain.
    for _ in 0..4 {
        let _ = out(curl(&edge, "/x?[1-12]", &[]));
    }
    for (method, most) in [("GET", 3), ("DELETE", 3), ("POST", 1)] {
        let before = deliveries.load(Ordering::SeqCst);
        let code = out(curl(&edge, "/poison", &["-X", method, "-o", "/dev/null", "-w", "%{http_code}"]));
        let sent = deliveries.load(Ordering::SeqCst) - before;
        assert!(code == "502" && (1..=most).contains(&sent), "{method}: {code} after {sent} deliveries");
    }
}

#[test]
fn a_small_answer_that_breaks_behind_its_head_is_answered_from_elsewhere() {
    let world = World::new();
    let prod = world.vnet("prod");
    let breaks = Origin::start(world.free_in(&prod, 10), |mut stream| {
        if web::head(stream)?.is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")?;
        }
        Ok(Ending::Clean)
    });
    let good = web::mirror(world.free_in(&prod, 11));
    let service = Service::http("web").origin(&prod, breaks.address()).origin(&prod, good.address());
    let (edge, _dc1) = world.stand(&prod, &[&service.pool("steering = \"round_robin\"")]);
    for _ in 0..6 {
        assert!(out(curl(&edge, "/", &[])).starts_with("GET / "), "nobody sees the half");
    }
}

#[test]
fn a_small_answer_that_takes_its_time_is_not_held_back_for_long() {
    let world = World::new();
    let prod = world.vnet("prod");
    let slow = Origin::start(world.free_in(&prod, 10), |mut stream| {
        if web::head(stream)?.is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")?;
            // The other half never comes.
            let _ = stream.read(&mut [0])?;
        }
        Ok(Ending::Clean)
    });
    let (edge, _dc1) = world.stand(&prod, &[&Service::http("web").origin(&prod, slow.address())]);
    let mut stream = underpass_tests::harness::client::connect(edge.listener("web")).expect("it accepts");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n\r\nhalf") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("what there is comes through");
        got.push(byte[0]);
    }
}

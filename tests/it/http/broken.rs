//! Answers that break off behind a tunnel: whoever reads one learns that it is not whole.

use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use underpass_tests::harness::{
    Connector, Edge, Origin, Service, World, client,
    frames::{END_HEADERS, END_STREAM, Ended, OK, Raw, kind},
    origin::{
        Ending,
        frames::{Answer, answers},
        reset, web,
    },
    process,
    wait::{self, SOON},
};

use super::{curl, out, with_origin};

/// When a client says the four bytes that its head has announced.
#[derive(Debug, Clone, Copy)]
enum Upload {
    AtOnce,
    OnceAnswered,
}

/// A POST over HTTP/2: what it comes to, and what of the answer's body came.
///
/// Frame by frame, because curl 7.88 does not tell how an answer ended that overtook its upload: it leaves the end of a whole
/// one unnoticed until something else comes, and forgets one that is reset before the upload has left.
fn posted(raw: &mut Raw, path: &str, upload: Upload) -> (Ended, Vec<u8>) {
    let fields = [
        (&b":method"[..], &b"POST"[..]),
        (b":scheme", b"http"),
        (b":path", path.as_bytes()),
        (b":authority", b"a"),
        (b"content-length", b"4"),
    ];
    let stream = raw.open(&fields, 0);
    let say = |raw: &mut Raw| raw.send(kind::DATA, END_STREAM, stream, b"body").expect("written");
    let answer = match upload {
        Upload::AtOnce => {
            say(raw);
            raw.answer(stream)
        }
        Upload::OnceAnswered => {
            let answer = raw.answer(stream);
            say(raw);
            answer
        }
    };
    // Nobody resets what both have ended; and what the client has said behind a reset is borne.
    let behind = raw.until_pong(stream);
    assert!(behind.iter().all(|frame| frame.kind == kind::WINDOW_UPDATE), "{answer:?}: {behind:?}");
    answer
}

/// Answers the first head with these bytes and resets the connection right behind them.
fn breaks_off(at: SocketAddr, answer: &'static str) -> Origin {
    Origin::start(at, move |mut stream| {
        if web::head(stream)?.is_some() {
            stream.write_all(answer.as_bytes())?;
            reset(stream)?;
        }
        Ok(Ending::Reset)
    })
}

/// No length, a length, chunks: each with its last byte missing.
const HALVES: [&str; 3] = [
    "HTTP/1.1 200 OK\r\n\r\nhalf",
    "HTTP/1.1 200 OK\r\nContent-Length: 80000\r\n\r\nhalf",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
];

#[test]
fn half_an_answer_is_never_ended_whatever_its_framing_and_whoever_reads() {
    for half in HALVES {
        let (_world, _origin, edge, _dc1) = with_origin(|at| breaks_off(at, half), Origin::address);
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let mut stream = client::connect(edge.listener("web")).expect("it accepts");
            stream.write_all(format!("GET / {version}\r\nHost: a\r\n\r\n").as_bytes()).expect("written");
            let (got, ended) = client::read_all(&stream);
            let got = String::from_utf8_lossy(&got);
            assert_eq!(ended.map_err(|e| e.kind()), Err(ErrorKind::ConnectionReset), "{half:?} {version}: {got}");
            assert!(!got.contains("\r\n0\r\n"), "{half:?} {version}: {got}");
        }
        let ran = process::run(curl(&edge, "/", &["--http2-prior-knowledge"]), SOON);
        assert!(ran.code != 0, "{half:?} HTTP/2: {}", ran.out);
    }
}

/// Answers each head with these bytes and closes the connection.
fn ends_early(at: SocketAddr, answer: &'static str) -> Origin {
    Origin::start(at, move |mut stream| {
        if web::head(stream)?.is_some() {
            stream.write_all(answer.as_bytes())?;
        }
        Ok(Ending::Clean)
    })
}

#[test]
fn what_has_come_of_an_answer_is_passed_on_before_it_breaks() {
    for half in &HALVES[1..] {
        let (_world, _origin, edge, _dc1) = with_origin(|at| ends_early(at, half), Origin::address);
        for method in ["GET", "POST"].repeat(4) {
            let mut stream = client::connect(edge.listener("web")).expect("it accepts");
            let asked = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
            stream.write_all(asked.as_bytes()).expect("written");
            let (got, ended) = client::read_all(&stream);
            let got = String::from_utf8_lossy(&got);
            assert_eq!(ended.map_err(|e| e.kind()), Err(ErrorKind::ConnectionReset), "{half:?} {method}: {got}");
            assert!(got.starts_with("HTTP/1.1 200 ") && got.contains("half"), "{half:?} {method}: {got}");
        }
        let mut raw = Raw::connect(edge.listener("web"), &[]);
        for upload in [Upload::AtOnce, Upload::OnceAnswered] {
            assert_eq!(
                posted(&mut raw, "/", upload),
                (Ended::Reset(2), b"half".to_vec()),
                "{half:?} HTTP/2 {upload:?}"
            );
        }
    }
}

/// Answers the first head with the begin of a long answer, and leaves it at that.
fn begins(at: SocketAddr) -> Origin {
    Origin::start(at, |mut stream| {
        if web::head(stream)?.is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegin")?;
        }
        stream.read_exact(&mut [0]).map(|()| Ending::Clean)
    })
}

#[test]
fn an_answer_whose_connector_dies_breaks_as_soon_as_its_link_is_dead() {
    let (_world, _origin, edge, mut dc1) = with_origin(begins, Origin::address);
    let mut clients = Vec::new();
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let mut stream = client::connect(edge.listener("web")).expect("it accepts");
        stream.write_all(format!("GET / {version}\r\nHost: a\r\n\r\n").as_bytes()).expect("written");
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\nbegin") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the begin comes");
            got.push(byte[0]);
        }
        clients.push(stream);
    }
    dc1.process.kill();
    let killed = Instant::now();
    for stream in clients {
        let (rest, ended) = client::read_all(&stream);
        assert_eq!((rest.len(), ended.map_err(|e| e.kind())), (0, Err(ErrorKind::ConnectionReset)));
    }
    // A link that says nothing is dead after 3 s.
    assert!(killed.elapsed() < Duration::from_millis(4500), "{:?}", killed.elapsed());
}

/// Begins an answer to every request but those for `/silent`.
fn begins_or_is_silent(at: SocketAddr) -> Origin {
    Origin::start(at, |mut stream| {
        while let Some(head) = web::head(stream)? {
            if !head.contains("/silent") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegin")?;
            }
            stream.read_exact(&mut [0; 4])?;
        }
        Ok(Ending::Clean)
    })
}

#[test]
fn what_a_dying_link_takes_along_is_told_as_the_links_loss() {
    let (_world, origin, edge, mut dc1) = with_origin(begins_or_is_silent, Origin::address);
    let asks = |path: &str| {
        let mut stream = client::connect(edge.listener("web")).expect("it accepts");
        let post = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody");
        stream.write_all(post.as_bytes()).expect("written");
        stream
    };
    let before = origin.accepted();
    let silent = asks("/silent");
    wait::soon_true("the origin to be asked", || origin.accepted() > before);
    let answered = asks("/answered");
    (&answered).read_exact(&mut [0; 12]).expect("its head comes");
    dc1.process.kill();
    let (_, ended) = client::read_all(&answered);
    assert_eq!(ended.map_err(|e| e.kind()), Err(ErrorKind::ConnectionReset));
    let got = String::from_utf8_lossy(&client::read_all(&silent).0).into_owned();
    assert!(got.starts_with("HTTP/1.1 502") && got.contains("underpass-reason: link_lost"), "{got}");
    edge.process.wait_log(&["path=\"/answered\"", "ended=\"broken\"", "reason=\"link_lost\""]);
    edge.process.wait_log(&["path=\"/silent\"", "status=502", "reason=\"link_lost\""]);
}

type Frames = &'static [(u8, u8, &'static [u8])];

const NO_ERROR: (u8, u8, &[u8]) = (kind::RST_STREAM, 0, &[0; 4]);
const HALF: (u8, u8, &[u8]) = (kind::DATA, 0, b"half");
/// 200, without a length, and with one of so many.
const PLAIN: (u8, u8, &[u8]) = (kind::HEADERS, END_HEADERS, b"\x88");
const OF_80000: (u8, u8, &[u8]) = (kind::HEADERS, END_HEADERS, b"\x88\x0f\x0d\x0580000");
const OF_4: (u8, u8, &[u8]) = (kind::HEADERS, END_HEADERS, b"\x88\x0f\x0d\x014");

/// An HTTP/2 origin that answers every request with these frames.
fn in_frames(frames: Frames) -> (World, Origin, Edge, Connector) {
    let world = World::new();
    let prod = world.vnet("prod");
    let (origin, _) = answers(world.free_in(&prod, 10), &[], move |_| Answer::Frames(frames));
    let service = Service::http("web").origin(&prod, origin.address()).pool("upstream = \"h2c\"");
    let (edge, dc1) = world.stand(&prod, &[&service]);
    (world, origin, edge, dc1)
}

#[test]
fn an_http2_answer_without_its_end_is_never_ended_whatever_the_origin_calls_it() {
    let unended: [Frames; 5] = [
        &[PLAIN, HALF, NO_ERROR],
        &[PLAIN, NO_ERROR],
        &[OF_80000, HALF, NO_ERROR],
        &[OF_80000, (kind::DATA, END_STREAM, b"half")],
        &[OF_4, (kind::DATA, END_STREAM, b"half and more")],
    ];
    for frames in unended {
        let (_world, _origin, edge, _dc1) = in_frames(frames);
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let mut stream = client::connect(edge.listener("web")).expect("it accepts");
            let post = format!("POST /{version} {version}\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
            stream.write_all(post.as_bytes()).expect("written");
            let (got, ended) = client::read_all(&stream);
            let got = String::from_utf8_lossy(&got);
            assert_eq!(ended.map_err(|e| e.kind()), Err(ErrorKind::ConnectionReset), "{frames:?} {version}: {got}");
            assert!(!got.contains("\r\n0\r\n"), "{frames:?} {version}: {got}");
            edge.process.wait_log(&[
                &format!("path=\"/{version}\""),
                "ended=\"broken\"",
                "reason=\"connection_reset\"",
            ]);
        }
        let mut raw = Raw::connect(edge.listener("web"), &[]);
        for (path, upload) in [("/two/at-once", Upload::AtOnce), ("/two/once-answered", Upload::OnceAnswered)] {
            let (ended, _) = posted(&mut raw, path, upload);
            // The origin's own word for it, unless that would pass for an end.
            assert!(matches!(ended, Ended::Reset(1..)), "{frames:?} HTTP/2 {upload:?}: {ended:?}");
            let path = format!("path=\"{path}\"");
            edge.process.wait_log(&[&path, "ended=\"broken\"", "reason=\"connection_reset\""]);
        }
    }
}

#[test]
fn an_http2_answer_without_its_end_of_which_nobody_was_told_is_a_502() {
    let small: Frames = &[(kind::HEADERS, END_HEADERS, b"\x88\x0f\x0d\x018"), HALF, NO_ERROR];
    let (_world, _origin, edge, _dc1) = in_frames(small);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let told = out(curl(&edge, "/", &[version, "-o", "/dev/null", "-w", "%{http_code}"]));
        assert_eq!(told, "502", "{version}");
    }
}

#[test]
fn an_http2_answer_that_is_whole_stays_so_when_the_origin_wants_no_more_of_the_request() {
    let whole: [Frames; 4] = [
        &[PLAIN, (kind::DATA, END_STREAM, b"half"), NO_ERROR],
        &[OF_4, (kind::DATA, END_STREAM, b"half"), NO_ERROR],
        // Its length says that nothing is missing.
        &[OF_4, HALF, NO_ERROR],
        &[PLAIN, HALF, (kind::HEADERS, END_HEADERS | END_STREAM, b"\x10\x01t\x01v"), NO_ERROR],
    ];
    for frames in whole {
        let (_world, _origin, edge, _dc1) = in_frames(frames);
        for version in ["--http1.0", "--http1.1"] {
            let got = out(curl(&edge, &format!("/{version}"), &["-d", "body", version]));
            assert_eq!(got, "half", "{frames:?} {version}");
            edge.process.wait_log(&[&format!("path=\"/{version}\""), "ended=\"finished\""]);
        }
        let mut raw = Raw::connect(edge.listener("web"), &[]);
        for (path, upload) in [("/two/at-once", Upload::AtOnce), ("/two/once-answered", Upload::OnceAnswered)] {
            assert_eq!(posted(&mut raw, path, upload), (OK, b"half".to_vec()), "{frames:?} HTTP/2 {upload:?}");
            edge.process.wait_log(&[&format!("path=\"{path}\""), "ended=\"finished\""]);
        }
    }
}

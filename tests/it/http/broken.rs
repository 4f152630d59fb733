//! Answers that break off behind a tunnel: whoever reads one learns that it is not whole.

use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use underpass_tests::harness::{
    Origin, client,
    origin::{Ending, reset, web},
    process,
    wait::SOON,
};

use super::{curl, with_origin};

/// Answers the first head with these bytes and resets the connection right behind them.
fn breaks_off(at: SocketAddr, answer: &'static str) -> Origin {
    Origin::start(at, move |mut stream| {
        if web::head(stream)?.is_some() {
            stream.write_all(answer.as_bytes())?;
            reset(stream);
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

//! Answers that break off behind a tunnel: whoever reads one learns that it is not whole.

use std::{
    io::{ErrorKind, Write},
    net::SocketAddr,
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

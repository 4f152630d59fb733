//! Origins that die, hang, are slow, reset, or flap.

use std::{
    io::{BufReader, Write},
    net::SocketAddr,
    sync::atomic::Ordering,
    time::Duration,
};

use rig::origin::http::{self, Answer, Request};
use underpass_tests::harness::{
    Origin, client,
    frames::{self, Ended, Raw},
    origin::{self, Ending},
    process::Signal,
    wait,
};

use super::{Case, Stage};
use crate::{
    lab::{PROBED_OUT, edge_address},
    load::{Askers, Told, ports},
};

/// How late a slow origin answers.
const SLOW: Duration = Duration::from_secs(2);
/// Clients give up after 10 s.
const LONGER_THAN_CLIENTS_WAIT: Duration = Duration::from_secs(12);
/// A flapping origin is up for as long as a probe's interval, then down for as long.
const FLAP: Duration = Duration::from_millis(500);
const FLAPS: usize = 10;
/// What is answered in half by one origin and not found by the other, and how often somebody asks each edge for it.
const HALF: &str = "/half?id=half";
const HALF_ID: &str = "half";
const HALVES_ASKED: usize = 30;
/// How often somebody asks while a connector joins.
const ASK_EVERY: Duration = Duration::from_millis(5);

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("origin-killed", "origin killed, one of two")
            .quick()
            .leaves(PROBED_OUT)
            .strike(kill)
            .heal(|stage| stage.lab.restart_web(0)),
        Case::new("origin-hung", "origin hung (accepts and says nothing), one of two")
            .hold(LONGER_THAN_CLIENTS_WAIT)
            .leaves(PROBED_OUT)
            .strike(|stage| stage.lab.origins.web[0].process.signal(Signal::STOP))
            .heal(|stage| stage.lab.origins.web[0].process.signal(Signal::CONT)),
        Case::new("origin-slow", "origin slow (answers after 2 s), one of two")
            .hold(Duration::from_secs(6))
            .leaves(PROBED_OUT)
            .strike(|stage| stand_in(stage, slow))
            .heal(stand_aside),
        Case::new("origin-resets", "origin that resets every connection, one of two")
            .leaves(PROBED_OUT)
            .strike(|stage| stand_in(stage, resetting))
            .heal(stand_aside),
        Case::new("origin-breaks-off", "origin that resets in the middle of answers without a length, one of two")
            .strike(break_off)
            .heal(stand_aside),
        Case::new("origin-refuses-new", "origin that serves who is connected and refuses new connections, one of two")
            .cuts_nothing()
            .leaves(PROBED_OUT)
            .strike(refuse_new)
            .heal(|stage| stage.lab.site_a.nft("delete table ip fault")),
        Case::new("udp-origin-hung", "UDP origin that answers nothing, one of two")
            .hold(Duration::from_secs(6))
            .leaves(PROBED_OUT)
            .strike(|stage| stage.lab.origins.dns[0].process.signal(Signal::STOP))
            .heal(|stage| stage.lab.origins.dns[0].process.signal(Signal::CONT)),
        Case::new("replica-joins", "a connector joins a pool whose origin is ill, while the next pool is well")
            .hold(Duration::ZERO)
            .recovers_in_its_time()
            .prepare(fall_ill)
            .strike(join)
            .heal(|stage| {
                stage.guest = None;
                stage.lab.origins.spare_code.store(200, Ordering::SeqCst);
            }),
        Case::new("origin-flaps", "origin flapping at the probe's own period, one of two")
            .hold(Duration::ZERO)
            .strike(flap),
    ]
}

fn kill(stage: &mut Stage) {
    stage.lab.origins.web[0].process.kill();
}

fn flap(stage: &mut Stage) {
    for _ in 0..FLAPS {
        kill(stage);
        wait::pass(FLAP);
        stage.lab.restart_web(0);
        wait::pass(FLAP);
    }
}

/// Whoever is connected goes on; who begins to connect is sent away.
fn refuse_new(stage: &mut Stage) {
    let at = stage.lab.origins.web[0].address;
    stage.lab.site_a.nft(&format!(
        "add table ip fault; add chain ip fault in {{ type filter hook input priority 0; }}; \
         add rule ip fault in ip daddr {} tcp dport {} tcp flags & (syn | ack) == syn reject with tcp reset",
        at.ip(),
        at.port()
    ));
}

/// The first pool's only origin answers 500, and both edges know.
fn fall_ill(stage: &mut Stage) {
    stage.lab.origins.spare_code.store(500, Ordering::SeqCst);
    for host in &stage.lab.edges {
        host.netns.inside(|| host.edge.wait_reason("spare-1", "code_mismatch"));
    }
}

/// A third connector brings new paths to it. Requests of that time must not meet it.
fn join(stage: &mut Stage) {
    let asking = Askers::start(&[edge_address(0), edge_address(1)], ports::SPARE, (1, ASK_EVERY));
    let guest = stage.lab.start_replica(4, "dc-c");
    for host in &stage.lab.edges {
        host.netns.inside(|| host.edge.wait_links("dc-c", 2));
    }
    // By then every new path has been probed.
    wait::pass(Duration::from_secs(2));
    stage.guest = Some(guest);
    let Told { figures, first } = asking.stop(None);
    stage.notes.push(format!("{figures} as it joined"));
    stage.amiss.extend(first.map(|first| format!("a request met the ill origin: {first}")));
}

/// Who asks for an answer that breaks off learns that it did, whatever HTTP they speak.
fn break_off(stage: &mut Stage) {
    stand_in(stage, breaking_off);
    let (mut broken, mut taken) = (0, 0);
    for edge in 0..stage.lab.edges.len() {
        let at = SocketAddr::new(edge_address(edge), ports::WEB);
        for asked in 0..HALVES_ASKED {
            let is_broken = match asked % 3 {
                0 => half_over_http1(at, "HTTP/1.0"),
                1 => half_over_http1(at, "HTTP/1.1"),
                _ => half_over_http2(at),
            };
            broken += usize::from(is_broken == Some(true));
            taken += usize::from(is_broken == Some(false));
        }
    }
    stage.notes.push(format!("{broken} answers broke off, {taken} of them unseen"));
    if taken > 0 || broken == 0 {
        stage.amiss.push(format!("{broken} halves were told as such, {taken} were taken for the whole"));
    }
}

/// Whether half an answer was told as such; none if the other origin has answered.
fn half_over_http1(at: SocketAddr, version: &str) -> Option<bool> {
    let mut stream = client::connect(at).ok()?;
    write!(stream, "GET {HALF} {version}\r\nHost: lab.test\r\nConnection: close\r\n\r\n").ok()?;
    let (got, ended) = client::read_all(&stream);
    String::from_utf8_lossy(&got).contains(" 200 ").then_some(ended.is_err())
}

fn half_over_http2(at: SocketAddr) -> Option<bool> {
    let mut raw = Raw::connect(at, &[]);
    let fields: [(&[u8], &[u8]); 4] =
        [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"lab.test"), (b":path", HALF.as_bytes())];
    let asked = raw.open(&fields, frames::END_STREAM);
    match raw.end_of(asked) {
        Ended::Reset(_) | Ended::Closed(_) => Some(true),
        whole if whole == frames::OK => Some(false),
        Ended::Answered(_) => None,
    }
}

/// Answers as nginx `a-1` does, but breaks off what is asked for half.
fn breaking_off(at: SocketAddr) -> Origin {
    Origin::start(at, |mut stream| {
        let mut reader = BufReader::new(stream);
        while let Some(request) = Request::read(&mut reader)? {
            request.take_body(&mut reader)?;
            let id = id(&request);
            if id == HALF_ID {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf")?;
                origin::reset(stream)?;
                return Ok(Ending::Reset);
            }
            let text = format!("a-1 {id}");
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())?;
        }
        Ok(Ending::Clean)
    })
}

fn stand_in(stage: &mut Stage, habit: fn(SocketAddr) -> Origin) {
    kill(stage);
    let at = stage.lab.origins.web[0].address;
    stage.stand_in = Some(stage.lab.site_a.inside(|| habit(at)));
}

fn stand_aside(stage: &mut Stage) {
    let stand_in = stage.stand_in.take();
    stage.lab.site_a.inside(|| drop(stand_in));
    stage.lab.restart_web(0);
}

/// Reads a request and resets.
fn resetting(at: SocketAddr) -> Origin {
    Origin::start(at, |stream| {
        let _ = Request::read(&mut BufReader::new(stream));
        origin::reset(stream)?;
        Ok(Ending::Reset)
    })
}

/// Answers as nginx `a-1` does, and late.
fn slow(at: SocketAddr) -> Origin {
    let answer = |request: &Request| {
        wait::pass(SLOW);
        Answer::ok(format!("a-1 {}", id(request)))
    };
    Origin::start(at, move |stream| http::serve(stream, answer))
}

/// The number that a request asks for.
fn id(request: &Request) -> &str {
    request.target().split_once("?id=").map_or("", |(_, id)| id)
}

//! Origins that die, hang, are slow, reset, or flap.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    time::Duration,
};

use underpass_tests::harness::{
    Origin,
    origin::{self, Ending},
    process::Signal,
    wait,
};

use super::{Case, Stage};
use crate::lab::PROBED_OUT;

/// How late a slow origin answers.
const SLOW: Duration = Duration::from_secs(2);
/// Clients give up after 10 s.
const LONGER_THAN_CLIENTS_WAIT: Duration = Duration::from_secs(12);
/// A flapping origin is up for as long as a probe's interval, then down for as long.
const FLAP: Duration = Duration::from_millis(500);
const FLAPS: usize = 10;

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
        let _ = BufReader::new(stream).read_line(&mut String::new());
        origin::reset(stream);
        Ok(Ending::Reset)
    })
}

/// Answers as nginx `a-1` does, and late.
fn slow(at: SocketAddr) -> Origin {
    Origin::start(at, |mut stream| {
        let mut reader = BufReader::new(stream);
        loop {
            let Some((id, body)) = request(&mut reader)? else { return Ok(Ending::Clean) };
            std::io::copy(&mut std::io::Read::take(&mut reader, body), &mut std::io::sink())?;
            wait::pass(SLOW);
            let text = format!("a-1 {id}");
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())?;
        }
    })
}

/// The number that a request asks for and the length of its body; none at the end.
fn request(reader: &mut impl BufRead) -> std::io::Result<Option<(String, u64)>> {
    let (mut id, mut body) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some((_, rest)) = line.split_once("?id=") {
            rest.split(' ').next().unwrap_or_default().clone_into(&mut id);
        } else if let Some(length) = line.strip_prefix("content-length:") {
            body = length.trim().parse().unwrap_or(0);
        } else if line.is_empty() {
            return Ok(Some((id, body)));
        }
    }
}

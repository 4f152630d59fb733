//! DNS questions over UDP, asked again on silence as resolvers do.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use rig::{
    dns,
    sample::{Kind, Outcome},
};

use super::{Client, failed, fresh_id};

/// Silence after which a question is asked again.
const AGAIN: Duration = Duration::from_millis(700);
const TRIES: usize = 6;
/// Questions from one port, which makes them one session at an edge.
const SESSION: u32 = 20;
/// What the server answers to every question of `.test`.
const ADDRESS: [u8; 4] = [192, 0, 2, 7];

/// Question after question.
pub(super) fn run(client: &Client, every: Duration) {
    let (mut socket, mut on) = (None, None);
    let mut asked = 0;
    client.pace(every, || {
        if asked % SESSION == 0 {
            (socket, on) = (None, None);
        }
        asked += 1;
        client.record_on(&mut on, Kind::Question, |repeats| match ask(&mut socket, client.at, repeats) {
            Ok(outcome) => outcome,
            Err(error) => failed(error),
        });
    });
}

fn ask(socket: &mut Option<UdpSocket>, at: SocketAddr, repeats: &mut u32) -> io::Result<Outcome> {
    let socket = match socket {
        Some(socket) => socket,
        None => socket.insert(connect(at)?),
    };
    let id = fresh_id();
    let question = question(id);
    for _ in 0..TRIES {
        // A refusal heard of an earlier question is none of this one.
        let _ = socket.send(&question).or_else(|_| socket.send(&question));
        if let Some(outcome) = answer(socket, &question)? {
            return Ok(outcome);
        }
        *repeats += 1;
    }
    Ok(failed(format!("no answer to {TRIES} tries")))
}

fn connect(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(at)?;
    Ok(socket)
}

/// Waits for the answer to this very question.
fn answer(socket: &UdpSocket, question: &[u8]) -> io::Result<Option<Outcome>> {
    let until = Instant::now() + AGAIN;
    let mut buffer = [0; 1500];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let answer = &buffer[..length];
        // What belongs to an earlier question comes late, as it may.
        if answer.get(..2) == Some(&question[..2]) {
            return Ok(Some(judge(answer, question)));
        }
    }
}

fn judge(answer: &[u8], question: &[u8]) -> Outcome {
    match (dns::code_for(question, answer), dns::data_for(question, answer, dns::A)) {
        (Some(0), Some(address)) if address == ADDRESS => Outcome::Served,
        (Some(code), _) if code != 0 => Outcome::Failed(format!("DNS code {code}")),
        _ => Outcome::Wrong(format!("{answer:02x?} to {question:02x?}")),
    }
}

/// A question for the address of `nNUMBER.test`.
fn question(number: u64) -> Vec<u8> {
    let id = u16::try_from(number % 0x1_0000).unwrap_or_default();
    dns::question(id, &[&format!("n{number}"), "test"], dns::A)
}

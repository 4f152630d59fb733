//! The clients themselves: one exchange each, checked and written down.

use std::{
    io::{BufRead, BufReader, Read, Write},
    time::Duration,
};

use rig::{
    client::{self, Pattern, Timed, http, resolver::Resolver, udp::Asking},
    dns,
    load::{Client, Noted},
    sample::{Kind, Outcome, Placed, Trouble},
};

use super::Goal;
use crate::lab::plan::{Saying, Speech};

/// How long a client waits for anything. Longer than a link takes to be found dead, so it sees what the edge does then.
const PATIENCE: Duration = Duration::from_secs(6);
/// UDP may lose a payload, so a client that hears nothing for this long asks again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Bytes of a block that is sent and has to come back.
const BLOCK: usize = 4096;
/// Longest line an origin says.
const LINE_MAX: u64 = 512;

/// Opens a connection, makes one exchange, and closes.
pub(super) fn visit(goal: &Goal, client: &Client) {
    client.record(&mut None, first(goal), |noted| match goal.service.speech {
        Speech::Http => {
            let mut connection = http::Connection::open(goal.at, PATIENCE).map_err(unconnected)?;
            get(goal, (&mut connection, "close"), noted).map(drop)
        }
        Speech::Echo => {
            let mut stream = greeted(goal, noted)?;
            block(&mut stream, noted.connection.number)?;
            hang_up(stream)
        }
        Speech::Dns => ask(goal, &mut Asked { resolver: Resolver::open(goal.at)?, questions: 0 }, noted),
    });
}

/// Keeps one connection busy, and opens another when it is lost.
pub(super) fn keep(goal: &Goal, client: &Client, (after, every): (Duration, Duration)) {
    let (mut speaking, mut on) = (None, None);
    client.pace_from(after, every, || {
        let kind = if on.is_none() { first(goal) } else { further(goal) };
        let outcome = client.record(&mut on, kind, |noted| exchange(goal, &mut speaking, noted));
        // An edge may say that an answer is the last of its connection.
        if outcome != Outcome::Served || speaking.is_none() {
            (speaking, on) = (None, None);
        }
    });
}

fn first(goal: &Goal) -> Kind {
    match goal.service.speech {
        Speech::Http => Kind::GetNew,
        Speech::Echo => Kind::Connect,
        Speech::Dns => Kind::Question,
    }
}

fn further(goal: &Goal) -> Kind {
    match goal.service.speech {
        Speech::Http => Kind::GetKept,
        Speech::Echo => Kind::Block,
        Speech::Dns => Kind::Question,
    }
}

/// What is spoken over a connection that is kept.
#[derive(Debug)]
enum Speaking {
    Http(http::Connection),
    Echo(Flow),
    Dns(Asked),
}

/// A long flow: whoever greeted is at its other end for as long as it lives.
#[derive(Debug)]
struct Flow {
    stream: BufReader<Timed>,
    placed: Option<Placed>,
    blocks: u64,
}

/// A session, and how many questions were asked over it.
#[derive(Debug)]
struct Asked {
    resolver: Resolver,
    questions: u64,
}

/// Opens a connection and makes the first exchange, or a further one over the one that is open.
fn exchange(goal: &Goal, speaking: &mut Option<Speaking>, noted: &mut Noted) -> Result<(), Trouble> {
    let opened = match speaking {
        Some(open) => open,
        None => match goal.service.speech {
            Speech::Http => {
                speaking.insert(Speaking::Http(http::Connection::open(goal.at, PATIENCE).map_err(unconnected)?))
            }
            Speech::Echo => {
                let stream = greeted(goal, noted)?;
                *speaking = Some(Speaking::Echo(Flow { stream, placed: noted.placed.clone(), blocks: 0 }));
                return Ok(());
            }
            Speech::Dns => speaking.insert(Speaking::Dns(Asked { resolver: Resolver::open(goal.at)?, questions: 0 })),
        },
    };
    match opened {
        Speaking::Http(connection) => {
            if get(goal, (connection, "keep-alive"), noted)? {
                *speaking = None;
            }
            Ok(())
        }
        Speaking::Echo(flow) => {
            noted.placed.clone_from(&flow.placed);
            flow.blocks += 1;
            flow.stream.get_mut().allow(PATIENCE);
            block(&mut flow.stream, noted.connection.number << 32 | flow.blocks)
        }
        Speaking::Dns(asked) => ask(goal, asked, noted),
    }
}

/// Asks once; true if the answer is the last of its connection.
fn get(goal: &Goal, (connection, then): (&mut http::Connection, &str), noted: &mut Noted) -> Result<bool, Trouble> {
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: {then}\r\n\r\n", goal.at);
    let http::Answer { code, body, is_last } = connection.exchange(request.as_bytes())?;
    if code != 200 {
        return Err(Trouble::Failed(format!("HTTP {code}")));
    }
    place(goal, &body, noted)?;
    Ok(is_last)
}

/// Asks a question, as often as it takes. It is like no other of any session, and long enough for the edge to let an answer to
/// a new source pass.
fn ask(goal: &Goal, asked: &mut Asked, noted: &mut Noted) -> Result<(), Trouble> {
    asked.questions += 1;
    let (number, session) = (asked.questions, noted.connection.number);
    let id = u16::try_from(number % 0xffff).unwrap_or_default();
    let question = dns::question(id, &[&format!("q{number:020}"), &format!("s{session:020}"), "lab"], dns::TXT);
    let asking = Asking { again: AGAIN_AFTER, patience: PATIENCE, repeats: &mut noted.repeats };
    let answer = asked.resolver.ask(&question, asking)?;
    let text = dns::text_for(&question, &answer);
    let text = text.ok_or_else(|| Trouble::Wrong(format!("no text came: {}", answer.escape_ascii())))?;
    place(goal, &format!("{text}\n"), noted)
}

/// Notes who answered, if that is one who may.
fn place(goal: &Goal, line: &str, noted: &mut Noted) -> Result<(), Trouble> {
    let said = Saying::parse(line).filter(|said| said.is_true(goal.ground, goal.service));
    let wrong = || Trouble::Wrong(format!("{} was answered {}", goal.service.name, line.escape_debug()));
    let Saying { origin, via, .. } = said.ok_or_else(wrong)?;
    noted.placed = Some(Placed { origin, via });
    Ok(())
}

fn greeted(goal: &Goal, noted: &mut Noted) -> Result<BufReader<Timed>, Trouble> {
    let mut stream = BufReader::new(Timed::connect(goal.at, PATIENCE).map_err(unconnected)?);
    let mut line = String::new();
    (&mut stream).take(LINE_MAX).read_line(&mut line)?;
    if !line.ends_with('\n') && (line.len() as u64) < LINE_MAX {
        return Err(Trouble::Failed("ended before the greeting did".to_owned()));
    }
    place(goal, &line, noted)?;
    Ok(stream)
}

fn unconnected(error: std::io::Error) -> Trouble {
    Trouble::Failed(format!("connect: {error}"))
}

/// Sends a block that is like no other and reads it back.
fn block(stream: &mut BufReader<Timed>, seed: u64) -> Result<(), Trouble> {
    let sent = Pattern::new(seed).bytes(BLOCK);
    stream.get_mut().write_all(&sent)?;
    client::comes_back(stream, &sent)
}

/// Ends this side and expects the other's end, and nothing before it.
fn hang_up(stream: BufReader<Timed>) -> Result<(), Trouble> {
    stream.get_ref().end()?;
    let mut rest = Vec::new();
    stream.take(LINE_MAX).read_to_end(&mut rest)?;
    if rest.is_empty() { Ok(()) } else { Err(Trouble::Wrong(format!("{} bytes too many", rest.len()))) }
}

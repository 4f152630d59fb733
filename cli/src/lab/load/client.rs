//! The clients themselves: one exchange each, checked and written down.

use std::{io, time::Duration};

use hyper::StatusCode;
use rig::{
    books::Books,
    pattern::Pattern,
    sample::{self, Kind, Network, Outcome, Placed, Sample},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use super::{Goal, session::Session};
use crate::lab::{
    plan::{Saying, Speech},
    request::Connection,
};

/// How long a client waits for anything. Longer than a link takes to be found dead, so it sees what the edge does then.
const PATIENCE: Duration = Duration::from_secs(6);
/// Bytes of a block that is sent and has to come back.
const BLOCK: usize = 4096;
/// Longest line an origin says.
const LINE_MAX: u64 = 512;

/// Opens a connection, makes one exchange, and closes.
pub(super) async fn visit(goal: &Goal, books: &Books) {
    let mut visit = Exchange::begin(goal, books);
    match goal.service.speech {
        Speech::Http => {
            let answer = patient(async { Connection::open(goal.at).await?.get_last("/").await.map_err(Trouble::from) });
            let (said, outcome) = judge(goal, answer.await);
            visit.end(said.as_ref(), outcome);
        }
        Speech::Echo => {
            let mut said = None;
            let done = patient(async {
                let (mut stream, line) = greeted(goal).await?;
                said = Some(line);
                block(&mut stream, visit.connection.number).await?;
                hang_up(stream).await
            });
            let outcome = outcome(done.await);
            visit.end(said.as_ref(), outcome);
        }
        Speech::Dns => {
            let (_, said, outcome) = open_dns(goal, &mut visit).await;
            visit.end(said.as_ref(), outcome);
        }
    }
}

/// A connection that is kept for further exchanges, and who is at its other end.
#[derive(Debug)]
pub(super) struct Kept {
    speaking: Speaking,
    connection: sample::Connection,
}

#[derive(Debug)]
enum Speaking {
    Http(Connection),
    Echo(Flow),
    Dns(Session),
}

/// A long flow: whoever greeted is at its other end for as long as it lives.
#[derive(Debug)]
struct Flow {
    stream: BufReader<TcpStream>,
    said: Saying,
    blocks: u64,
}

impl Kept {
    /// Opens a connection and makes the first exchange; none if that fails.
    pub(super) async fn open(goal: &Goal, books: &Books) -> Option<Self> {
        let mut opening = Exchange::begin(goal, books);
        let connection = opening.connection;
        let (speaking, said, outcome) = match goal.service.speech {
            Speech::Http => open_http(goal).await,
            Speech::Echo => open_echo(goal).await,
            Speech::Dns => open_dns(goal, &mut opening).await,
        };
        let served = outcome == Outcome::Served;
        opening.end(said.as_ref(), outcome);
        let speaking = speaking?;
        served.then_some(Self { speaking, connection })
    }

    /// Makes a further exchange; the connection comes back if it went well.
    pub(super) async fn exchange(mut self, goal: &Goal, books: &Books) -> Option<Self> {
        let mut exchange = Exchange::further(goal, books, self.connection);
        let (said, outcome) = match &mut self.speaking {
            Speaking::Http(connection) => {
                judge(goal, patient(async { connection.get("/").await.map_err(Trouble::from) }).await)
            }
            Speaking::Echo(flow) => {
                flow.blocks += 1;
                let seed = self.connection.number << 32 | flow.blocks;
                (Some(flow.said.clone()), outcome(patient(block(&mut flow.stream, seed)).await))
            }
            Speaking::Dns(session) => exchange.ask(session).await,
        };
        let served = outcome == Outcome::Served;
        exchange.end(said.as_ref(), outcome);
        served.then_some(self)
    }
}

async fn open_http(goal: &Goal) -> (Option<Speaking>, Option<Saying>, Outcome) {
    let opened = patient(async {
        let mut connection = Connection::open(goal.at).await?;
        let answer = connection.get("/").await?;
        Ok((connection, answer))
    });
    match opened.await {
        Ok((connection, answer)) => {
            let (said, outcome) = judge(goal, Ok(answer));
            (Some(Speaking::Http(connection)), said, outcome)
        }
        Err(trouble) => (None, None, trouble.into()),
    }
}

async fn open_echo(goal: &Goal) -> (Option<Speaking>, Option<Saying>, Outcome) {
    match patient(greeted(goal)).await {
        Ok((stream, said)) => {
            let flow = Flow { stream, said: said.clone(), blocks: 0 };
            (Some(Speaking::Echo(flow)), Some(said), Outcome::Served)
        }
        Err(trouble) => (None, None, trouble.into()),
    }
}

async fn open_dns(goal: &Goal, opening: &mut Exchange<'_>) -> (Option<Speaking>, Option<Saying>, Outcome) {
    match Session::open(goal.at, opening.connection.number).await {
        Ok(mut session) => {
            let (said, outcome) = opening.ask(&mut session).await;
            (Some(Speaking::Dns(session)), said, outcome)
        }
        Err(error) => (None, None, Trouble::from(error).into()),
    }
}

/// Why an exchange did not go well.
#[derive(Debug)]
enum Trouble {
    Failed(String),
    Wrong(String),
}

impl From<Trouble> for Outcome {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Failed(why) => Self::Failed(why),
            Trouble::Wrong(what) => Self::Wrong(what),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<crate::lab::request::GetError> for Trouble {
    fn from(error: crate::lab::request::GetError) -> Self {
        Self::Failed(error.to_string())
    }
}

async fn patient<T>(exchange: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let silent = |_| Trouble::Failed(format!("no answer in {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, exchange).await.map_err(silent)?
}

fn outcome(result: Result<(), Trouble>) -> Outcome {
    match result {
        Ok(()) => Outcome::Served,
        Err(trouble) => trouble.into(),
    }
}

fn judge(goal: &Goal, answer: Result<(StatusCode, hyper::body::Bytes), Trouble>) -> (Option<Saying>, Outcome) {
    match answer {
        Ok((StatusCode::OK, body)) => match true_saying(goal, &String::from_utf8_lossy(&body)) {
            Ok(said) => (Some(said), Outcome::Served),
            Err(trouble) => (None, trouble.into()),
        },
        Ok((status, _)) => (None, Outcome::Failed(format!("HTTP {status}"))),
        Err(trouble) => (None, trouble.into()),
    }
}

fn true_saying(goal: &Goal, line: &str) -> Result<Saying, Trouble> {
    let said = Saying::parse(line).filter(|said| said.is_true(goal.ground, goal.service));
    said.ok_or_else(|| Trouble::Wrong(format!("{} was answered {}", goal.service.name, line.escape_debug())))
}

async fn greeted(goal: &Goal) -> Result<(BufReader<TcpStream>, Saying), Trouble> {
    let stream = TcpStream::connect(goal.at).await.map_err(|e| Trouble::Failed(format!("connect: {e}")))?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    (&mut stream).take(LINE_MAX).read_line(&mut line).await?;
    if !line.ends_with('\n') && (line.len() as u64) < LINE_MAX {
        return Err(Trouble::Failed("ended before the greeting did".to_owned()));
    }
    let said = true_saying(goal, &line)?;
    Ok((stream, said))
}

/// Sends a block that is like no other and reads it back.
async fn block(stream: &mut BufReader<TcpStream>, seed: u64) -> Result<(), Trouble> {
    let sent = Pattern::new(seed).bytes(BLOCK);
    stream.get_mut().write_all(&sent).await?;
    let mut back = vec![0; BLOCK];
    stream.read_exact(&mut back).await?;
    if let Some(at) = sent.iter().zip(&back).position(|(sent, back)| sent != back) {
        return Err(Trouble::Wrong(format!("byte {at} of {BLOCK} came back changed")));
    }
    Ok(())
}

/// Ends this side and expects the other's end, and nothing before it.
async fn hang_up(mut stream: BufReader<TcpStream>) -> Result<(), Trouble> {
    stream.get_mut().shutdown().await?;
    let mut rest = Vec::new();
    stream.take(LINE_MAX).read_to_end(&mut rest).await?;
    if rest.is_empty() { Ok(()) } else { Err(Trouble::Wrong(format!("{} bytes too many", rest.len()))) }
}

/// An exchange on its way.
#[derive(Debug)]
struct Exchange<'a> {
    goal: &'a Goal,
    books: &'a Books,
    kind: Kind,
    connection: sample::Connection,
    began: Duration,
    repeats: u32,
}

impl<'a> Exchange<'a> {
    /// Begins, on a connection of its own.
    fn begin(goal: &'a Goal, books: &'a Books) -> Self {
        let connection = books.connection();
        let kind = match goal.service.speech {
            Speech::Http => Kind::GetNew,
            Speech::Echo => Kind::Connect,
            Speech::Dns => Kind::Question,
        };
        Self { goal, books, kind, connection, began: connection.opened, repeats: 0 }
    }

    /// Begins a further one, on a connection that is open.
    fn further(goal: &'a Goal, books: &'a Books, connection: sample::Connection) -> Self {
        let kind = match goal.service.speech {
            Speech::Http => Kind::GetKept,
            Speech::Echo => Kind::Block,
            Speech::Dns => Kind::Question,
        };
        Self { goal, books, kind, connection, began: books.now(), repeats: 0 }
    }

    /// Asks a question, as often as it takes.
    async fn ask(&mut self, session: &mut Session) -> (Option<Saying>, Outcome) {
        let answer = patient(async { session.ask(&mut self.repeats).await.map_err(Trouble::Wrong) }).await;
        match answer.and_then(|text| true_saying(self.goal, &format!("{text}\n"))) {
            Ok(said) => (Some(said), Outcome::Served),
            Err(trouble) => (None, trouble.into()),
        }
    }

    fn end(self, said: Option<&Saying>, outcome: Outcome) {
        let Goal { edge, service, .. } = *self.goal;
        self.books.write(Sample {
            kind: self.kind,
            edge,
            network: Network(service.vnet.name()),
            connection: self.connection,
            began: self.began,
            ended: self.books.now(),
            placed: said.map(|said| Placed { origin: said.origin.clone(), via: said.via.clone() }),
            outcome,
            repeats: self.repeats,
        });
    }
}

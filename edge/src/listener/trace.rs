//! Sends a flow that nobody sent on its way, and tells how far it comes: each stage with its time, and where it stopped.
//!
//! It is placed, tried and opened by what does that for flows of clients, and reaches nothing else than they do. What it does not do is
//! to come through the listener's socket: a client's own address cannot be borrowed.

mod advice;

use std::time::{Duration, Instant};

use api::{
    explain::{Place as ToldPlace, Question},
    millis,
    trace::{Stage, Trace},
};
use protocol::{error::Reason, splice::Ended, stream::Stages};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time,
};

use super::{
    explain::Hypothetical,
    flow::{
        attempts::{self, Attempt, Miss, Missed},
        placing::Place,
        story::{Arrival, End, Kind, Packets, Request, Story},
    },
    http::{Asked, Traced},
    shared::Shared,
    state::ListenerState,
};
use crate::{
    balancer::{
        NoPlace,
        retry::{Delivered, Left},
    },
    model::{FlowId, ListenProtocol},
    offramp::{Early, Failure, First, Opened, Way, Why, Wire},
};

/// How long all of it may take: less than an answer of the admin endpoint.
const LIMIT: Duration = Duration::from_secs(20);
/// How long an origin of TCP has to speak first, if it does.
const SPEAKS_FIRST: Duration = Duration::from_millis(500);
/// What a session to an origin of UDP may be silent for; it ends at once.
const SESSION_IDLE: Duration = Duration::from_secs(5);

/// Sends a flow on its way to see how far it comes.
///
/// # Errors
/// What is wrong with the question, in words.
pub(super) async fn trace(shared: &Shared, state: &ListenerState, question: &Question) -> Result<Trace, String> {
    let serving = state.serving();
    let listener = &serving.listener;
    let flow = Hypothetical::read(&serving, question)?;
    let mut steps = Steps::default();
    let request = match accepted(state, &flow, &mut steps) {
        true => flow.request.as_ref().map(|request| Traced::new(request, &serving, flow.source.ip())).transpose(),
        false => Ok(None),
    };
    let id = match &request {
        Ok(Some(request)) => request.id,
        Ok(None) | Err(_) => FlowId::draw(&mut rand::rng()),
    };
    let told = Trace { flow: id.to_string(), listener: listener.name.to_string(), ..Trace::default() };
    let request = match request {
        Ok(request) => request,
        Err((code, words)) => {
            steps.refused("request", code, words);
            None
        }
    };
    if steps.stopped.is_some() {
        return Ok(steps.told(told));
    }
    let arrival = Arrival { id, listener: listener.clone(), source: flow.source, started: steps.began };
    let story = Story::new(&shared.metrics, &shared.recent, arrival).traced();
    let mut tracing = Tracing {
        shared,
        protocol: listener.protocol,
        request: request.as_ref(),
        story,
        steps,
        status: None,
        first_byte: None,
    };
    let mut search = flow.search(shared, listener);
    let made = time::timeout(LIMIT, attempts::make(&mut search, None, &mut tracing)).await;
    if made.is_err() && tracing.steps.stopped.is_none() {
        let words = format!("it was given up after {}", config::spell(LIMIT));
        tracing.steps.failed("place", Some(Reason::ConnectTimeout), words);
    }
    tracing.tell(made.is_ok_and(|made| made.is_ok()));
    let status = tracing.status;
    Ok(Trace { status, ..tracing.steps.told(told) })
}

/// Whether the listener would take one more connection.
fn accepted(state: &ListenerState, flow: &Hypothetical, steps: &mut Steps) -> bool {
    let listener = state.listener();
    if state.is_drained() {
        steps.refused("accept", "no_place", "the listener accepts nothing new: it is drained".to_owned());
        return false;
    }
    let (open, most) = (state.flows(), listener.max_connections);
    if open >= most {
        steps.refused("accept", "max_connections", format!("{open} connections are open, and no more may be"));
        return false;
    }
    let mut note = format!("it listens on {}, and {open} of {most} connections are open", state.address);
    if let Some(certificate) = flow.certificate() {
        note += &format!("; the client is shown {certificate}");
    }
    steps.done("accept", None, Some(note));
    true
}

/// What a flow went through so far.
#[derive(Debug)]
struct Steps {
    began: Instant,
    /// When the stage under way began.
    mark: Instant,
    attempt: u32,
    stages: Vec<Stage>,
    place: Option<ToldPlace>,
    stopped: Option<Stopped>,
}

/// Where it stopped.
#[derive(Debug)]
struct Stopped {
    stage: &'static str,
    code: &'static str,
    detail: String,
    advice: &'static str,
}

impl Default for Steps {
    fn default() -> Self {
        let began = Instant::now();
        Self { began, mark: began, attempt: 0, stages: Vec::new(), place: None, stopped: None }
    }
}

impl Steps {
    fn done(&mut self, stage: &str, took: Option<Duration>, note: Option<String>) {
        let (stage, took_ms) = (stage.to_owned(), took.map(millis));
        self.stages.push(Stage { stage, attempt: self.attempt, took_ms, failed: false, note });
        self.mark = Instant::now();
    }

    fn failed(&mut self, stage: &'static str, reason: Option<Reason>, detail: String) {
        let code = reason.map_or("no_place", Reason::as_str);
        self.stops(Stopped { stage, code, detail, advice: reason.map_or(advice::NO_PLACE, advice::of) });
    }

    fn refused(&mut self, stage: &'static str, code: &'static str, detail: String) {
        self.stops(Stopped { stage, code, detail, advice: advice::of_listener(stage) });
    }

    fn stops(&mut self, stopped: Stopped) {
        let Stopped { stage, code, detail, .. } = &stopped;
        let note = if detail.is_empty() { (*code).to_owned() } else { format!("{code}: {detail}") };
        let took_ms = Some(millis(self.mark.elapsed()));
        let stage = (*stage).to_owned();
        self.stages.push(Stage { stage, attempt: self.attempt, took_ms, failed: true, note: Some(note) });
        self.mark = Instant::now();
        self.stopped = Some(stopped);
    }

    fn told(self, trace: Trace) -> Trace {
        let (stopped_at, reason, detail, advice) = match self.stopped {
            Some(Stopped { stage, code, detail, advice }) => {
                (Some(stage.to_owned()), Some(code.to_owned()), Some(detail), Some(advice.to_owned()))
            }
            None => (None, None, None, None),
        };
        let (through, total_ms) = (stopped_at.is_none(), millis(self.began.elapsed()));
        Trace { through, place: self.place, stages: self.stages, stopped_at, reason, detail, advice, total_ms, ..trace }
    }
}

/// A traced flow at its attempts.
struct Tracing<'a> {
    shared: &'a Shared,
    protocol: ListenProtocol,
    request: Option<&'a Traced>,
    story: Story,
    steps: Steps,
    status: Option<u16>,
    first_byte: Option<Duration>,
}

impl Attempt for Tracing<'_> {
    type Opened = ();
    type Over = ();

    async fn at(&mut self, place: &Place) -> Result<(), Missed<()>> {
        self.steps.stopped = None;
        self.placed(place);
        let tried = match self.protocol {
            ListenProtocol::Tcp => self.tcp(place).await,
            ListenProtocol::Udp => self.session(place).await,
            ListenProtocol::Http | ListenProtocol::Https => self.asks(place).await,
        };
        tried.map_err(|reason| {
            // A trace says nothing of a path's health: it would count among what clients met there.
            Missed::Here(Miss { reason, delivered: Delivered::Nothing, left: Left::Repeatable, is_told: false })
        })
    }

    fn story(&mut self) -> &mut Story {
        &mut self.story
    }

    fn no_place(&mut self, no: &NoPlace, last: Option<Reason>) {
        if last.is_none() {
            let detail = no.detail.as_deref().unwrap_or("no origin can take it").to_owned();
            self.steps.failed("place", no.reason, detail);
        }
    }

    fn not_again(&mut self, _: &Miss) {}
}

impl Tracing<'_> {
    fn placed(&mut self, place: &Place) {
        let steps = &mut self.steps;
        steps.attempt += 1;
        let told = place.told();
        let way = match (&told.link, &told.connector) {
            (Some(link), Some(connector)) => format!("over link {link} of {connector}"),
            (Some(_), None) | (None, _) => "directly".to_owned(),
        };
        let note = format!("origin {} of pool {}, {way}", told.origin, told.pool);
        let (pool, origin, link, connector) = (told.pool, told.origin, told.link, told.connector);
        steps.place = Some(ToldPlace { pool, origin, link, connector, by: String::new() });
        let took = steps.mark.elapsed();
        steps.done("place", Some(took), Some(note));
    }

    /// A way has been opened, in these stages.
    fn opened(&mut self, place: &Place, connect: Duration, stages: Option<Stages>) {
        self.story.opened(connect);
        let all = self.steps.mark.elapsed();
        let steps = &mut self.steps;
        match (place.opening(self.story.id).way, stages) {
            (Way::Direct(_), _) => steps.done("dial", Some(connect), None),
            (Way::Link(_), Some(Stages { resolve, permit, dial })) => {
                steps.done("open", Some(all.saturating_sub(connect)), None);
                if let Some(resolve) = resolve {
                    steps.done("resolve", Some(resolve), None);
                }
                steps.done("permit", Some(permit), None);
                steps.done("dial", Some(dial), None);
            }
            (Way::Link(_), None) => {
                steps.done("open", Some(all.saturating_sub(connect)), None);
                let note = "the connector is too old to tell what of that was to resolve and to permit";
                steps.done("dial", Some(connect), Some(note.to_owned()));
            }
        }
    }

    /// It went no further.
    fn stopped(&mut self, stage: &'static str, why: Why) -> Reason {
        let reason = why.reason;
        self.steps.failed(stage, Some(reason), why.detail.clone());
        self.story.failed(why);
        reason
    }

    async fn open(&mut self, place: &Place) -> Result<Opened, Reason> {
        match self.shared.offramp.open(place.opening(self.story.id), &mut First::none()).await {
            Ok(opened) => {
                self.opened(place, opened.connect, opened.stages);
                Ok(opened)
            }
            Err(failure) => Err(self.stopped(stage(&failure), failure.into())),
        }
    }

    async fn tcp(&mut self, place: &Place) -> Result<(), Reason> {
        let opened = self.open(place).await?;
        let mut wire = Wire::from(opened.carrier);
        let heard = time::timeout(SPEAKS_FIRST, wire.read(&mut [0; 1024])).await;
        let took = self.steps.mark.elapsed();
        match heard {
            Ok(Err(error)) => {
                let why = Why::new(Reason::ConnectionReset, format!("it accepted, and then: {error}"));
                return Err(self.stopped("first_byte", why));
            }
            Ok(Ok(0)) => self.steps.done("first_byte", Some(took), Some("the origin ended the connection".to_owned())),
            Ok(Ok(_)) => self.steps.done("first_byte", Some(took), Some("the origin speaks first".to_owned())),
            Err(_) => {
                let note =
                    "the origin waits to be spoken to, and nothing was said: what it wants to hear nobody here knows";
                self.steps.done("first_byte", None, Some(note.to_owned()));
            }
        }
        // A polite end, so that no origin logs a reset; whether it gets through does not matter.
        let _ = wire.shutdown().await;
        Ok(())
    }

    async fn session(&mut self, place: &Place) -> Result<(), Reason> {
        let opening = place.opening(self.story.id);
        match self.shared.offramp.open_session(opening, SESSION_IDLE, &mut Early::none()).await {
            Ok(session) => {
                self.opened(place, session.connect, session.stages);
                session.finish();
                let note = "no payload was sent: what the origin answers to nobody here knows";
                self.steps.done("first_byte", None, Some(note.to_owned()));
                Ok(())
            }
            Err(failure) => Err(self.stopped(stage(&failure), failure.into())),
        }
    }

    async fn asks(&mut self, place: &Place) -> Result<(), Reason> {
        let opened = self.open(place).await?;
        let Some(request) = self.request else { return Ok(()) };
        let Asked { tls, answer } = request.ask(self.shared, place, (opened, place.pool.connect_timeout)).await;
        if let Some(tls) = tls {
            self.steps.done("tls", Some(tls), None);
        }
        match answer {
            Ok((status, took)) => {
                (self.status, self.first_byte) = (Some(status.as_u16()), Some(took));
                self.steps.done("first_byte", Some(took), Some(format!("the origin answers {status}")));
                Ok(())
            }
            Err((stage, why)) => Err(self.stopped(stage, why)),
        }
    }

    /// Its line in the access log.
    fn tell(&self, is_through: bool) {
        let ended = if is_through { End::Carried(Ended::Finished) } else { End::Refused };
        let packets = Packets::default();
        match (self.protocol, self.request) {
            (ListenProtocol::Udp, _) => self.story.tell(ended, Kind::Session { moved: 0, packets }),
            (_, Some(traced)) => {
                let (method, version) = traced.asks();
                let status = self.status.and_then(|status| ::http::StatusCode::from_u16(status).ok());
                let (host, path) = (traced.host.clone(), traced.path());
                let request =
                    Request { method, version, host, path, reused: false, status, first_byte: self.first_byte };
                self.story.tell(ended, Kind::Request(&request));
            }
            (_, None) => self.story.tell(ended, Kind::Flow),
        }
    }
}

/// At which stage an opening failed. A connector does each in its turn, so the reason says it.
fn stage(failure: &Failure) -> &'static str {
    match failure {
        Failure::Unanswered(_) | Failure::ClientGone => "open",
        Failure::Refused(reason, _) => advice::stage(*reason),
    }
}

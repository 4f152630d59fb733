//! One UDP session: placed and opened as a flow, carried, and placed again with the next payload when its path dies.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use net::{Front, Peer};
use protocol::{
    datagram::Packet,
    error::{Reason, StreamCode},
    session::{Event, SessionEnd},
    splice::Totals,
    switch::Dropped,
};
use tokio::{sync::mpsc, time};
use tracing::info;

use super::{client::Life, proof::Proof};
use crate::{
    balancer::{Ask, Near, Placed, Tried},
    health::{PathKey, Report, view::HealthView},
    listener::Shared,
    metrics::{FlowEnd, RefusedFlow},
    model::{FlowKey, Held, Listener, Origin, Pool, Via},
    offramp::{Early, Failure, Opening, Path},
};

/// How long a session that no origin can take waits for one.
const PATIENCE: Duration = Duration::from_secs(3);
/// Payloads taken from one side before the other has its turn.
const BATCH: usize = 64;

/// What a session begins with.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) shared: Arc<Shared>,
    pub(super) listener: Arc<Listener>,
    pub(super) front: Front,
    pub(super) peer: Peer,
    pub(super) queue: mpsc::Receiver<Packet>,
    pub(super) life: Arc<Life>,
    /// Silence after which the listener lets go of it.
    pub(super) idle: Duration,
    /// Counts as open until the session is over.
    pub(super) _held: Held,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    with: Beginning,
    key: FlowKey,
    place: Option<Place>,
    proof: Proof,
    totals: Totals,
    story: Story,
}

/// Where a session was placed, taken out of the view.
#[derive(Debug)]
struct Place {
    pool: Arc<Pool>,
    origin: Arc<Origin>,
    path: PathKey,
    worker: usize,
    _held: Held,
    /// Until the session itself counts on its link.
    _on_link: Held,
}

/// What is told of a session when it is over.
#[derive(Debug, Default)]
struct Story {
    attempts: u32,
    moved: u32,
    connect: Option<Duration>,
    pool: Option<Arc<Pool>>,
    origin: Option<Arc<Origin>>,
    link: Option<String>,
    connector: Option<String>,
    reason: Option<Reason>,
    packets: [u64; 2],
    bytes: [u64; 2],
}

const UP: usize = 0;
const DOWN: usize = 1;

/// How carrying over one path came to its end.
enum Over {
    /// This payload found the path dead: elsewhere from here on, or anew.
    Again(Packet, Option<Place>),
    /// The session is over.
    Ended(&'static str),
}

impl Session {
    /// A session that begins; it is placed at once, so that it can run where its link is.
    pub(super) fn new(with: Beginning) -> Self {
        let key = FlowKey { source: with.peer.source };
        let totals = with.shared.metrics.totals(&with.listener.name);
        let mut session = Self { with, key, place: None, proof: Proof::default(), totals, story: Story::default() };
        let view = session.with.shared.view.borrow().clone();
        session.place = session.find(&view, &Tried::default(), None).ok();
        session
    }

    /// The worker of the link it is placed on.
    pub(super) fn worker(&self) -> usize {
        self.place.as_ref().map_or(0, |place| place.worker)
    }

    fn find(&self, view: &HealthView, tried: &Tried, near: Option<&Place>) -> Result<Place, Option<Reason>> {
        let current = listener_in(view, &self.with.listener).ok_or(Some(Reason::TunnelDown))?;
        let ask = Ask { view, load_balancer: current.load_balancer, flow: &self.key, tried, now: Instant::now() };
        let balancer = &self.with.shared.balancer;
        let placed = match near {
            Some(place) => {
                balancer.place_near(&ask, Near { pool: &place.pool, origin: &place.origin }, &mut rand::rng())
            }
            None => balancer.place(&ask, &mut rand::rng()),
        };
        placed.map(|placed| self.take(&placed)).map_err(|no| no.reason)
    }

    fn take(&self, placed: &Placed<'_>) -> Place {
        let worker = match placed.path.via {
            Via::Link(id) => self.with.shared.offramp.worker_of(id).unwrap_or(0),
            Via::Direct => rand::random_range(0..self.with.shared.workers.count()),
        };
        Place {
            pool: placed.pool.pool.clone(),
            origin: placed.origin.origin.clone(),
            path: PathKey { pool: placed.pool.pool.name.clone(), origin: placed.origin.key, via: placed.path.via },
            worker,
            _held: placed.origin.hold(),
            _on_link: placed.path.load.hold(),
        }
    }

    /// Carries the session to its end.
    pub(super) async fn run(mut self) {
        let _flow = self.with.shared.metrics.flow(&self.with.listener.name);
        let cut = self.with.shared.cut.clone();
        let ended = tokio::select! {
            ended = self.carry() => ended,
            () = cut.cancelled() => "cut",
        };
        self.tell(ended);
    }

    async fn carry(&mut self) -> &'static str {
        let Some(mut first) = self.with.queue.recv().await else { return self.let_go() };
        loop {
            self.note_up(first.payload().len());
            let (path, place) = match self.open(first).await {
                Ok(opened) => opened,
                Err(ended) => return ended,
            };
            match self.carry_over(path, &place).await {
                Over::Again(packet, next) => {
                    self.story.moved += 1;
                    self.with.shared.metrics.session_moved(&self.with.listener.name);
                    self.place = next.or_else(|| self.elsewhere(&place));
                    first = packet;
                }
                Over::Ended(ended) => return ended,
            }
        }
    }

    /// Places and opens until one path has accepted.
    async fn open(&mut self, first: Packet) -> Result<(Path, Place), &'static str> {
        let mut tried = Tried::default();
        let until = time::Instant::now() + PATIENCE;
        let drops = self.with.shared.metrics.drops().clone();
        // The queue is lent out, so that payloads that come meanwhile go along.
        let (_closed, nobody) = mpsc::channel(1);
        let mut queue = std::mem::replace(&mut self.with.queue, nobody);
        let mut early = Early::of(first, &mut queue, drops.clone());
        let opened = loop {
            let place = match self.place.take() {
                Some(place) => place,
                None => match self.find_patiently(&tried, until, &mut early).await {
                    Ok(place) => place,
                    Err(ended) => {
                        early.payloads().for_each(|_| drops.count(Dropped::NoPlace));
                        break Err(ended);
                    }
                },
            };
            self.story.note(&place, &self.with.shared);
            let opening =
                Opening { origin: &place.origin, via: place.path.via, wait: place.pool.connect_timeout, priority: 0 };
            match self.with.shared.offramp.open_session(opening, self.with.idle, &mut early).await {
                Ok(path) => {
                    self.story.connect = Some(path.connect);
                    self.story.reason = None;
                    break Ok((path, place));
                }
                Err(Failure::Refused(reason, _) | Failure::Unanswered(reason)) => {
                    self.story.reason = Some(reason);
                    self.report(&place, Err(reason));
                    tried.path(place.path.origin, place.path.via, reason);
                }
                Err(Failure::ClientGone) => break Err(self.let_go()),
            }
        };
        let later: Vec<usize> = early.payloads().skip(1).map(<[u8]>::len).collect();
        drop(early);
        later.into_iter().for_each(|bytes| self.note_up(bytes));
        self.with.queue = queue;
        opened
    }

    /// Finds a place, waiting a while for one if there is none.
    async fn find_patiently(
        &mut self,
        tried: &Tried,
        until: time::Instant,
        early: &mut Early<'_>,
    ) -> Result<Place, &'static str> {
        let mut views = self.with.shared.view.clone();
        loop {
            let view = views.borrow_and_update().clone();
            match self.find(&view, tried, None) {
                Ok(place) => return Ok(place),
                Err(reason) => {
                    self.story.reason = self.story.reason.or(reason);
                    let may_change = listener_in(&view, &self.with.listener).is_none()
                        || matches!(self.story.reason, Some(Reason::TunnelDown | Reason::LinkLost));
                    if !may_change {
                        return Err(self.refused());
                    }
                }
            }
            tokio::select! {
                changed = time::timeout_at(until, views.changed()) => if !matches!(changed, Ok(Ok(()))) {
                    return Err(self.refused());
                },
                () = early.gather() => return Err(self.let_go()),
            }
        }
    }

    fn refused(&self) -> &'static str {
        self.with.shared.metrics.refused_flow(&self.with.listener.name, RefusedFlow::NoPlace);
        "refused"
    }

    /// Why the listener let go of the session.
    fn let_go(&self) -> &'static str {
        self.with.life.let_go.get().copied().unwrap_or("closed")
    }

    /// Another place for a session whose path is not sound: the same origin if another path leads there.
    fn elsewhere(&self, place: &Place) -> Option<Place> {
        let mut tried = Tried::default();
        tried.path(place.path.origin, place.path.via, Reason::LinkLost);
        let view = self.with.shared.view.borrow().clone();
        self.find(&view, &tried, Some(place)).ok()
    }

    async fn carry_over(&mut self, mut path: Path, place: &Place) -> Over {
        let (mut alive, mut answered) = (true, false);
        loop {
            tokio::select! {
                packet = self.with.queue.recv() => {
                    let Some(packet) = packet else {
                        path.finish();
                        return Over::Ended(self.let_go());
                    };
                    if !alive {
                        return Over::Again(packet, None);
                    }
                    // A path that may recover is left only for a better one.
                    if !path.is_sound() && let Some(next) = self.elsewhere(place) {
                        path.finish();
                        return Over::Again(packet, Some(next));
                    }
                    self.send(&mut path, packet);
                    for _ in 1..BATCH {
                        let Ok(packet) = self.with.queue.try_recv() else { break };
                        self.send(&mut path, packet);
                    }
                }
                event = path.next(), if alive => match event {
                    Event::Payload(payload) => {
                        if !answered {
                            answered = true;
                            self.report(place, Ok(()));
                        }
                        self.answer(&payload);
                        for _ in 1..BATCH {
                            let Some(payload) = path.try_next() else { break };
                            self.answer(&payload);
                        }
                        self.with.life.answered();
                    }
                    Event::Ended(SessionEnd::Cut(StreamCode::Unreachable)) => {
                        self.story.reason = Some(Reason::ConnectRefused);
                        self.report(place, Err(Reason::ConnectRefused));
                        return Over::Ended("unreachable");
                    }
                    Event::Ended(SessionEnd::Finished | SessionEnd::Cut(_) | SessionEnd::LinkLost) => alive = false,
                },
            }
        }
    }

    fn send(&mut self, path: &mut Path, packet: Packet) {
        self.note_up(packet.payload().len());
        if let Err(why) = path.send(packet) {
            self.with.shared.metrics.drops().count(why);
        }
    }

    fn note_up(&mut self, bytes: usize) {
        self.proof.heard(bytes);
        self.story.packets[UP] += 1;
        self.story.bytes[UP] += bytes as u64;
        self.totals.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// To the client.
    fn answer(&mut self, payload: &[u8]) {
        let drops = self.with.shared.metrics.drops();
        if !self.proof.may_answer(payload.len()) {
            return drops.count(Dropped::ReplyBudget);
        }
        if self.with.front.try_send(self.with.peer, payload).is_err() {
            return drops.count(Dropped::SocketFull);
        }
        self.story.packets[DOWN] += 1;
        self.story.bytes[DOWN] += payload.len() as u64;
        self.totals.received.fetch_add(payload.len() as u64, Ordering::Relaxed);
    }

    fn report(&self, place: &Place, connect: Result<(), Reason>) {
        if place.pool.monitor.is_some() {
            self.with.shared.reports.tell(Report { path: place.path.clone(), connect });
        }
    }

    /// One line a session, and its counters.
    fn tell(&self, ended: &'static str) {
        let (story, listener) = (&self.story, &self.with.listener.name);
        self.with.shared.metrics.flow_ended(&FlowEnd { listener, ended });
        info!(
            target: "access",
            %listener,
            source = %self.key.source,
            pool = story.pool.as_ref().map(|pool| pool.name.to_string()),
            origin = story.origin.as_ref().map(|origin| origin.name.to_string()),
            connector = story.connector,
            link = story.link,
            attempts = story.attempts,
            moved = story.moved,
            connect_ms = story.connect.map(millis),
            duration_ms = millis(self.with.life.age()),
            packets_up = story.packets[UP],
            packets_down = story.packets[DOWN],
            bytes_up = story.bytes[UP],
            bytes_down = story.bytes[DOWN],
            ended,
            reason = story.reason.map(Reason::as_str),
            "session"
        );
    }
}

impl Story {
    fn note(&mut self, place: &Place, shared: &Shared) {
        self.attempts += 1;
        self.pool = Some(place.pool.clone());
        self.origin = Some(place.origin.clone());
        (self.link, self.connector) = match place.path.via {
            Via::Direct => (None, None),
            Via::Link(id) => (Some(id.to_string()), shared.offramp.connector_of(id).map(|c| c.to_string())),
        };
    }
}

/// The listener as a view knows it. A listener receives before the first view that knows it is published.
fn listener_in<'v>(view: &'v HealthView, listener: &Listener) -> Option<&'v Listener> {
    view.catalog.listeners.iter().find(|l| l.name == listener.name).map(|l| &**l)
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

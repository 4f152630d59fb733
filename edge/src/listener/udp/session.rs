//! One UDP session: placed and opened as a flow, carried, and placed again with the next payload when its path dies or its
//! origin falls silent.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use net::{Front, Peer};
use protocol::{
    datagram::{Arena, Packet},
    error::{Reason, StreamCode},
    proxy::Ends,
    session::{Event, SessionEnd},
    switch::Dropped,
};
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use super::{
    client::Life,
    silence::{self, Doubt, Silence},
};
use crate::{
    balancer::{
        NoPlace, Tried,
        retry::{Delivered, Left},
    },
    listener::{
        flow::{
            attempts::{self, Attempt, Miss, Missed},
            placing::{Place, Search},
            story::{Arrival, End, Kind, Packets, Story},
        },
        guests::Admitted,
        shared::Shared,
        sources::Standing,
    },
    metrics::RefusedFlow,
    model::{FlowId, FlowKey, Listener, OnUnhealthy},
    offramp::{self, Early, Failure, Why},
};

/// Payloads taken from one side before the other has its turn.
const BATCH: usize = 64;

/// What a session begins with.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) shared: Arc<Shared>,
    pub(super) listener: Arc<Listener>,
    pub(super) front: Front,
    /// Held for as long as the socket is.
    pub(super) _open: Arc<DropGuard>,
    /// Where the source's address stands.
    pub(super) standing: Standing,
    pub(super) peer: Peer,
    /// The client, and where it sent to.
    pub(super) ends: Ends,
    /// What each answer begins with.
    pub(super) word: Bytes,
    pub(super) queue: mpsc::Receiver<Packet>,
    pub(super) life: Arc<Life>,
    /// Silence after which the listener lets go of it.
    pub(super) idle: Duration,
    /// Counts as open until the session is over.
    pub(super) _admitted: Admitted,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    with: Beginning,
    place: Option<Place>,
    silence: Silence,
    /// Where nobody has answered it since it was answered last.
    silent: Tried,
    story: Story,
    moved: u32,
    packets: Packets,
    arena: Arena,
}

/// How carrying over one path came to its end.
enum Over {
    /// This payload found the path dead: elsewhere from here on, or anew.
    Again(Packet, Option<Place>),
    /// The session is over.
    Ended(End),
}

impl Beginning {
    /// Why the listener let go of the session.
    fn let_go(&self) -> End {
        self.life.let_go.get().copied().unwrap_or(End::Closed)
    }
}

/// A session that has not reached its origin yet.
struct Opening<'a, 'q> {
    with: &'a Beginning,
    early: &'a mut Early<'q>,
    story: &'a mut Story,
}

impl Attempt for Opening<'_, '_> {
    type Opened = offramp::Session;
    type Over = End;

    async fn at(&mut self, place: &Place) -> Result<offramp::Session, Missed<End>> {
        let offramp = &self.with.shared.offramp;
        match offramp.open_session(place.opening(self.story.id), self.with.idle, self.early).await {
            Ok(session) => {
                self.story.opened(session.connect);
                Ok(session)
            }
            Err(Failure::ClientGone) => Err(Missed::Over(self.with.let_go())),
            Err(failure @ (Failure::Refused(..) | Failure::Unanswered(_))) => {
                let why = Why::from(failure);
                // Payloads may come twice, as with UDP itself.
                let (delivered, left) = (Delivered::Nothing, Left::Repeatable);
                let miss = Miss { reason: why.reason, delivered, left, is_told: true };
                self.story.failed(why);
                Err(Missed::Here(miss))
            }
        }
    }

    async fn is_left(&mut self) -> End {
        self.early.gather().await;
        self.with.let_go()
    }

    fn story(&mut self) -> &mut Story {
        self.story
    }

    fn no_place(&mut self, _: &NoPlace, _: Option<Reason>) -> End {
        let Beginning { shared, listener, .. } = self.with;
        shared.metrics.refused_flow(&listener.name, RefusedFlow::NoPlace);
        self.early.payloads().for_each(|_| shared.metrics.drops().count(Dropped::NoPlace));
        End::Refused
    }

    fn not_again(&mut self, _: &Miss) -> End {
        End::Refused
    }
}

impl Session {
    /// A session that begins; it is placed at once, so that it can run where its link is.
    pub(super) fn new(with: Beginning) -> Self {
        let place = Search::new(&with.shared, &with.listener, FlowKey::of(with.ends.source)).look();
        let (id, listener) = (FlowId::draw(&mut rand::rng()), with.listener.clone());
        let arrival = Arrival { id, listener, source: with.ends.source, started: with.life.began };
        let story = Story::new(&with.shared.metrics, &with.shared.recent, arrival);
        let (silence, silent) = (Silence::default(), Tried::default());
        Self { with, place, silence, silent, story, moved: 0, packets: Packets::default(), arena: Arena::default() }
    }

    /// The worker of the link it is placed on.
    pub(super) fn worker(&self) -> usize {
        self.place.as_ref().map_or(0, |place| place.worker(&self.with.shared))
    }

    /// Carries the session to its end.
    pub(super) async fn run(mut self) {
        let _flow = self.with.shared.metrics.flow(&self.with.listener.name);
        let cut = self.with.shared.cut.clone();
        let ended = tokio::select! {
            ended = self.carry() => ended,
            () = cut.cancelled() => End::Cut,
        };
        self.story.tell(ended, Kind::Session { moved: self.moved, packets: self.packets });
    }

    async fn carry(&mut self) -> End {
        let Some(mut first) = self.with.queue.recv().await else { return self.let_go() };
        loop {
            self.note_heard(first.payload().len());
            let (place, path) = match self.open(first).await {
                Ok(opened) => opened,
                Err(ended) => return ended,
            };
            match self.carry_over(path, &place).await {
                Over::Again(packet, next) => {
                    self.moved += 1;
                    self.silence.begins_anew();
                    self.with.shared.metrics.session_moved(&self.with.listener.name);
                    self.place = next.or_else(|| self.elsewhere(&place));
                    first = packet;
                }
                Over::Ended(ended) => return ended,
            }
        }
    }

    /// Places and opens until one path has accepted.
    async fn open(&mut self, first: Packet) -> Result<(Place, offramp::Session), End> {
        // The queue is lent out, so that payloads that come meanwhile go along.
        let (_closed, nobody) = mpsc::channel(1);
        let mut queue = std::mem::replace(&mut self.with.queue, nobody);
        let mut early =
            Early::of(first, &mut queue, self.with.shared.metrics.drops().clone()).announcing(self.with.ends);
        let shared = self.with.shared.clone();
        let mut search = Search::new(&shared, &self.with.listener, FlowKey::of(self.with.ends.source));
        let (with, story) = (&self.with, &mut self.story);
        let mut opening = Opening { with, early: &mut early, story };
        let opened = attempts::make(&mut search, self.place.take(), &mut opening).await;
        let payloads: Vec<usize> = early.payloads().map(<[u8]>::len).collect();
        drop(early);
        for (at, bytes) in payloads.into_iter().enumerate() {
            if at > 0 {
                self.note_heard(bytes);
            }
            // Where none could take them they were dropped.
            if opened.is_ok() {
                self.note_up(bytes);
            }
        }
        self.with.queue = queue;
        opened
    }

    fn let_go(&self) -> End {
        self.with.let_go()
    }

    /// Another place for a session whose path is not sound: the same origin if another path leads there.
    fn elsewhere(&self, place: &Place) -> Option<Place> {
        let mut search = Search::new(&self.with.shared, &self.with.listener, FlowKey::of(self.with.ends.source));
        search.avoid(place, Reason::LinkLost);
        search.look_near(place)
    }

    /// A place where the session's payloads may be answered, if nobody answers them here.
    fn away_from_silence(&mut self, place: &Place) -> Option<Place> {
        if place.pool.on_unhealthy == OnUnhealthy::Stay {
            return None;
        }
        let now = Instant::now();
        let since = self.silence.looks(now)?;
        let doubt = silence::doubt(&self.with.shared.view.borrow().clone(), place, since);
        if !self.silence.leaves(now, doubt) {
            return None;
        }
        let tried = std::mem::take(&mut self.silent);
        // Where it has been everywhere in vain, it begins anew.
        let next = self.tried_elsewhere(place, doubt, tried);
        let next = next.or_else(|| self.tried_elsewhere(place, doubt, Tried::default()))?;
        self.silence.moved();
        Some(next)
    }

    fn tried_elsewhere(&mut self, place: &Place, doubt: Doubt, tried: Tried) -> Option<Place> {
        let mut search =
            Search::new(&self.with.shared, &self.with.listener, FlowKey::of(self.with.ends.source)).after(tried);
        match doubt {
            // Another path may reach the origin.
            Doubt::Ill => search.avoid(place, Reason::UdpNoAnswer),
            Doubt::OnlySilent | Doubt::None => search.avoid_origin(place, Reason::UdpNoAnswer),
        }
        let next = search.look_near(place);
        self.silent = search.into_tried();
        next
    }

    async fn carry_over(&mut self, mut path: offramp::Session, place: &Place) -> Over {
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
                    let better = if path.is_sound() { self.away_from_silence(place) } else { self.elsewhere(place) };
                    if let Some(next) = better {
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
                            place.report(&self.with.shared, Ok(()));
                        }
                        self.answer(&payload);
                        for _ in 1..BATCH {
                            let Some(payload) = path.try_next() else { break };
                            self.answer(&payload);
                        }
                        self.heard(place);
                    }
                    Event::Ended(SessionEnd::Cut(StreamCode::Unreachable)) => {
                        let why = Why::nobody_listens();
                        place.report(&self.with.shared, Err(why.reason));
                        self.story.failed(why);
                        return Over::Ended(End::Unreachable);
                    }
                    Event::Ended(SessionEnd::Finished | SessionEnd::Cut(_) | SessionEnd::LinkLost) => alive = false,
                },
            }
        }
    }

    /// The origin has answered.
    fn heard(&mut self, place: &Place) {
        self.with.life.answered();
        self.silence.answered();
        self.silent = Tried::default();
        place.answers.note(Instant::now());
    }

    fn send(&mut self, path: &mut offramp::Session, packet: Packet) {
        let bytes = packet.payload().len();
        self.note_heard(bytes);
        match path.send(packet) {
            Ok(()) => self.note_up(bytes),
            Err(why) => self.with.shared.metrics.drops().count(why),
        }
    }

    /// The client has sent something, whatever becomes of it.
    fn note_heard(&mut self, bytes: usize) {
        self.silence.asked(Instant::now());
        self.with.standing.heard(bytes);
    }

    /// It was carried.
    fn note_up(&mut self, bytes: usize) {
        self.packets.up += 1;
        self.story.count.add_sent(bytes as u64);
    }

    /// To the client.
    fn answer(&mut self, payload: &[u8]) {
        let drops = self.with.shared.metrics.drops();
        let Beginning { word, standing, front, peer, .. } = &self.with;
        if !standing.may_answer(word.len() + payload.len()) {
            return drops.count(Dropped::ReplyBudget);
        }
        let sent = if word.is_empty() {
            front.try_send(*peer, payload)
        } else {
            let Some(whole) = self.arena.join(word, payload) else { return drops.count(Dropped::NotSent) };
            front.try_send(*peer, whole.payload())
        };
        if sent.is_err() {
            return drops.count(Dropped::SocketFull);
        }
        self.packets.down += 1;
        self.story.count.add_received(payload.len() as u64);
    }
}

//! Receives for one UDP listener and hands each payload to its client's session, within bounds.

mod client;
mod session;
mod silence;
mod table;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use net::{Batch, Front, Peer, handover::Passing};
use protocol::{
    datagram::{Arena, Packet},
    limits::SESSION_QUEUE_MAX,
    proxy::{self, Announced, Ends, Header},
    splice::Ended,
    switch::Dropped,
};
use tokio::{
    sync::mpsc,
    time::{self, MissedTickBehavior},
};
use tokio_util::{sync::DropGuard, task::TaskTracker};
use tracing::warn;

use self::{
    client::{Client, Life},
    session::{Beginning, Session},
    table::Table,
};
use super::{flow::story::End, shared::Shared, sources::Everybody, state::ListenerState};
use crate::{
    metrics::RefusedFlow,
    model::{Held, Listener},
};

/// How often idle sessions are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// At its bound, a listener lets go of a session for a new one only if it has been idle for this long.
const EVICT_IDLE: Duration = Duration::from_secs(1);
/// Once a listener is closed, a session that is silent for this long is over: nobody says so for UDP.
const CLOSING_IDLE: Duration = Duration::from_secs(1);
/// Unless the listener says otherwise.
const IDLE: Duration = Duration::from_secs(60);
/// Ends of sessions that wait to be taken in.
const ENDS_MAX: usize = 1_024;
/// After a receive that failed.
const PAUSE: Duration = Duration::from_millis(50);

/// Which session is over.
type Gone = (Whose, u64);

/// Whose payloads a session carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Whose {
    /// From where they come.
    peer: SocketAddr,
    /// The client: the same, unless the payload says otherwise.
    client: SocketAddr,
    /// Its answers begin with a word.
    has_word: bool,
}

/// Whose a payload is, and what is not the client's of it.
#[derive(Debug, Clone, Copy)]
struct Letter<'a> {
    peer: Peer,
    ends: Ends,
    payload: &'a [u8],
    /// What each answer has to begin with.
    word: &'a [u8],
}

/// Receives until the listener is closed and its sessions are over.
pub(super) async fn receive(
    shared: Arc<Shared>,
    state: Arc<ListenerState>,
    (front, open): (Front, Arc<DropGuard>),
    tasks: TaskTracker,
) {
    let (ends, mut ended) = mpsc::channel(ENDS_MAX);
    let cut = shared.cut.clone();
    let everybody = Everybody::default();
    let (table, arena) = (Table::new(), Arena::default());
    let mut door = Door { shared, state, front, open, tasks, table, arena, everybody, ends, last: 0 };
    let mut batch = Batch::default();
    let mut looks = time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut closing = false;
    let mut failing = false;
    // The process that has taken over, if one has, gives no more once it hears that nothing is left here.
    while !(closing && door.table.is_empty()) || door.front.leave() {
        tokio::select! {
            received = door.front.receive(&mut batch) => match received {
                Ok(()) => {
                    failing = false;
                    door.take_in(&batch, closing);
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return,
                Err(error) => {
                    if !failing {
                        warn!(listener = %door.state.listener().name, %error, "cannot receive: pausing");
                    }
                    failing = true;
                    time::sleep(PAUSE).await;
                }
            },
            Some((whose, number)) = ended.recv() => door.forget(whose, number),
            _ = looks.tick(), if closing || !door.table.is_empty() => door.expire(closing),
            () = door.state.closed(), if !closing => closing = true,
            () = door.state.dropped() => return,
            () = cut.cancelled() => return,
        }
    }
}

/// A listener's socket and its sessions.
struct Door {
    shared: Arc<Shared>,
    state: Arc<ListenerState>,
    front: Front,
    /// The address is free once this and every session's is gone.
    open: Arc<DropGuard>,
    tasks: TaskTracker,
    table: Table<Whose, Client>,
    arena: Arena,
    everybody: Everybody,
    ends: mpsc::Sender<Gone>,
    last: u64,
}

impl Door {
    fn take_in(&mut self, batch: &Batch, closing: bool) {
        let (now, listener) = (Instant::now(), self.state.listener());
        for (peer, raw) in batch.payloads() {
            let Some(letter) = self.read(&listener, peer, raw) else { continue };
            let packet = self.arena.copy(letter.payload);
            let Some(packet) = self.hand(&letter, packet, now) else { continue };
            match self.front.pass_on(batch, peer, raw) {
                Passing::Alone => {}
                Passing::Passed => continue,
                Passing::Lost => {
                    self.shared.metrics.drops().count(Dropped::QueueFull);
                    continue;
                }
            }
            // One that is drained keeps its socket, by which its sessions live.
            if !closing && !self.state.is_drained() {
                self.begin(&letter, packet, now);
            }
        }
    }

    /// Whose a payload is; none if it does not say so, and has to.
    fn read<'a>(&self, listener: &Listener, peer: Peer, raw: &'a [u8]) -> Option<Letter<'a>> {
        let ends = Ends { source: peer.source, destination: self.destination(&peer) };
        if !listener.is_told_of_clients_by(peer.source) {
            return Some(Letter { peer, ends, payload: raw, word: &[] });
        }
        let Ok(Announced { header, length, is_simple }) = proxy::read_datagram(raw) else {
            self.shared.metrics.refused_flow(&listener.name, RefusedFlow::ProxyHeader);
            self.shared.metrics.drops().count(Dropped::Malformed);
            return None;
        };
        let (head, payload) = raw.split_at(length);
        let ends = match header {
            Header::Local => ends,
            Header::Client(ends) => ends,
        };
        Some(Letter { peer, ends, payload, word: if is_simple { head } else { &[] } })
    }

    /// To the client's session; gives the payload back if there is none.
    fn hand(&mut self, letter: &Letter<'_>, packet: Packet, now: Instant) -> Option<Packet> {
        let Some(client) = self.table.touch(&letter.whose(), now) else { return Some(packet) };
        match client.queue.try_send(packet) {
            Ok(()) => None,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.shared.metrics.drops().count(Dropped::QueueFull);
                None
            }
            // It has just ended, and word of it is on its way.
            Err(mpsc::error::TrySendError::Closed(packet)) => Some(packet),
        }
    }

    fn begin(&mut self, letter: &Letter<'_>, first: Packet, now: Instant) {
        let Letter { peer, ends, word, .. } = *letter;
        let whose = letter.whose();
        let listener = self.state.listener();
        self.table.remove(&whose);
        let held = Held::new(&self.state.flows);
        let admitted = match self.state.admit(ends.source.ip(), held, now) {
            Ok(admitted) => admitted,
            Err(why) => {
                self.shared.metrics.refused_flow(&listener.name, why);
                return self.shared.metrics.drops().count(Dropped::NotAdmitted);
            }
        };
        if self.table.len() >= listener.max_connections {
            let Some(evicted) = self.table.take_idle(now, EVICT_IDLE) else {
                self.shared.metrics.refused_flow(&listener.name, RefusedFlow::MaxConnections);
                return self.shared.metrics.drops().count(Dropped::TooManySessions);
            };
            let_go(evicted, End::Evicted);
        }
        let (queue, receiver) = mpsc::channel(SESSION_QUEUE_MAX);
        queue.try_send(first).expect("a new queue has room");
        self.last += 1;
        let (number, life) = (self.last, Arc::new(Life::new(now)));
        self.table.insert(whose, Client { number, queue, life: life.clone() }, now);
        let idle = listener.idle_timeout.unwrap_or(IDLE);
        let session = Session::new(Beginning {
            shared: self.shared.clone(),
            listener,
            front: self.front.clone(),
            _open: self.open.clone(),
            standing: self.shared.sources.standing(peer.source.ip(), &self.everybody),
            ends,
            word: Bytes::copy_from_slice(word),
            peer,
            queue: receiver,
            life,
            idle,
            _admitted: admitted,
        });
        let worker = self.shared.workers.handle(session.worker());
        let gone = self.ends.clone();
        let running = async move {
            session.run().await;
            // A listener that is gone has forgotten it already.
            let _ = gone.send((whose, number)).await;
        };
        self.tasks.spawn_on(running, worker);
    }

    /// Where a client has sent to.
    fn destination(&self, peer: &Peer) -> SocketAddr {
        let address = self.state.address;
        SocketAddr::new(peer.local.unwrap_or(address.ip()), address.port())
    }

    fn forget(&mut self, whose: Whose, number: u64) {
        if self.table.peek(&whose).is_some_and(|client| client.number == number) {
            self.table.remove(&whose);
        }
    }

    fn expire(&mut self, closing: bool) {
        let idle = self.state.listener().idle_timeout.unwrap_or(IDLE);
        let idle = if closing { idle.min(CLOSING_IDLE) } else { idle };
        while let Some(client) = self.table.take_idle(Instant::now(), idle) {
            let_go(client, End::Carried(Ended::Idle));
        }
    }
}

impl Letter<'_> {
    fn whose(&self) -> Whose {
        Whose { peer: self.peer.source, client: self.ends.source, has_word: !self.word.is_empty() }
    }
}

/// Ends a session: its queue is closed, and it learns why.
fn let_go(client: Client, why: End) {
    let _ = client.life.let_go.set(why);
}

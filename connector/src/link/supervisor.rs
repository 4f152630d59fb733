//! Keeps one link slot of one edge filled, for ever: dials, serves, and puts a stand-in beside a link that is suspect.

use std::{
    collections::BTreeMap,
    future::pending,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use api::code::Code;
use net::drill;
use protocol::{
    control::{Claims, Judged, Welcome},
    id::Target,
    link::Connection,
    liveness::LinkState,
};
use tokio::{
    sync::watch,
    task::{self, JoinError, JoinSet},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, info, info_span, warn};

use super::{
    backoff::Backoff,
    dial::Dialler,
    registered::{Registered, Serving, Stay, Wish},
    renewal::{LinkRenewal, Renewal},
    slot::{Come, Serial, Slot, Turn, Wanted},
    status::{About, LinkStatus, Links},
    trouble::Trouble,
    words::{explain, lost, tell_refused},
};
use crate::serve::Service;

/// How long a link that a stand-in has replaced may finish its flows.
const REPLACED_GRACE: Duration = Duration::from_secs(3600);

/// What one slot's supervisor needs.
#[derive(Debug, Clone)]
pub struct Supervisor {
    /// The edge to keep a link to.
    pub edge: Target,
    /// Which of the links to it.
    pub slot: u16,
    /// Which of its numbers its first link has.
    pub turn: Turn,
    /// Random number of this process.
    pub run: u64,
    /// What to claim, as long as it says so.
    pub claims: watch::Receiver<Arc<Claims>>,
    /// What the worker this runs on dials from.
    pub dialler: Dialler,
    /// Identity.
    pub renewal: Arc<Renewal>,
    /// What streams are served by.
    pub service: Arc<Service>,
    /// Where the slot's status is kept.
    pub status: Arc<Links>,
    /// Nothing is dialled while this is so: another process takes over.
    pub held: watch::Receiver<bool>,
    /// Stops dialling and makes links leave.
    pub stop: CancellationToken,
    /// How long flows may take to end then.
    pub grace: Duration,
    /// Cuts what still flows then.
    pub cut: CancellationToken,
}

/// Which link ended, and why, if not by our own wish.
type Gone = (Serial, Option<Trouble>);

/// A link that is being served by a task of its own.
struct Running {
    task: task::Id,
    state: watch::Receiver<LinkState>,
    judged: watch::Receiver<Option<Arc<Judged>>>,
    stay: watch::Receiver<Stay>,
    wish: watch::Sender<Wish>,
    /// What it registered as.
    number: u16,
    /// It was replaced, and told to leave.
    is_replaced: bool,
    /// The link that the slot had before, if that leads to the edge's process before.
    before: Option<Serial>,
    welcome: Welcome,
    connection: Connection,
    /// What it registered with, if its edge can be told of nothing else.
    fixed: Option<Arc<Claims>>,
}

/// A link on its way.
struct Connecting<'a> {
    number: u16,
    link: Pin<Box<dyn Future<Output = (Registered, Backoff)> + Send + 'a>>,
}

/// All links of a slot: the one it has, and those that were replaced and leave.
struct Keeper<'a> {
    with: &'a Supervisor,
    slot: Slot,
    running: BTreeMap<Serial, Running>,
    links: JoinSet<Gone>,
}

enum Event {
    Ended(Result<Gone, JoinError>),
    State(Serial, LinkState),
    Judged(Arc<Judged>),
    Stay(Serial, Stay),
    Claims,
    Registered((u16, Backoff), Box<Registered>),
}

/// Runs a slot until it is told to stop and its links have ended.
pub async fn supervise(supervisor: Supervisor) {
    let span = info_span!("link", edge = %supervisor.edge, slot = supervisor.slot);
    let slot = Slot::new(supervisor.slot, supervisor.turn, Instant::now());
    let keeper = Keeper { with: &supervisor, slot, running: BTreeMap::new(), links: JoinSet::new() };
    keeper.keep().instrument(span).await;
}

impl Keeper<'_> {
    async fn keep(mut self) {
        let with = self.with;
        let (mut claims, mut held) = (with.claims.clone(), with.held.clone());
        let mut connecting: Option<Connecting<'_>> = None;
        loop {
            drill::point("slot");
            let wanted = self.slot.wanted().filter(|_| !*held.borrow_and_update());
            if connecting.as_ref().map(|on_its_way| on_its_way.number) != wanted.map(|wanted| wanted.number) {
                let dial = |wanted: Wanted| Connecting { number: wanted.number, link: Box::pin(with.connect(wanted)) };
                connecting = wanted.map(dial);
            }
            let current = self.slot.current().and_then(|serial| Some((serial, self.running.get_mut(&serial)?)));
            let event = tokio::select! {
                Some(ended) = self.links.join_next() => Event::Ended(ended),
                event = changed(current) => event,
                Ok(()) = claims.changed() => Event::Claims,
                Ok(()) = held.changed() => continue,
                (registered, link) = registered(&mut connecting) => Event::Registered(registered, Box::new(link)),
                () = with.stop.cancelled() => break,
            };
            match event {
                Event::Ended(ended) => self.ended(ended),
                Event::State(serial, state) => self.observed(serial, state),
                Event::Judged(judged) => with.judged(&judged),
                Event::Stay(serial, stay) => self.succeeded(serial, stay),
                Event::Claims => self.compare(),
                Event::Registered(registered, link) => {
                    connecting = None;
                    self.come(registered, *link);
                }
            }
        }
        // All of them, those that were given longer too.
        self.leave(with.grace);
        tokio::select! {
            () = ended(&mut self.links) => return,
            () = with.cut.cancelled() => self.leave(Duration::ZERO),
        }
        ended(&mut self.links).await;
    }

    fn leave(&self, grace: Duration) {
        for running in self.running.values() {
            let _ = running.wish.send(Wish::Leave(grace));
        }
    }

    /// A link has ended, which may be one that was replaced long ago.
    fn ended(&mut self, ended: Result<Gone, JoinError>) {
        let (serial, why) = match ended {
            Ok(gone) => gone,
            Err(error) => {
                let of_it = self.running.iter().find(|(_, running)| running.task == error.id());
                let Some((serial, _)) = of_it else { return };
                warn!(%error, "the task of a link failed");
                (*serial, Some(lost("its task failed".to_owned())))
            }
        };
        let ended = self.running.remove(&serial);
        if ended.as_ref().is_some_and(|ended| ended.is_replaced) {
            self.with.status.left();
        }
        if self.slot.ended(serial, Instant::now(), rand::random()) && !self.resume(ended) {
            self.with.status.set(&self.with.edge, self.with.slot, LinkStatus::Dialling(why));
        }
    }

    /// The edge's process that was to take over has failed, and the one before goes on: so does the link to it.
    fn resume(&mut self, ended: Option<Running>) -> bool {
        let Some(serial) = ended.and_then(|ended| ended.before) else { return false };
        let Some(before) = self.running.get(&serial).filter(|before| *before.stay.borrow() != Stay::Leaving) else {
            return false;
        };
        info!("the edge's process before goes on: so does the link to it");
        self.slot.resume(serial, before.number, Instant::now());
        self.with.welcomed(&before.welcome, &before.connection, before.number);
        true
    }

    /// The edge's process has a successor, or not after all, or leaves.
    fn succeeded(&mut self, serial: Serial, stay: Stay) {
        match stay {
            Stay::Succeeded if self.slot.outdated(serial) => {
                info!("another process of the edge takes over: dialling it beside this link");
            }
            Stay::Open if self.slot.up_to_date(serial) => {
                info!("the other process of the edge has failed: no link is wanted beside this one");
                // It may be so for another reason.
                self.compare();
            }
            Stay::Succeeded | Stay::Open | Stay::Leaving => {}
        }
    }

    fn observed(&mut self, serial: Serial, state: LinkState) {
        let is_suspect = match state {
            LinkState::Up => false,
            LinkState::Suspect => true,
            // Its end follows.
            LinkState::Dead => return,
        };
        if !self.slot.suspect(serial, is_suspect) {
            return;
        }
        if is_suspect {
            info!("the link leaves packets unanswered: dialling another beside it");
        } else {
            info!("the link answers again: no other is needed beside it");
        }
        self.with.status.set_state(&self.with.edge, self.with.slot, state);
    }

    /// A link whose edge cannot be told of other claims is replaced by one that makes them.
    fn compare(&mut self) {
        let Some(serial) = self.slot.current() else { return };
        let fixed = self.running.get(&serial).and_then(|running| running.fixed.as_ref());
        if fixed.is_some_and(|fixed| *fixed != *self.with.claims.borrow()) {
            info!("the edge is too old to be told of other routes over this link: dialling another beside it");
            self.slot.outdated(serial);
        }
    }

    /// A link has another beside it now. Gives it if it is to go on for as long as its edge's process says.
    fn replace(&mut self, serial: Serial) -> Option<Serial> {
        let replaced = self.running.get_mut(&serial)?;
        match *replaced.stay.borrow() {
            Stay::Open => {}
            Stay::Succeeded | Stay::Leaving => return Some(serial),
        }
        let _ = replaced.wish.send(Wish::Leave(REPLACED_GRACE));
        replaced.is_replaced = true;
        self.with.status.leaves();
        None
    }

    fn come(&mut self, registered: (u16, Backoff), link: Registered) {
        let Come { serial, replaced } = self.slot.come(registered, Instant::now(), rand::random());
        let before = replaced.and_then(|replaced| self.replace(replaced));
        let (state, states) = watch::channel(LinkState::Up);
        let (judged, judgements) = watch::channel(None);
        let (stay, stays) = watch::channel(Stay::Open);
        let (wish, wishes) = watch::channel(Wish::Serve);
        let fixed = (!link.may_claim()).then(|| link.claimed.clone());
        let serving = Serving {
            service: self.with.service.clone(),
            renewal: LinkRenewal::new(self.with.renewal.clone()),
            state,
            claims: self.with.claims.clone(),
            judged,
            stay,
            wish: wishes,
            flows: TaskTracker::new(),
            unreachable: self.with.dialler.watch(link.remote()),
        };
        self.with.welcomed(&link.welcome, link.connection(), registered.0);
        let (welcome, connection) = (link.welcome.clone(), link.connection().clone());
        let run = async move {
            let why = explain(&link.run(serving).await);
            match &why {
                Some(why) => warn!(why, code = %Code::LinkLost, "link lost"),
                None => info!("link drained"),
            }
            (serial, why.map(lost))
        };
        let task = self.links.spawn(run.in_current_span()).id();
        let number = registered.0;
        let (state, judged, stay) = (states, judgements, stays);
        let running =
            Running { task, state, judged, stay, wish, number, is_replaced: false, before, welcome, connection, fixed };
        self.running.insert(serial, running);
        // They may have changed while it registered.
        self.compare();
    }
}

impl Supervisor {
    fn welcomed(&self, welcome: &Welcome, connection: &Connection, number: u16) {
        info!(edge_name = welcome.edge, routes = welcome.accepted.len(), "link registered");
        tell_refused(&welcome.refused);
        let registered = LinkStatus::Registered {
            edge: welcome.edge.clone(),
            state: LinkState::Up,
            refused: welcome.refused.clone(),
            about: Box::new(About {
                accepted: welcome.accepted.clone(),
                connection: connection.clone(),
                since: SystemTime::now(),
                number,
            }),
        };
        self.status.set(&self.edge, self.slot, registered);
    }

    /// The edge has judged other claims than the link registered with.
    fn judged(&self, judged: &Judged) {
        info!(routes = judged.accepted.len(), "the edge goes by the routes that are claimed now");
        tell_refused(&judged.refused);
        self.status.set_claims(&self.edge, self.slot, judged);
    }
}

/// Waits until all links have ended.
async fn ended(links: &mut JoinSet<Gone>) {
    while links.join_next().await.is_some() {}
}

/// The next news of a running link. A link that has ended is told by its end, not here.
async fn changed(current: Option<(Serial, &mut Running)>) -> Event {
    let Some((serial, Running { state, judged, stay, .. })) = current else { return pending().await };
    loop {
        tokio::select! {
            Ok(()) = state.changed() => return Event::State(serial, *state.borrow_and_update()),
            Ok(()) = judged.changed() => {
                if let Some(judged) = judged.borrow_and_update().clone() {
                    return Event::Judged(judged);
                }
            }
            Ok(()) = stay.changed() => return Event::Stay(serial, *stay.borrow_and_update()),
            else => return pending().await,
        }
    }
}

/// The link that is on its way, once it has registered.
async fn registered(connecting: &mut Option<Connecting<'_>>) -> ((u16, Backoff), Registered) {
    match connecting {
        Some(connecting) => {
            let (link, reached) = connecting.link.as_mut().await;
            ((connecting.number, reached), link)
        }
        None => pending().await,
    }
}

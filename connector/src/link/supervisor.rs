//! Keeps one link slot of one edge filled, for ever: dials, serves, and puts a stand-in beside a link that is suspect.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use certs::tls;
use futures_util::{StreamExt, stream::FuturesUnordered};
use net::drill;
use protocol::{
    control::{Hello, RouteClaim},
    id::Target,
    liveness::LinkState,
    wire,
};
use quinn::Connection;
use tokio::{
    sync::{mpsc, watch},
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, debug, info, info_span, warn};

use super::{
    backoff::Backoff,
    dial::Dialler,
    renewal::{LinkRenewal, Renewal},
    session::{self, Serving, Session, SessionEnd, Wish},
    status::{LinkStatus, Links},
};
use crate::serve::Service;

/// A dial without an answer gets company after this, or after the back-off's cap if that is longer: the first packets may
/// have been lost. Not so while another link to the edge is up: then the edge is there and busy, and more dials make it
/// busier.
const HEDGE_AFTER: Duration = Duration::from_secs(1);
/// Dials of one slot under way at once.
const DIALS_MAX: usize = 4;
/// How long a link that a stand-in has replaced may finish its flows.
const REPLACED_GRACE: Duration = Duration::from_secs(3600);

/// What one slot's supervisor needs.
#[derive(Debug, Clone)]
pub struct Supervisor {
    /// The edge to keep a link to.
    pub edge: Target,
    /// Which of the links to it.
    pub slot: u16,
    /// How many links there are to each edge.
    pub links_per_edge: u16,
    /// Random number of this process.
    pub run: u64,
    /// What to claim.
    pub routes: Arc<[RouteClaim]>,
    /// The QUIC client of the worker this runs on.
    pub dialler: Dialler,
    /// Identity.
    pub renewal: Arc<Renewal>,
    /// What streams are served by.
    pub service: Arc<Service>,
    /// Where the slot's status is kept.
    pub status: Arc<Links>,
    /// Stops dialling and makes links leave.
    pub stop: CancellationToken,
    /// How long flows may take to end then.
    pub grace: Duration,
}

/// Ends of links that wait to be noticed.
const ENDS_MAX: usize = 16;

/// How a numbered link ended, if not by our own wish.
type Gone = (u16, Option<String>);

/// A link that is being served by a task of its own.
struct Running {
    number: u16,
    state: watch::Receiver<LinkState>,
    wish: watch::Sender<Wish>,
}

/// Runs a slot until it is told to stop and its links have ended.
pub async fn supervise(supervisor: Supervisor) {
    let span = info_span!("link", edge = %supervisor.edge, slot = supervisor.slot);
    let (ended, mut ends) = mpsc::channel(ENDS_MAX);
    let sessions = TaskTracker::new();
    supervisor.keep(&sessions, &ended, &mut ends).instrument(span).await;
    sessions.close();
    sessions.wait().await;
}

impl Supervisor {
    async fn keep(&self, sessions: &TaskTracker, ended: &mpsc::Sender<Gone>, ends: &mut mpsc::Receiver<Gone>) {
        let mut current: Option<Running> = None;
        let mut number = self.slot;
        loop {
            drill::point("slot");
            let session = match &mut current {
                None => tokio::select! {
                    session = self.connect(number) => session,
                    () = self.stop.cancelled() => return,
                },
                Some(running) => tokio::select! {
                    Some(gone) = ends.recv() => {
                        current = self.without(current, gone);
                        continue;
                    }
                    () = self.stop.cancelled() => {
                        let _ = running.wish.send(Wish::Leave(self.grace));
                        return;
                    }
                    () = suspected(&mut running.state) => {
                        info!("the link leaves packets unanswered: dialling another beside it");
                        self.status.set_state(&self.edge, self.slot, LinkState::Suspect);
                        let stand_in = self.stand_in_for(running.number);
                        tokio::select! {
                            session = self.connect(stand_in) => session,
                            () = recovered(&mut running.state) => {
                                info!("the link answers again: no other is needed beside it");
                                self.status.set_state(&self.edge, self.slot, LinkState::Up);
                                continue;
                            }
                            Some(gone) = ends.recv() => {
                                current = self.without(current, gone);
                                continue;
                            }
                            () = self.stop.cancelled() => continue,
                        }
                    }
                },
            };
            if let Some(replaced) = current.take() {
                let _ = replaced.wish.send(Wish::Leave(REPLACED_GRACE));
                number = self.stand_in_for(replaced.number);
            }
            current = Some(self.start(session, number, sessions, ended.clone()));
        }
    }

    /// What still runs after the end of a link, which may be one that was replaced long ago.
    fn without(&self, current: Option<Running>, (gone, why): Gone) -> Option<Running> {
        let left = current.filter(|running| running.number != gone);
        if left.is_none() {
            self.status.set(&self.edge, self.slot, LinkStatus::Dialling(why));
        }
        left
    }

    /// The number a second link of this slot registers with, so that the first is not superseded.
    fn stand_in_for(&self, number: u16) -> u16 {
        if number == self.slot { self.slot + self.links_per_edge } else { self.slot }
    }

    fn start(&self, session: Session, number: u16, sessions: &TaskTracker, ended: mpsc::Sender<Gone>) -> Running {
        let (state, states) = watch::channel(LinkState::Up);
        let (wish, wishes) = watch::channel(Wish::Serve);
        let serving = Serving {
            service: self.service.clone(),
            renewal: LinkRenewal::new(self.renewal.clone()),
            state,
            wish: wishes,
            flows: TaskTracker::new(),
        };
        let registered = LinkStatus::Registered {
            edge: session.welcome.edge.clone(),
            state: LinkState::Up,
            refused: session.welcome.refused.clone(),
        };
        info!(edge_name = session.welcome.edge, routes = session.welcome.accepted.len(), "link registered");
        for refused in &session.welcome.refused {
            let route = &refused.route;
            warn!(vnet = route.vnet, cidr = route.cidr, reason = refused.reason, "the edge refused a route");
        }
        self.status.set(&self.edge, self.slot, registered);
        let run = async move {
            let why = explain(&session.run(serving).await);
            match &why {
                Some(why) => warn!(why, "link lost"),
                None => info!("link drained"),
            }
            let _ = ended.send((number, why)).await;
        };
        sessions.spawn(run.in_current_span());
        Running { number, state: states, wish }
    }

    /// Dials until there is a registered link.
    async fn connect(&self, number: u16) -> Session {
        let mut backoff = Backoff::new(Instant::now());
        let mut dials = FuturesUnordered::new();
        let mut next = time::Instant::now();
        let mut said = String::new();
        loop {
            let failure = tokio::select! {
                Some(dialled) = dials.next() => match dialled {
                    Ok(connection) => match self.register(connection, number).await {
                        Ok(session) => return session,
                        Err(error) => error,
                    },
                    Err(error) => error,
                },
                () = time::sleep_until(next), if dials.len() < DIALS_MAX => {
                    if dials.is_empty() || !self.status.is_up(&self.edge) {
                        dials.push(self.dial());
                    }
                    next = time::Instant::now() + HEDGE_AFTER.max(backoff.cap(Instant::now()));
                    continue;
                }
            };
            next = time::Instant::now() + backoff.next(Instant::now(), rand::random());
            if failure == said {
                debug!(why = failure, "no link yet");
            } else {
                warn!(why = failure, "no link yet: trying again");
                self.status.set(&self.edge, self.slot, LinkStatus::Dialling(Some(failure.clone())));
                said = failure;
            }
        }
    }

    async fn dial(&self) -> Result<Connection, String> {
        self.renewal.ensure_valid(&self.dialler, &self.edge).await.map_err(|e| e.to_string())?;
        let crypto = tls::link_client(&self.renewal.identity()).map_err(|e| e.to_string())?;
        self.dialler.dial(&self.edge, crypto).await.map_err(|e| e.to_string())
    }

    async fn register(&self, connection: Connection, number: u16) -> Result<Session, String> {
        let hello = Hello {
            version_min: 0,
            version_max: 0,
            software: env!("CARGO_PKG_VERSION").to_owned(),
            run: self.run,
            slot: number,
            links: self.links_per_edge,
            routes: self.routes.to_vec(),
        };
        session::register(connection, hello).await.map_err(|e| e.to_string())
    }
}

/// Why a link was lost; `None` if it was left on purpose.
fn explain(end: &SessionEnd) -> Option<String> {
    match end {
        SessionEnd::Drained => None,
        SessionEnd::Dead => Some("nothing was acknowledged for 3 s".to_owned()),
        SessionEnd::Closed(error) => Some(wire::ending(error)),
        SessionEnd::Broken(error) => Some(format!("the edge broke the protocol: {error}")),
        SessionEnd::Panicked => Some("the connector failed on this link".to_owned()),
    }
}

/// Completes when a running session's link is suspect. A session that has ended is told by its end, not here.
async fn suspected(state: &mut watch::Receiver<LinkState>) {
    let is_suspect = state.wait_for(|s| *s == LinkState::Suspect).await.is_ok();
    if !is_suspect || state.has_changed().is_err() {
        std::future::pending().await
    }
}

/// Completes when a running session's link is no longer suspect.
async fn recovered(state: &mut watch::Receiver<LinkState>) {
    let is_up = state.wait_for(|s| *s == LinkState::Up).await.is_ok();
    if !is_up || state.has_changed().is_err() {
        std::future::pending().await
    }
}

//! A registered link at an edge: hears and answers its connector, watches that the link lives and that its certificate holds,
//! and takes it out of the table when it ends.

use std::{
    pin::pin,
    sync::Arc,
    time::{Instant, SystemTime},
};

use certs::{rotation::Standing, verify::Peer};
use net::drill;
use protocol::{
    control::{Claims, Goodbye, Judged, Message, Successor},
    error::CloseCode,
    link::{Lost, Side},
    liveness::{Death, LinkState, Liveness, Look},
    sparing::Sparing,
    version::VERSION_SUCCESSOR,
    wire::{self, WireError},
};
use tokio::time;
use tracing::{debug, info, warn};

use super::{
    claims::{Pace, Unanswered},
    close_code,
    control::Control,
    tell_refused,
};
use crate::tunnel::{TunnelParts, link::Link};

/// A link in the table, until it ends.
pub(super) struct Registered<'a> {
    pub(super) parts: &'a TunnelParts,
    pub(super) link: Arc<Link>,
    pub(super) control: Control,
    pub(super) peer: Peer,
    pub(super) claims: Pace,
    /// How often what it claims may be told.
    pub(super) told: Sparing,
}

enum Event {
    Message(Result<Message, WireError>),
    Windows(Message),
    Claims(Claims),
    Look,
    Nudge,
    Succeeded,
    Recheck,
    Leave,
    Closed(Lost),
}

impl Registered<'_> {
    /// Welcomes the link, and serves it until it ends.
    pub(super) async fn run(mut self, welcome: &Message) {
        info!(software = self.link.software, slot = self.link.slot, "link registered");
        let why = match self.say(welcome).await {
            Ok(()) => self.serve().await,
            Err(why) => why,
        };
        // Nothing lives on that is not in the table. What was closed with another code stays so.
        self.link.close(CloseCode::Protocol, &why);
        self.parts.registry.remove(&self.link);
        info!(why, "link ended");
    }

    async fn say(&mut self, message: &Message) -> Result<(), String> {
        wire::write_message(&mut self.control.send, message).await.map_err(|error| error.to_string())
    }

    async fn serve(&mut self) -> String {
        let connection = self.link.connection().clone();
        let mut unreachable = self.parts.unreachable.watch(connection.remote_address());
        let mut liveness = Liveness::new(Side::Edge, Look::at(&connection, Instant::now(), unreachable.count(), 0));
        let mut look = pin!(time::sleep(liveness.wait()));
        let (mut leaving, mut nudged) = (false, false);
        let mut succeeded = self.parts.succeeded.clone();
        let mut recheck = self.parts.recheck.clone();
        if *succeeded.borrow() {
            // It may have been asked for before it was there.
            succeeded.mark_changed();
        }
        loop {
            let event = tokio::select! {
                message = self.control.reader.next() => Event::Message(message),
                told = self.link.windows.due() => Event::Windows(told),
                claims = self.claims.due() => Event::Claims(claims),
                () = &mut look => Event::Look,
                () = self.link.nudged(), if !nudged => Event::Nudge,
                Ok(()) = succeeded.changed() => Event::Succeeded,
                Ok(()) = recheck.changed() => Event::Recheck,
                () = self.parts.leave.cancelled(), if !leaving => Event::Leave,
                lost = connection.closed() => Event::Closed(lost),
            };
            let done = match event {
                Event::Message(message) => self.hear(message).await,
                Event::Windows(told) => self.say(&told).await,
                Event::Claims(claims) => self.claim(claims).await,
                Event::Look => {
                    self.link.windows.look();
                    // The connector may have moved.
                    unreachable.follow(connection.remote_address());
                    let looked = self.look(&mut liveness, unreachable.count());
                    look.as_mut().reset(time::Instant::now() + liveness.wait());
                    nudged = liveness.asks();
                    if nudged {
                        connection.nudge();
                    }
                    looked
                }
                // Once between two looks is enough, however many opens wait.
                Event::Nudge => {
                    nudged = true;
                    connection.nudge();
                    Ok(())
                }
                Event::Succeeded => {
                    let is_succeeded = *succeeded.borrow_and_update();
                    self.succeeded(is_succeeded).await
                }
                Event::Recheck => self.recheck().await,
                Event::Leave => {
                    leaving = true;
                    let grace_ms = u32::try_from(self.parts.grace.as_millis()).unwrap_or(u32::MAX);
                    self.say(&Message::Goodbye(Goodbye { grace_ms })).await
                }
                Event::Closed(lost) => Err(self.link.ending(&lost)),
            };
            if let Err(why) = done {
                return why;
            }
        }
    }

    /// Asks for a link to the process that is to take over, or says that there is none after all, if the connector knows of such.
    async fn succeeded(&mut self, is_coming: bool) -> Result<(), String> {
        if self.link.version < VERSION_SUCCESSOR {
            return Ok(());
        }
        self.say(&Message::Successor(Successor { is_coming })).await
    }

    /// Another process of this edge has revoked somebody, perhaps this connector.
    async fn recheck(&self) -> Result<(), String> {
        let Err(refusal) = self.parts.check(&self.peer).await else { return Ok(()) };
        warn!(%refusal, "the link is closed");
        self.link.close(close_code(refusal.code()), &refusal.text);
        Err(refusal.text)
    }

    async fn hear(&mut self, message: Result<Message, WireError>) -> Result<(), String> {
        match message {
            // Once is enough: each would be a line of the log and a new view of all links.
            Ok(Message::Goodbye(_)) if self.link.is_leaving() => Ok(()),
            Ok(Message::Goodbye(goodbye)) => {
                info!(grace_ms = goodbye.grace_ms, "the connector leaves: nothing new is placed on the link");
                self.link.leave();
                self.parts.registry.changed(&self.link);
                Ok(())
            }
            Ok(Message::Renew(renew)) => {
                let peer = self.peer.clone();
                let answer = self.parts.blocking(move |judges, now| {
                    let granted = judges.registry.is_granted(&peer.connector);
                    judges.authority.renew(&renew, &peer, granted, now)
                });
                let answer = match answer.await {
                    Ok((peer, renewed)) => {
                        self.link.extend(peer.lifetime.not_after);
                        self.peer = peer;
                        Message::Renewed(renewed)
                    }
                    Err(refusal) => {
                        warn!(%refusal, "renewal refused");
                        Message::Refused(refusal)
                    }
                };
                self.say(&answer).await
            }
            Ok(Message::Windows(told)) => {
                self.link.windows.hear(&told);
                Ok(())
            }
            Ok(Message::Claims(claims)) => {
                let taken = self.claims.take(claims);
                taken.map_err(|Unanswered| self.broken(&WireError::OutOfOrder("claims before the last are judged")))
            }
            Ok(Message::Ignored(kind)) => {
                debug!(kind, "control message of an unknown, optional kind");
                Ok(())
            }
            Ok(other) => Err(self.broken(&WireError::OutOfOrder(other.name()))),
            Err(WireError::Lost(lost)) => Err(self.link.ending(&lost)),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// What the link claims is in force before its connector hears so.
    async fn claim(&mut self, claims: Claims) -> Result<(), String> {
        self.parts.registry.claim(&self.link, claims);
        let (accepted, refused) = self.parts.judged(&self.link);
        if let Some(untold) = self.told.may_say(Instant::now()) {
            info!(accepted = accepted.len(), refused = refused.len(), untold, "the connector claims other routes");
            tell_refused(&self.link.connector, &refused);
        }
        self.say(&Message::Judged(Judged { accepted, refused }.fitting())).await
    }

    fn look(&mut self, liveness: &mut Liveness, refused: u64) -> Result<(), String> {
        drill::point("link");
        let connection = self.link.connection();
        let look = Look::at(connection, Instant::now(), refused, self.link.load.streams());
        let state = liveness.observe(look);
        if self.link.set_state(state) {
            match state {
                LinkState::Up => info!("the link answers again"),
                LinkState::Suspect => warn!("the link leaves packets unanswered: nothing new is placed on it"),
                LinkState::Dead => {}
            }
            self.parts.registry.changed(&self.link);
        }
        if state == LinkState::Dead {
            if liveness.death() == Death::Gone {
                // Hosts ration such words: what was said of one link of a process goes for all, if they are silent too.
                self.parts.registry.beside(&self.link).into_iter().for_each(|at| self.parts.unreachable.note(at));
            }
            self.link.close(CloseCode::Dead, "nothing was acknowledged");
            return Err(liveness.death().as_str().to_owned());
        }
        match self.peer.lifetime.standing(SystemTime::now()) {
            // Whom it was good for when it was shown: a clock that was set back meanwhile changes nothing about that.
            Standing::Valid | Standing::NotYetValid => Ok(()),
            Standing::ExpiredMayRenew | Standing::Lapsed => {
                self.link.close(CloseCode::Expired, "the certificate ran out and was not renewed");
                Err("its certificate ran out".to_owned())
            }
        }
    }

    fn broken(&self, error: &WireError) -> String {
        let why = format!("the connector broke the protocol: {error}");
        warn!("{why}");
        self.link.close(CloseCode::Protocol, &error.to_string());
        why
    }
}

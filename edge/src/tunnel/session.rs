//! One connection of a connector: what it is for, and, if it is a link, its life.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use certs::{
    rotation::Standing,
    tls::{self, Admission},
    verify::Peer,
};
use net::network::Boxed;
use protocol::{
    codec::NUDGE,
    control::{Goodbye, Hello, Message, Refusal, RefusalCode, RouteClaim, Welcome},
    error::CloseCode,
    limits::{LOOK_EVERY, REGISTER_WAIT},
    liveness::{LinkState, Liveness, Traffic},
    stream::PRIORITY_CONTROL,
    version::{self, VERSION, VERSION_MIN},
    wire::{self, ControlReader, WireError},
};
use quinn::{Connection, ConnectionError, Incoming, SendStream};
use tokio::time::{self, MissedTickBehavior};
use tracing::{Instrument, debug, info, info_span, warn};

use super::{
    TunnelParts,
    endpoint::Serve,
    link::{Link, Registration},
};
use crate::model::Held;

/// A handshake that takes longer is given up.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);
/// A refused peer may take this long to read why.
const REFUSAL_WAIT: Duration = Duration::from_secs(1);

/// Serves connections; one for the whole endpoint.
#[derive(Debug)]
pub(super) struct Sessions(TunnelParts);

impl Sessions {
    pub(super) fn new(parts: TunnelParts) -> Self {
        Self(parts)
    }
}

impl Serve for Sessions {
    fn serve(self: Arc<Self>, incoming: Incoming, worker: usize, handshake: Held) -> Boxed<'static, ()> {
        let span = info_span!("connection", remote = %incoming.remote_address());
        Box::pin(async move { self.0.connection(incoming, worker, handshake).await }.instrument(span))
    }
}

/// A connection's control stream, both ways.
struct Control {
    send: SendStream,
    reader: ControlReader,
}

/// Why a connection is closed.
enum Close {
    Refused(Control, Refusal),
    Broken(WireError),
    TimedOut,
}

impl From<WireError> for Close {
    fn from(error: WireError) -> Self {
        Self::Broken(error)
    }
}

impl TunnelParts {
    async fn connection(&self, incoming: Incoming, worker: usize, handshake: Held) {
        let connection = match incoming.accept() {
            Ok(connecting) => match time::timeout(HANDSHAKE_WAIT, connecting).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => return debug!(%error, "handshake failed"),
                Err(_) => return debug!("handshake took too long"),
            },
            Err(error) => return debug!(%error, "connection not accepted"),
        };
        let opened = time::timeout(REGISTER_WAIT, open_control(&connection)).await.unwrap_or(Err(Close::TimedOut));
        let done = match (opened, tls::admit_connection(&connection, SystemTime::now())) {
            (Ok(control), Ok(admission)) => self.admitted(&connection, control, admission, (worker, handshake)).await,
            (Ok(control), Err(refusal)) => Err(Close::Refused(control, refusal)),
            (Err(close), _) => Err(close),
        };
        if let Err(close) = done {
            refuse(&connection, close).await;
        }
    }

    async fn admitted(
        &self,
        connection: &Connection,
        mut control: Control,
        admission: Admission,
        // Whoever has not registered yet counts as half open.
        (worker, half_open): (usize, Held),
    ) -> Result<(), Close> {
        let first = time::timeout(REGISTER_WAIT, control.reader.next()).await.map_err(|_| Close::TimedOut)??;
        match (admission, first) {
            (Admission::Link(peer), Message::Hello(hello)) => {
                drop(half_open);
                self.link(connection, control, peer, hello, worker).await
            }
            (Admission::Renew(peer), Message::Renew(renew)) => {
                let answer = self.blocking(move |this, now| {
                    let granted = this.registry.is_granted(&peer.connector);
                    this.authority.renew(&renew, &peer, granted, now)
                });
                match answer.await {
                    Ok((peer, renewed)) => {
                        info!(connector = %peer.connector, replica = %peer.replica, "certificate renewed after its end");
                        self.answer(connection, control, &Message::Renewed(renewed)).await
                    }
                    Err(refusal) => Err(Close::Refused(control, refusal)),
                }
            }
            (Admission::Enrol, Message::Enrol(enrol)) => {
                let answer = self.blocking(move |this, now| {
                    this.authority.enrol(&enrol, |name| this.registry.is_granted(name), now)
                });
                match answer.await {
                    Ok((peer, enrolled)) => {
                        info!(connector = %peer.connector, replica = %peer.replica, "connector enrolled");
                        self.answer(connection, control, &Message::Enrolled(enrolled)).await
                    }
                    Err(refusal) => Err(Close::Refused(control, refusal)),
                }
            }
            (_, other) => Err(WireError::OutOfOrder(other.name()).into()),
        }
    }

    /// Runs what reads and writes files where blocking harms no flow.
    async fn blocking<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Judges, SystemTime) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let judges = Judges { authority: self.authority.clone(), registry: self.registry.clone() };
        let asked = tokio::task::spawn_blocking(move || ask(&judges, SystemTime::now())).await;
        asked.unwrap_or_else(|_| Err(Refusal::new(RefusalCode::Unavailable, "the edge failed on this request")))
    }

    /// Sends the only answer of a connection, then waits for the peer to close it.
    async fn answer(&self, connection: &Connection, mut control: Control, message: &Message) -> Result<(), Close> {
        wire::write_message(&mut control.send, message).await?;
        let _ = control.send.finish();
        let _ = time::timeout(REGISTER_WAIT, connection.closed()).await;
        wire::close(connection, CloseCode::Done, "");
        Ok(())
    }

    async fn link(
        &self,
        connection: &Connection,
        control: Control,
        peer: Peer,
        hello: Hello,
        worker: usize,
    ) -> Result<(), Close> {
        let Some(version) = version::negotiate(hello.version_min, hello.version_max) else {
            let Hello { version_min, version_max, .. } = hello;
            let text = format!(
                "the connector speaks protocol {version_min} to {version_max}, this edge {VERSION_MIN} to {VERSION}: upgrade the older"
            );
            return Err(Close::Refused(control, Refusal::new(RefusalCode::Version, &text)));
        };
        let asked = peer.clone();
        let check = move |judges: &Judges, _| {
            let granted = judges.registry.is_granted(&asked.connector);
            judges.authority.check(&asked, granted)
        };
        if let Err(refusal) = self.blocking(check).await {
            return Err(Close::Refused(control, refusal));
        }
        let (accepted, refused) = self.registry.judge(&peer.connector, &hello.routes);
        for claim in &refused {
            let RouteClaim { vnet, cidr } = &claim.route;
            warn!(connector = %peer.connector, vnet, cidr, reason = claim.reason, "route refused");
        }
        let link = self.registry.register(Registration {
            connector: peer.connector.clone(),
            replica: peer.replica.clone(),
            run: hello.run,
            slot: hello.slot,
            links: hello.links,
            software: hello.software,
            claims: hello.routes,
            expires: peer.lifetime.not_after,
            worker,
            connection: connection.clone(),
        });
        let accepted = accepted.iter().map(|r| RouteClaim { vnet: r.vnet.to_string(), cidr: r.cidr.to_string() });
        let welcome =
            Welcome { version, edge: self.name.to_string(), link: link.id.0, accepted: accepted.collect(), refused };
        let span = info_span!("link", id = %link.id, connector = %link.connector, replica = %link.replica);
        let registered = Registered { parts: self, link, control, peer };
        registered.run(&Message::Welcome(welcome.fitting())).instrument(span).await;
        Ok(())
    }
}

/// Who decides on enrolment, renewal and registration.
struct Judges {
    authority: Arc<certs::enrol::Authority>,
    registry: Arc<super::Registry>,
}

async fn open_control(connection: &Connection) -> Result<Control, Close> {
    let (send, recv) = connection.accept_bi().await.map_err(WireError::Lost)?;
    let _ = send.set_priority(PRIORITY_CONTROL);
    Ok(Control { send, reader: ControlReader::new(recv) })
}

async fn refuse(connection: &Connection, close: Close) {
    match close {
        Close::Refused(mut control, refusal) => {
            warn!(%refusal, "refused");
            let code = match refusal.code() {
                RefusalCode::Version => CloseCode::Version,
                RefusalCode::NoGrant => CloseCode::NoGrant,
                RefusalCode::Revoked => CloseCode::Revoked,
                RefusalCode::CertificateExpired => CloseCode::Expired,
                RefusalCode::Unavailable => CloseCode::Overloaded,
                RefusalCode::TokenUnknown | RefusalCode::TokenUsed | RefusalCode::TokenExpired => CloseCode::Done,
                RefusalCode::BadRequest => CloseCode::Unauthorised,
            };
            let words = refusal.text.clone();
            let told = async {
                wire::write_message(&mut control.send, &Message::Refused(refusal)).await?;
                let _ = control.send.finish();
                connection.closed().await;
                Ok::<_, WireError>(())
            };
            let _ = time::timeout(REFUSAL_WAIT, told).await;
            wire::close(connection, code, &words);
        }
        Close::Broken(WireError::Lost(error)) => debug!(%error, "connection ended"),
        Close::Broken(error) => {
            warn!(%error, "protocol broken");
            wire::close(connection, CloseCode::Protocol, &error.to_string());
        }
        Close::TimedOut => wire::close(connection, CloseCode::Protocol, "no registration in time"),
    }
}

/// A link in the table, until it ends.
struct Registered<'a> {
    parts: &'a TunnelParts,
    link: Arc<Link>,
    control: Control,
    peer: Peer,
}

enum Event {
    Message(Result<Message, WireError>),
    Look,
    Nudge,
    Leave,
    Closed(ConnectionError),
}

impl Registered<'_> {
    async fn run(mut self, welcome: &Message) {
        info!(software = self.link.software, slot = self.link.slot, "link registered");
        let why = match wire::write_message(&mut self.control.send, welcome).await {
            Ok(()) => self.serve().await,
            Err(error) => error.to_string(),
        };
        self.link.set_state(LinkState::Dead);
        self.parts.registry.remove(&self.link);
        info!(%why, "link ended");
    }

    async fn serve(&mut self) -> String {
        let connection = self.link.connection().clone();
        let mut liveness = Liveness::new(Instant::now(), Traffic::of(&connection.stats()));
        let mut looks = time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut leaving, mut nudged) = (false, false);
        loop {
            let event = tokio::select! {
                message = self.control.reader.next() => Event::Message(message),
                _ = looks.tick() => Event::Look,
                () = self.link.nudged(), if !nudged => Event::Nudge,
                () = self.parts.leave.cancelled(), if !leaving => Event::Leave,
                error = connection.closed() => Event::Closed(error),
            };
            let done = match event {
                Event::Message(message) => self.hear(message).await,
                Event::Look => {
                    nudged = false;
                    self.look(&mut liveness)
                }
                // Once between two looks is enough, however many opens wait.
                Event::Nudge => {
                    nudged = true;
                    let sign = Message::Ignored(NUDGE);
                    wire::write_message(&mut self.control.send, &sign).await.map_err(|e| e.to_string())
                }
                Event::Leave => {
                    leaving = true;
                    let grace_ms = u32::try_from(self.parts.grace.as_millis()).unwrap_or(u32::MAX);
                    let goodbye = Message::Goodbye(Goodbye { grace_ms });
                    wire::write_message(&mut self.control.send, &goodbye).await.map_err(|e| e.to_string())
                }
                Event::Closed(error) => Err(describe(&error)),
            };
            if let Err(why) = done {
                return why;
            }
        }
    }

    async fn hear(&mut self, message: Result<Message, WireError>) -> Result<(), String> {
        match message {
            Ok(Message::Goodbye(goodbye)) => {
                info!(grace_ms = goodbye.grace_ms, "the connector leaves: nothing new is placed on the link");
                self.link.drain();
                self.parts.registry.changed();
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
                wire::write_message(&mut self.control.send, &answer).await.map_err(|e| e.to_string())
            }
            Ok(Message::Ignored(kind)) => {
                debug!(kind, "control message of an unknown, optional kind");
                Ok(())
            }
            Ok(other) => Err(self.broken(&WireError::OutOfOrder(other.name()))),
            Err(WireError::Lost(error)) => Err(describe(&error)),
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn look(&mut self, liveness: &mut Liveness) -> Result<(), String> {
        let connection = self.link.connection();
        let state = liveness.observe(Instant::now(), Traffic::of(&connection.stats()), connection.rtt());
        if self.link.set_state(state) {
            match state {
                LinkState::Up => info!("the link answers again"),
                LinkState::Suspect => warn!("the link leaves packets unanswered: nothing new is placed on it"),
                LinkState::Dead => {}
            }
            self.parts.registry.changed();
        }
        if state == LinkState::Dead {
            self.link.close(CloseCode::Dead, "nothing was acknowledged");
            return Err("nothing was acknowledged for 3 s".to_owned());
        }
        if self.peer.lifetime.standing(SystemTime::now()) != Standing::Valid {
            self.link.close(CloseCode::Expired, "the certificate ran out and was not renewed");
            return Err("its certificate ran out".to_owned());
        }
        Ok(())
    }

    fn broken(&self, error: &WireError) -> String {
        let why = format!("the connector broke the protocol: {error}");
        warn!("{why}");
        self.link.close(CloseCode::Protocol, &error.to_string());
        why
    }
}

fn describe(error: &ConnectionError) -> String {
    let ConnectionError::ApplicationClosed(close) = error else { return error.to_string() };
    let number = close.error_code.into_inner();
    let code = CloseCode::from_wire(number).map_or_else(|| number.to_string(), |c| c.to_string());
    format!("closed by the connector ({code}): {}", String::from_utf8_lossy(&close.reason))
}

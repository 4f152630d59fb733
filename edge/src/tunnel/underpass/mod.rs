//! The dialect of our own connectors: what a connection is for, and who may have it. What becomes of a link is `registered`'s.

mod claims;
mod control;
mod registered;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use certs::{
    tls::{self, Admission},
    verify::Peer,
};
use net::vital;
use protocol::{
    control::{Claims, Hello, Message, Refusal, RefusalCode, RefusedRoute, RouteClaim, Welcome},
    error::CloseCode,
    id::Name,
    limits::REGISTER_WAIT,
    link::Connection,
    sparing::Sparing,
    stream::PRIORITY_CONTROL,
    version::{self, VERSION, VERSION_MIN},
    wire::{self, ControlReader, WireError},
};
use tokio::{task, time};
use tracing::{Instrument, debug, info, info_span, warn};

use self::{claims::Pace, control::Control, registered::Registered};
use super::{
    TunnelParts,
    crowd::Place,
    link::{Link, Registration},
    registry::Registry,
};

/// A refused peer may take this long to read why.
const REFUSAL_WAIT: Duration = Duration::from_secs(1);

/// Refused claims of one registration that are told one by one; status has every one.
const CLAIMS_TOLD: usize = 8;

/// Who speaks it; one for the whole endpoint.
#[derive(Debug, Default)]
pub(super) struct Underpass {
    refusals: Sparing,
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

impl Underpass {
    /// Hears what a connection is for, and serves it to its end.
    pub(super) async fn serve(&self, parts: &TunnelParts, connection: &Connection, (worker, place): (usize, Place)) {
        let heard = tokio::select! {
            heard = first_words(connection) => heard,
            // Sessions come later, so nobody would take it, and as many as fit a link's buffer would be kept.
            Ok(_) = connection.read_datagram() => Err(Close::Broken(WireError::OutOfOrder("datagram"))),
        };
        let done = match heard {
            Ok(heard) => parts.admitted(connection, heard, (worker, place)).await,
            Err(close) => Err(close),
        };
        if let Err(close) = done {
            self.refuse(connection, close).await;
        }
    }

    async fn refuse(&self, connection: &Connection, close: Close) {
        match close {
            Close::Refused(mut control, refusal) => {
                match self.refusals.may_say(Instant::now()) {
                    Some(untold) => warn!(%refusal, untold, "refused"),
                    None => debug!(%refusal, "refused"),
                }
                let code = close_code(refusal.code());
                let words = refusal.text.clone();
                let told = async {
                    wire::write_message(&mut control.send, &Message::Refused(refusal)).await?;
                    let _ = control.send.finish();
                    connection.closed().await;
                    Ok::<_, WireError>(())
                };
                let _ = time::timeout(REFUSAL_WAIT, told).await;
                connection.close(code, &words);
            }
            Close::Broken(error @ WireError::Lost(_)) => debug!(%error, "connection ended"),
            Close::Broken(error) => {
                match self.refusals.may_say(Instant::now()) {
                    Some(untold) => warn!(%error, untold, "protocol broken"),
                    None => debug!(%error, "protocol broken"),
                }
                connection.close(CloseCode::Protocol, &error.to_string());
            }
            Close::TimedOut => connection.close(CloseCode::Protocol, "no registration in time"),
        }
    }
}

impl TunnelParts {
    async fn admitted(
        &self,
        connection: &Connection,
        FirstWords { control, admission, message }: FirstWords,
        // Whoever has not registered yet counts as half open.
        (worker, place): (usize, Place),
    ) -> Result<(), Close> {
        match (admission, message) {
            (Admission::Link(peer), Message::Hello(hello)) => {
                drop(place);
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
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Judges, SystemTime) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let judges = Judges { authority: self.authority.clone(), registry: self.registry.clone() };
        let asked = task::spawn_blocking(move || ask(&judges, SystemTime::now())).await;
        asked.unwrap_or_else(|_| Err(Refusal::new(RefusalCode::Unavailable, "the edge failed on this request")))
    }

    /// Sends the only answer of a connection, then waits for the peer to close it.
    async fn answer(&self, connection: &Connection, mut control: Control, message: &Message) -> Result<(), Close> {
        wire::write_message(&mut control.send, message).await?;
        let _ = control.send.finish();
        let _ = time::timeout(REGISTER_WAIT, connection.closed()).await;
        connection.close(CloseCode::Done, "");
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
        let registration = Registration {
            connector: peer.connector.clone(),
            replica: peer.replica.clone(),
            run: hello.run,
            slot: hello.slot,
            software: hello.software,
            expires: peer.lifetime.not_after,
            worker,
            version,
            tally: self.metrics.windows().clone(),
            connection: connection.clone(),
        };
        let claims = Claims { links: hello.links, routes: hello.routes };
        let link = match enter(&self.registry, (registration, claims), || self.check(&peer)).await {
            Ok(link) => link,
            Err(refusal) => return Err(Close::Refused(control, refusal)),
        };
        connection.admit();
        let (accepted, refused) = self.judged(&link);
        tell_refused(&link.connector, &refused);
        let welcome = Welcome { version, edge: self.name.to_string(), link: link.id.0, accepted, refused };
        // Ends with the connection.
        tokio::spawn(link.switch.clone().run(connection.clone(), self.metrics.drops().clone()));
        let span = info_span!("link", id = %link.id, connector = %link.connector, replica = %link.replica);
        let (welcome, entered) = (Message::Welcome(welcome.fitting()), link.clone());
        let registered =
            Registered { parts: self, link, control, peer, claims: Pace::default(), told: Sparing::default() };
        if vital::caught(registered.run(&welcome).instrument(span)).await.is_err() {
            self.vital.panicked("a link");
            entered.close(CloseCode::Protocol, "the edge failed on this link");
            self.registry.remove(&entered);
        }
        Ok(())
    }

    /// What a link may have of what it claims, as it crosses the wire, and what not.
    pub(super) fn judged(&self, link: &Link) -> (Vec<RouteClaim>, Vec<RefusedRoute>) {
        let (accepted, refused) = self.registry.judged(link);
        let accepted = accepted.iter().map(|r| RouteClaim { vnet: r.vnet.to_string(), cidr: r.cidr.to_string() });
        (accepted.collect(), refused)
    }

    /// Whether the peer may be here now.
    pub(super) async fn check(&self, peer: &Peer) -> Result<(), Refusal> {
        let asked = peer.clone();
        let judge = move |judges: &Judges, _| {
            let granted = judges.registry.is_granted(&asked.connector);
            judges.authority.check(&asked, granted)
        };
        self.blocking(judge).await
    }
}

/// Enters a link into the table. Its connector is judged before, and again after: a revocation in between has closed every
/// link in the table, and did not find this one.
async fn enter<J: Future<Output = Result<(), Refusal>>>(
    registry: &Registry,
    registration: (Registration, Claims),
    judge: impl Fn() -> J,
) -> Result<Arc<Link>, Refusal> {
    judge().await?;
    let link = registry.register(registration);
    if let Err(refusal) = judge().await {
        registry.remove(&link);
        return Err(refusal);
    }
    Ok(link)
}

/// The first few of them, and how many more there are.
fn tell_refused(connector: &Name, refused: &[RefusedRoute]) {
    for claim in refused.iter().take(CLAIMS_TOLD) {
        let RouteClaim { vnet, cidr } = &claim.route;
        warn!(%connector, vnet, cidr, reason = claim.reason, "route refused");
    }
    if refused.len() > CLAIMS_TOLD {
        warn!(%connector, untold = refused.len() - CLAIMS_TOLD, "more routes refused");
    }
}

/// Who decides on enrolment, renewal and registration.
pub(super) struct Judges {
    pub(super) authority: Arc<certs::enrol::Authority>,
    pub(super) registry: Arc<Registry>,
}

/// What a connection begins with.
struct FirstWords {
    control: Control,
    admission: Admission,
    message: Message,
}

/// Hears what a connection is for, and whether its certificate is good for that.
async fn first_words(connection: &Connection) -> Result<FirstWords, Close> {
    let opened = time::timeout(REGISTER_WAIT, open_control(connection)).await;
    let mut control = opened.map_err(|_| Close::TimedOut)??;
    let admission = match tls::admit_connection(connection, SystemTime::now()) {
        Ok(admission) => admission,
        Err(refusal) => return Err(Close::Refused(control, refusal)),
    };
    let message = time::timeout(REGISTER_WAIT, control.reader.next_known()).await.map_err(|_| Close::TimedOut)??;
    Ok(FirstWords { control, admission, message })
}

async fn open_control(connection: &Connection) -> Result<Control, Close> {
    let (send, recv) = connection.accept_stream().await.map_err(WireError::Lost)?;
    let _ = send.set_priority(PRIORITY_CONTROL);
    Ok(Control { send, reader: ControlReader::new(recv) })
}

fn close_code(refusal: RefusalCode) -> CloseCode {
    match refusal {
        RefusalCode::Version => CloseCode::Version,
        RefusalCode::NoGrant => CloseCode::NoGrant,
        RefusalCode::Revoked => CloseCode::Revoked,
        RefusalCode::CertificateExpired => CloseCode::Expired,
        RefusalCode::Unavailable => CloseCode::Overloaded,
        RefusalCode::TokenUnknown | RefusalCode::TokenUsed | RefusalCode::TokenExpired => CloseCode::Done,
        RefusalCode::BadRequest => CloseCode::Unauthorised,
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::ready};

    use super::*;
    use crate::tunnel::tests::{connections, registration};

    #[tokio::test]
    async fn a_revocation_between_the_look_and_the_entry_leaves_no_link() {
        let ([here, _there], _endpoints) = connections().await;
        let (registry, looks) = (Registry::default(), Cell::new(0));
        let name = "dc1".parse().expect("a name");
        let judge = || {
            looks.set(looks.get() + 1);
            let revoked = || Refusal::new(RefusalCode::Revoked, "revoked since");
            ready(if looks.get() == 1 { Ok(()) } else { Err(revoked()) })
        };
        let claims = || Claims { links: 1, routes: Vec::new() };
        let entered = enter(&registry, (registration(&name, here.clone()), claims()), judge).await;
        assert_eq!(entered.map(|_| ()).map_err(|refusal| refusal.code()), Err(RefusalCode::Revoked));
        assert!(registry.subscribe().borrow().links.is_empty());

        let entered = enter(&registry, (registration(&name, here), claims()), || ready(Ok(()))).await;
        let entered = entered.expect("nobody objects");
        assert!(registry.subscribe().borrow().links.contains_key(&entered.id));
    }
}

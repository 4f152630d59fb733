//! One link from registration to its end: takes the streams the edge opens, listens to the control stream, watches that
//! the link lives, renews the certificate that admits it.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use net::{
    unreachable::Watch,
    vital::{self, Panicked},
};
use protocol::{
    control::{Claims, Goodbye, Hello, Judged, Message, Refusal, Successor, Welcome},
    error::CloseCode,
    limits::{LOOK_EVERY, REGISTER_WAIT},
    link::{Connection, Lost, RecvStream, SendStream, Side},
    liveness::{Death, LinkState, Liveness, Look},
    splice::Stream,
    stream::PRIORITY_CONTROL,
    version::{VERSION, VERSION_CLAIMS, VERSION_MIN},
    windows::Windows,
    wire::{self, ControlReader, WireError},
};
use tokio::{sync::watch, time};
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use super::{allowance::Allowance, renewal::LinkRenewal};
use crate::serve::{self, LinkSide, Service};

/// A goodbye needs this long, or four round trips if those are longer, to be heard.
const FAREWELL: Duration = Duration::from_millis(300);

/// A registered link that is not served yet.
pub(super) struct Registered {
    pub(super) welcome: Welcome,
    /// What its edge was told last.
    pub(super) claimed: Arc<Claims>,
    /// What it is told now, until it has answered.
    asked: Option<Asked>,
    connection: Connection,
    send: SendStream,
    control: ControlReader,
}

/// Why a connection did not become a link.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegisterError {
    #[error("the edge refused the registration: {0}")]
    Refused(Refusal),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("no answer within {} s", REGISTER_WAIT.as_secs())]
    TimedOut,
}

/// How a link ended.
#[derive(Debug)]
pub(super) enum LinkEnd {
    /// Flows had time to end after a goodbye of ours.
    Drained,
    /// The link was silent for too long.
    Dead(Death),
    /// The edge or the network closed it.
    Closed(Lost),
    /// The edge broke the protocol.
    Broken(WireError),
    /// The edge did not say what it makes of other claims.
    Unjudged,
    /// The connector broke down over it.
    Panicked,
}

/// What a supervisor may tell a running link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Carry on.
    Serve,
    /// Take nothing new; end when flows have, or when this time is over.
    Leave(Duration),
}

/// How long the edge's process that a link leads to will be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    /// As far as it says, for ever.
    Open,
    /// Until another has taken over.
    Succeeded,
    /// It is leaving.
    Leaving,
}

/// What a running link is given.
pub(super) struct Serving {
    pub(super) service: Arc<Service>,
    pub(super) renewal: LinkRenewal,
    pub(super) state: watch::Sender<LinkState>,
    /// What is to be claimed.
    pub(super) claims: watch::Receiver<Arc<Claims>>,
    /// What the edge says of claims that it was told since it has welcomed the link.
    pub(super) judged: watch::Sender<Option<Arc<Judged>>>,
    /// What the edge's process says of itself.
    pub(super) stay: watch::Sender<Stay>,
    pub(super) wish: watch::Receiver<Wish>,
    pub(super) flows: TaskTracker,
    /// What the edge's host says.
    pub(super) unreachable: Watch,
}

/// Registers on a fresh connection, with these claims in place of those of the hello.
pub(super) async fn register(
    connection: Connection,
    hello: Hello,
    claimed: Arc<Claims>,
) -> Result<Registered, RegisterError> {
    let exchange = async {
        let (mut send, recv) = connection.open_stream().await.map_err(WireError::Lost)?;
        let mut control = ControlReader::new(recv);
        let _ = send.set_priority(PRIORITY_CONTROL);
        let Claims { links, routes } = claimed.as_ref().clone();
        let hello = Hello { version_min: VERSION_MIN, version_max: VERSION, links, routes, ..hello };
        wire::write_message(&mut send, &Message::Hello(hello)).await?;
        match control.next_known().await? {
            Message::Welcome(welcome) => Ok((send, control, welcome)),
            Message::Refused(refusal) => Err(RegisterError::Refused(refusal)),
            other @ (Message::Hello(_)
            | Message::Goodbye(_)
            | Message::Renew(_)
            | Message::Renewed(_)
            | Message::Windows(_)
            | Message::Claims(_)
            | Message::Judged(_)
            | Message::Successor(_)
            | Message::Enrol(_)
            | Message::Enrolled(_)
            | Message::Ignored(_)) => Err(WireError::OutOfOrder(other.name()).into()),
        }
    };
    match time::timeout(REGISTER_WAIT, exchange).await.unwrap_or(Err(RegisterError::TimedOut)) {
        Ok((send, control, welcome)) => Ok(Registered { welcome, claimed, asked: None, connection, send, control }),
        Err(error @ RegisterError::Wire(WireError::Lost(_))) => Err(error),
        Err(error) => {
            connection.close(CloseCode::Done, "registration given up");
            Err(error)
        }
    }
}

impl Registered {
    /// Where the edge is.
    pub(super) fn remote(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// The link itself, to look at.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether its edge can be told of other claims over it.
    pub(super) fn may_claim(&self) -> bool {
        self.welcome.version >= VERSION_CLAIMS
    }

    /// Serves the link until it ends.
    pub(super) async fn run(self, serving: Serving) -> LinkEnd {
        let (connection, vital) = (self.connection.clone(), serving.service.metrics.vital().clone());
        vital::caught(self.serve(serving)).await.unwrap_or_else(|Panicked| {
            vital.panicked("a link");
            connection.close(CloseCode::Protocol, "the connector failed on this link");
            LinkEnd::Panicked
        })
    }

    async fn serve(mut self, mut serving: Serving) -> LinkEnd {
        let tally = serving.service.metrics.windows().clone();
        let windows = Arc::new(Windows::new(self.connection.clone(), self.welcome.version, tally));
        let connection = self.connection.clone();
        let side = Arc::new(LinkSide { connection, windows: windows.clone(), switch: Arc::default() });
        // Ends with the link.
        tokio::spawn(side.switch.clone().run(self.connection.clone(), serving.service.metrics.drops().clone()));
        let look = Look::at(&self.connection, Instant::now(), serving.unreachable.count(), 0);
        let mut liveness = Liveness::new(Side::Connector, look);
        let mut look = pin!(time::sleep(liveness.wait()));
        let (mut leaving, mut allowance) = (None, Allowance::new());
        // They may have changed while the link registered.
        serving.claims.mark_changed();
        loop {
            let may_claim = self.may_claim() && self.asked.is_none() && leaving.is_none();
            let event = tokio::select! {
                stream = self.connection.accept_stream() => Event::Stream(stream),
                message = self.control.next() => Event::Message(message),
                told = windows.due() => Event::Windows(told),
                () = &mut look => Event::Look,
                Ok(()) = serving.wish.changed() => Event::Wish,
                Ok(()) = serving.claims.changed(), if may_claim => Event::Claims,
            };
            let done = match event {
                Event::Stream(Ok(stream)) => {
                    let stream = Stream::new(stream);
                    serving.flows.spawn(serve::serve(serving.service.clone(), stream, side.clone()));
                    if let Some(streams) = allowance.grow(serving.flows.len()) {
                        self.connection.allow_streams(streams);
                    }
                    Ok(())
                }
                Event::Stream(Err(lost)) => Err(LinkEnd::Closed(lost)),
                Event::Message(Ok(Message::Windows(told))) => {
                    windows.hear(&told);
                    Ok(())
                }
                Event::Message(message) => self.hear(message, &mut serving).await,
                Event::Windows(told) => self.say(&told).await,
                Event::Look => {
                    windows.look();
                    let looked = self.look(&mut liveness, leaving, &mut serving).await;
                    let wait = if leaving.is_some() { LOOK_EVERY } else { liveness.wait() };
                    look.as_mut().reset(time::Instant::now() + wait);
                    looked
                }
                Event::Wish => {
                    look.as_mut().reset(time::Instant::now());
                    self.obey(&mut leaving, &mut serving).await
                }
                Event::Claims => self.claim(&mut serving).await,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn hear(&mut self, message: Result<Message, WireError>, serving: &mut Serving) -> Result<(), LinkEnd> {
        match message {
            Ok(Message::Renewed(renewed)) => serving.renewal.granted(renewed).await,
            Ok(Message::Refused(refusal)) if serving.renewal.is_asked() => serving.renewal.refused(&refusal),
            Ok(Message::Refused(refusal)) => debug!(%refusal, "a refusal of what was not asked"),
            Ok(Message::Judged(judged)) if self.asked.is_some() => {
                self.claimed = self.asked.take().expect("asked just now").claims;
                serving.judged.send_replace(Some(Arc::new(judged)));
            }
            // Once is enough: each would be a line of the log.
            Ok(Message::Goodbye(_)) if *serving.stay.borrow() == Stay::Leaving => {}
            Ok(Message::Goodbye(goodbye)) => {
                serving.stay.send_replace(Stay::Leaving);
                info!(grace_ms = goodbye.grace_ms, "the edge is leaving: it places nothing new on this link");
            }
            Ok(Message::Successor(_)) if *serving.stay.borrow() == Stay::Leaving => {}
            Ok(Message::Successor(Successor { is_coming })) => {
                let stay = if is_coming { Stay::Succeeded } else { Stay::Open };
                serving.stay.send_if_modified(|before| std::mem::replace(before, stay) != stay);
            }
            Ok(Message::Ignored(kind)) => debug!(kind, "control message of an unknown, optional kind"),
            Ok(other) => return Err(self.broken(WireError::OutOfOrder(other.name()))),
            Err(WireError::Lost(lost)) => return Err(LinkEnd::Closed(lost)),
            Err(error) => return Err(self.broken(error)),
        }
        Ok(())
    }

    /// Tells the edge what is claimed, if it knows something else.
    async fn claim(&mut self, serving: &mut Serving) -> Result<(), LinkEnd> {
        let claims = serving.claims.borrow_and_update().clone();
        if *claims == *self.claimed {
            return Ok(());
        }
        let message = Message::Claims(claims.as_ref().clone());
        self.asked = Some(Asked { claims, until: Instant::now() + REGISTER_WAIT });
        self.say(&message).await
    }

    async fn look(
        &mut self,
        liveness: &mut Liveness,
        leaving: Option<Leaving>,
        serving: &mut Serving,
    ) -> Result<(), LinkEnd> {
        let now = Instant::now();
        let flows = serving.flows.len();
        let state = liveness.observe(Look::at(&self.connection, now, serving.unreachable.count(), flows));
        serving.state.send_if_modified(|s| std::mem::replace(s, state) != state);
        if state == LinkState::Dead {
            self.connection.close(CloseCode::Dead, "nothing was acknowledged");
            return Err(LinkEnd::Dead(liveness.death()));
        }
        if liveness.asks() {
            self.connection.nudge();
        }
        if leaving.is_some_and(|leaving| now >= leaving.until || (now >= leaving.heard && serving.flows.is_empty())) {
            self.connection.close(CloseCode::Shutdown, "the connector left");
            return Err(LinkEnd::Drained);
        }
        if self.asked.as_ref().is_some_and(|asked| now >= asked.until) {
            self.connection.close(CloseCode::Protocol, "claims were not judged in time");
            return Err(LinkEnd::Unjudged);
        }
        if let Some(renew) = serving.renewal.due() {
            self.say(&Message::Renew(renew)).await?;
        }
        Ok(())
    }

    async fn obey(&mut self, leaving: &mut Option<Leaving>, serving: &mut Serving) -> Result<(), LinkEnd> {
        let wish = *serving.wish.borrow_and_update();
        let Wish::Leave(grace) = wish else { return Ok(()) };
        let now = Instant::now();
        if let Some(leaving) = leaving {
            // It was told before, and has less time now.
            leaving.until = leaving.until.min((now + grace).max(leaving.heard));
            return Ok(());
        }
        let until = now + grace.max(FAREWELL);
        let heard = now + FAREWELL.max(self.connection.rtt() * 4);
        *leaving = Some(Leaving { heard, until });
        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        self.say(&Message::Goodbye(Goodbye { grace_ms })).await
    }

    async fn say(&mut self, message: &Message) -> Result<(), LinkEnd> {
        match wire::write_message(&mut self.send, message).await {
            Ok(()) => Ok(()),
            Err(WireError::Lost(lost)) => Err(LinkEnd::Closed(lost)),
            Err(error) => Err(self.broken(error)),
        }
    }

    fn broken(&self, error: WireError) -> LinkEnd {
        self.connection.close(CloseCode::Protocol, &error.to_string());
        LinkEnd::Broken(error)
    }
}

/// Claims that the edge was told of.
#[derive(Debug)]
struct Asked {
    claims: Arc<Claims>,
    /// By then it has answered, or is not what it says.
    until: Instant,
}

/// When a leaving link may close.
#[derive(Debug, Clone, Copy)]
struct Leaving {
    /// The edge has heard the goodbye by then: what it opened before has arrived.
    heard: Instant,
    /// Then at the latest.
    until: Instant,
}

enum Event {
    Stream(Result<(SendStream, RecvStream), Lost>),
    Message(Result<Message, WireError>),
    Windows(Message),
    Look,
    Wish,
    Claims,
}

//! One link from registration to its end: takes the streams the edge opens, listens to the control stream, watches that
//! the link lives, renews the certificate that admits it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{
    control::{Goodbye, Hello, Message, Refusal, Welcome},
    error::CloseCode,
    id::Target,
    limits::{LOOK_EVERY, REGISTER_WAIT},
    liveness::{LinkState, Liveness, Traffic},
    splice::{Stream, Stuck},
    stream::PRIORITY_CONTROL,
    version::{VERSION, VERSION_MIN},
    wire::{self, WireError},
};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{self, MissedTickBehavior},
};
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::renewal::LinkRenewal;
use crate::serve::{self, Service};

/// A registered link that is not served yet.
pub(super) struct Session {
    pub(super) edge: Target,
    pub(super) welcome: Welcome,
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
}

/// Why a connection did not become a link.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegisterError {
    #[error("the edge refused the registration: {0}")]
    Refused(Refusal),
    #[error("{0}")]
    Closed(String),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the edge's answer is not one to a registration")]
    OutOfOrder,
    #[error("no answer within {} s", REGISTER_WAIT.as_secs())]
    TimedOut,
}

/// How a link ended.
#[derive(Debug)]
pub(super) enum SessionEnd {
    /// Flows had time to end after a goodbye of ours.
    Drained,
    /// The link was silent for too long.
    Dead,
    /// The edge or the network closed it.
    Closed(ConnectionError),
    /// The edge broke the protocol.
    Broken(WireError),
}

/// What a supervisor may tell a running session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Carry on.
    Serve,
    /// Take nothing new; end when flows have, or when this time is over.
    Leave(Duration),
}

/// What a running session is given.
pub(super) struct Serving {
    pub(super) service: Arc<Service>,
    pub(super) renewal: LinkRenewal,
    pub(super) state: watch::Sender<LinkState>,
    pub(super) wish: watch::Receiver<Wish>,
    pub(super) flows: TaskTracker,
}

/// Registers on a fresh connection.
pub(super) async fn register(connection: Connection, edge: Target, hello: Hello) -> Result<Session, RegisterError> {
    let exchange = async {
        let (mut send, mut recv) = connection.open_bi().await.map_err(WireError::Lost)?;
        let _ = send.set_priority(PRIORITY_CONTROL);
        let hello = Hello { version_min: VERSION_MIN, version_max: VERSION, ..hello };
        wire::write_message(&mut send, &Message::Hello(hello)).await?;
        loop {
            match wire::read_message(&mut recv).await? {
                Message::Welcome(welcome) => return Ok((send, recv, welcome)),
                Message::Refused(refusal) => return Err(RegisterError::Refused(refusal)),
                Message::Ignored(_) => {}
                _ => return Err(RegisterError::OutOfOrder),
            }
        }
    };
    match time::timeout(REGISTER_WAIT, exchange).await.unwrap_or(Err(RegisterError::TimedOut)) {
        Ok((send, recv, welcome)) => Ok(Session { edge, welcome, connection, send, recv }),
        Err(RegisterError::Wire(WireError::Lost(ConnectionError::ApplicationClosed(close)))) => {
            Err(RegisterError::Closed(describe_close(&close)))
        }
        Err(error) => {
            wire::close(&connection, CloseCode::Done, "registration given up");
            Err(error)
        }
    }
}

/// A close by the edge, in words.
pub(super) fn describe_close(close: &quinn::ApplicationClose) -> String {
    let number = close.error_code.into_inner();
    let code = CloseCode::from_wire(number).map_or_else(|| number.to_string(), |c| c.to_string());
    format!("the edge closed the link ({code}): {}", String::from_utf8_lossy(&close.reason))
}

impl Session {
    /// Serves the link until it ends.
    pub(super) async fn run(self, mut serving: Serving) -> SessionEnd {
        let Self { connection, send, recv, .. } = self;
        let stuck = Arc::new(Stuck::default());
        let (outbox, messages) = mpsc::channel(8);
        let mut readers = JoinSet::new();
        readers.spawn(read_control(recv));
        readers.spawn(write_control(send, messages));
        let mut liveness = Liveness::new(Instant::now(), Traffic::of(&connection.stats()));
        let mut looks = time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leaving = None;
        loop {
            tokio::select! {
                stream = connection.accept_bi() => match stream {
                    Ok((send, recv)) => {
                        let stream = Stream { send, recv };
                        serving.flows.spawn(serve::serve(serving.service.clone(), stream, stuck.clone()));
                    }
                    Err(error) => return SessionEnd::Closed(error),
                },
                _ = looks.tick() => {
                    let state = liveness.observe(Instant::now(), Traffic::of(&connection.stats()), connection.rtt());
                    serving.state.send_if_modified(|s| std::mem::replace(s, state) != state);
                    if state == LinkState::Dead {
                        wire::close(&connection, CloseCode::Dead, "nothing was acknowledged");
                        return SessionEnd::Dead;
                    }
                    let is_over = |until: Instant| serving.flows.is_empty() || Instant::now() >= until;
                    if leaving.is_some_and(is_over) {
                        wire::close(&connection, CloseCode::Shutdown, "the connector left");
                        return SessionEnd::Drained;
                    }
                    serving.renewal.tick(&outbox).await;
                }
                Some(joined) = readers.join_next() => match joined {
                    Ok(Control::Renewed(message)) => {
                        serving.renewal.answered(message.answer).await;
                        readers.spawn(read_control(message.recv));
                    }
                    Ok(Control::Leaving(message)) => {
                        info!(grace_ms = message.answer.grace_ms, "the edge places nothing new on this link: it is leaving");
                        readers.spawn(read_control(message.recv));
                    }
                    Ok(Control::Broken(WireError::Lost(error))) => return SessionEnd::Closed(error),
                    Ok(Control::Broken(error)) => {
                        warn!(%error, "the edge broke the protocol");
                        wire::close(&connection, CloseCode::Protocol, &error.to_string());
                        return SessionEnd::Broken(error);
                    }
                    Ok(Control::Written) => {}
                    Err(error) => debug!(%error, "a control task ended"),
                },
                Ok(()) = serving.wish.changed() => {
                    if let Wish::Leave(grace) = *serving.wish.borrow_and_update() {
                        leaving = Some(Instant::now() + grace);
                        serving.flows.close();
                        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
                        let _ = outbox.send(Message::Goodbye(Goodbye { grace_ms })).await;
                    }
                }
            }
        }
    }
}

/// An answer of the edge to a renewal.
pub(super) type RenewalAnswer = Result<Vec<u8>, Refusal>;

struct Received<T> {
    answer: T,
    recv: RecvStream,
}

enum Control {
    Renewed(Received<RenewalAnswer>),
    Leaving(Received<Goodbye>),
    Broken(WireError),
    Written,
}

/// Reads up to the next message that matters. A task of its own, since reading a message must not be interrupted.
async fn read_control(mut recv: RecvStream) -> Control {
    loop {
        return match wire::read_message(&mut recv).await {
            Ok(Message::Ignored(kind)) => {
                debug!(kind, "control message of an unknown, optional kind");
                continue;
            }
            Ok(Message::Renewed(renewed)) => Control::Renewed(Received { answer: Ok(renewed.certificate), recv }),
            Ok(Message::Refused(refusal)) => Control::Renewed(Received { answer: Err(refusal), recv }),
            Ok(Message::Goodbye(goodbye)) => Control::Leaving(Received { answer: goodbye, recv }),
            Ok(_) => Control::Broken(WireError::Ended),
            Err(error) => Control::Broken(error),
        };
    }
}

async fn write_control(mut send: SendStream, mut messages: mpsc::Receiver<Message>) -> Control {
    while let Some(message) = messages.recv().await {
        if let Err(error) = wire::write_message(&mut send, &message).await {
            return Control::Broken(error);
        }
    }
    Control::Written
}

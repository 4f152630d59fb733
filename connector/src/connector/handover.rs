//! How one process of a connector takes over from another while both have links: the new one dials every slot under the slot's other
//! number, and only when it has its links does the old one leave, and end with its flows.
//!
//! ```text
//! successor    hello →            ready →
//! predecessor        ← run (slots)       ← yours
//! ```
//! Whichever of the two fails before the last word, the other goes on by itself.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use certs::identity::ConnectorState;
use net::{
    Sockets,
    handover::{Channel, Door, Handed, SocketKind},
};
use protocol::id::Target;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::ConnectorError;
use crate::link::{Links, Turn};

/// Where a process waits for its successor, in `state_dir`.
const DOOR: &str = "handover.sock";
/// Of what the words mean. Processes of different forms do not hand over to each other.
const FORM: u16 = 1;
/// How long the other process may take for its next word. A successor dials meanwhile.
const WORD_WAIT: Duration = Duration::from_secs(30);
/// And for its first: whoever knocks has something to say.
const HELLO_WAIT: Duration = Duration::from_secs(2);
/// After a knock that could not be answered.
const PAUSE: Duration = Duration::from_secs(1);
/// How long edges may take to welcome a successor's links.
const LINKS_WAIT: Duration = Duration::from_secs(10);

/// Why a process could not take over. The one before goes on.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The door, or what crosses it.
    #[error("cannot take over from the connector that runs: {0}")]
    Io(#[from] io::Error),
    /// The process before has refused.
    #[error("the connector that runs does not hand over: {0}")]
    Refused(String),
    /// It says something else than is expected.
    #[error("the connector that runs says what this one does not understand: start this one when that has ended")]
    Unexpected,
    /// It does not answer in time, or has taken back what it was about to give.
    #[error("the connector that runs goes on: it did not agree in time")]
    GoesOn,
    /// It cannot be told which numbers its links leave free.
    #[error("{0}: try again when it has ended")]
    Busy(&'static str),
    /// It would serve nobody.
    #[error("no edge has welcomed this process within {} s: the connector that runs goes on", LINKS_WAIT.as_secs())]
    Alone,
}

/// One message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    /// The successor is there.
    Hello { form: u16 },
    /// The predecessor's links. Beside the message are what holds `state_dir`, and the admin endpoint's socket.
    Run { run: u64, slots: Vec<Taken> },
    /// The predecessor does not hand over.
    Refused { why: String },
    /// The successor has its links.
    Ready,
    /// The predecessor leaves.
    Yours,
}

/// A slot that has a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    edge: String,
    slot: u16,
    number: u16,
}

impl Word {
    async fn say(&self, channel: &Channel, files: &[OwnedFd]) -> io::Result<()> {
        channel.say(&serde_json::to_vec(self)?, files).await
    }

    /// The other's next; none if that has ended.
    async fn hear(channel: &Channel, patience: Duration) -> Result<Option<(Self, Vec<OwnedFd>)>, HandoverError> {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let Some((text, files)) = time::timeout(patience, channel.hear()).await.map_err(late)?? else {
            return Ok(None);
        };
        let word = serde_json::from_slice(&text).map_err(|_| HandoverError::Unexpected)?;
        match word {
            Self::Refused { why } => Err(HandoverError::Refused(why)),
            word @ (Self::Hello { .. } | Self::Run { .. } | Self::Ready | Self::Yours) => Ok(Some((word, files))),
        }
    }
}

/// The sockets of a process that may take over from another, and hand over to another.
#[derive(Debug)]
pub struct Succession {
    /// The admin endpoint's.
    pub sockets: Arc<Sockets>,
    /// The process that serves so far, if one does.
    pub before: Option<Arc<Predecessor>>,
    /// Told which process has taken over from this one.
    pub successor: watch::Sender<Option<u32>>,
}

/// What a process needs of itself to hand over.
#[derive(Debug)]
pub(super) struct Own {
    sockets: Arc<Sockets>,
    successor: watch::Sender<Option<u32>>,
}

impl Succession {
    /// The process before.
    pub(super) fn before(&self) -> Option<Arc<Predecessor>> {
        self.before.clone()
    }

    /// What this one needs to hand over.
    pub(super) fn own(&self) -> Own {
        Own { sockets: self.sockets.clone(), successor: self.successor.clone() }
    }
}

/// The process that serves so far.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    /// What holds `state_dir`.
    lock: OwnedFd,
    run: u64,
    turns: BTreeMap<(Target, u16), Turn>,
}

impl Predecessor {
    /// The process that serves with this `state_dir`, whose sockets are in `sockets` from now on; none if there is none. Needs a runtime.
    ///
    /// # Errors
    /// [`HandoverError`]: there is one, and it cannot be taken over from.
    pub async fn meet(sockets: &Sockets, state_dir: &Path) -> Result<Option<Self>, HandoverError> {
        let channel = match Channel::connect(&state_dir.join(DOOR)) {
            Ok(channel) => channel,
            Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&error.kind()) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        Word::Hello { form: FORM }.say(&channel, &[]).await?;
        let Some((Word::Run { run, slots }, files)) = Word::hear(&channel, WORD_WAIT).await? else {
            return Err(HandoverError::Unexpected);
        };
        let mut files = files.into_iter();
        let lock = files.next().ok_or(HandoverError::Unexpected)?;
        for socket in files {
            sockets.take_over(Handed { kind: SocketKind::Tcp, stays: false, socket, relays: Vec::new() })?;
        }
        let turn = |Taken { edge, slot, number }: Taken| {
            let edge = edge.parse().map_err(|_| HandoverError::Unexpected)?;
            Ok(((edge, slot), Turn::beside(number)))
        };
        let turns = slots.into_iter().map(turn).collect::<Result<_, HandoverError>>()?;
        Ok(Some(Self { channel, lock, run, turns }))
    }

    /// The `state_dir`, which both processes have from now on.
    pub(super) fn state(&self, state_dir: &Path) -> Result<ConnectorState, ConnectorError> {
        Ok(ConnectorState::taken_over(state_dir, self.lock.try_clone()?)?)
    }

    /// What links of both processes say that they are of.
    pub(super) fn run(&self) -> u64 {
        self.run
    }

    /// Which number of each slot is free.
    pub(super) fn turns(&self) -> BTreeMap<(Target, u16), Turn> {
        self.turns.clone()
    }

    /// Waits until edges have welcomed this process, and says so: when this returns, the one before leaves. Some edges may be away.
    pub(super) async fn take_over(&self, links: &Links) -> Result<(), HandoverError> {
        let are_there = || self.turns.keys().all(|(edge, slot)| links.is_up_or_unknown(edge, *slot));
        let all = time::timeout(LINKS_WAIT, links.until(are_there)).await.is_ok();
        if !all && !links.is_ready() {
            return Err(HandoverError::Alone);
        }
        // What it said last may be a refusal.
        let _ = Word::Ready.say(&self.channel, &[]).await;
        match Word::hear(&self.channel, WORD_WAIT).await {
            Ok(Some((Word::Yours, _))) => info!("the process before leaves, and ends with its flows"),
            Ok(Some(_)) => return Err(HandoverError::Unexpected),
            Ok(None) | Err(HandoverError::Io(_)) if self.channel.peer_runs() => return Err(HandoverError::GoesOn),
            Ok(None) | Err(HandoverError::Io(_)) => warn!("the process before has ended by itself"),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Completes when the process before has ended.
    async fn ended(&self) {
        while let Ok(Some(_)) = self.channel.hear().await {}
    }
}

/// What is needed to hand over.
pub(super) struct Attending {
    pub(super) own: Own,
    pub(super) state: Arc<ConnectorState>,
    pub(super) run: u64,
    pub(super) links: Arc<Links>,
    /// No slot is dialled while this is so.
    pub(super) held: watch::Sender<bool>,
    pub(super) before: Option<Arc<Predecessor>>,
    /// Told that the admin endpoint is another's.
    pub(super) admin_stop: CancellationToken,
    /// Told to leave.
    pub(super) stop: CancellationToken,
}

impl Attending {
    /// Waits for successors, one after the other. A connector without a door serves all the same.
    pub(super) async fn attend(self, state_dir: PathBuf) {
        let path = state_dir.join(DOOR);
        let door = match Door::open(&path) {
            Ok(door) => door,
            Err(error) => {
                return warn!(%error, path = %path.display(), "this connector cannot be replaced while it runs");
            }
        };
        loop {
            let accepted = tokio::select! {
                accepted = door.accept() => accepted,
                () = self.stop.cancelled() => {
                    // An ordinary end leaves no door behind.
                    let _ = fs::remove_file(&path);
                    return;
                }
            };
            let channel = match accepted {
                Ok(channel) => channel,
                Err(error) => {
                    warn!(%error, "a process that knocked was not let in");
                    // For want of files, most likely, which is not over at once.
                    time::sleep(PAUSE).await;
                    continue;
                }
            };
            let pid = channel.peer();
            info!(pid, "another process of this connector is to take over");
            let Err(error) = self.hand_over(&channel, pid).await;
            self.held.send_replace(false);
            warn!(pid, %error, "the other process has not taken over: this one goes on");
            let _ = Word::Refused { why: error.to_string() }.say(&channel, &[]).await;
        }
    }

    async fn hand_over(&self, channel: &Channel, pid: u32) -> Result<Infallible, HandoverError> {
        let Word::Hello { form: FORM } = next(channel, HELLO_WAIT).await? else {
            return Err(HandoverError::Unexpected);
        };
        // Each slot has two numbers, so there is room for two.
        if let Some(before) = &self.before
            && time::timeout(Duration::ZERO, before.ended()).await.is_err()
        {
            return Err(HandoverError::Busy("the process that it took over from has flows still"));
        }
        if self.links.leaving() > 0 {
            return Err(HandoverError::Busy("a link that another has replaced has flows still"));
        }
        self.held.send_replace(true);
        let (handed, _) = self.own.sockets.hand_over()?;
        let mut files = vec![self.state.lock()?];
        files.extend(handed.into_iter().map(|handed| handed.socket));
        Word::Run { run: self.run, slots: slots(&self.links) }.say(channel, &files).await?;
        let Word::Ready = next(channel, WORD_WAIT).await? else { return Err(HandoverError::Unexpected) };
        // It may have been kept from hearing for so long that it has given up.
        if channel.is_over() {
            return Err(ended().into());
        }
        info!(pid, "another process of this connector has taken over: what flows here may end");
        self.own.successor.send_replace(Some(pid));
        self.admin_stop.cancel();
        self.stop.cancel();
        // Whether it hears that or not, it has all there is.
        let _ = Word::Yours.say(channel, &[]).await;
        // It hears by this end that this process is there.
        std::future::pending().await
    }
}

async fn next(channel: &Channel, patience: Duration) -> Result<Word, HandoverError> {
    Ok(Word::hear(channel, patience).await?.ok_or_else(ended)?.0)
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it has ended")
}

fn slots(links: &Links) -> Vec<Taken> {
    let taken = |(edge, slot, number): (Target, u16, u16)| Taken { edge: edge.to_string(), slot, number };
    links.numbers().into_iter().map(taken).collect()
}

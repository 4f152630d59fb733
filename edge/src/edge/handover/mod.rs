//! How one process of an edge takes over from another while both serve: sockets cross a door in `state_dir`, connectors dial the new
//! process beside the old one, and only when that is ready does the old one stop accepting, and end with its flows.
//!
//! ```text
//! successor    hello →            reading →               ready →
//! predecessor        ← sockets            ← asked (links)       ← yours
//! ```
//! Whichever of the two fails before the last word, the other goes on by itself.

mod predecessor;
mod successor;
mod words;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use certs::revocation::REVOCATIONS;
use net::{
    FileWatch, Sockets,
    handover::{Door, SocketKind},
};
use protocol::link::transport::quic;
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::predecessor::Attending;
pub(super) use self::predecessor::Takeover;
pub use self::successor::Predecessor;
use super::{EdgeError, rooms::Rooms};
use crate::model::Config;

/// Where a process waits for its successor, in `state_dir`.
const DOOR: &str = "handover.sock";
/// How long the other process may take for its next word. A successor reads its files and waits for links meanwhile.
const WORD_WAIT: Duration = Duration::from_secs(30);
/// And for its first: whoever knocks has something to say.
const HELLO_WAIT: Duration = Duration::from_secs(2);
/// Those who knock while a hand-over is under way are told so by its end, and knock where it has led.
const KNOCKS_MAX: usize = 5;

/// Why a process could not take over. The one before goes on.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The door, or what crosses it.
    #[error("cannot take over from the edge that runs: {0}")]
    Io(#[from] io::Error),
    /// The process before has refused.
    #[error("the edge that runs does not hand over: {0}")]
    Refused(String),
    /// It says something else than is expected.
    #[error("the edge that runs says what this one does not understand: start this one when that has ended")]
    Unexpected,
    /// It does not answer in time, or has taken back what it was about to give.
    #[error("the edge that runs goes on: it did not agree in time")]
    GoesOn,
    /// Its own links are in doubt.
    #[error("this process was kept from running for seconds, so its links are in doubt: start it again")]
    Paused,
    /// Connectors would not find it.
    #[error(
        "connectors dial the edge that runs at {0}, and these settings have no tunnel.listen of that address: end that edge before this one is started"
    )]
    OtherTunnel(SocketAddr),
    /// The successor has read what is out of date.
    #[error("something was drained or revoked meanwhile, which it does not know of: start it again")]
    Changed,
    /// More than a message has room for.
    #[error("too many processes that were replaced have not ended yet: try again when they have")]
    Crowded,
    /// Nobody could be served.
    #[error(
        "none of {0} connectors has dialled this process within {wait} s: the edge that runs goes on",
        wait = successor::SETTLE_WAIT.as_secs()
    )]
    Alone(usize),
}

/// The sockets of a process that may take over from another, and hand over to another.
#[derive(Debug)]
pub struct Succession {
    /// Those that are open.
    pub sockets: Arc<Sockets>,
    /// The process that serves so far, if one does.
    pub before: Option<Predecessor>,
    /// Told which process has taken over from this one.
    pub successor: watch::Sender<Option<u32>>,
}

impl Succession {
    /// Has packets of the tunnel say which process they are for.
    pub(super) fn number(&self) {
        self.sockets.divide_by(self.generation(), quic::generation_of);
    }

    /// Which of the processes that have had these sockets this one is.
    pub(super) fn generation(&self) -> u8 {
        self.before.as_ref().map(Predecessor::generation).unwrap_or_default()
    }
}

/// Where successors knock.
pub(super) struct Succeeding {
    takeovers: mpsc::Receiver<Takeover>,
    successor: watch::Sender<Option<u32>>,
    /// Told when one that has taken over is gone, and with it whoever reads the tunnel's socket.
    orphaned: CancellationToken,
}

impl Succeeding {
    /// The next that can serve in place of this process. Never, where there are no sockets to hand over.
    pub(super) async fn next(of: &mut Option<Self>) -> Takeover {
        match of {
            Some(Self { takeovers, .. }) => match takeovers.recv().await {
                Some(takeover) => takeover,
                None => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }
}

impl Rooms {
    /// As [`Rooms::put_in_force`] at a start, where another process serves so far: nothing is accepted before this one could serve, and
    /// that one has stopped.
    pub(super) async fn take_over(&self, config: &Config, before: &Predecessor) -> Result<(), EdgeError> {
        if let Some(address) = before.tunnel_left() {
            return Err(HandoverError::OtherTunnel(address).into());
        }
        let expected = before.reading().await?;
        let _changing = self.store.change().await;
        let drains = self.store.current().drains.clone();
        let (plan, read) = self.read(config).await;
        let snapshot = Arc::new(read?);
        let prepared = self.listeners.prepare(&snapshot).await?;
        self.store.commit(snapshot.clone());
        self.tunnel.registry.follow();
        // What is not wanted here stays where it is.
        before.settle();
        expected.settled(self.tunnel.registry.subscribe(), self.view.clone()).await?;
        // Who waits at the other's door comes to this one when that is closed.
        before.open_door();
        before.ready().await?;
        before.begin();
        self.listeners.commit(prepared);
        self.told(config, (&plan, &snapshot), &drains).await;
        Ok(())
    }

    /// Lets successors knock from now on.
    pub(super) fn await_successor(&self, config: &Config, succession: Succession) -> Succeeding {
        let generation = succession.generation();
        let Succession { sockets, before, successor } = succession;
        // Its end of the conversation is of no use any more.
        let opened = before.and_then(Predecessor::door);
        let path = door(&config.state_dir);
        let (takeovers, next) = mpsc::channel(1);
        let orphaned = sockets.orphaned();
        let attending = Attending {
            sockets,
            generation,
            store: self.store.clone(),
            links: self.tunnel.registry.subscribe(),
            succeeded: self.tunnel.succeeded.clone(),
            takeovers,
        };
        match opened.map_or_else(|| Door::open(&path), Ok) {
            Ok(door) => drop(tokio::spawn(attending.attend(door, path))),
            Err(error) => warn!(%error, path = %path.display(), "this edge cannot be replaced while it runs"),
        }
        Succeeding { takeovers: next, successor, orphaned }
    }

    /// Stops accepting for a successor that can serve.
    pub(super) async fn give_way(
        &self,
        (succeeding, state_dir): (Option<Succeeding>, &Path),
        Takeover { pid, mut shares, done, said }: Takeover,
    ) {
        info!(pid, "another process of this edge has taken over: what flows here may end");
        if let Some(Succeeding { successor, orphaned, .. }) = succeeding {
            successor.send_replace(Some(pid));
            tokio::spawn(revocations(self.tunnel.recheck.clone(), state_dir.join(REVOCATIONS)));
            let cut = self.cut.clone();
            tokio::spawn(async move {
                orphaned.cancelled().await;
                warn!("the process that has taken over is gone: this one gives its address free");
                cut.cancel();
            });
        }
        // Before sessions are known to be the last: what they do not know is for the other.
        if let Err(error) = shares.give_way(SocketKind::Udp) {
            warn!(%error, "UDP sessions of this process end");
        }
        shares.settle();
        self.listeners.close();
        // It would think that this process goes on, if this ended before it has said so.
        if done.send(()).is_ok() {
            let _ = time::timeout(HELLO_WAIT, said).await;
        }
    }
}

/// Has links judged again whenever revocations have been written: by the process that has taken over, which is asked for them.
async fn revocations(recheck: watch::Sender<()>, file: PathBuf) {
    let mut watch = FileWatch::default();
    loop {
        let watched = file.clone();
        let look = move || {
            watch.watch(&[watched]);
            watch
        };
        let Ok(watching) = spawn_blocking(look).await else { return };
        watch = watching;
        // What was written before it was watched, too.
        recheck.send_replace(());
        watch.changed().await;
    }
}

/// An ordinary end leaves no door behind.
pub(super) fn leave(state_dir: &Path) {
    let _ = fs::remove_file(door(state_dir));
}

fn door(state_dir: &Path) -> PathBuf {
    state_dir.join(DOOR)
}

#[cfg(test)]
mod tests;

//! The old process: waits at its door for a successor, gives it the sockets, and gives way once that can serve.

use std::{collections::BTreeMap, io, os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use net::{
    Sockets,
    handover::{Channel, Door, FILES_MAX, Handed, Shares, SocketKind},
};
use protocol::version::VERSION_SUCCESSOR;
use tokio::{
    sync::{MutexGuard, mpsc, oneshot, watch},
    time,
};
use tracing::{info, warn};

use super::{
    HELLO_WAIT, HandoverError, WORD_WAIT,
    words::{Described, FORM, Replica, Word},
};
use crate::{store::Store, tunnel::LinksView};

/// After a knock that could not be answered.
const PAUSE: Duration = Duration::from_secs(1);
/// Replicas that a successor is told of. It waits for no others.
const REPLICAS_MAX: usize = 500;

/// A successor can serve: this process is to stop accepting, and then to say so.
#[derive(Debug)]
pub(in crate::edge) struct Takeover {
    /// The successor's process.
    pub(super) pid: u32,
    pub(super) shares: Shares,
    pub(super) done: oneshot::Sender<()>,
    /// Told when it has heard of that.
    pub(super) said: oneshot::Receiver<()>,
}

/// What is needed to hand over.
#[derive(Debug, Clone)]
pub(super) struct Attending {
    pub(super) sockets: Arc<Sockets>,
    pub(super) generation: u8,
    pub(super) store: Arc<Store>,
    pub(super) links: watch::Receiver<Arc<LinksView>>,
    /// Whether connectors are to dial a successor.
    pub(super) succeeded: watch::Sender<bool>,
    pub(super) takeovers: mpsc::Sender<Takeover>,
}

impl Attending {
    /// Waits for successors, one after the other. An edge without a door serves all the same.
    pub(super) async fn attend(self, mut door: Door, path: PathBuf) {
        loop {
            let channel = match door.accept().await {
                Ok(channel) => channel,
                Err(error) => {
                    warn!(%error, "a process that knocked was not let in");
                    // For want of files, most likely, which is not over at once.
                    time::sleep(PAUSE).await;
                    continue;
                }
            };
            let pid = channel.peer();
            info!(pid, "another process of this edge is to take over");
            let error = match self.hand_over(&channel, pid).await {
                Ok(_changing) => {
                    // Who waits is to knock where the other one opens.
                    drop(door);
                    // Until this process has ended nothing is changed here any more.
                    return std::future::pending().await;
                }
                Err(error) => error,
            };
            self.succeeded.send_if_modified(std::mem::take);
            warn!(pid, %error, "the other process has not taken over: this one goes on");
            let _ = Word::Refused { why: error.to_string() }.say(&channel, &[]).await;
            // It may have opened one in the place of this.
            match Door::open(&path) {
                Ok(own) => door = own,
                Err(error) => {
                    warn!(%error, path = %path.display(), "it may be that this edge cannot be replaced any more")
                }
            }
        }
    }

    async fn hand_over(&self, channel: &Channel, pid: u32) -> Result<MutexGuard<'_, ()>, HandoverError> {
        let Word::Hello { form: FORM } = next(channel, HELLO_WAIT).await? else {
            return Err(HandoverError::Unexpected);
        };
        // A change that is under way is not known of in files yet.
        drop(self.store.change().await);
        let known = self.store.by_hand();
        let (handed, mut shares) = self.sockets.hand_over()?;
        self.give(channel, handed).await?;
        let Word::Reading = next(channel, WORD_WAIT).await? else { return Err(HandoverError::Unexpected) };
        shares.give_way(SocketKind::Quic)?;
        self.succeeded.send_replace(true);
        let replicas = replicas(&self.links.borrow());
        Word::Asked { replicas }.say(channel, &[]).await?;
        let Word::Ready = next(channel, WORD_WAIT).await? else { return Err(HandoverError::Unexpected) };
        let changing = self.store.change().await;
        if self.store.by_hand() != known {
            return Err(HandoverError::Changed);
        }
        // It may have been kept from hearing for so long that it has given up.
        if channel.is_over() {
            return Err(ended().into());
        }
        let ((done, is_done), (told, said)) = (oneshot::channel(), oneshot::channel());
        let gone = || io::Error::other("this edge is ending already");
        self.takeovers.send(Takeover { pid, shares, done, said }).await.map_err(|_| gone())?;
        is_done.await.map_err(|_| gone())?;
        // Whether it hears that or not, it has all there is.
        let _ = Word::Yours.say(channel, &[]).await;
        let _ = told.send(());
        Ok(changing)
    }

    async fn give(&self, channel: &Channel, handed: Vec<Handed>) -> Result<(), HandoverError> {
        let mut left = handed.into_iter().peekable();
        loop {
            let (mut sockets, mut files) = (Vec::new(), Vec::<OwnedFd>::new());
            let fits = |room: usize| move |next: &Handed| next.relays.len() < room;
            while let Some(Handed { kind, stays, socket, relays }) = left.next_if(fits(FILES_MAX - files.len())) {
                let (generations, relays): (Vec<u8>, Vec<OwnedFd>) = relays.into_iter().unzip();
                sockets.push(Described { kind: kind.into(), stays, generations });
                files.push(socket);
                files.extend(relays);
            }
            let is_last = left.peek().is_none();
            if sockets.is_empty() && !is_last {
                return Err(HandoverError::Crowded);
            }
            Word::Sockets { generation: self.generation, sockets, is_last }.say(channel, &files).await?;
            if is_last {
                return Ok(());
            }
        }
    }
}

async fn next(channel: &Channel, patience: Duration) -> Result<Word, HandoverError> {
    Ok(Word::hear(channel, patience).await?.ok_or_else(ended)?.0)
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it has ended")
}

/// Those that can be asked to dial, and whose links are worth waiting for.
fn replicas(view: &LinksView) -> Vec<Replica> {
    let mut all: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for link in view.links.values().filter(|link| !link.is_leaving() && link.version >= VERSION_SUCCESSOR) {
        *all.entry((link.connector.as_str(), link.replica.as_str())).or_default() += 1;
    }
    let replica = |((connector, replica), links): ((&str, &str), usize)| Replica {
        connector: connector.to_owned(),
        replica: replica.to_owned(),
        links,
    };
    all.into_iter().map(replica).take(REPLICAS_MAX).collect()
}

//! The old process: waits at its door for a successor, gives it the sockets, and gives way once that can serve.

use std::{collections::BTreeMap, convert::Infallible, io, os::fd::OwnedFd, path::PathBuf, sync::Arc};

use net::{
    Sockets,
    handover::{Channel, Door, FILES_MAX, Handed, Shares, SocketKind},
};
use protocol::version::VERSION_SUCCESSOR;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use super::{
    HandoverError,
    words::{Described, FORM, Replica, Word},
};
use crate::{store::Store, tunnel::LinksView};

/// Replicas that a successor is told of. It waits for no others.
const REPLICAS_MAX: usize = 500;

/// A successor can serve: this process is to stop accepting, and then to say so.
#[derive(Debug)]
pub(in crate::edge) struct Takeover {
    /// The successor's process.
    pub(super) pid: u32,
    pub(super) shares: Shares,
    pub(super) done: oneshot::Sender<()>,
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
    pub(super) async fn attend(self, path: PathBuf) {
        let door = match Door::open(&path) {
            Ok(door) => door,
            Err(error) => return warn!(%error, path = %path.display(), "this edge cannot be replaced while it runs"),
        };
        loop {
            let (channel, pid) = match door.accept().await {
                Ok(there) => there,
                Err(error) => {
                    warn!(%error, "a process that knocked was not let in");
                    continue;
                }
            };
            info!(pid, "another process of this edge is to take over");
            let Err(error) = self.hand_over(&channel, pid).await;
            self.succeeded.send_if_modified(std::mem::take);
            warn!(pid, %error, "the other process has not taken over: this one goes on");
            let _ = Word::Refused { why: error.to_string() }.say(&channel, &[]).await;
        }
    }

    async fn hand_over(&self, channel: &Channel, pid: u32) -> Result<Infallible, HandoverError> {
        let Word::Hello { form: FORM } = next(channel).await? else { return Err(HandoverError::Unexpected) };
        // What is changed from here on would be lost on the successor: it waits.
        let _changing = self.store.change().await;
        let (handed, mut shares) = self.sockets.hand_over()?;
        self.give(channel, handed).await?;
        let Word::Reading = next(channel).await? else { return Err(HandoverError::Unexpected) };
        shares.give_way(SocketKind::Quic)?;
        self.succeeded.send_replace(true);
        let replicas = replicas(&self.links.borrow());
        Word::Asked { replicas }.say(channel, &[]).await?;
        let Word::Ready = next(channel).await? else { return Err(HandoverError::Unexpected) };
        let (done, is_done) = oneshot::channel();
        let gone = || io::Error::other("this edge is ending already");
        self.takeovers.send(Takeover { pid, shares, done }).await.map_err(|_| gone())?;
        is_done.await.map_err(|_| gone())?;
        // Whether it hears that or not, it has all there is.
        let _ = Word::Yours.say(channel, &[]).await;
        // Until this process has ended nothing is changed here any more, nor handed over once again.
        std::future::pending().await
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

async fn next(channel: &Channel) -> Result<Word, HandoverError> {
    let ended = || io::Error::new(io::ErrorKind::UnexpectedEof, "it has ended");
    Ok(Word::hear(channel).await?.ok_or_else(ended)?.0)
}

/// Those that can be asked to dial, and whose links are worth waiting for.
fn replicas(view: &LinksView) -> Vec<Replica> {
    let mut all: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for link in view.links.values().filter(|link| link.is_up() && link.version >= VERSION_SUCCESSOR) {
        *all.entry((link.connector.as_str(), link.replica.as_str())).or_default() += 1;
    }
    let replica = |((connector, replica), links): ((&str, &str), usize)| Replica {
        connector: connector.to_owned(),
        replica: replica.to_owned(),
        links,
    };
    all.into_iter().map(replica).take(REPLICAS_MAX).collect()
}

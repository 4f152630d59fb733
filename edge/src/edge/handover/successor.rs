//! The new process: takes the sockets, waits until it could serve, and says so.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use net::{
    Sockets,
    handover::{Channel, Door, Handed},
};
use tokio::{sync::watch, time};
use tracing::{info, warn};

use super::{
    HandoverError, KNOCKS_MAX, WORD_WAIT, door,
    words::{Described, FORM, Replica, Word},
};
use crate::{
    health::view::{Health, HealthView},
    tunnel::LinksView,
};

/// How long connectors may take to dial, and probes to say how origins are.
pub(super) const SETTLE_WAIT: Duration = Duration::from_secs(10);

/// How often is looked whether it runs at all, and how long it may not. A link is given up after 3 s of silence.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The process that serves so far.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    /// Where it is found.
    path: PathBuf,
    /// And this process, as soon as it is ready.
    door: OnceLock<Door>,
    sockets: Arc<Sockets>,
    /// Of this process, which takes over.
    generation: u8,
}

impl Predecessor {
    /// The process that serves with this `state_dir`, whose sockets are in `sockets` from now on; none if there is none. Needs a runtime.
    ///
    /// # Errors
    /// [`HandoverError`]: there is one, and it cannot be taken over from.
    pub async fn meet(sockets: Arc<Sockets>, state_dir: &Path) -> Result<Option<Self>, HandoverError> {
        let path = door(state_dir);
        for _ in 0..KNOCKS_MAX {
            let channel = match Channel::connect(&path) {
                Ok(channel) => channel,
                Err(error) if is_nobody(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            match take(&channel, &sockets).await {
                Ok(Some(generation)) => {
                    return Ok(Some(Self { channel, path, door: OnceLock::new(), sockets, generation }));
                }
                // It has ended, or another has taken over from it: that one is to be asked, then.
                Ok(None) => sockets.settle(),
                Err(HandoverError::Io(error)) if is_end(&error) => sockets.settle(),
                Err(error) => return Err(error),
            }
        }
        Err(HandoverError::GoesOn)
    }

    pub(super) fn generation(&self) -> u8 {
        self.generation
    }

    /// The tunnel is open. Connectors are asked to dial this process: which are, is known then.
    pub(super) async fn reading(&self) -> Result<Expected, HandoverError> {
        match self.ask(Word::Reading).await? {
            Some(Word::Asked { replicas }) => Ok(Expected(replicas)),
            Some(_) => Err(HandoverError::Unexpected),
            None => Ok(Expected::default()),
        }
    }

    /// This process can serve. When this returns, the one before accepts nothing more.
    pub(super) async fn ready(&self) -> Result<(), HandoverError> {
        match self.ask(Word::Ready).await? {
            Some(Word::Yours) => info!("the process before accepts nothing more, and ends with its flows"),
            Some(_) => return Err(HandoverError::Unexpected),
            None => {}
        }
        Ok(())
    }

    /// Where connectors dial the process before, if nobody here has asked for that address.
    pub(super) fn tunnel_left(&self) -> Option<SocketAddr> {
        self.sockets.tunnel_left()
    }

    /// Opens a door in the place of the other's.
    pub(super) fn open_door(&self) {
        match Door::open(&self.path) {
            Ok(door) => drop(self.door.set(door)),
            Err(error) => warn!(%error, path = %self.path.display(), "this edge cannot be replaced while it runs"),
        }
    }

    /// That door.
    pub(super) fn door(self) -> Option<Door> {
        self.door.into_inner()
    }

    /// Reads itself what the process before has read so far.
    pub(super) fn begin(&self) {
        self.sockets.begin();
    }

    /// Lets go of sockets that the process before had, and that nobody wants here.
    pub(super) fn settle(&self) {
        self.sockets.settle();
    }

    /// Says something, and hears the answer; none if the process before is gone, and this one has all that it had.
    async fn ask(&self, word: Word) -> Result<Option<Word>, HandoverError> {
        // What it said last may be a refusal.
        let _ = word.say(&self.channel, &[]).await;
        match expected(&self.channel).await {
            Ok(Some((word, _))) => return Ok(Some(word)),
            Ok(None) | Err(HandoverError::Io(_)) => {}
            Err(error) => return Err(error),
        }
        // It may be about to end.
        let until = Instant::now() + PAUSE_MAX;
        while self.channel.peer_runs() {
            if Instant::now() >= until {
                return Err(HandoverError::GoesOn);
            }
            time::sleep(LOOK_EVERY).await;
        }
        warn!("the process before has ended by itself");
        Ok(None)
    }
}

/// Takes all sockets that are given over a channel; which of the processes that have had them this one is. None if the other ended before
/// that was all.
async fn take(channel: &Channel, sockets: &Sockets) -> Result<Option<u8>, HandoverError> {
    Word::Hello { form: FORM }.say(channel, &[]).await?;
    loop {
        let (generation, described, is_last, files) = match expected(channel).await? {
            Some((Word::Sockets { generation, sockets, is_last }, files)) => (generation, sockets, is_last, files),
            Some(_) => return Err(HandoverError::Unexpected),
            None => return Ok(None),
        };
        let mut files = files.into_iter();
        for Described { kind, stays, generations } in described {
            let socket = files.next().ok_or(HandoverError::Unexpected)?;
            let relays = generations.into_iter().zip(files.by_ref()).collect();
            sockets.take_over(Handed { kind: kind.into(), stays, socket, relays })?;
        }
        if is_last {
            let generation = generation.wrapping_add(1);
            return Ok(Some(generation));
        }
    }
}

fn is_end(error: &io::Error) -> bool {
    [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe].contains(&error.kind())
}

fn is_nobody(error: &io::Error) -> bool {
    [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&error.kind())
}

async fn expected(channel: &Channel) -> Result<Option<(Word, Vec<OwnedFd>)>, HandoverError> {
    match Word::hear(channel, WORD_WAIT).await? {
        Some((Word::Refused { why }, _)) => Err(HandoverError::Refused(why)),
        heard => Ok(heard),
    }
}

/// Who is to dial.
#[derive(Debug, Default)]
pub(super) struct Expected(Vec<Replica>);

impl Expected {
    /// Waits until they have, and until it is known how origins are over their links. It is not waited for long: who does not come has been
    /// lost to the process before, too, or is too old to be asked.
    pub(super) async fn settled(
        &self,
        links: watch::Receiver<Arc<LinksView>>,
        view: watch::Receiver<Arc<HealthView>>,
    ) -> Result<(), HandoverError> {
        tokio::select! {
            biased;
            () = paused() => Err(HandoverError::Paused),
            settled = self.awaited(links, view) => settled,
        }
    }

    async fn awaited(
        &self,
        mut links: watch::Receiver<Arc<LinksView>>,
        mut view: watch::Receiver<Arc<HealthView>>,
    ) -> Result<(), HandoverError> {
        let until = time::Instant::now() + SETTLE_WAIT;
        let all_there = links.wait_for(|links| self.missing(links).next().is_none());
        let are_late = time::timeout_at(until, all_there).await.is_err();
        if are_late {
            let links = links.borrow().clone();
            if !self.0.is_empty() && links.links.is_empty() {
                return Err(HandoverError::Alone(self.0.len()));
            }
            for Replica { connector, replica, links } in self.missing(&links) {
                warn!(connector, replica, links, "it has links to the process before, and fewer here");
            }
        }
        if time::timeout_at(until, view.wait_for(|view| is_judged(view))).await.is_err() {
            warn!("not all origins have been probed yet");
        }
        Ok(())
    }

    fn missing(&self, view: &LinksView) -> impl Iterator<Item = &Replica> {
        let mut there: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let mut found = Vec::new();
        for link in view.links.values().filter(|link| link.is_up()) {
            *there.entry((link.connector.as_str(), link.replica.as_str())).or_default() += 1;
        }
        for replica in &self.0 {
            let has = there.get(&(replica.connector.as_str(), replica.replica.as_str())).copied().unwrap_or_default();
            if has < replica.links {
                found.push(replica);
            }
        }
        found.into_iter()
    }
}

/// Completes once this process was kept from running for so long that its links may be given up at their other ends.
async fn paused() {
    loop {
        let before = Instant::now();
        time::sleep(LOOK_EVERY).await;
        if before.elapsed() > PAUSE_MAX {
            return;
        }
    }
}

/// Whether it is known of every path that is probed how it is.
fn is_judged(view: &HealthView) -> bool {
    let monitored = view.pools.iter().filter(|pool| pool.pool.monitor.is_some());
    monitored.flat_map(|pool| &pool.origins).flat_map(|origin| &origin.paths).all(|path| path.health != Health::Unknown)
}

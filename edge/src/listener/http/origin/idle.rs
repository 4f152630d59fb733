//! Who keeps connections to origins: those of HTTP/1 while nobody uses them, those of HTTP/2 for many requests at once.
//!
//! An HTTP/1 connection is kept only after a request and its answer have both ended exactly; whatever is in doubt is
//! closed. Of HTTP/2, requests take the connection with the most room, and one more is opened when none has any.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, futures::OwnedNotified};

use super::upstream::{Key, Upstream};
use crate::{health::OriginKey, offramp::Speech};

/// Most idle connections of one path to one origin, on one worker. Beyond it the oldest is closed.
const IDLE_MAX: usize = 64;
/// Most HTTP/2 connections of one path to one origin, on one worker. Beyond it requests wait for a stream.
const SHARED_MAX: usize = 32;
/// Most of them that are opened at a time. Who comes meanwhile waits for one of these.
const OPENING_MAX: usize = 4;
/// How long a connection is kept idle unless its pool says so: less than common servers keep theirs (Node.js: 5 s).
const IDLE_WAIT: Duration = Duration::from_secs(4);
/// The same for HTTP/2, where a server says which requests it did not look at when it closes.
const SHARED_WAIT: Duration = Duration::from_secs(50);
/// How long a connection may take to be ready for the next request.
const READY_WAIT: Duration = Duration::from_secs(1);

/// What a request does next.
pub(crate) enum Turn {
    /// It has a connection, which was idle for so long.
    Kept(Upstream, Duration),
    /// It opens one.
    Open(Opening),
    /// Another opens one that will do.
    Wait(Awaited),
}

/// A connection that somebody else opens.
pub(crate) struct Awaited {
    opened: OwnedNotified,
    failures: usize,
}

/// Whether connections that were used before will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Any,
    /// One has failed already.
    New,
}

/// Connections of one worker.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    ways: Mutex<HashMap<Key, Ways>>,
    /// Drained: nothing is kept there.
    barred: ArcSwap<HashSet<OriginKey>>,
}

/// Connections of one path to one origin.
#[derive(Debug, Default)]
struct Ways {
    idle: Vec<Kept>,
    shared: Vec<Kept>,
    /// So many are being opened.
    opening: usize,
    /// Tells when one of them is done.
    opened: Arc<Notify>,
    /// So many have come to nothing that others may use.
    failures: usize,
    /// HTTP/2 was spoken there last.
    is_http2: bool,
}

#[derive(Debug)]
struct Kept {
    upstream: Upstream,
    since: Instant,
    limit: Duration,
}

impl Kept {
    fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    fn is_good(&self, now: Instant) -> bool {
        self.upstream.is_good(now) && (self.upstream.busy() > 0 || self.idle(now) < self.limit)
    }
}

/// A connection that is being opened.
pub(crate) struct Opening {
    idle: Arc<Idle>,
    key: Key,
    /// Others may use it.
    is_shared: bool,
}

impl Opening {
    /// It is open. If it can be shared, others use it beside the request it was opened for.
    pub(crate) fn made(mut self, upstream: &Upstream) {
        self.is_shared = upstream.is_shared();
        let mut all = self.idle.all();
        let Some(ways) = all.get_mut(&self.key) else { return };
        ways.is_http2 = self.is_shared;
        if let Some(upstream) = upstream.shared() {
            let limit = upstream.idle_limit(SHARED_WAIT);
            ways.shared.push(Kept { upstream, since: Instant::now(), limit });
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let mut all = self.idle.all();
        let Some(ways) = all.get_mut(&self.key) else { return };
        ways.opening -= 1;
        ways.failures += usize::from(!self.is_shared);
        ways.opened.notify_waiters();
    }
}

impl Ways {
    /// The connection used last, since the longer one was idle the likelier the origin is to close it.
    fn idle(&mut self, now: Instant) -> Option<Turn> {
        while let Some(kept) = self.idle.pop() {
            if kept.is_good(now) {
                let idle = kept.idle(now);
                return Some(Turn::Kept(kept.upstream.again(), idle));
            }
        }
        None
    }

    /// A part in the connection with the most room; in any, if `full` ones will do.
    fn shared(&mut self, now: Instant, full: bool) -> Option<Turn> {
        self.shared.retain(|kept| kept.is_good(now));
        let room = |kept: &&mut Kept| (kept.upstream.free(), usize::MAX - kept.upstream.busy());
        let kept = self.shared.iter_mut().max_by_key(room).filter(|kept| full || kept.upstream.free() > 0)?;
        let idle = if kept.upstream.busy() > 0 { Duration::ZERO } else { kept.idle(now) };
        kept.since = now;
        kept.upstream.part().map(|part| Turn::Kept(part, idle))
    }

    fn is_empty(&self) -> bool {
        self.idle.is_empty() && self.shared.is_empty() && self.opening == 0
    }
}

/// Those of a key: nearly always there, so the key is not copied for each look.
#[expect(clippy::mutable_key_type, reason = "what a key's TLS holds plays no part in its hash")]
fn ways_of<'a>(all: &'a mut HashMap<Key, Ways>, key: &Key) -> &'a mut Ways {
    if !all.contains_key(key) {
        all.insert(key.clone(), Ways { is_http2: key.speech == Speech::H2c, ..Ways::default() });
    }
    all.get_mut(key).expect("entered above")
}

impl Idle {
    fn all(&self) -> MutexGuard<'_, HashMap<Key, Ways>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a request for this key does next.
    pub(crate) fn turn(self: &Arc<Self>, key: &Key, now: Instant, wish: Wish) -> Turn {
        let mut all = self.all();
        let ways = ways_of(&mut all, key);
        let kept = if wish == Wish::Any { ways.idle(now) } else { None };
        if let Some(turn) = kept.or_else(|| ways.shared(now, false)) {
            return turn;
        }
        if ways.is_http2 && ways.opening >= OPENING_MAX.min(1 + ways.shared.len()) {
            let opened = ways.opened.clone().notified_owned();
            return Turn::Wait(Awaited { opened, failures: ways.failures });
        }
        // Full: the request waits for a stream where most have one.
        if ways.shared.len() + ways.opening >= SHARED_MAX
            && let Some(turn) = ways.shared(now, true)
        {
            return turn;
        }
        Turn::Open(self.begin(ways, key))
    }

    fn begin(self: &Arc<Self>, ways: &mut Ways, key: &Key) -> Opening {
        ways.opening += 1;
        Opening { idle: self.clone(), key: key.clone(), is_shared: false }
    }

    /// Waits, for so long at most, for what another opens. If that comes to nothing, the request opens one itself: nobody
    /// waits in vain for one after the other.
    pub(crate) async fn wait(self: &Arc<Self>, key: &Key, awaited: Awaited, wait: Duration) -> Option<Opening> {
        let done = tokio::time::timeout(wait, awaited.opened).await;
        let mut all = self.all();
        let ways = ways_of(&mut all, key);
        let may_ask_again = done.is_ok() && ways.failures == awaited.failures;
        if may_ask_again { None } else { Some(self.begin(ways, key)) }
    }

    /// Keeps a connection whose last exchange has ended exactly, once it says so itself.
    pub(crate) fn keep(self: &Arc<Self>, key: Key, mut upstream: Upstream) {
        if upstream.is_shared() || upstream.is_closed() {
            return;
        }
        if upstream.is_good(Instant::now()) {
            self.put(key, upstream);
            return;
        }
        // The connection's own task has yet to see the end; it needs a turn, not time.
        let idle = self.clone();
        tokio::spawn(async move {
            match tokio::time::timeout(READY_WAIT, upstream.ready()).await {
                Ok(true) if upstream.is_good(Instant::now()) => idle.put(key, upstream),
                Ok(_) => {}
                Err(_) => upstream.abort(),
            }
        });
    }

    fn put(&self, key: Key, upstream: Upstream) {
        let limit = upstream.idle_limit(IDLE_WAIT);
        if limit.is_zero() || self.barred.load().contains(&key.origin) {
            return upstream.abort();
        }
        let mut all = self.all();
        let ways = all.entry(key).or_default();
        if ways.idle.len() >= IDLE_MAX {
            ways.idle.remove(0);
        }
        ways.idle.push(Kept { upstream, since: Instant::now(), limit });
    }

    /// Keeps nothing at these origins from now on, and lets them have back what nobody uses.
    pub(crate) fn bar(&self, barred: HashSet<OriginKey>) {
        self.barred.store(Arc::new(barred));
    }

    /// Closes all that nobody uses.
    pub(crate) fn clear(&self) {
        self.all().retain(|_, ways| {
            ways.idle.clear();
            ways.shared.retain(|kept| kept.upstream.busy() > 0);
            !ways.is_empty()
        });
    }

    /// Closes what has been idle for too long, or whose link is gone, or that leads where nothing is kept.
    pub(crate) fn sweep(&self, now: Instant) {
        let barred = self.barred.load();
        self.all().retain(|key, ways| {
            let is_barred = barred.contains(&key.origin);
            ways.idle.retain(|kept| !is_barred && kept.is_good(now));
            ways.shared.retain_mut(|kept| {
                if kept.upstream.busy() > 0 {
                    kept.since = now;
                }
                kept.is_good(now) && (!is_barred || kept.upstream.busy() > 0)
            });
            !ways.is_empty()
        });
    }
}

#[cfg(test)]
mod tests;

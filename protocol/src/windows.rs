//! What the flows of a link may have on their way. The reader of a flow allows its writer little at first, more as it takes
//! what comes; so a flow that nobody reads holds little of the link, and whoever reads has room: flows, opens, probes.
//!
//! It reads and writes no stream: those who do say what they have taken and sent.

mod credit;
mod ledger;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use self::{credit::Credit, ledger::Ledger};
pub use self::{
    credit::Writer,
    ledger::{Bounds, Moment},
};
use crate::{
    control::{self, FlowWindow, Message},
    limits::WINDOWS_MAX,
    link::Connection,
    version::VERSION_WINDOWS,
};

/// What the links of a process hold and have sacrificed; clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    held: AtomicU64,
    sacrificed: AtomicU64,
}

impl Tally {
    /// Flows hold so much more, or less.
    pub fn hold(&self, before: u64, after: u64) {
        self.0.held.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    /// So many flows were reset for the sake of others.
    pub fn sacrifice(&self, flows: usize) {
        self.0.sacrificed.fetch_add(flows as u64, Ordering::Relaxed);
    }

    /// Bytes that flows may hold of their links because nobody takes them.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.0.held.load(Ordering::Relaxed)
    }

    /// Flows that were reset for the sake of others.
    #[must_use]
    pub fn sacrificed(&self) -> u64 {
        self.0.sacrificed.load(Ordering::Relaxed)
    }
}

/// The windows of all flows of one link, on one side of it.
#[derive(Debug)]
pub struct Windows {
    connection: Connection,
    bounds: Bounds,
    ledger: Mutex<Ledger>,
    credits: Mutex<HashMap<u64, Arc<Credit>>>,
    due: Notify,
    tally: Tally,
}

impl Windows {
    /// Those of a link whose sides speak this version.
    #[must_use]
    pub fn new(connection: Connection, version: u16, tally: Tally) -> Self {
        let bounds = if version >= VERSION_WINDOWS { Bounds::AGREED } else { Bounds::ALONE };
        Self::within(connection, bounds, tally)
    }

    /// Those of a link that bears as much as this.
    #[must_use]
    pub fn within(connection: Connection, bounds: Bounds, tally: Tally) -> Self {
        let ledger = Mutex::new(Ledger::new(bounds));
        Self { connection, bounds, ledger, credits: Mutex::default(), due: Notify::new(), tally }
    }

    /// Where this side counts.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Smoothed round trip of the link.
    pub(crate) fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    /// How long the last bytes of a flow may take after a reset.
    pub(crate) fn last_wait(&self) -> Duration {
        self.bounds.last_wait
    }

    /// The reading end of the flow on this stream, for this source's sake. `sacrifice` ends the flow from outside, at any time.
    #[must_use]
    pub fn reader(self: &Arc<Self>, stream: u64, source: IpAddr, sacrifice: impl FnOnce() + Send + 'static) -> Reader {
        self.book(|ledger| ledger.open(stream, source, Instant::now(), Box::new(sacrifice)));
        Reader(Account { windows: self.clone(), stream })
    }

    /// The writing end of the flow on this stream, of which so many bytes have been sent.
    #[must_use]
    pub fn writer(self: &Arc<Self>, stream: u64, sent: u64) -> Writer {
        let credit = Arc::new(Credit::new(if self.bounds.agreed { self.bounds.first } else { u64::MAX }));
        self.credits().insert(stream, credit.clone());
        Writer { windows: self.clone(), stream, credit, sent }
    }

    /// The peer's readers allow more.
    pub fn hear(&self, told: &control::Windows) {
        let credits = self.credits();
        for FlowWindow { stream, limit } in &told.windows {
            // Absent: the flow has ended meanwhile.
            if let Some(credit) = credits.get(stream) {
                credit.raise(*limit);
            }
        }
    }

    /// Waits until there is something to tell the peer's writers. Dropping it loses nothing.
    pub async fn due(&self) -> Message {
        loop {
            let untold = self.book(|ledger| ledger.untold(WINDOWS_MAX));
            if !untold.is_empty() {
                let windows = untold.into_iter().map(|(stream, limit)| FlowWindow { stream, limit });
                return Message::Windows(control::Windows { windows: windows.collect() });
            }
            self.due.notified().await;
        }
    }

    /// Resets those who hold what others need. To be called now and then, and whenever a reader pauses.
    pub fn look(&self) {
        let victims = self.book(|ledger| ledger.look(Instant::now()));
        self.tally.sacrifice(victims.len());
        for sacrifice in victims {
            sacrifice();
        }
    }

    fn book<T>(&self, entry: impl FnOnce(&mut Ledger) -> T) -> T {
        // Taken by the link's own worker, but for what ends elsewhere; nothing panics under it.
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let before = ledger.held();
        let done = entry(&mut ledger);
        let after = ledger.held();
        if after != before {
            self.tally.hold(before, after);
        }
        done
    }

    fn credits(&self) -> MutexGuard<'_, HashMap<u64, Arc<Credit>>> {
        self.credits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, stream: u64) {
        self.credits().remove(&stream);
    }
}

/// The reading end of a flow: says what is taken.
#[derive(Debug)]
pub struct Reader(Account);

/// A flow as its link counts it, however its reader is wrapped up.
#[derive(Debug, Clone)]
pub struct Account {
    windows: Arc<Windows>,
    stream: u64,
}

impl Account {
    /// From now on the flow is read for this source's sake.
    pub fn pass(&self, source: IpAddr) {
        self.windows.book(|ledger| ledger.pass(self.stream, source));
    }
}

impl Reader {
    /// The flow's account.
    #[must_use]
    pub fn account(&self) -> Account {
        self.0.clone()
    }

    /// So many bytes have been taken.
    pub fn take(&self, bytes: usize) {
        let Account { windows, stream } = &self.0;
        let moment = Moment { now: Instant::now(), rtt: windows.connection.rtt() };
        if windows.book(|ledger| ledger.take(*stream, bytes as u64, moment)) {
            windows.due.notify_one();
        }
    }

    /// Nothing is taken until [`Self::resume`].
    pub fn pause(&self) {
        let Account { windows, stream } = &self.0;
        let held = windows.book(|ledger| {
            ledger.pause(*stream, Instant::now());
            ledger.held()
        });
        if held > windows.bounds.held_max {
            windows.look();
        }
    }

    /// Whatever comes is taken. False if the flow was sacrificed meanwhile; from here on until it pauses it will not be.
    pub fn resume(&self) -> bool {
        self.0.windows.book(|ledger| ledger.resume(self.0.stream))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Account { windows, stream } = &self.0;
        drop(windows.book(|ledger| ledger.close(*stream)));
    }
}

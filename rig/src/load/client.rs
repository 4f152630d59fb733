//! One client's view: where it goes, when it does the next thing, and where it writes that down.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::Shared;
use crate::sample::{Connection, Kind, Network, Outcome, Placed, Sample, Trouble};

/// How often a client does what it does while the load is light, at most.
const LIGHT: Duration = Duration::from_secs(1);
/// What one client has begun apart and has not ended; what would be one more waits for its next turn.
const APART_MAX: usize = 256;

/// Where a client goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goal {
    /// The edge, by index.
    pub edge: usize,
    /// The network behind.
    pub network: Network,
}

/// What is noted of an exchange beside its times and its end.
#[derive(Debug)]
pub struct Noted {
    /// What it goes over.
    pub connection: Connection,
    /// Who answers on that connection, once that is known.
    pub placed: Option<Placed>,
    /// How often it was asked again.
    pub repeats: u32,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    pub(super) shared: Arc<Shared>,
    /// Its place among those whose turns are looked at.
    pub(super) turn: Option<usize>,
    pub(super) goal: Goal,
}

impl Client {
    /// Whether nothing new is to be begun.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.stop.is_said()
    }

    /// Whether it is to do little.
    #[must_use]
    pub fn is_light(&self) -> bool {
        self.shared.light.load(Ordering::SeqCst)
    }

    /// Does nothing this time.
    pub fn rest(&self) {
        self.turned(self.shared.books.now());
    }

    /// Does one thing over the connection that is open, or over one that this opens, and writes it down.
    pub fn record(
        &self,
        on: &mut Option<Connection>,
        kind: Kind,
        act: impl FnOnce(&mut Noted) -> Result<(), Trouble>,
    ) -> Outcome {
        let (books, Goal { edge, network }) = (&self.shared.books, self.goal);
        let connection = on.unwrap_or_else(|| books.connection());
        let began = if on.replace(connection).is_some() { books.now() } else { connection.opened };
        let mut noted = Noted { connection, placed: None, repeats: 0 };
        let outcome = act(&mut noted).map_or_else(Outcome::from, |()| Outcome::Served);
        let Noted { placed, repeats, .. } = noted;
        let (ended, told) = (books.now(), outcome.clone());
        books.write(Sample { kind, edge, network, connection, began, ended, placed, outcome, repeats });
        self.shared.done.fetch_add(1, Ordering::SeqCst);
        self.turned(began);
        told
    }

    /// Does something every `every` until stopped.
    pub fn pace(&self, every: Duration, act: impl FnMut()) {
        self.pace_from(Duration::ZERO, every, act);
    }

    /// The same, for the first time after `first`.
    pub fn pace_from(&self, first: Duration, every: Duration, mut act: impl FnMut()) {
        let mut next = Instant::now() + first;
        while self.goes_on(&mut next, every) {
            act();
        }
    }

    /// The same, and does not wait until it is through with one before it begins the next.
    pub fn pace_apart(&self, every: Duration, act: impl Fn(&Self) + Send + Sync + 'static) {
        let act = Arc::new(act);
        let mut begun: Vec<JoinHandle<()>> = Vec::new();
        let mut next = Instant::now();
        while self.goes_on(&mut next, every) {
            begun.retain(|thread| !thread.is_finished());
            if begun.len() >= APART_MAX {
                continue;
            }
            let (own, act) = (Self { shared: self.shared.clone(), turn: None, goal: self.goal }, act.clone());
            // Without a thread for it, this one waits after all.
            match thread::Builder::new().spawn({
                let act = act.clone();
                move || act(&own)
            }) {
                Ok(thread) => begun.push(thread),
                Err(_) => act(self),
            }
        }
        for thread in begun {
            // A client that panicked has written nothing down, and its own thread has told so.
            let _ = thread.join();
        }
    }

    /// Waits for the next turn; false if there is none.
    #[must_use]
    pub fn goes_on(&self, next: &mut Instant, every: Duration) -> bool {
        let every = if self.is_light() { every.max(LIGHT) } else { every };
        !self.shared.stop.ends_before(next, every)
    }

    /// What it did last had begun then.
    fn turned(&self, began: Duration) {
        if let Some(number) = self.turn {
            self.shared.turns.lock().unwrap_or_else(PoisonError::into_inner)[number] = began;
        }
    }
}

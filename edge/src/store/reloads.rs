//! Where a reload is asked for, and what came of it. One is done after the other.

use std::{sync::Arc, time::SystemTime};

use tokio::sync::{mpsc, oneshot};

use super::Plan;

/// Reloads that wait for the one under way; more wait outside.
const WAITING_MAX: usize = 8;

/// Where reloads are asked for; clones are the same.
#[derive(Debug, Clone)]
pub struct Reloads(mpsc::Sender<Wish>);

/// A reload that somebody waits for.
#[derive(Debug)]
pub struct Wish {
    /// Only what would change is asked.
    pub dry_run: bool,
    done: oneshot::Sender<Arc<Outcome>>,
}

/// How a reload went.
#[derive(Debug)]
pub struct Outcome {
    /// When it was over.
    pub at: SystemTime,
    /// Only what would change was asked.
    pub dry_run: bool,
    /// Of the catalog in force after it.
    pub version: u64,
    /// What differs between the settings before and those that were read; nothing if they could not be used.
    pub plan: Plan,
    /// Settings that differ and change only with a restart.
    pub restart: Vec<&'static str>,
    /// Why what was read is not in force, a line each.
    pub mistakes: Vec<String>,
}

impl Reloads {
    /// Where to ask, and where to hear who asks.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Wish>) {
        let (ask, asked) = mpsc::channel(WAITING_MAX);
        (Self(ask), asked)
    }

    /// Asks for a reload, or what it would change, and waits until it is over. `None` if nobody reloads any more.
    pub async fn ask(&self, dry_run: bool) -> Option<Arc<Outcome>> {
        let (done, outcome) = oneshot::channel();
        self.0.send(Wish { dry_run, done }).await.ok()?;
        outcome.await.ok()
    }
}

impl Wish {
    /// Tells whoever asked how it went.
    pub fn answer(self, outcome: Arc<Outcome>) {
        // Who asked may be gone.
        let _ = self.done.send(outcome);
    }
}

impl Outcome {
    /// Whether what was read is in force.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        !self.dry_run && self.mistakes.is_empty()
    }
}

//! Counts the flows of a link that wait for a reader which takes nothing, and says when that costs the others too much.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use crate::limits::{STALL_AFTER, STUCK_MAX};

/// How many flows of a link wait for a reader that takes nothing. Each may hold a stream's whole window of the link's.
#[derive(Debug)]
pub struct Stuck {
    waiting: AtomicUsize,
    max: usize,
    patience: Duration,
}

impl Default for Stuck {
    fn default() -> Self {
        Self::new(STUCK_MAX, STALL_AFTER)
    }
}

impl Stuck {
    /// Bears `max` waiting flows; more are reset once they have waited for `patience`.
    #[must_use]
    pub fn new(max: usize, patience: Duration) -> Self {
        Self { waiting: AtomicUsize::new(0), max, patience }
    }

    /// True when the stuck flows may hold more than half of the link's receive window.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > self.max
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) fn enter(&self) -> StuckGuard<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        StuckGuard(self)
    }
}

pub(super) struct StuckGuard<'a>(&'a Stuck);

impl Drop for StuckGuard<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

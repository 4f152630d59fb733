//! When the next thing is due, and when nothing is any more.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The word that nothing new is to be begun.
#[derive(Debug, Default)]
pub(super) struct Stop {
    said: Mutex<bool>,
    heard: Condvar,
}

impl Stop {
    pub(super) fn say(&self) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_all();
    }

    pub(super) fn is_said(&self) -> bool {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next beat of somebody who begins one thing every `every`, or for the word; true if it has been said.
    pub(super) fn ends_before(&self, next: &mut Instant, every: Duration) -> bool {
        let now = Instant::now();
        let wait = next.saturating_duration_since(now);
        *next = (*next + every).max(now);
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.heard.wait_timeout_while(said, wait, |said| !*said);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

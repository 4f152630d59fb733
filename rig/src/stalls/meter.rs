//! A thread that only waits: it notes when it was woken late, and when processes waited for a processor nearly all the time.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Spans, TICK, pressure};

/// How often the kernel is asked how long something waited for a processor.
const ASK: Duration = Duration::from_millis(250);
/// A share of the time, in which something waited, that makes a machine crowded.
const CROWDED: f64 = 0.9;

/// How busy the machine was with other things.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Busy {
    /// When it stood still for us.
    pub stalls: Spans,
    /// When something waited for a processor nearly all the time.
    pub crowded: Spans,
}

/// A meter at work; it ends when dropped.
#[derive(Debug)]
pub struct Meter {
    busy: Arc<Mutex<Busy>>,
    /// Nothing is ever sent: its end is the word.
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Meter {
    /// Begins to watch; times count from `epoch`.
    #[must_use]
    pub fn start(epoch: Instant) -> Self {
        let (stop, stopped) = mpsc::sync_channel(0);
        let busy = Arc::<Mutex<Busy>>::default();
        let noted = busy.clone();
        let thread = thread::spawn(move || watch(epoch, &stopped, &noted));
        Self { busy, stop: Some(stop), thread: Some(thread) }
    }

    /// All so far.
    #[must_use]
    pub fn busy(&self) -> Busy {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(epoch: Instant, stopped: &Receiver<()>, busy: &Mutex<Busy>) {
    let mut before = epoch.elapsed();
    let mut asked = Asked { at: before, waited: pressure::waited().unwrap_or_default() };
    while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        let now = epoch.elapsed();
        let mut busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.stalls.tick(before + TICK, now);
        before = now;
        if now.saturating_sub(asked.at) > ASK {
            let again = Asked { at: now, waited: pressure::waited().unwrap_or_default() };
            if asked.is_crowded_until(again) {
                busy.crowded.note(asked.at..again.at);
            }
            asked = again;
        }
    }
}

/// What the kernel said, and when.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Duration,
    waited: Duration,
}

impl Asked {
    fn is_crowded_until(self, again: Self) -> bool {
        again.waited.saturating_sub(self.waited) > again.at.saturating_sub(self.at).mul_f64(CROWDED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_crowded_when_something_waits_nearly_all_the_time() {
        let asked = |at, waited| Asked { at: Duration::from_millis(at), waited: Duration::from_millis(waited) };
        assert!(asked(1_000, 500).is_crowded_until(asked(1_250, 740)));
        assert!(!asked(1_000, 500).is_crowded_until(asked(1_250, 720)));
        assert!(!asked(1_000, 0).is_crowded_until(asked(1_250, 0)), "the kernel does not tell");
    }

    #[test]
    fn a_meter_ends_at_once() {
        let began = Instant::now();
        drop(Meter::start(began));
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

//! When this machine stood still for us: a thread that only sleeps notes when it was woken late.
//!
//! What it notes is taken off times that are held against a bound, since nobody in this program ran then either. It also
//! notes when processes waited for a processor nearly all the time, which is told where a busy machine is judged.

use std::{
    fs,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use underpass_tests::harness::wait;

const STEP: Duration = Duration::from_millis(5);
/// Being woken this much too late is a pause.
const LATE: Duration = Duration::from_millis(30);
/// Most pauses kept; beyond it the later ones count as none, which excuses nothing.
const PAUSES_MAX: usize = 100_000;

/// How often the kernel is asked how long something waited for a processor.
const ASK: Duration = Duration::from_millis(250);
/// A share of the time, in which something waited, that makes a machine crowded.
const CROWDED: f64 = 0.9;

type Pauses = Arc<Mutex<Vec<Range<Duration>>>>;

/// The meter; stops when dropped.
#[derive(Debug)]
pub(crate) struct Meter {
    stop: Arc<AtomicBool>,
    pauses: Pauses,
    crowded: Pauses,
    thread: Option<JoinHandle<()>>,
}

impl Meter {
    /// Starts to watch; times count from `epoch`.
    #[must_use]
    pub(crate) fn start(epoch: Instant) -> Self {
        let (stop, pauses, crowded) = (Arc::<AtomicBool>::default(), Pauses::default(), Pauses::default());
        let (stopped, noted, busy) = (stop.clone(), pauses.clone(), crowded.clone());
        let thread = thread::spawn(move || {
            let mut before = epoch.elapsed();
            let mut asked = (before, waited().unwrap_or_default());
            while !stopped.load(Ordering::SeqCst) {
                wait::pass(STEP);
                let now = epoch.elapsed();
                if now.saturating_sub(before) > STEP + LATE {
                    note(&noted, before + STEP..now);
                }
                before = now;
                if now.saturating_sub(asked.0) > ASK {
                    let waited = waited().unwrap_or_default();
                    if waited.saturating_sub(asked.1) > (now - asked.0).mul_f64(CROWDED) {
                        note(&busy, asked.0..now);
                    }
                    asked = (now, waited);
                }
            }
        });
        Self { stop, pauses, crowded, thread: Some(thread) }
    }

    /// Every pause so far.
    ///
    /// # Panics
    /// If the meter's thread panicked.
    #[must_use]
    pub(crate) fn pauses(&self) -> Vec<Range<Duration>> {
        self.pauses.lock().expect("no panic while held").clone()
    }

    /// Every time so far in which something waited for a processor nearly all the time.
    ///
    /// # Panics
    /// If the meter's thread panicked.
    #[must_use]
    pub(crate) fn crowded(&self) -> Vec<Range<Duration>> {
        self.crowded.lock().expect("no panic while held").clone()
    }
}

fn note(noted: &Pauses, span: Range<Duration>) {
    let mut noted = noted.lock().expect("no panic while held");
    if noted.len() < PAUSES_MAX {
        noted.push(span);
    }
}

/// For how long, since the machine's start, something waited for a processor; none where the kernel does not tell.
fn waited() -> Option<Duration> {
    let text = fs::read_to_string("/proc/pressure/cpu").ok()?;
    let some = text.lines().find(|line| line.starts_with("some "))?;
    let total = some.split(' ').find_map(|word| word.strip_prefix("total="))?;
    total.parse().ok().map(Duration::from_micros)
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

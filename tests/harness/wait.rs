//! Waiting for a condition, with a deadline. The only place of the tests that sleeps.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Enough for anything a healthy machine does at once, with slow CI in mind.
pub const SOON: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(5);

/// Asks `probe` until it has an answer, or `None` if it has none within `limit`.
#[must_use]
pub fn poll<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return Some(answer);
        }
        if started.elapsed() >= limit {
            return None;
        }
        thread::sleep(POLL);
    }
}

/// Asks `probe` until it has an answer.
///
/// # Panics
/// If there is none within `limit`; the message says what was waited for.
pub fn until<T>(what: &str, limit: Duration, probe: impl FnMut() -> Option<T>) -> T {
    poll(limit, probe).unwrap_or_else(|| panic!("waited {limit:?} in vain for {what}"))
}

/// [`until`] within [`SOON`].
pub fn soon<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    until(what, SOON, probe)
}

/// [`soon`] for a plain condition.
pub fn soon_true(what: &str, mut holds: impl FnMut() -> bool) {
    soon(what, || holds().then_some(()));
}

/// Sees to it that a condition holds for the whole of `span`: for what must *not* happen.
///
/// # Panics
/// As soon as it does not hold.
pub fn always(what: &str, span: Duration, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while started.elapsed() < span {
        assert!(holds(), "after {:?} no longer: {what}", started.elapsed());
        thread::sleep(POLL);
    }
}

/// Lets time pass: for what stays broken for a while, and for what happens by itself meanwhile.
pub fn pass(span: Duration) {
    thread::sleep(span);
}

/// Waits for the next beat of a load that begins one request every `every`.
pub fn beat(next: &mut Instant, every: Duration) {
    let now = Instant::now();
    thread::sleep(next.saturating_duration_since(now));
    *next = (*next + every).max(now);
}

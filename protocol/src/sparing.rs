//! Few words for many events: what strangers can make happen as often as they like is told a few times a second, and counted.
//!
//! Pure but for its lock: callers bring the time and do the telling.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Events told within one [`TURN`].
const TOLD_MAX: u32 = 10;
/// After this, as many may be told again.
const TURN: Duration = Duration::from_secs(1);

/// How often something was told of late.
#[derive(Debug, Default)]
pub struct Sparing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    told: u32,
    untold: u64,
}

impl Sparing {
    /// Whether this event may be told: then how many before it were not.
    pub fn may_say(&self, now: Instant) -> Option<u64> {
        // Nothing that panics runs under the lock.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.is_none_or(|since| now.saturating_duration_since(since) >= TURN) {
            state.since = Some(now);
            state.told = 0;
        }
        if state.told == TOLD_MAX {
            state.untold = state.untold.saturating_add(1);
            return None;
        }
        state.told += 1;
        Some(std::mem::take(&mut state.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_in_few_words_and_none_of_it_is_forgotten() {
        let (sparing, start) = (Sparing::default(), Instant::now());
        let told: Vec<_> = (0..1000).filter_map(|_| sparing.may_say(start)).collect();
        assert_eq!(told, [0; 10]);
        assert_eq!(sparing.may_say(start + TURN / 2), None);
        assert_eq!(sparing.may_say(start + TURN), Some(991));
        assert_eq!(sparing.may_say(start + TURN), Some(0));
    }

    #[test]
    fn what_happens_seldom_is_always_told() {
        let (sparing, start) = (Sparing::default(), Instant::now());
        for second in 0..100 {
            assert_eq!(sparing.may_say(start + TURN * second), Some(0));
        }
    }
}

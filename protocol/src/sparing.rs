//! Few words for many events: what strangers can make happen as often as they like is told a few times a second, and counted.
//!
//! Pure: callers bring the time and do the telling.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use crate::limiter::{Limiter, Rate};

/// Events that are told.
const TOLD: Rate = Rate { at_once: 10, per_second: 10 };

/// How often something was told of late.
#[derive(Debug)]
pub struct Sparing {
    told: Limiter,
    untold: AtomicU64,
}

impl Default for Sparing {
    fn default() -> Self {
        Self { told: Limiter::new(TOLD), untold: AtomicU64::new(0) }
    }
}

impl Sparing {
    /// Whether this event may be told: then how many before it were not.
    pub fn may_say(&self, now: Instant) -> Option<u64> {
        if self.told.take(now, 1) {
            return Some(self.untold.swap(0, Relaxed));
        }
        self.untold.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_told_in_few_words_and_none_of_it_is_forgotten() {
        let (sparing, start) = (Sparing::default(), Instant::now());
        let told: Vec<_> = (0..1000).filter_map(|_| sparing.may_say(start)).collect();
        assert_eq!(told, [0; 10]);
        assert_eq!(sparing.may_say(start + Duration::from_millis(99)), None);
        assert_eq!(sparing.may_say(start + Duration::from_millis(100)), Some(991));
        assert_eq!(sparing.may_say(start + Duration::from_millis(100)), None);
        let second = (1..=1000).filter_map(|ms| sparing.may_say(start + Duration::from_millis(100 + ms)));
        assert_eq!(second.count(), 10);
    }

    #[test]
    fn what_happens_seldom_is_always_told() {
        let (sparing, start) = (Sparing::default(), Instant::now());
        for second in 0..100 {
            assert_eq!(sparing.may_say(start + Duration::from_secs(second)), Some(0));
        }
    }
}

//! A token bucket: so much at once, so much more every second. Pure: callers bring the time.

use std::time::Instant;

/// What a bucket gives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// Most that is saved up, and so given at once.
    pub(super) at_once: f64,
    /// What comes in every second.
    pub(super) per_second: f64,
}

/// A bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    saved: f64,
    at: Instant,
}

impl Bucket {
    /// One that holds so much.
    pub(super) fn holding(saved: f64, rate: Rate, now: Instant) -> Self {
        Self { rate, saved, at: now }
    }

    /// A full one.
    pub(super) fn full(rate: Rate, now: Instant) -> Self {
        Self::holding(rate.at_once, rate, now)
    }

    /// Puts something in; what is too much is lost.
    pub(super) fn put(&mut self, amount: f64) {
        self.saved = (self.saved + amount).min(self.rate.at_once);
    }

    /// What it holds now.
    pub(super) fn level(&mut self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        self.put(passed.as_secs_f64() * self.rate.per_second);
        self.saved
    }

    /// Takes so much out, if it is there.
    pub(super) fn take(&mut self, now: Instant, amount: f64) -> bool {
        let enough = self.level(now) >= amount;
        if enough {
            self.saved -= amount;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn never_more_than_what_was_saved_and_came_in(steps in vec((0..500_u64, 0.0..20.0_f64), 0..100)) {
            let (start, rate) = (Instant::now(), Rate { at_once: 10.0, per_second: 4.0 });
            let (mut bucket, mut now, mut taken) = (Bucket::full(rate, start), start, 0.0);
            for (pause, amount) in steps {
                now += Duration::from_millis(pause);
                if bucket.take(now, amount) {
                    taken += amount;
                }
            }
            prop_assert!(taken <= 10.0 + (now - start).as_secs_f64() * 4.0 + 1e-6);
        }
    }

    #[test]
    fn time_that_runs_backwards_gives_nothing() {
        let (now, rate) = (Instant::now(), Rate { at_once: 10.0, per_second: 1.0 });
        let later = now + Duration::from_secs(5);
        let mut bucket = Bucket::holding(0.0, rate, now);
        assert!(bucket.take(later, 5.0));
        assert!(!bucket.take(now, 1.0));
        assert!(!bucket.take(later, 1.0), "the same five seconds do not count twice");
    }
}

//! How many requests may be sent a second time: a share of all, and a floor for quiet times. Pure.

use std::time::Instant;

use crate::listener::bucket::{Bucket, Rate};

/// Retries that every hundred requests pay for.
const PERCENT: f64 = 20.0;
/// Retries that every second gives, whatever the traffic, and most that are saved up.
const FLOOR: Rate = Rate { at_once: 100.0, per_second: 3.0 };

/// A retry budget.
#[derive(Debug)]
pub(super) struct Budget(Bucket);

impl Budget {
    /// A budget with one second's floor in it.
    pub(super) fn new(now: Instant) -> Self {
        Self(Bucket::holding(FLOOR.per_second, FLOOR, now))
    }

    /// A request has come.
    pub(super) fn request(&mut self) {
        self.0.put(PERCENT / 100.0);
    }

    /// Takes one retry out, if there is one.
    pub(super) fn retry(&mut self, now: Instant) -> bool {
        self.0.take(now, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn retries_are_a_fifth_of_requests_beyond_the_floor() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        let granted = (0..1000).filter(|_| {
            budget.request();
            budget.retry(now)
        });
        assert!((200..=203).contains(&granted.count()));
    }

    #[test]
    fn quiet_times_have_a_floor() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        assert_eq!((0..10).filter(|_| budget.retry(now)).count(), 3);
        assert_eq!((0..10).filter(|_| budget.retry(now + Duration::from_secs(2))).count(), 6);
    }
}

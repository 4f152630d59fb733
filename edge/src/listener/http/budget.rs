//! How many requests may be sent a second time: a share of all, and a floor for quiet times. Pure.

use std::time::{Duration, Instant};

/// Retries that every hundred requests pay for.
const PERCENT: f64 = 20.0;
/// Retries that every second gives, whatever the traffic.
const FLOOR_PER_SECOND: f64 = 3.0;
/// Most retries saved up.
const SAVED_MAX: f64 = 100.0;

/// A retry budget.
#[derive(Debug)]
pub(super) struct Budget {
    saved: f64,
    at: Instant,
}

impl Budget {
    /// A budget with one second's floor in it.
    pub(super) fn new(now: Instant) -> Self {
        Self { saved: FLOOR_PER_SECOND, at: now }
    }

    /// A request has come.
    pub(super) fn request(&mut self) {
        self.saved = (self.saved + PERCENT / 100.0).min(SAVED_MAX);
    }

    /// Takes one retry out, if there is one.
    pub(super) fn retry(&mut self, now: Instant) -> bool {
        let passed: Duration = now.saturating_duration_since(self.at);
        self.at = now;
        self.saved = (self.saved + passed.as_secs_f64() * FLOOR_PER_SECOND).min(SAVED_MAX);
        if self.saved < 1.0 {
            return false;
        }
        self.saved -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
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

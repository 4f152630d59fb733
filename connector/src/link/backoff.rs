//! How long to wait before dialling an edge again. Pure: callers bring the time and the dice.

use std::time::{Duration, Instant};

/// Longest first wait of an outage.
const FIRST: Duration = Duration::from_millis(100);
/// Longest wait while the outage is young.
const CAP_YOUNG: Duration = Duration::from_secs(1);
/// Longest wait after that.
const CAP_OLD: Duration = Duration::from_secs(10);
/// Longest wait where the edge has said that it will not have us: somebody has to act before it does.
const CAP_REFUSED: Duration = Duration::from_secs(5);
/// Until when an outage is young.
const YOUNG: Duration = Duration::from_mins(10);

/// Waits of one edge's link slot, from the beginning of an outage on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    began: Instant,
    tries: u32,
}

impl Backoff {
    /// An outage that begins now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { began: now, tries: 0 }
    }

    /// The longest wait allowed at this time.
    #[must_use]
    pub fn cap(&self, now: Instant) -> Duration {
        if now.duration_since(self.began) < YOUNG { CAP_YOUNG } else { CAP_OLD }
    }

    /// The next wait; `dice` is in 0.0..1.0. Doubles from `FIRST` to the cap, then any share of it from a half to the
    /// whole, so that many connectors do not knock together. The first is any share of `FIRST`.
    pub fn next(&mut self, now: Instant, dice: f64) -> Duration {
        self.below(self.cap(now), dice)
    }

    /// The same after a refusal that lasts.
    pub fn next_refused(&mut self, now: Instant, dice: f64) -> Duration {
        self.below(self.cap(now).max(CAP_REFUSED), dice)
    }

    fn below(&mut self, cap: Duration, dice: f64) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.tries.min(16)).min(cap);
        let share = if self.tries == 0 { dice } else { 0.5 + dice / 2.0 };
        self.tries = self.tries.saturating_add(1);
        bound.mul_f64(share.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_retry_comes_within_100_ms() {
        for dice in [0.0, 0.3, 0.999] {
            assert!(Backoff::new(Instant::now()).next(Instant::now(), dice) <= FIRST);
        }
    }

    #[test]
    fn waits_stay_under_a_second_for_ten_minutes_and_under_ten_after() {
        let began = Instant::now();
        let mut backoff = Backoff::new(began);
        let mut longest = [Duration::ZERO; 2];
        for second in 0..1_200_u64 {
            let now = began + Duration::from_secs(second);
            let wait = backoff.next(now, 0.999);
            let slot = usize::from(second >= 600);
            longest[slot] = longest[slot].max(wait);
        }
        assert!(longest[0] > Duration::from_millis(900) && longest[0] <= CAP_YOUNG, "{longest:?}");
        assert!(longest[1] > Duration::from_secs(9) && longest[1] <= CAP_OLD, "{longest:?}");
    }

    #[test]
    fn whoever_is_refused_knocks_ever_less_until_every_five_seconds() {
        let began = Instant::now();
        let mut backoff = Backoff::new(began);
        let waits: Vec<_> = (0..10).map(|_| backoff.next_refused(began, 0.999).as_millis()).collect();
        assert!(waits.is_sorted() && waits[0] <= 100 && (4_900..=5_000).contains(&waits[9]), "{waits:?}");
    }

    #[test]
    fn waits_never_collapse_to_a_busy_loop() {
        let began = Instant::now();
        let mut backoff = Backoff::new(began);
        backoff.next(began, 0.0);
        assert!((0..100).all(|_| backoff.next(began, 0.0) >= Duration::from_millis(100)));
    }
}

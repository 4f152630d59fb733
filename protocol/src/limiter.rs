//! How often, or how much: so much at once, and so much more with every second. Pure: callers bring the time, the arithmetic is
//! `governor`'s.

use std::{
    num::NonZeroU32,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};

/// What a limiter gives; neither number is 0.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Most that is saved up, and so given at once.
    pub at_once: u32,
    /// What comes in every second.
    pub per_second: u32,
}

/// A limiter: full when it is first asked.
#[derive(Debug)]
pub struct Limiter {
    begun: OnceLock<Instant>,
    /// Counted from there.
    limiter: RateLimiter<NotKeyed, InMemoryState, Told>,
}

/// The time as callers have told it, which never goes back.
#[derive(Debug, Default)]
struct Told(AtomicU64);

impl Clock for Told {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.load(Relaxed).into()
    }
}

impl From<Rate> for Quota {
    fn from(rate: Rate) -> Self {
        let [at_once, per_second] =
            [rate.at_once, rate.per_second].map(|n| NonZeroU32::new(n).expect("neither number of a rate is 0"));
        // Rounded up: never more than was said.
        let one_every = Duration::from_nanos(1_000_000_000_u64.div_ceil(u64::from(per_second.get())));
        Self::with_period(one_every).expect("it is not zero").allow_burst(at_once)
    }
}

impl Limiter {
    /// One that gives so much.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        let limiter = RateLimiter::direct_with_clock(rate.into(), Told::default());
        Self { begun: OnceLock::new(), limiter }
    }

    /// One that gives so many in this time: all of them at once, if none were taken before, and then evenly. The time is not zero.
    #[must_use]
    pub fn counting(count: NonZeroU32, per: Duration) -> Self {
        // Rounded up: never more than was said.
        let nanos = per.as_nanos().max(1).div_ceil(u128::from(count.get()));
        let one_every = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let quota = Quota::with_period(one_every).expect("it is not zero").allow_burst(count);
        Self { begun: OnceLock::new(), limiter: RateLimiter::direct_with_clock(quota, Told::default()) }
    }

    /// Takes so much out, if it is there.
    pub fn take(&self, now: Instant, amount: u32) -> bool {
        let Some(amount) = NonZeroU32::new(amount) else { return true };
        let passed = now.saturating_duration_since(*self.begun.get_or_init(|| now));
        let passed = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
        self.limiter.clock().0.fetch_max(passed, Relaxed);
        // More than it ever holds is never there.
        matches!(self.limiter.check_n(amount), Ok(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn never_more_than_what_was_saved_and_came_in(steps in vec((0..500_u64, 0..20_u32), 0..100), per_second in 1..5_000_000_u32) {
            let start = Instant::now();
            let limiter = Limiter::new(Rate { at_once: 10, per_second });
            let (mut now, mut taken) = (start, 0);
            for (pause, amount) in steps {
                now += Duration::from_millis(pause);
                if limiter.take(now, amount) {
                    taken += u64::from(amount);
                }
            }
            prop_assert!(taken as f64 <= 10.0 + (now - start).as_secs_f64() * f64::from(per_second) + 1e-6);
        }

        #[test]
        fn whoever_waits_long_enough_gets_all_of_it(amount in 1..=10_u32, per_second in 1..5_000_000_u32) {
            let limiter = Limiter::new(Rate { at_once: 10, per_second });
            let start = Instant::now();
            prop_assert!(limiter.take(start, 10) && !limiter.take(start, amount));
            let later = start + Duration::from_secs_f64(10.0 / f64::from(per_second)) + Duration::from_nanos(11);
            prop_assert!(limiter.take(later, 10) && !limiter.take(later, amount));
        }
    }

    #[test]
    fn so_many_in_a_minute_are_given_at_once_and_then_evenly() {
        let limiter = Limiter::counting(NonZeroU32::new(6).expect("above zero"), Duration::from_secs(60));
        let now = Instant::now();
        assert!(limiter.take(now, 6) && !limiter.take(now, 1));
        assert!(!limiter.take(now + Duration::from_secs(9), 1) && limiter.take(now + Duration::from_secs(10), 1));
    }

    #[test]
    fn time_that_runs_backwards_gives_nothing() {
        let now = Instant::now();
        let later = now + Duration::from_secs(5);
        let limiter = Limiter::new(Rate { at_once: 5, per_second: 1 });
        assert!(limiter.take(now, 5) && limiter.take(later, 5));
        assert!(!limiter.take(now, 1));
        assert!(!limiter.take(later, 1), "the same five seconds do not count twice");
    }

    #[test]
    fn nothing_is_always_there_and_too_much_never() {
        let (limiter, now) = (Limiter::new(Rate { at_once: 5, per_second: 1 }), Instant::now());
        assert!(!limiter.take(now, 6) && limiter.take(now, 5) && limiter.take(now, 0));
        assert!(!limiter.take(now + Duration::from_secs(3600), 6));
    }
}

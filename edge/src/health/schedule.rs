//! When to probe: a steady cadence, spread so that paths do not move in step, and stretched where a link would be probed
//! too often.

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

/// Most probes a second over one link. Where the monitors ask for more, every interval of the link's paths stretches alike.
pub const PROBES_PER_SECOND_MAX: f64 = 200.0;
/// The first probes of paths that appear together (a link came up, or came back) are spread over at least this.
pub const FIRST_SPREAD: Duration = Duration::from_millis(250);

/// By how much to stretch the intervals of one link's paths so that together they keep to [`PROBES_PER_SECOND_MAX`];
/// 1.0 when they do already.
#[must_use]
pub fn stretch(intervals: impl IntoIterator<Item = Duration>) -> f64 {
    let asked: f64 = intervals.into_iter().map(|interval| 1.0 / seconds(interval)).sum();
    (asked / PROBES_PER_SECOND_MAX).max(1.0)
}

/// The interval in force: what the schedule follows and the view shows.
#[must_use]
pub fn stretched(interval: Duration, stretch: f64) -> Duration {
    Duration::from_secs_f64(seconds(interval) * stretch.max(1.0))
}

/// How long a path waits for its first probe when it appears, or is to be confirmed, together with others of its link.
/// It is drawn evenly from [`FIRST_SPREAD`], or from as long as the cap needs for them all, but never exceeds the interval
/// in force.
#[must_use]
pub fn first_wait(paths: usize, interval: Duration, dice: &mut impl Rng) -> Duration {
    let needed = FIRST_SPREAD.as_secs_f64().max(paths as f64 / PROBES_PER_SECOND_MAX);
    Duration::from_secs_f64(needed.min(seconds(interval)) * dice.random::<f64>())
}

/// A probe that is over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ran {
    /// When its first attempt began.
    pub started: Instant,
    /// When its last attempt was over.
    pub ended: Instant,
    /// The interval in force.
    pub interval: Duration,
    /// The monitor's jitter: the share of the interval by which the wait may vary.
    pub jitter: f64,
}

/// When the next probe of the path begins: one interval, give or take the jitter, after the last one began, however long
/// that took; at once if it took longer than that.
#[must_use]
pub fn next_start(ran: &Ran, dice: &mut impl Rng) -> Instant {
    let vary = 1.0 + ran.jitter * dice.random_range(-1.0..=1.0);
    let wait = Duration::from_secs_f64(seconds(ran.interval) * vary.max(0.0));
    (ran.started + wait).max(ran.ended)
}

/// An interval of nothing would be probed for ever; no configuration has one.
fn seconds(interval: Duration) -> f64 {
    interval.max(Duration::from_millis(1)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ran(started: Instant, took: Duration, interval: Duration) -> Ran {
        Ran { started, ended: started + took, interval, jitter: 0.1 }
    }

    #[test]
    fn a_slow_probe_does_not_delay_the_next() {
        let dice = &mut StdRng::seed_from_u64(1);
        let started = Instant::now();
        let quick = next_start(&ran(started, SECOND / 100, SECOND), dice) - started;
        let slow = next_start(&ran(started, SECOND / 2, SECOND), dice) - started;
        for wait in [quick, slow] {
            assert!((0.9..=1.1).contains(&wait.as_secs_f64()), "{wait:?}");
        }
        assert_eq!(next_start(&ran(started, SECOND * 3, SECOND), dice), started + SECOND * 3);
    }

    #[test]
    fn the_cap_stretches_intervals_only_when_it_is_exceeded() {
        assert_eq!(stretch([]), 1.0);
        assert_eq!(stretch(vec![SECOND; 200]), 1.0);
        assert_eq!(stretch(vec![SECOND; 500]), 2.5);
        assert_eq!(stretched(SECOND * 2, 2.5), SECOND * 5);
    }

    #[test]
    fn many_paths_that_appear_together_keep_to_the_cap() {
        let dice = &mut StdRng::seed_from_u64(2);
        let mut waits: Vec<_> = (0..1000).map(|_| first_wait(1000, SECOND * 60, dice)).collect();
        waits.sort_unstable();
        assert!(waits[999] <= SECOND * 5 && waits[999] > SECOND * 4);
        let busiest = waits.windows(300).map(|some| some[299] - some[0]).min().expect("windows");
        assert!(busiest > SECOND, "300 first probes within {busiest:?}");
    }

    proptest! {
        #[test]
        fn stretched_intervals_keep_to_the_cap_and_never_shrink(millis in prop::collection::vec(1_u64..20_000, 1..600)) {
            let intervals: Vec<_> = millis.iter().map(|millis| Duration::from_millis(*millis)).collect();
            let factor = stretch(intervals.clone());
            let rate: f64 = intervals.iter().map(|interval| 1.0 / stretched(*interval, factor).as_secs_f64()).sum();
            prop_assert!(rate <= PROBES_PER_SECOND_MAX * 1.001, "{rate}");
            prop_assert!(intervals.iter().all(|interval| stretched(*interval, factor) >= *interval));
        }

        #[test]
        fn waits_keep_to_the_jitter(seed: u64, millis in 1_u64..100_000, jitter in 0.0..=0.5, paths in 0_usize..5_000) {
            let dice = &mut StdRng::seed_from_u64(seed);
            let interval = Duration::from_millis(millis);
            let started = Instant::now();
            let wait = next_start(&Ran { started, ended: started, interval, jitter }, dice) - started;
            let share = wait.as_secs_f64() / interval.as_secs_f64();
            prop_assert!((1.0 - jitter - 0.001..=1.0 + jitter + 0.001).contains(&share), "{share}");
            prop_assert!(first_wait(paths, interval, dice) <= interval);
        }
    }
}

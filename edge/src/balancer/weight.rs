//! What an origin weighs at the moment: its weight, and for a while after it has come less of it. Pure.

use std::time::{Duration, Instant};

use crate::{health::view::OriginView, model::Pool};

/// The smallest share of its weight that an origin begins with: with none at all it would never warm up.
const BEGIN: f64 = 0.1;

/// An origin that may be chosen, and what it weighs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'v> {
    pub(super) origin: &'v OriginView,
    /// Above 0.
    pub(super) weight: f64,
}

impl<'v> Candidate<'v> {
    pub(super) fn of(pool: &Pool, origin: &'v OriginView, now: Instant) -> Self {
        let since = now.saturating_duration_since(origin.since);
        Self { origin, weight: origin.origin.weight * share(since, pool.slow_start) }
    }

    /// Flows it would have for each unit of its weight if it had so many more.
    pub(super) fn load(&self, more: usize) -> f64 {
        (self.origin.flows() + more) as f64 / self.weight
    }
}

/// The share of its weight that an origin has which has been as it is for so long: it grows evenly to the whole within the window.
fn share(since: Duration, window: Option<Duration>) -> f64 {
    let Some(window) = window.filter(|window| since < *window) else { return 1.0 };
    (since.as_secs_f64() / window.as_secs_f64()).max(BEGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_grows_from_a_tenth_to_the_whole_within_the_window() {
        let of = |since| (share(Duration::from_secs(since), Some(Duration::from_secs(30))) * 100.0).round();
        assert_eq!([0, 1, 3, 6, 15, 29, 30, 3000].map(of), [10.0, 10.0, 10.0, 20.0, 50.0, 97.0, 100.0, 100.0]);
        assert!((share(Duration::ZERO, None) - 1.0).abs() < f64::EPSILON);
    }
}

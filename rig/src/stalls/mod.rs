//! Times in which this machine did not let us run. Pure: ticks in, times out; the [`Meter`] ticks for those who have no timers
//! of their own.
//!
//! An answer that lies there is not late because its client got no processor to read it: that is the machine's doing, and
//! the product's time is counted without it.

mod meter;
pub mod pressure;

use std::{ops::Range, time::Duration};

pub use meter::{Busy, Meter};

/// From one tick to the next.
pub const TICK: Duration = Duration::from_millis(5);
/// A tick that comes this much too late tells of a stall.
const LATE: Duration = Duration::from_millis(30);
/// Most spans kept. Beyond it they are forgotten, which excuses nothing: what is late because of them counts as late.
const SPANS_MAX: usize = 100_000;

/// Spans of time, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans(Vec<Range<Duration>>);

impl Spans {
    /// A tick was due, and came now; if that is late, the time between was stalled.
    pub fn tick(&mut self, due: Duration, now: Duration) {
        let due = due.max(self.end());
        if now.saturating_sub(due) >= LATE {
            self.note(due..now);
        }
    }

    /// Notes a span; what of it lies before the end of the last is noted already.
    pub fn note(&mut self, span: Range<Duration>) {
        let span = span.start.max(self.end())..span.end;
        if !span.is_empty() && self.0.len() < SPANS_MAX {
            self.0.push(span);
        }
    }

    /// How much of this time lies in them.
    #[must_use]
    pub fn within(&self, time: Range<Duration>) -> Duration {
        let first = self.0.partition_point(|span| span.end <= time.start);
        let touched = self.0[first..].iter().take_while(|span| span.start < time.end);
        touched.map(|span| span.end.min(time.end).saturating_sub(span.start.max(time.start))).sum()
    }

    fn end(&self) -> Duration {
        self.0.last().map_or(Duration::ZERO, |last| last.end)
    }
}

impl FromIterator<Range<Duration>> for Spans {
    fn from_iter<T: IntoIterator<Item = Range<Duration>>>(spans: T) -> Self {
        let mut all = Self::default();
        spans.into_iter().for_each(|span| all.note(span));
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn only_what_lies_in_a_stall_counts() {
        let mut stalls = Spans::default();
        stalls.tick(ms(90), ms(100));
        assert_eq!(stalls.within(ms(0)..ms(1000)), ms(0), "a tick may be a little late");
        stalls.tick(ms(200), ms(300));
        stalls.tick(ms(310), ms(319));
        stalls.tick(ms(500), ms(600));
        assert_eq!(stalls.within(ms(0)..ms(1000)), ms(200));
        assert_eq!(stalls.within(ms(250)..ms(550)), ms(100));
        assert_eq!(stalls.within(ms(210)..ms(220)), ms(10));
        assert_eq!(stalls.within(ms(300)..ms(500)), ms(0));
    }

    #[test]
    fn what_does_not_fit_excuses_nothing() {
        let long = u64::try_from(SPANS_MAX).expect("it fits") + 10;
        let spans: Spans = (0..long).map(|number| ms(2 * number)..ms(2 * number + 1)).collect();
        assert_eq!(spans.within(ms(0)..ms(2 * long)), ms(long - 10));
    }

    proptest! {
        #[test]
        fn no_time_is_stalled_twice(
            ticks in proptest::collection::vec((0..200_u64, 0..200_u64), 0..20), from in 0..2000_u64, took in 0..2000_u64,
        ) {
            let (mut stalls, mut now) = (Spans::default(), 0);
            for (before, late) in ticks {
                now += late;
                stalls.tick(ms(now.saturating_sub(before)), ms(now));
            }
            prop_assert!(stalls.within(ms(from)..ms(from + took)) <= ms(took));
        }
    }
}

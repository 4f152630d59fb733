//! Times in which the clients themselves were not let run. Pure: ticks in, times out.
//!
//! An answer that lies there is not late because its client got no processor to read it: that is the machine's doing, and
//! the product's time is counted without it.

use std::time::Duration;

/// From one tick to the next.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// A tick that comes this much too late tells of a stall.
const FELT: Duration = Duration::from_millis(30);
/// Most stalls kept. Beyond it they are forgotten, and what is late because of them counts as late.
const STALLS_MAX: usize = 10_000;

/// The stalls so far, one after the other.
#[derive(Debug, Default)]
pub(super) struct Stalls(Vec<(Duration, Duration)>);

impl Stalls {
    /// A tick was due, and came now.
    pub(super) fn tick(&mut self, due: Duration, now: Duration) {
        let begin = due.max(self.0.last().map_or(Duration::ZERO, |(_, end)| *end));
        if now.saturating_sub(begin) >= FELT && self.0.len() < STALLS_MAX {
            self.0.push((begin, now));
        }
    }

    /// How much of this time was stalled.
    pub(super) fn within(&self, from: Duration, to: Duration) -> Duration {
        let first = self.0.partition_point(|(_, end)| *end <= from);
        let touched = self.0[first..].iter().take_while(|(begin, _)| *begin < to);
        touched.map(|(begin, end)| (*end).min(to).saturating_sub((*begin).max(from))).sum()
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
        let mut stalls = Stalls::default();
        stalls.tick(ms(90), ms(100));
        assert_eq!(stalls.within(ms(0), ms(1000)), ms(0), "a tick may be a little late");
        stalls.tick(ms(200), ms(300));
        stalls.tick(ms(310), ms(319));
        stalls.tick(ms(500), ms(600));
        assert_eq!(stalls.within(ms(0), ms(1000)), ms(200));
        assert_eq!(stalls.within(ms(250), ms(550)), ms(100));
        assert_eq!(stalls.within(ms(210), ms(220)), ms(10));
        assert_eq!(stalls.within(ms(300), ms(500)), ms(0));
    }

    proptest! {
        #[test]
        fn no_time_is_stalled_twice(
            ticks in proptest::collection::vec((0..200_u64, 0..200_u64), 0..20), from in 0..2000_u64, took in 0..2000_u64,
        ) {
            let (mut stalls, mut now) = (Stalls::default(), 0);
            for (before, late) in ticks {
                now += late;
                stalls.tick(ms(now.saturating_sub(before)), ms(now));
            }
            prop_assert!(stalls.within(ms(from), ms(from + took)) <= ms(took));
        }
    }
}

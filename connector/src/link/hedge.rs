//! Whether a slot dials once more while dials of it are under way. Pure: callers bring the time.
//!
//! The first packets of a dial come again after 1 s, 3 s and 7 s (RFC 9002 section 6.2): a dial that began while nothing came through may
//! sit out most of that when everything does again. Another slot's link to the same edge shows that it does.

use std::time::{Duration, Instant};

/// A dial without an answer gets company after this: the first packets may have been lost.
pub(super) const HEDGE_AFTER: Duration = Duration::from_secs(1);

/// What a slot knows of its dials, and of whether its edge is there.
#[derive(Debug)]
pub(super) struct Hedge {
    /// When the latest dial began.
    latest: Option<Instant>,
    /// Another slot has a link to the edge.
    is_edge_up: bool,
}

impl Hedge {
    /// Before the first dial.
    pub(super) fn new(is_edge_up: bool) -> Self {
        Self { latest: None, is_edge_up }
    }

    /// A dial has begun.
    pub(super) fn dialled(&mut self, now: Instant) {
        self.latest = Some(now);
    }

    /// Whether the edge counts as there; what comes of that has been done then.
    pub(super) fn is_edge_up(&self) -> bool {
        self.is_edge_up
    }

    /// How the edge is now. True if one more is to be dialled: it has come up, and what is under way began long before.
    pub(super) fn sees(&mut self, is_up: bool, now: Instant) -> bool {
        let was_up = std::mem::replace(&mut self.is_edge_up, is_up);
        is_up && !was_up && self.latest.is_some_and(|latest| now.saturating_duration_since(latest) >= HEDGE_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dialled_long_before_the_edge_came_up_gets_company_once() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut hedge = Hedge::new(false);
        assert!(!hedge.sees(true, after(0)), "nothing was dialled");
        assert!(!hedge.sees(false, after(0)));
        hedge.dialled(after(0));
        assert!(!hedge.sees(false, after(5_000)), "it is not there");
        assert!(hedge.sees(true, after(5_000)) && !hedge.sees(true, after(9_000)), "once");
        assert!(!hedge.sees(false, after(9_000)) && hedge.sees(true, after(9_000)), "and once more when it comes back");
    }

    #[test]
    fn a_dial_that_has_just_begun_needs_no_company() {
        let start = Instant::now();
        let mut hedge = Hedge::new(false);
        hedge.dialled(start);
        assert!(!hedge.sees(true, start + Duration::from_millis(999)));
        let mut beside = Hedge::new(true);
        beside.dialled(start);
        assert!(!beside.sees(true, start + Duration::from_secs(9)), "the edge has been there all along, and is busy");
    }
}

//! Flows that did not go well at once: why each was refused, tried again, kept waiting or slow, for whoever asks by its id.
//!
//! Nothing is kept of a flow that goes well, and what is kept of others is bounded: the oldest is forgotten.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use api::explain::Flow;
use protocol::limiter::{Limiter, Rate};

/// Flows that are remembered.
const FLOWS_MAX: usize = 10_000;
/// Of them, those whose decision is remembered with all that it weighed.
const WEIGHED_MAX: usize = 1_000;
/// Decisions that are made once more to be told: where nobody can be placed, they are many and alike.
const WEIGHED: Rate = Rate { at_once: 100, per_second: 100 };
/// An answer that takes longer is slow, and so is an origin that takes longer to accept.
pub(super) const SLOW: Duration = Duration::from_secs(1);

/// The last of them.
#[derive(Debug)]
pub struct Recent {
    flows: Mutex<VecDeque<Flow>>,
    weighed: Limiter,
}

impl Default for Recent {
    fn default() -> Self {
        Self { flows: Mutex::default(), weighed: Limiter::new(WEIGHED) }
    }
}

impl Recent {
    /// Remembers one.
    pub(super) fn add(&self, flow: Flow) {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        if flows.len() >= FLOWS_MAX {
            flows.pop_front();
        }
        flows.push_back(flow);
        // What was weighed is most of what there is to keep.
        let old = flows.len().checked_sub(WEIGHED_MAX + 1).and_then(|at| flows.get_mut(at));
        if let Some(old) = old {
            old.considered = Vec::new();
        }
    }

    /// Those of this id, the newest first: the requests of one trace have it together.
    pub(super) fn find(&self, id: &str) -> Vec<Flow> {
        let flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        flows.iter().rev().filter(|flow| flow.flow == id).cloned().collect()
    }

    /// Whether a decision may be made once more now, to be told.
    pub(super) fn may_weigh(&self, now: Instant) -> bool {
        self.weighed.take(now, 1)
    }
}

#[cfg(test)]
mod tests {
    use api::explain::Considered;

    use super::*;

    #[test]
    fn the_oldest_is_forgotten_and_what_it_weighed_before_that() {
        let recent = Recent::default();
        for at in 0..=FLOWS_MAX {
            let considered = vec![Considered::default()];
            recent.add(Flow { flow: at.to_string(), considered, ..Flow::default() });
        }
        assert_eq!(recent.find("0"), []);
        let weighed = |at: usize| recent.find(&at.to_string()).iter().map(|flow| flow.considered.len()).sum::<usize>();
        assert_eq!(recent.find("1").len(), 1);
        assert_eq!([1, FLOWS_MAX - WEIGHED_MAX, FLOWS_MAX - WEIGHED_MAX + 1, FLOWS_MAX].map(weighed), [0, 0, 1, 1]);
    }

    #[test]
    fn flows_of_one_id_are_told_together_the_newest_first() {
        let recent = Recent::default();
        for (id, kind) in [("a", "request"), ("b", "flow"), ("a", "session")] {
            recent.add(Flow { flow: id.to_owned(), kind: kind.to_owned(), ..Flow::default() });
        }
        let kinds: Vec<_> = recent.find("a").into_iter().map(|flow| flow.kind).collect();
        assert_eq!(kinds, ["session", "request"]);
    }
}

//! Flows that did not go well at once: why each was refused, tried again, kept waiting or slow, for whoever asks by its id.
//!
//! Nothing is kept of a flow that goes well, and what is kept of others is bounded: the oldest is forgotten.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use api::explain::{Attempt, Considered, Flow};
use protocol::limiter::{Limiter, Rate};

/// Flows that are remembered.
const FLOWS_MAX: usize = 10_000;
/// Bytes that they take in all, about: clients choose how long a path is, and origins what is met there.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Of them, those whose decision is remembered with all that it weighed.
const WEIGHED_MAX: usize = 1_000;
/// Decisions that are made once more to be told: where nobody can be placed, they are many and alike.
const WEIGHED: Rate = Rate { at_once: 100, per_second: 100 };
/// An answer that takes longer is slow, and so is an origin that takes longer to accept.
pub(super) const SLOW: Duration = Duration::from_secs(1);

/// The last of them.
#[derive(Debug)]
pub struct Recent {
    flows: Mutex<Flows>,
    weighed: Limiter,
}

#[derive(Debug, Default)]
struct Flows {
    all: VecDeque<Flow>,
    bytes: usize,
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
        let Flows { all, bytes } = &mut *flows;
        *bytes += size(&flow);
        all.push_back(flow);
        // What was weighed is most of what there is to keep.
        let old = all.len().checked_sub(WEIGHED_MAX + 1).and_then(|at| all.get_mut(at));
        if let Some(old) = old {
            *bytes -= weighed(old);
            old.considered = Vec::new();
        }
        while all.len() > FLOWS_MAX || *bytes > BYTES_MAX {
            let Some(oldest) = all.pop_front() else { return };
            *bytes -= size(&oldest);
        }
    }

    /// Those of this id, the newest first: the requests of one trace have it together.
    pub(super) fn find(&self, id: &str) -> Vec<Flow> {
        let flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        flows.all.iter().rev().filter(|flow| flow.flow == id).cloned().collect()
    }

    /// Whether a decision may be made once more now, to be told.
    pub(super) fn may_weigh(&self, now: Instant) -> bool {
        self.weighed.take(now, 1)
    }
}

/// What a flow takes, about: texts by their length, all else by its type.
fn size(flow: &Flow) -> usize {
    let one = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let texts = [&flow.method, &flow.host, &flow.path, &flow.reason, &flow.detail].map(one);
    let attempt = |attempt: &Attempt| {
        let names = attempt.pool.len() + attempt.origin.len() + one(&attempt.link) + one(&attempt.connector);
        size_of::<Attempt>() + names + one(&attempt.reason) + one(&attempt.detail)
    };
    let attempts: usize = flow.attempts.iter().map(attempt).sum();
    size_of::<Flow>() + texts.into_iter().sum::<usize>() + attempts + weighed(flow)
}

/// The part of it that was weighed.
fn weighed(flow: &Flow) -> usize {
    let one = |step: &Considered| size_of::<Considered>() + step.name.len();
    flow.considered.iter().map(one).sum()
}

#[cfg(test)]
mod tests {
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
    fn long_paths_push_others_out_and_take_no_more_room() {
        let recent = Recent::default();
        let path = "x".repeat(30 * 1024);
        for at in 0..FLOWS_MAX {
            let considered = vec![Considered::default(); 32];
            recent.add(Flow { flow: at.to_string(), path: Some(path.clone()), considered, ..Flow::default() });
        }
        let flows = recent.flows.lock().expect("nobody panicked");
        assert!(flows.bytes <= BYTES_MAX && flows.all.len() < 600, "{} in {}", flows.all.len(), flows.bytes);
        assert_eq!(flows.bytes, flows.all.iter().map(size).sum::<usize>());
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

//! What one flow has tried in vain, so that it is never tried again.

use protocol::error::Reason;

use crate::{health::OriginKey, model::Via};

/// Most places one flow is tried at; after that it is refused with the last reason.
pub const TRIES_MAX: usize = 16;

/// The places one flow was refused at. Origins are told by where they are, so this outlives a reload, and a server that
/// is in two pools is tried once.
#[derive(Debug, Default, Clone)]
pub struct Tried {
    attempts: Vec<Attempt>,
    last: Option<Reason>,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    origin: OriginKey,
    /// Absent: every path of the origin.
    via: Option<Via>,
}

impl Tried {
    /// Rules out one path: another may reach the same origin.
    pub fn path(&mut self, origin: OriginKey, via: Via, reason: Reason) {
        self.note(Attempt { origin, via: Some(via) }, reason);
    }

    /// Rules out an origin on every path: the refusal was its own.
    pub fn origin(&mut self, origin: OriginKey, reason: Reason) {
        self.note(Attempt { origin, via: None }, reason);
    }

    /// How many attempts have failed.
    #[must_use]
    pub fn count(&self) -> usize {
        self.attempts.len()
    }

    /// Why the last attempt failed.
    #[must_use]
    pub fn last(&self) -> Option<Reason> {
        self.last
    }

    pub(super) fn is_full(&self) -> bool {
        self.attempts.len() >= TRIES_MAX
    }

    pub(super) fn rules_out(&self, origin: OriginKey, via: Via) -> bool {
        self.attempts.iter().any(|tried| tried.origin == origin && tried.via.is_none_or(|tried| tried == via))
    }

    fn note(&mut self, attempt: Attempt, reason: Reason) {
        self.last = Some(reason);
        // Placement ends at the bound, so there is no further attempt to note.
        if !self.is_full() {
            self.attempts.push(attempt);
        }
    }
}

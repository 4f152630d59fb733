//! What one flow has tried in vain, so that it is never tried again.

use protocol::error::Reason;

use crate::{health::OriginKey, model::Via};

/// Most places one flow is tried at; after that it is refused with the last reason.
pub const TRIES_MAX: usize = 16;

/// A way that is overloaded for so many origins is ruled out for the rest: what it has run out of, it lacks for them as well.
/// One alone does not tell, for ports are counted for each origin.
const OVERLOADS_MAX: usize = 2;

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
    reason: Reason,
}

impl Tried {
    /// Rules out one path: another may reach the same origin.
    pub fn path(&mut self, origin: OriginKey, via: Via, reason: Reason) {
        self.note(Attempt { origin, via: Some(via), reason });
    }

    /// Rules out an origin on every path: the refusal was its own.
    pub fn origin(&mut self, origin: OriginKey, reason: Reason) {
        self.note(Attempt { origin, via: None, reason });
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
        let tried = |tried: &Attempt| tried.origin == origin && tried.via.is_none_or(|tried| tried == via);
        self.attempts.iter().any(tried) || self.is_overloaded(via)
    }

    fn is_overloaded(&self, via: Via) -> bool {
        let refused = |tried: &&Attempt| tried.via == Some(via) && tried.reason == Reason::ConnectorOverloaded;
        self.attempts.iter().filter(refused).count() >= OVERLOADS_MAX
    }

    fn note(&mut self, attempt: Attempt) {
        self.last = Some(attempt.reason);
        // Placement ends at the bound, so there is no further attempt to note.
        if !self.is_full() {
            self.attempts.push(attempt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::id::LinkId;

    fn key(host: u8) -> OriginKey {
        let address = format!("10.7.0.{host}:80").parse().expect("a target");
        let name = "o".parse().expect("a name");
        OriginKey::of(&crate::model::Origin {
            name,
            vnet: None,
            address,
            weight: 1.0,
            proxy_protocol: None,
            drain: false,
        })
    }

    #[test]
    fn a_way_that_is_overloaded_for_two_origins_is_ruled_out_for_every_other() {
        let (busy, other) = (Via::Link(LinkId(1)), Via::Link(LinkId(2)));
        let mut tried = Tried::default();
        tried.path(key(1), busy, Reason::ConnectorOverloaded);
        tried.path(key(2), busy, Reason::ConnectTimeout);
        tried.path(key(2), other, Reason::ConnectorOverloaded);
        assert!(!tried.rules_out(key(3), busy), "it may have run out of ports to that origin alone");
        tried.path(key(3), busy, Reason::ConnectorOverloaded);
        assert!(tried.rules_out(key(4), busy));
        assert!(!tried.rules_out(key(4), other) && !tried.rules_out(key(1), other));
    }
}

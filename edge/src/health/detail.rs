//! What was met when a path failed last, in words. It decides nothing.

use std::sync::Arc;

use protocol::error::Reason;

/// The words, with the reason they belong to.
#[derive(Debug, Default)]
pub(super) struct Detail(Option<(Reason, Arc<str>)>);

impl Detail {
    /// Something failed for this reason.
    pub(super) fn met(&mut self, reason: Reason, words: &str) {
        self.0 = Some((reason, words.into()));
    }

    /// The words, if they belong to this reason.
    pub(super) fn of(&self, reason: Option<Reason>) -> Option<Arc<str>> {
        let (of, words) = self.0.as_ref()?;
        (Some(*of) == reason).then(|| words.clone())
    }
}

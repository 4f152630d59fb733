//! What a client's connection still owes: answers whose head has gone out and whose end has not.
//!
//! HTTP/1.0 knows no other sign of a broken answer than how its connection ends, so one that still owes something is
//! reset, never closed.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Answers that a connection owes. One that is given up is owed for good.
#[derive(Debug, Default)]
pub(crate) struct Owed(Arc<AtomicUsize>);

/// An answer whose end has not been handed over yet.
#[derive(Debug)]
pub(crate) struct Debt(Arc<AtomicUsize>);

impl Owed {
    /// An answer begins.
    pub(crate) fn begin(&self) -> Debt {
        self.0.fetch_add(1, Ordering::Relaxed);
        Debt(self.0.clone())
    }

    /// True if something is owed.
    pub(crate) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Debt {
    /// All of it was handed over.
    pub(crate) fn paid(self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_ended_is_paid() {
        let owed = Owed::default();
        let (whole, broken) = (owed.begin(), owed.begin());
        whole.paid();
        assert!(owed.any());
        drop(broken);
        assert!(owed.any(), "an answer that is given up stays owed");
        let whole = Owed::default();
        whole.begin().paid();
        assert!(!whole.any());
    }
}

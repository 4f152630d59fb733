//! Whether a source is who it says: until that is proven, it is sent little more than it has sent. Pure.

/// Bytes an unproven source is sent at most for each byte it has sent, as RFC 9000 section 8 has it.
pub(super) const REPLY_FACTOR: u64 = 3;

/// What is known of one session's source. Whoever goes on after an answer has most likely received it.
#[derive(Debug, Default)]
pub(super) struct Proof {
    received: u64,
    sent: u64,
    answered: bool,
    proven: bool,
}

impl Proof {
    /// A payload came from the source.
    pub(super) fn heard(&mut self, bytes: usize) {
        self.proven |= self.answered;
        self.received += bytes as u64;
    }

    /// Whether this answer may be sent; it counts as sent then.
    pub(super) fn may_answer(&mut self, bytes: usize) -> bool {
        let sent = self.sent + bytes as u64;
        if !self.proven && sent > self.received * REPLY_FACTOR {
            return false;
        }
        self.sent = sent;
        self.answered = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn a_source_is_proven_by_going_on_after_an_answer() {
        let mut proof = Proof::default();
        proof.heard(10);
        assert!(!proof.may_answer(31), "beyond three times");
        assert!(proof.may_answer(30));
        assert!(!proof.may_answer(1), "that was all");
        proof.heard(1);
        assert!(proof.may_answer(1_000_000));
    }

    #[test]
    fn sending_on_without_an_answer_proves_nothing() {
        let mut proof = Proof::default();
        proof.heard(10);
        proof.heard(10);
        assert!(!proof.may_answer(61));
        assert!(proof.may_answer(60));
    }

    proptest! {
        #[test]
        fn nobody_who_is_silent_after_an_answer_is_sent_more_than_the_factor(
            heard in vec(0..2000_usize, 1..10), answers in vec(0..5000_usize, 0..50),
        ) {
            let mut proof = Proof::default();
            heard.iter().for_each(|bytes| proof.heard(*bytes));
            let sent: usize = answers.iter().filter(|bytes| proof.may_answer(**bytes)).sum();
            prop_assert!(sent as u64 <= heard.iter().sum::<usize>() as u64 * REPLY_FACTOR);
        }
    }
}

//! Whether an address is who it says: until that is proven, it is sent little more than it has sent. Pure: callers bring
//! the time.

use std::time::{Duration, Instant};

use protocol::limiter::{Limiter, Rate};

/// Bytes an unproven address is sent for each byte it has sent, as RFC 9000 section 8 has it.
pub(super) const REPLY_FACTOR: u64 = 3;
/// What IPv4 and UDP put before each payload: it is paid, and gained, as well.
pub(super) const HEADERS: u64 = 28;
/// Bytes an unproven address is sent beyond that: one answer of any size, then a trickle.
pub(super) const BEYOND: Rate = Rate { at_once: 65_536, per_second: 8_192 };
/// And all unproven addresses of one listener together.
pub(super) const BEYOND_ALL: Rate = Rate { at_once: 4_194_304, per_second: 1_048_576 };
/// How long an address stays proven without a new proof.
pub(super) const PROOF_LASTS: Duration = Duration::from_secs(60);

/// What is known of one address.
#[derive(Debug)]
pub(super) struct Account {
    /// Bytes left of what it may be sent for what it has sent.
    earned: u64,
    beyond: Limiter,
    answered: bool,
    proven: Option<Instant>,
}

impl Default for Account {
    /// Of an address that is new.
    fn default() -> Self {
        Self { earned: 0, beyond: Limiter::new(BEYOND), answered: false, proven: None }
    }
}

impl Account {
    /// A payload came from the address. Whoever goes on after an answer has most likely received it.
    pub(super) fn heard(&mut self, now: Instant, bytes: usize) {
        if self.answered {
            self.prove(now);
        }
        self.earned = self.earned.saturating_add(on_wire(bytes) * REPLY_FACTOR);
    }

    /// The address has shown that it receives what it is sent.
    pub(super) fn prove(&mut self, now: Instant) {
        self.proven = Some(now);
    }

    pub(super) fn is_proven(&self, now: Instant) -> bool {
        self.proven.is_some_and(|at| now.saturating_duration_since(at) < PROOF_LASTS)
    }

    /// Whether this answer may be sent; it counts as sent then. `all`: what the listener's unproven addresses share.
    pub(super) fn may_answer(&mut self, now: Instant, bytes: usize, all: &Limiter) -> bool {
        if !self.is_proven(now) {
            let bytes = on_wire(bytes);
            let earned = bytes.min(self.earned);
            let beyond = u32::try_from(bytes - earned).unwrap_or(u32::MAX);
            // In this order: whoever has had its own takes nothing from the others.
            if !self.beyond.take(now, beyond) || !all.take(now, beyond) {
                return false;
            }
            self.earned -= earned;
        }
        self.answered = true;
        true
    }
}

fn on_wire(payload: usize) -> u64 {
    payload as u64 + HEADERS
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn everybody() -> Limiter {
        Limiter::new(BEYOND_ALL)
    }

    #[test]
    fn an_address_is_proven_by_going_on_after_an_answer_and_not_for_ever() {
        let now = Instant::now();
        let (mut account, all) = (Account::default(), everybody());
        account.heard(now, 10);
        account.heard(now, 10);
        assert!(!account.is_proven(now), "sending on without an answer proves nothing");
        assert!(account.may_answer(now, 100, &all));
        assert!(!account.is_proven(now), "nor does an answer alone");
        account.heard(now, 1);
        assert!(account.is_proven(now) && (0..100).all(|_| account.may_answer(now, 65_507, &all)));
        assert!(!account.is_proven(now + PROOF_LASTS));
    }

    #[test]
    fn a_first_answer_may_be_of_any_size_and_the_next_must_be_earned() {
        let now = Instant::now();
        let (mut account, all) = (Account::default(), everybody());
        account.heard(now, 0);
        assert!(account.may_answer(now, 65_507, &all));
        assert!(!account.may_answer(now, 1_000, &all), "that was nearly all");
        assert!(account.may_answer(now + Duration::from_secs(1), 1_000, &all), "the trickle");
        account.heard(now, 1_000);
        assert!(account.is_proven(now));
    }

    #[test]
    fn the_unproven_of_one_listener_share_what_is_beyond() {
        let now = Instant::now();
        let all = everybody();
        let served = (0..100).filter(|_| {
            let mut account = Account::default();
            account.heard(now, 0);
            account.may_answer(now, 65_507, &all)
        });
        assert_eq!(served.count(), 64, "4 MiB of 64 KiB each");
    }

    proptest! {
        /// Several addresses that never go on once they were answered, as an attacker's victims.
        #[test]
        fn nobody_is_sent_more_than_was_earned_and_the_trickles(
            heard in vec(vec(0..2000_usize, 1..5), 1..20),
            answers in vec((0..20_usize, 0..70_000_usize, 0..2000_u64), 0..300),
        ) {
            let start = Instant::now();
            let all = everybody();
            let mut victims: Vec<(Account, u64, u64)> = heard.iter().map(|payloads| {
                let mut account = Account::default();
                payloads.iter().for_each(|bytes| account.heard(start, *bytes));
                (account, payloads.iter().map(|bytes| on_wire(*bytes)).sum(), 0)
            }).collect();
            let mut now = start;
            for (who, bytes, pause) in answers {
                now += Duration::from_millis(pause);
                let at = who % victims.len();
                let (account, _, sent) = &mut victims[at];
                if account.may_answer(now, bytes, &all) {
                    *sent += on_wire(bytes);
                }
            }
            let passed = (now - start).as_secs_f64();
            let bound = |rate: Rate| f64::from(rate.at_once) + passed * f64::from(rate.per_second) + 1.0;
            for (_, heard, sent) in &victims {
                prop_assert!(*sent as f64 <= (heard * REPLY_FACTOR) as f64 + bound(BEYOND));
            }
            let (heard, sent) = victims.iter().fold((0, 0), |(h, s), (_, heard, sent)| (h + heard, s + sent));
            prop_assert!(sent as f64 <= (heard * REPLY_FACTOR) as f64 + bound(BEYOND_ALL));
        }
    }
}

//! When a certificate is renewed, how long an expired one still opens the door to renewal, how failures are spaced.
//! Pure: callers bring the time and the dice.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// How long a certificate lasts from its issue.
pub const LIFE: Duration = Duration::from_secs(24 * 3600);
/// How far notBefore lies before the issue, for peers whose clock is behind.
pub const BACKDATED: Duration = Duration::from_secs(3600);
/// By how much longer than [`BACKDATED`] a clock may be behind: a certificate that begins so much later is taken all the same.
/// Its beginning protects nothing, its end does.
pub const EARLY_MAX: Duration = LIFE;
/// Clocks that differ by less are not worth a word.
const CLOCKS_AGREE: Duration = Duration::from_secs(60);
/// How long after its expiry a certificate still authenticates a renewal.
pub const RENEWABLE_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

const RETRY_FIRST: Duration = Duration::from_secs(10);
const RETRY_MAX: Duration = Duration::from_secs(15 * 60);
/// Renewals are spread over this part of a life before two thirds of it.
const SPREAD: f64 = 1.0 / 24.0;

/// When a certificate was made and when it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// The moment of its issue, to the millisecond.
    pub issued_at: SystemTime,
    /// The moment the replica redeemed its join token; renewals carry it on. What was revoked since is void, however often
    /// and wherever it was renewed.
    pub enrolled_at: SystemTime,
    /// It holds from here, inclusive.
    pub not_before: SystemTime,
    /// It holds to here, inclusive.
    pub not_after: SystemTime,
}

/// What a certificate is good for at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It holds.
    Valid,
    /// It is over, recently enough to authenticate its renewal and nothing else.
    ExpiredMayRenew,
    /// It is over for good: a new join token is needed.
    Lapsed,
    /// It begins later, by more than [`EARLY_MAX`]: one of the clocks is wrong.
    NotYetValid,
}

/// How two clocks differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// By less than a minute.
    Agrees,
    /// Ours is so much behind theirs.
    Behind(Duration),
    /// Ours is so much ahead of theirs.
    Ahead(Duration),
}

impl Clock {
    /// Our clock against one that has just shown `theirs`.
    #[must_use]
    pub fn against(theirs: SystemTime, ours: SystemTime) -> Self {
        match (theirs.duration_since(ours), ours.duration_since(theirs)) {
            (Ok(behind), _) if behind >= CLOCKS_AGREE => Self::Behind(behind),
            (_, Ok(ahead)) if ahead >= CLOCKS_AGREE => Self::Ahead(ahead),
            _ => Self::Agrees,
        }
    }
}

/// A moment in UTC, in whole seconds (RFC 3339).
#[derive(Debug, Clone, Copy)]
pub struct Utc(pub SystemTime);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = OffsetDateTime::from(self.0).replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        f.write_str(&whole.format(&Rfc3339).unwrap_or_default())
    }
}

impl Lifetime {
    /// The lifetime of a certificate issued at `now` by a CA that holds until `ca_not_after`.
    pub(crate) fn starting(now: SystemTime, ca_not_after: SystemTime) -> Self {
        Self {
            issued_at: now,
            enrolled_at: now,
            not_before: now - BACKDATED,
            not_after: (now + LIFE).min(ca_not_after),
        }
    }

    /// What the certificate is good for at `now`.
    #[must_use]
    pub fn standing(&self, now: SystemTime) -> Standing {
        if now + EARLY_MAX < self.not_before {
            return Standing::NotYetValid;
        }
        match now.duration_since(self.not_after) {
            Err(_) => Standing::Valid,
            Ok(Duration::ZERO) => Standing::Valid,
            Ok(over) if over <= RENEWABLE_FOR => Standing::ExpiredMayRenew,
            Ok(_) => Standing::Lapsed,
        }
    }

    /// The moment at which its chain is judged: now, or its beginning if the clock is not there yet.
    pub(crate) fn judged_at(&self, now: SystemTime) -> SystemTime {
        now.max(self.not_before)
    }

    /// When to renew: at two thirds of the life that follows the issue, or up to one twenty-fourth of a life sooner.
    /// `dice` is uniform in 0..1 and drawn once per certificate, so that a fleet started together does not renew together.
    #[must_use]
    pub fn renew_at(&self, dice: f64) -> SystemTime {
        let life = self.not_after.duration_since(self.issued_at).unwrap_or_default();
        let sooner = life.mul_f64(SPREAD * dice.clamp(0.0, 1.0));
        self.issued_at + (life * 2 / 3).saturating_sub(sooner)
    }
}

/// How long to wait before the next try after `failures` failed renewals in a row (at least one): from ten seconds, doubled
/// each time, to a quarter of an hour, spread by `dice` (uniform in 0..1) over the upper half of the step.
#[must_use]
pub fn retry_after(failures: u32, dice: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let step = RETRY_FIRST.saturating_mul(1 << doublings).min(RETRY_MAX);
    step.mul_f64(0.5 + 0.5 * dice.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const SECOND: Duration = Duration::from_secs(1);

    fn issued() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn lifetime() -> Lifetime {
        Lifetime::starting(issued(), issued() + 1000 * LIFE)
    }

    #[test]
    fn standing_follows_the_clock() {
        let (t, life) = (issued(), lifetime());
        for (now, want) in [
            (t - 25 * HOUR - SECOND, Standing::NotYetValid),
            (t - 25 * HOUR, Standing::Valid),
            (t, Standing::Valid),
            (t + 24 * HOUR, Standing::Valid),
            (t + 24 * HOUR + SECOND, Standing::ExpiredMayRenew),
            (t + 31 * 24 * HOUR, Standing::ExpiredMayRenew),
            (t + 31 * 24 * HOUR + SECOND, Standing::Lapsed),
        ] {
            assert_eq!(life.standing(now), want, "{:?} after issue", now.duration_since(t));
        }
    }

    #[test]
    fn clocks_are_compared_to_the_minute() {
        let (t, minute) = (issued(), Duration::from_secs(60));
        assert_eq!(Clock::against(t, t), Clock::Agrees);
        assert_eq!(Clock::against(t, t + minute - SECOND), Clock::Agrees);
        assert_eq!(Clock::against(t, t + minute), Clock::Ahead(minute));
        assert_eq!(Clock::against(t, t - 2 * HOUR), Clock::Behind(2 * HOUR));
    }

    #[test]
    fn renewal_falls_between_fifteen_and_sixteen_hours() {
        assert_eq!(lifetime().renew_at(0.0), issued() + 16 * HOUR);
        assert_eq!(lifetime().renew_at(1.0), issued() + 15 * HOUR);
        assert_eq!(lifetime().renew_at(9.0), issued() + 15 * HOUR, "dice out of bounds are clamped");
    }

    #[test]
    fn a_leaf_ends_with_its_ca() {
        let life = Lifetime::starting(issued(), issued() + HOUR);
        assert_eq!(life.not_after, issued() + HOUR);
        assert!(life.renew_at(0.5) < life.not_after);
    }

    #[test]
    fn retries_are_spaced_ever_wider_up_to_a_bound() {
        for (failures, want) in [(0, 10), (1, 10), (2, 20), (3, 40), (7, 640), (8, 900), (u32::MAX, 900)] {
            assert_eq!(retry_after(failures, 1.0), Duration::from_secs(want), "{failures} failures");
        }
        assert_eq!(retry_after(1, 0.0), Duration::from_secs(5));
    }

    proptest! {
        #[test]
        fn renewal_always_falls_inside_the_life(dice in 0.0..1.0_f64, ca_left in 1_u64..10_000_000) {
            let life = Lifetime::starting(issued(), issued() + Duration::from_secs(ca_left));
            let at = life.renew_at(dice);
            prop_assert!(at >= life.issued_at && at < life.not_after);
            prop_assert_eq!(life.standing(at), Standing::Valid);
        }
    }
}

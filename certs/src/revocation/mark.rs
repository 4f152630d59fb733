//! Marks: what a revocation leaves behind, and what it voids. By number, not by time.
//!
//! Every join token has a number: how many revocations of its connector its maker knew of. A revocation makes the number that
//! is needed one more than any that was ever seen, so whatever came before is void and a later token is not, whichever way
//! clocks are set. Pure: callers bring the moment.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::{rotation::BACKDATED, secret::random};

/// By how much the clocks of two edges may differ.
const CLOCKS_APART: Duration = BACKDATED;

/// Whose tokens they are: a random number of a `state_dir`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuthorityId(pub(crate) [u8; 8]);

impl AuthorityId {
    pub(crate) fn new() -> Self {
        Self(random())
    }

    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The join token that a certificate goes back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enrolment {
    /// The token's number.
    pub number: u64,
    /// Who made it.
    pub authority: AuthorityId,
}

/// What a certificate or an open token says of where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descent {
    /// Its token; earlier versions wrote none.
    pub enrolment: Option<Enrolment>,
    /// When the token was redeemed, or made if it is still open, by the clock of that edge.
    pub at: SystemTime,
}

/// Whether something may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Its name was not revoked here.
    Holds,
    /// Its name was revoked here, and it comes from a later token.
    Readmitted,
    /// It comes from a token that is not later than the revocation.
    Void,
    /// Its number would do, but it is another edge's of long before the revocation: that edge counts further.
    VoidByAge,
}

/// What is known of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    /// Tokens below this number are void; 0 if the name was never revoked.
    #[serde(default)]
    pub(super) void_below: u64,
    /// The highest number that was met.
    #[serde(default)]
    pub(super) seen: u64,
    /// When it was revoked.
    #[serde(default)]
    pub(super) revoked_ms: u64,
    /// What has no number is void if it is not later than this: a revocation by an earlier version.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) unnumbered_until_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Mark {
    /// As an earlier version left it.
    pub(super) fn by_time(revoked_ms: u64) -> Self {
        Self { revoked_ms, unnumbered_until_ms: revoked_ms, ..Self::default() }
    }

    /// The lowest number that holds.
    fn lowest(&self) -> u64 {
        self.void_below.max(u64::from(self.unnumbered_until_ms > 0))
    }

    /// The number of a token made now.
    pub(super) fn next_token(&self) -> u64 {
        self.lowest().max(self.seen)
    }

    /// The mark after one more revocation.
    pub(super) fn revoked(&self, now_ms: u64) -> Self {
        Self { void_below: self.next_token() + 1, revoked_ms: now_ms.max(self.revoked_ms), ..*self }
    }

    /// What two copies know together.
    pub(super) fn merged(&self, other: &Self) -> Self {
        Self {
            void_below: self.void_below.max(other.void_below),
            seen: self.seen.max(other.seen),
            revoked_ms: self.revoked_ms.max(other.revoked_ms),
            unnumbered_until_ms: self.unnumbered_until_ms.max(other.unnumbered_until_ms),
        }
    }

    /// What becomes of a thing of this descent at the authority `here`.
    pub(super) fn judge(&self, descent: &Descent, here: AuthorityId) -> Judgement {
        let at_ms = unix_ms(descent.at);
        match descent.enrolment {
            _ if self.lowest() == 0 => Judgement::Holds,
            None if self.void_below > 0 || at_ms <= self.unnumbered_until_ms => Judgement::Void,
            None => Judgement::Readmitted,
            Some(enrolment) if enrolment.number < self.lowest() => Judgement::Void,
            Some(enrolment) if enrolment.authority != here && self.is_long_before(at_ms) => Judgement::VoidByAge,
            Some(_) => Judgement::Readmitted,
        }
    }

    fn is_long_before(&self, at_ms: u64) -> bool {
        let apart = u64::try_from(CLOCKS_APART.as_millis()).unwrap_or(u64::MAX);
        self.void_below > 0 && at_ms.saturating_add(apart) < self.revoked_ms
    }
}

/// Milliseconds since 1970, as files and certificates say moments.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: AuthorityId = AuthorityId([1; 8]);
    const THERE: AuthorityId = AuthorityId([2; 8]);
    const HOUR: Duration = Duration::from_secs(3600);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn of(number: u64, authority: AuthorityId, at: SystemTime) -> Descent {
        Descent { enrolment: Some(Enrolment { number, authority }), at }
    }

    #[test]
    fn a_revocation_voids_lower_numbers_whatever_the_clocks_say() {
        let mark = Mark::default().revoked(unix_ms(now()));
        for (number, authority, at, want) in [
            (0, HERE, now() - HOUR, Judgement::Void),
            (0, HERE, now() + 10_000 * HOUR, Judgement::Void),
            (0, THERE, now() + HOUR, Judgement::Void),
            (1, HERE, now() - 10_000 * HOUR, Judgement::Readmitted),
            (1, THERE, now() - HOUR, Judgement::Readmitted),
            (1, THERE, now() - 2 * HOUR, Judgement::VoidByAge),
        ] {
            assert_eq!(mark.judge(&of(number, authority, at), HERE), want, "{number} of {authority} at {at:?}");
        }
        assert_eq!(mark.judge(&Descent { enrolment: None, at: now() + HOUR }, HERE), Judgement::Void);
        assert_eq!(Mark::default().judge(&Descent { enrolment: None, at: now() }, HERE), Judgement::Holds);
    }

    #[test]
    fn a_revocation_is_above_every_number_that_was_met() {
        let met = Mark { seen: 7, ..Mark::default() };
        assert_eq!(met.judge(&of(0, THERE, now()), HERE), Judgement::Holds, "revoked elsewhere only");
        let mark = met.revoked(unix_ms(now()));
        assert_eq!(mark.judge(&of(7, THERE, now()), HERE), Judgement::Void);
        assert_eq!(mark.next_token(), 8);
        assert_eq!(mark.revoked(0).next_token(), 9, "a clock that went back does not matter");
    }

    #[test]
    fn what_an_older_release_revoked_stays_void_and_what_it_readmitted_stays_in() {
        let mark = Mark::by_time(unix_ms(now()));
        let unnumbered = |at| mark.judge(&Descent { enrolment: None, at }, HERE);
        assert_eq!(unnumbered(now()), Judgement::Void);
        assert_eq!(unnumbered(now() + Duration::from_millis(1)), Judgement::Readmitted);
        assert_eq!(mark.judge(&of(mark.next_token(), HERE, now() - HOUR), HERE), Judgement::Readmitted);
        let again = mark.revoked(unix_ms(now()));
        assert_eq!(again.judge(&Descent { enrolment: None, at: now() + HOUR }, HERE), Judgement::Void);
        assert_eq!(again.judge(&of(mark.next_token(), HERE, now()), HERE), Judgement::Void);
    }
}

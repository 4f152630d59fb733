//! How many streams an edge may have open on one link: few at first, more as they are used. Pure.

use protocol::limits::{STREAMS_FIRST, STREAMS_MAX};

/// What one link allows its edge. It never shrinks: QUIC takes back no stream that it has allowed (RFC 9000 section 4.6).
#[derive(Debug)]
pub(super) struct Allowance(u32);

impl Allowance {
    /// What the link's transport parameters allow.
    pub(super) fn new() -> Self {
        Self(STREAMS_FIRST)
    }

    /// What to allow from now on, if it is more, now that this many are open. Doubled when half of it is used, so that the
    /// word is there before the edge has used the rest.
    pub(super) fn grow(&mut self, open: usize) -> Option<u32> {
        let open = u32::try_from(open).unwrap_or(u32::MAX);
        if self.0 >= STREAMS_MAX || open < self.0 / 2 {
            return None;
        }
        self.0 = (self.0 * 2).min(STREAMS_MAX);
        Some(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_when_half_is_used_until_all_is_allowed() {
        let mut allowance = Allowance::new();
        let grown: Vec<_> = (1..=20_000).filter_map(|open| Some((open, allowance.grow(open)?))).collect();
        let expected = [(128, 512), (256, 1_024), (512, 2_048), (1_024, 4_096), (2_048, 8_192), (4_096, 16_384)];
        assert_eq!(grown, expected);
    }

    #[test]
    fn few_streams_one_after_the_other_need_no_more() {
        let mut allowance = Allowance::new();
        assert!((0..10_000).all(|n| allowance.grow(n % 127).is_none()));
    }
}

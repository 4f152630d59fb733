//! What was found: counts by protocol, figures, and the promises that did not hold.

use std::time::Duration;

use super::{Promise, Verdict};
use crate::sample::{Kind, Protocol, Sample};

/// How many samples came to what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// All but blocks.
    pub requests: usize,
    /// Blocks through long flows.
    pub blocks: usize,
    /// Failed without excuse.
    pub failed: usize,
    /// Served, and too late, without excuse.
    pub late: usize,
    /// Answered wrongly.
    pub wrong: usize,
    /// Failed with the broken part, or had no path left.
    pub cut: usize,
    /// Questions asked again.
    pub repeats: u64,
    /// Until, for a second, nothing new failed or waited any more: from the break, or, of those who had no path left, from the
    /// repair.
    pub felt: Duration,
}

/// What clients saw of one fault, and what it means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Of all protocols.
    pub total: Counts,
    /// Over HTTP.
    pub http: Counts,
    /// Over plain TCP.
    pub tcp: Counts,
    /// Over UDP.
    pub udp: Counts,
    /// Long flows that broke after the break.
    pub flows_cut: usize,
    /// Long flows that were open at the break and went on.
    pub flows_unharmed: usize,
    /// How long after the break a new request could still be harmed by it.
    pub left: Option<Duration>,
    /// How long after the break, or after it had begun, the last of what was cut was told so.
    pub told: Option<Duration>,
    /// How long after the repair everything was as before.
    pub recovered: Option<Duration>,
    /// How long the machine stood still from the break to the recovery.
    pub paused: Duration,
    /// Who was harmed last, in words.
    pub last: Vec<String>,
    /// Promises that did not hold, with why.
    pub broken: Vec<(Promise, String)>,
}

impl Findings {
    /// Where samples of this kind are counted.
    pub(super) fn of(&mut self, kind: Kind) -> [&mut Counts; 2] {
        let own = match kind.protocol() {
            Protocol::Http => &mut self.http,
            Protocol::Tcp => &mut self.tcp,
            Protocol::Udp => &mut self.udp,
        };
        [&mut self.total, own]
    }

    pub(super) fn count(&mut self, sample: &Sample, verdict: Verdict) {
        self.of(sample.kind).into_iter().for_each(|counts| counts.count(sample, verdict));
    }
}

impl Counts {
    fn count(&mut self, sample: &Sample, verdict: Verdict) {
        match sample.kind {
            Kind::Block => self.blocks += 1,
            Kind::GetNew | Kind::GetKept | Kind::Post | Kind::Connect | Kind::Transactions | Kind::Question => {
                self.requests += 1;
            }
        }
        self.repeats += u64::from(sample.repeats);
        match verdict {
            Verdict::Fine => (),
            Verdict::Cut => self.cut += 1,
            Verdict::Failed => self.failed += 1,
            Verdict::Late => self.late += 1,
            Verdict::Wrong => self.wrong += 1,
        }
    }

    /// Everything that was sent.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.requests + self.blocks
    }
}

//! Which promises held while something was broken. Pure: samples, faults and their bounds in, findings out.
//!
//! What was on the broken part in the moment it broke may break with it, and so may whatever had no path left: that is *cut*.
//! Every other failure breaks a promise, and a wrong answer always does. Time in which the machine did not let the clients
//! themselves run is taken off what is held against a bound in time; a failure is never taken off.

mod fault;
mod findings;
mod promise;

use std::{collections::BTreeMap, ops::Range, time::Duration};

pub use fault::{Bounds, Cuts, Fault, GONE_TOLD, Gone, LINK_LEAVES, Part, RECOVERY, Times, Which};
pub use findings::{Counts, Findings};
pub use promise::Promise;

use crate::{
    sample::{Kind, Outcome, Sample},
    stalls::Spans,
};

/// A client that waits longer than this feels the fault.
const FELT: Duration = Duration::from_millis(250);
/// Nobody feels a fault any more when nobody has for this long: what is felt later, if anything, has another cause.
const QUIET: Duration = Duration::from_secs(1);
/// A client that waits longer than this is harmed.
const HARMED: Duration = Duration::from_millis(500);
/// Samples that are told in full for each promise they break.
const EXAMPLES_MAX: usize = 5;
/// How far back a machine that stood still makes requests fail: links die of silence after 3 s.
const STARVED_BEFORE: Duration = Duration::from_secs(4);
/// Standing still for so long in all is enough for that.
const STARVED: Duration = Duration::from_millis(300);
/// And so is a fight for the processors of so long.
const CROWDED: Duration = Duration::from_secs(1);
/// What a busy machine may take longer.
const BUSY_ROOM: Duration = Duration::from_secs(8);

/// How far times can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The machine is ours: bounds in time are judged.
    Trusted,
    /// The machine is busy with other things: outcomes are judged, and what fails while it stands still is only told.
    Busy,
}

/// What the clients' side recorded, and what is held against it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What clients did.
    pub samples: &'a [Sample],
    /// When the machine stood still for them.
    pub stalls: &'a Spans,
    /// When processes waited for a processor nearly all the time.
    pub crowded: &'a Spans,
    /// How far times can be trusted.
    pub clock: Clock,
    /// Within this everything that no fault excuses is answered; none if only harm is counted.
    pub prompt: Option<Duration>,
}

/// What happened beside the clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beside {
    /// Requests, transfers or transactions that an origin saw twice.
    pub twice: Vec<String>,
    /// A process beyond its bound of memory, in words.
    pub fat: Vec<String>,
    /// Processes that ended by themselves, what did not come back, and what else was looked for in vain.
    pub amiss: Vec<String>,
}

/// What became of one sample, in the light of the faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it has to be.
    Fine,
    /// It failed with the broken part, or for want of any path, as it may.
    Cut,
    /// It failed without excuse.
    Failed,
    /// It was answered too late, without excuse.
    Late,
    /// It was answered wrongly.
    Wrong,
}

/// Judges by what clients saw and what happened beside them. The last of `faults` is the one in question; the earlier ones
/// still excuse what took long to end.
#[must_use]
pub fn judge(seen: &Seen<'_>, faults: &[Fault], beside: &Beside) -> Findings {
    let mut findings = Findings::default();
    let judging = Judging { seen, faults };
    for sample in seen.samples {
        judging.weigh(sample, &mut findings);
    }
    if let Some(own) = faults.last() {
        judging.count_flows(own, &mut findings);
        judging.time_felt(own, &mut findings);
        judging.time_leaving(own, &mut findings);
        judging.time_recovery(own, &mut findings);
    }
    let told = [(Promise::Once, &beside.twice), (Promise::Memory, &beside.fat), (Promise::Alone, &beside.amiss)];
    for (promise, words) in told {
        findings.broken.extend(words.iter().map(|word| (promise, word.clone())));
    }
    if findings.total.requests == 0 {
        findings.broken.push((Promise::Alone, "no client got to ask anything, so nothing is proved".to_owned()));
    }
    findings
}

/// Judges what clients saw while nothing was broken, on a machine that is ours: everything is served, rightly and, if that is
/// said, promptly.
#[must_use]
pub fn judge_whole(samples: &[Sample], prompt: Option<Duration>) -> Findings {
    let none = Spans::default();
    let seen = Seen { samples, stalls: &none, crowded: &none, clock: Clock::Trusted, prompt };
    judge(&seen, &[], &Beside::default())
}

struct Judging<'a> {
    seen: &'a Seen<'a>,
    faults: &'a [Fault],
}

impl Judging<'_> {
    fn weigh(&self, sample: &Sample, findings: &mut Findings) {
        let verdict = self.verdict(sample);
        findings.count(sample, verdict);
        let broken = match verdict {
            Verdict::Fine => return,
            Verdict::Cut => {
                findings.told = findings.told.max(self.told_after(sample));
                return;
            }
            Verdict::Failed => self.failed_promise(sample),
            Verdict::Late => Promise::Prompt,
            Verdict::Wrong => Promise::Right,
        };
        if findings.broken.iter().filter(|(other, _)| *other == broken).count() < EXAMPLES_MAX {
            findings.broken.push((broken, sample.to_string()));
        }
    }

    fn verdict(&self, sample: &Sample) -> Verdict {
        let excused = || self.is_starved(sample) || self.faults.iter().any(|fault| self.excuses(fault, sample));
        let is_late = || self.seen.prompt.is_some_and(|prompt| self.took(sample) > prompt);
        match &sample.outcome {
            Outcome::Wrong(_) => Verdict::Wrong,
            Outcome::Failed(_) if excused() => Verdict::Cut,
            Outcome::Failed(_) => Verdict::Failed,
            Outcome::Served if is_late() && !excused() => Verdict::Late,
            Outcome::Served => Verdict::Fine,
        }
    }

    /// The promise that a failure without excuse breaks.
    fn failed_promise(&self, sample: &Sample) -> Promise {
        let own = self.faults.last().filter(|_| !sample.kind.may_be_done_twice());
        own.map_or(Promise::Served, |own| {
            let after = own.times.healed.is_some_and(|healed| sample.began >= healed);
            if after { Promise::Recovered } else { Promise::Left }
        })
    }

    /// Whether a client may have trouble with this sample because of the fault.
    fn excuses(&self, fault: &Fault, sample: &Sample) -> bool {
        self.is_gone(fault, sample) || self.is_cut(fault, sample)
    }

    /// Whether it met a time in which nothing led where it wanted to go.
    fn is_gone(&self, fault: &Fault, sample: &Sample) -> bool {
        let Times { at, healed, .. } = fault.times;
        let in_time = |healed: Duration| {
            let back = healed + RECOVERY;
            match self.seen.prompt {
                // Nor may a client hang on what has to be back.
                Some(prompt) => sample.began < back && sample.ended <= back + prompt,
                None => sample.began <= back + self.paused(healed..back) + self.room(),
            }
        };
        fault.bounds.gone.has(sample) && sample.ended >= at && healed.is_none_or(in_time)
    }

    /// Whether it is a flow that may break with the broken part.
    fn is_cut(&self, fault: &Fault, sample: &Sample) -> bool {
        let Times { at, struck, .. } = fault.times;
        let may_be_on_it = match fault.bounds.cuts {
            Cuts::Nothing => false,
            Cuts::On(part) => part.may_carry(sample) && sample.connection.opened <= struck,
            Cuts::Whatever => self.left_by(fault).is_none_or(|left| sample.began <= left),
        };
        may_be_on_it && sample.ended >= at && !sample.kind.may_be_done_twice()
    }

    /// When the broken part has to be out of rotation, or to be whole again; none: not yet.
    fn left_by(&self, fault: &Fault) -> Option<Duration> {
        let Times { at, struck, healed, .. } = fault.times;
        let recovered = || healed.map(|healed| healed + RECOVERY);
        let until = fault.bounds.leaves.map(|leaves| struck + leaves).or_else(recovered)?;
        Some(until + self.paused(at..until) + self.room())
    }

    /// How long something that was cut had to wait for word of it.
    fn told_after(&self, sample: &Sample) -> Option<Duration> {
        let own = self.faults.last()?;
        // A run of transactions goes on with those that were not cut.
        if self.is_gone(own, sample) || self.is_starved(sample) || sample.kind == Kind::Transactions {
            return None;
        }
        let since = sample.began.max(own.times.at);
        let waited = sample.ended.saturating_sub(since);
        Some(waited.saturating_sub(self.paused(since..sample.ended)))
    }

    /// What a busy machine is given on top.
    fn room(&self) -> Duration {
        match self.seen.clock {
            Clock::Trusted => Duration::ZERO,
            Clock::Busy => BUSY_ROOM,
        }
    }

    fn is_starved(&self, sample: &Sample) -> bool {
        let around = sample.began.saturating_sub(STARVED_BEFORE)..sample.ended;
        let stood = self.paused(around.clone()) >= STARVED || self.seen.crowded.within(around) >= CROWDED;
        self.seen.clock == Clock::Busy && stood
    }

    fn count_flows(&self, own: &Fault, findings: &mut Findings) {
        let at = own.times.at;
        let mut unharmed: BTreeMap<u64, bool> = BTreeMap::new();
        let further = |s: &&Sample| s.kind == Kind::Block && s.connection.opened <= at && s.ended > at;
        for sample in self.seen.samples.iter().filter(further) {
            *unharmed.entry(sample.connection.number).or_insert(true) &= sample.outcome == Outcome::Served;
        }
        findings.flows_unharmed = unharmed.values().filter(|unharmed| **unharmed).count();
        findings.flows_cut = unharmed.len() - findings.flows_unharmed;
    }

    /// For how long the fault was felt, by protocol.
    fn time_felt(&self, own: &Fault, findings: &mut Findings) {
        let is_felt = |sample: &Sample| {
            // A flow does not recover: it goes on, or it is cut.
            let is_new = !matches!(sample.kind, Kind::Block | Kind::Transactions);
            is_new && (sample.outcome != Outcome::Served || self.took(sample) > FELT)
        };
        let felt = self.seen.samples.iter().filter(|sample| is_felt(sample));
        let mut felt: Vec<_> = felt.filter_map(|sample| Some((sample, felt_since(own, sample)?))).collect();
        felt.sort_by_key(|(sample, _)| sample.ended);
        for (sample, since) in felt {
            let after = sample.ended.saturating_sub(since);
            for counts in findings.of(sample.kind) {
                if after <= counts.felt + QUIET {
                    counts.felt = after;
                }
            }
        }
    }

    /// How long what is broken harmed what began after it, and how long what was cut waited for word.
    fn time_leaving(&self, own: &Fault, findings: &mut Findings) {
        let Times { at, struck, healed, .. } = own.times;
        if let Some(bound) = own.bounds.leaves {
            let meanwhile = |s: &&Sample| s.began >= at && healed.is_none_or(|healed| s.began < healed);
            let harmed = |sample: &&Sample| !self.is_gone(own, sample) && self.is_harmed(sample);
            let late = self.seen.samples.iter().filter(meanwhile).filter(harmed).max_by_key(|sample| sample.began);
            let last = late.map_or(at, |sample| sample.began);
            findings.left = Some(last - at);
            findings.last.extend(late.map(|sample| format!("the last one harmed: {sample}")));
            if last.saturating_sub(struck).saturating_sub(self.paused(at..last)) > bound {
                let why =
                    format!("what began {:.1?} after the break was still harmed by it, bound {bound:?}", last - at);
                self.late(findings, Promise::Left, why);
            }
        }
        if let (Some(told), Some(bound)) = (findings.told, own.bounds.told)
            && told > bound
        {
            self.late(findings, Promise::Told, format!("what was cut was told so after {told:.1?}, bound {bound:?}"));
        }
    }

    /// How long it took until everything was as before.
    fn time_recovery(&self, own: &Fault, findings: &mut Findings) {
        let Some(healed) = own.times.healed else { return };
        let after = self.seen.samples.iter().filter(|sample| sample.began >= healed);
        let late = after.filter(|sample| self.is_harmed(sample)).max_by_key(|sample| sample.ended);
        let clients = late.map_or(healed, |sample| sample.ended);
        findings.last.extend(late.map(|sample| format!("the last one harmed after the repair: {sample}")));
        let Some(whole) = own.times.whole else { return };
        let back = whole.max(clients);
        findings.recovered = Some(back - healed);
        findings.paused = self.paused(own.times.at..back);
        if own.bounds.recovers && (back - healed).saturating_sub(self.paused(healed..back)) > RECOVERY {
            let who = if whole >= clients { "edges" } else { "clients" };
            let why = format!("{who} had everything back {:.1?} after the repair, bound {RECOVERY:?}", back - healed);
            self.late(findings, Promise::Recovered, why);
        }
    }

    fn late(&self, findings: &mut Findings, promise: Promise, why: String) {
        match self.seen.clock {
            Clock::Trusted => findings.broken.push((promise, why)),
            Clock::Busy => {}
        }
    }

    /// It failed, or took longer than a client bears.
    fn is_harmed(&self, sample: &Sample) -> bool {
        match sample.outcome {
            // A run of transactions is bound to take its time.
            Outcome::Served => sample.kind != Kind::Transactions && self.took(sample) > HARMED,
            Outcome::Failed(_) | Outcome::Wrong(_) => true,
        }
    }

    /// How long it took, while its client was let run.
    fn took(&self, sample: &Sample) -> Duration {
        sample.ended.saturating_sub(sample.began).saturating_sub(self.paused(sample.span()))
    }

    /// How long the machine stood still in a span.
    fn paused(&self, span: Range<Duration>) -> Duration {
        self.seen.stalls.within(span)
    }
}

/// Since when a sample like this shows that the fault is felt: its break, or the repair for those who had no path left; none
/// if it shows nothing.
fn felt_since(own: &Fault, sample: &Sample) -> Option<Duration> {
    let Times { at, healed, .. } = own.times;
    match own.bounds.gone {
        Gone::Nobody => Some(at).filter(|at| sample.ended >= *at),
        gone @ (Gone::Edge(_) | Gone::Network(_)) => {
            healed.filter(|healed| gone.has(sample) && sample.began >= *healed)
        }
    }
}

#[cfg(test)]
mod tests;

//! Which promises held while something was broken. Pure: samples, the fault's times and bounds in, findings out.
//!
//! What was on the broken part in the moment it broke may break with it: that is *cut*. Every other failure breaks a promise,
//! and a wrong answer always does. Pauses of this machine, in which the clients themselves did not run, are measured and
//! taken off what is held against a bound in time; a failure is never taken off.

use std::{ops::Range, time::Duration};

use rig::stalls::Spans;

use crate::sample::{Kind, Outcome, Sample, Site};

/// Everything is as before within this of the end of what was wrong.
pub(crate) const RECOVERY: Duration = Duration::from_secs(2);
/// What a killed process carried is told so within this, where its host lives on and can say that it is gone.
pub(crate) const GONE_TOLD: Duration = Duration::from_millis(500);
/// A dead link's paths are out of rotation within this.
pub(crate) const LINK_LEAVES: Duration = Duration::from_secs(1);
/// A client that waits longer than this is harmed.
const FELT: Duration = Duration::from_millis(500);
/// Failures that are told in full.
const EXAMPLES_MAX: usize = 5;

/// Who has no path left while something is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Nobody.
    Nobody,
    /// Clients of this edge.
    Edge(usize),
    /// Everything that goes to this site.
    Site(Site),
}

impl Gone {
    fn has(self, sample: &Sample) -> bool {
        match self {
            Self::Nobody => false,
            Self::Edge(edge) => sample.edge == edge,
            Self::Site(site) => sample.site == site,
        }
    }
}

/// What is promised of one fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Who has no path left.
    pub(crate) gone: Gone,
    /// From when on nothing new meets the broken part; none if the part stays in rotation, as a slow link does.
    pub(crate) leaves: Option<Duration>,
    /// Whether what is not idempotent may be cut.
    pub(crate) cuts: bool,
    /// Whether it all is as before within [`RECOVERY`] of the end of what was wrong.
    pub(crate) recovers: bool,
    /// How soon whatever is cut is told so; none if that is for the one who waits to find out.
    pub(crate) told: Option<Duration>,
}

/// When what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// Before it was broken.
    pub(crate) at: Duration,
    /// After it was broken.
    pub(crate) struck: Duration,
    /// When it was begun to be put right.
    pub(crate) healed: Duration,
    /// When both edges found everything healthy again; none if they never did.
    pub(crate) whole: Option<Duration>,
}

/// How far times can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The machine is ours: bounds in time are judged.
    Trusted,
    /// The machine is busy with other things: outcomes are judged, and what fails while it stands still is only told.
    Busy,
}

/// What happened beside the clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// Requests, transfers or transactions that an origin saw twice.
    pub(crate) twice: Vec<String>,
    /// A process beyond its bound of memory, in words.
    pub(crate) fat: Vec<String>,
    /// Processes that ended by themselves, what did not come back, and what else a fault looked for in vain.
    pub(crate) amiss: Vec<String>,
}

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    /// Nothing that was answered is wrong.
    Right,
    /// Nothing is delivered twice.
    Once,
    /// An idempotent request fails only if every path was gone.
    Served,
    /// A dead path is out of rotation in time.
    Left,
    /// What is cut is told so in time.
    Told,
    /// Memory stays below its bound.
    Memory,
    /// Nothing needs a human or a restart.
    Alone,
    /// It is all as before in time.
    Recovered,
}

impl Promise {
    /// All of them, in the order of the document.
    pub(crate) const ALL: [Self; 8] =
        [Self::Right, Self::Once, Self::Served, Self::Left, Self::Told, Self::Memory, Self::Alone, Self::Recovered];

    /// Its word in the table.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Once => "once",
            Self::Served => "served",
            Self::Left => "left",
            Self::Told => "told",
            Self::Memory => "memory",
            Self::Alone => "alone",
            Self::Recovered => "recovered",
        }
    }
}

/// What clients saw of one fault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Requests, questions and runs of transactions.
    pub(crate) requests: usize,
    /// Blocks of long transfers.
    pub(crate) blocks: usize,
    /// All that failed.
    pub(crate) failed: usize,
    /// Of those, what was cut with the broken part or had no path left.
    pub(crate) excused: usize,
    /// Wrong answers.
    pub(crate) wrong: usize,
    /// How long after the break a new request could still be harmed by it.
    pub(crate) left: Option<Duration>,
    /// How long after the break, or after it had begun, the last of what was cut was told so.
    pub(crate) told: Option<Duration>,
    /// How long after the repair everything was as before.
    pub(crate) recovered: Option<Duration>,
    /// Pauses of the machine from the break to the recovery.
    pub(crate) paused: Duration,
    /// Who was harmed last, in words.
    pub(crate) last: Vec<String>,
    /// Promises that did not hold, with why.
    pub(crate) broken: Vec<(Promise, String)>,
}

/// Judges a fault by what clients saw and what happened beside them.
#[must_use]
pub(crate) fn judge(seen: &Seen<'_>, bounds: Bounds, times: Times, beside: &Beside) -> Findings {
    let mut findings = Findings::default();
    let judging = Judging { seen, bounds, times };
    for sample in seen.samples {
        judging.count(sample, &mut findings);
    }
    judging.in_time(&mut findings);
    let told = [(Promise::Once, &beside.twice), (Promise::Memory, &beside.fat), (Promise::Alone, &beside.amiss)];
    for (promise, words) in told {
        findings.broken.extend(words.iter().map(|word| (promise, word.clone())));
    }
    if findings.requests == 0 {
        findings.broken.push((Promise::Alone, "no client got to ask anything, so nothing is proved".to_owned()));
    }
    findings
}

/// What the clients' side recorded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// What clients did.
    pub(crate) samples: &'a [Sample],
    /// When the machine stood still for them.
    pub(crate) stalls: &'a Spans,
    /// When processes waited for a processor nearly all the time.
    pub(crate) crowded: &'a Spans,
    /// How far times can be trusted.
    pub(crate) clock: Clock,
}

/// How far back a machine that stood still makes requests fail: links die of silence after 3 s.
const STARVED_BEFORE: Duration = Duration::from_secs(4);
/// Standing still for so long in all is enough for that.
const STARVED: Duration = Duration::from_millis(300);

/// What a busy machine may take longer.
const BUSY_ROOM: Duration = Duration::from_secs(8);

/// And so is a fight for the processors of so long.
const CROWDED: Duration = Duration::from_secs(1);

struct Judging<'a> {
    seen: &'a Seen<'a>,
    bounds: Bounds,
    times: Times,
}

impl Judging<'_> {
    fn count(&self, sample: &Sample, findings: &mut Findings) {
        if sample.kind == Kind::Block {
            findings.blocks += 1;
        } else {
            findings.requests += 1;
        }
        match &sample.outcome {
            Outcome::Served => {}
            Outcome::Wrong(_) => {
                findings.wrong += 1;
                tell(findings, Promise::Right, sample);
            }
            Outcome::Failed(_) => {
                findings.failed += 1;
                match self.blame(sample) {
                    None => {
                        findings.excused += 1;
                        findings.told = findings.told.max(self.told_after(sample));
                    }
                    Some(promise) => tell(findings, promise, sample),
                }
            }
        }
    }

    /// The promise that a failure breaks, if it does.
    fn blame(&self, sample: &Sample) -> Option<Promise> {
        let Times { at, struck, healed, .. } = self.times;
        if self.is_gone(sample) || self.is_starved(sample) {
            return None;
        }
        if sample.kind.is_idempotent() {
            return Some(Promise::Served);
        }
        let until = self.bounds.leaves.map_or(healed + RECOVERY, |leaves| struck + leaves);
        let until = until + self.paused(at..until) + self.room();
        let on_it = sample.ended >= at && sample.began <= until;
        if on_it && self.bounds.cuts {
            return None;
        }
        Some(if sample.began >= healed { Promise::Recovered } else { Promise::Left })
    }

    /// How long something that was cut had to wait for word of it.
    fn told_after(&self, sample: &Sample) -> Option<Duration> {
        // A run of transactions goes on with those that were not cut.
        if self.is_gone(sample) || self.is_starved(sample) || sample.kind == Kind::Transactions {
            return None;
        }
        let since = sample.began.max(self.times.at);
        let waited = sample.ended.saturating_sub(since);
        Some(waited.saturating_sub(self.paused(since..sample.ended)))
    }

    /// Whether it met a time in which nothing led where it wanted to go.
    fn is_gone(&self, sample: &Sample) -> bool {
        let until = self.times.healed + RECOVERY;
        let until = until + self.paused(self.times.healed..until) + self.room();
        self.bounds.gone.has(sample) && sample.ended >= self.times.at && sample.began <= until
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

    /// Times until harm was over, and the promises about them.
    fn in_time(&self, findings: &mut Findings) {
        let Times { at, struck, healed, whole } = self.times;
        let harmed = |sample: &&Sample| !self.is_gone(sample) && self.is_harmed(sample);
        if let Some(bound) = self.bounds.leaves {
            let meanwhile = self.seen.samples.iter().filter(|sample| (at..healed).contains(&sample.began));
            let late = meanwhile.filter(harmed).max_by_key(|sample| sample.began);
            let last = late.map_or(at, |sample| sample.began);
            findings.left = Some(last - at);
            findings.last.extend(late.map(|sample| format!("the last one harmed: {sample}")));
            if last.saturating_sub(struck).saturating_sub(self.paused(at..last)) > bound {
                let why =
                    format!("what began {:.1?} after the break was still harmed by it, bound {bound:?}", last - at);
                self.late(findings, Promise::Left, why);
            }
        }
        if let (Some(told), Some(bound)) = (findings.told, self.bounds.told)
            && told > bound
        {
            self.late(findings, Promise::Told, format!("what was cut was told so after {told:.1?}, bound {bound:?}"));
        }
        let after = self.seen.samples.iter().filter(|sample| sample.began >= healed);
        let late = after.filter(|sample| self.is_harmed(sample)).max_by_key(|sample| sample.ended);
        let clients = late.map_or(healed, |sample| sample.ended);
        findings.last.extend(late.map(|sample| format!("the last one harmed after the repair: {sample}")));
        let Some(whole) = whole else { return };
        let back = whole.max(clients);
        findings.recovered = Some(back - healed);
        findings.paused = self.paused(at..back);
        if self.bounds.recovers && (back - healed).saturating_sub(self.paused(healed..back)) > RECOVERY {
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

    /// It failed, or took longer than a client bears, the machine's pauses aside.
    fn is_harmed(&self, sample: &Sample) -> bool {
        let took = (sample.ended - sample.began).saturating_sub(self.paused(sample.began..sample.ended));
        match sample.outcome {
            // A run of transactions is bound to take its time.
            Outcome::Served => sample.kind != Kind::Transactions && took > FELT,
            Outcome::Failed(_) | Outcome::Wrong(_) => true,
        }
    }

    /// How long the machine stood still in a span.
    fn paused(&self, span: Range<Duration>) -> Duration {
        self.seen.stalls.within(span)
    }
}

fn tell(findings: &mut Findings, promise: Promise, sample: &Sample) {
    if findings.broken.iter().filter(|(other, _)| *other == promise).count() < EXAMPLES_MAX {
        findings.broken.push((promise, sample.to_string()));
    }
}

#[cfg(test)]
mod tests;

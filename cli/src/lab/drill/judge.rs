//! Which failures a fault excuses, and whether a step's promise held. Pure: samples and faults in, findings out.
//!
//! A TCP flow on the killed part may break with it: that is counted as *cut*, as is whatever was asked of an edge while it
//! was dead. Every other failure breaks the promise, and so does every wrong byte, cut or not. An HTTP request may always be
//! sent again and a UDP session moves, so the death of a connector or an origin excuses nothing there.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::lab::{
    load::{Kind, Outcome, Placed, Sample},
    plan::{Replica, Server, Service, Speech, Vnet},
};

/// Within this a request is answered, a new connection served, and a surviving flow goes on, whatever was killed.
pub(super) const SERVED_WITHIN: Duration = Duration::from_secs(1);
/// Within this of its restart an edge serves again.
pub(super) const BACK_WITHIN: Duration = Duration::from_secs(2);
/// A client that waits longer than this felt the fault.
const FELT: Duration = Duration::from_millis(250);
/// Recovery is over when nobody has felt the fault for this long: what is felt later, if anything, has another cause.
const QUIET_MS: u64 = 1000;
/// Failures that are told in full.
const EXAMPLES_MAX: usize = 5;

/// A part of the lab that is killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// A connector process.
    Connector(&'static Replica),
    Origin(&'static Server),
    /// An edge, by index.
    Edge(usize),
}

/// What was killed and when, in the load's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) part: Part,
    /// The moment before the kill.
    pub(super) at: Duration,
    /// The moment after it: what was opened until then may have been on its way when it struck.
    pub(super) struck: Duration,
    /// When it was started again; absent: not yet.
    pub(super) back: Option<Duration>,
}

/// What became of one sample, in the light of the faults so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// It broke or stalled with the killed part, as it may.
    Cut,
    Failed,
    Late,
    Wrong,
}

impl Fault {
    /// Whether a client may have trouble with this sample because of the fault.
    fn excuses(&self, sample: &Sample) -> bool {
        if sample.ended < self.at {
            return false;
        }
        // A connection that nobody had answered yet may have been on any part of its VNet.
        let may_be_on = |on: fn(&Placed) -> &str, killed: &str, vnet: Vnet| {
            let Service { vnet: own, speech, .. } = *sample.service;
            let can = speech == Speech::Echo && sample.opened <= self.struck && own == vnet;
            can && sample.placed.as_ref().is_none_or(|placed| on(placed) == killed)
        };
        match self.part {
            Part::Connector(killed) => may_be_on(|placed| &placed.via, killed.name, killed.vnet),
            Part::Origin(killed) => may_be_on(|placed| &placed.origin, killed.name, killed.vnet),
            // Nor may a client hang on an edge that has to be back.
            Part::Edge(killed) => {
                let in_time = |from: Duration| sample.began < from && sample.ended <= from + SERVED_WITHIN;
                sample.edge == killed && self.serves_from().is_none_or(in_time)
            }
        }
    }

    /// From when an edge has to serve again.
    fn serves_from(&self) -> Option<Duration> {
        self.back.map(|back| back + BACK_WITHIN)
    }

    /// Whether exchanges like this one show how long recovery took.
    fn disturbs(&self, sample: &Sample) -> bool {
        match self.part {
            Part::Connector(_) | Part::Origin(_) => sample.ended >= self.at,
            Part::Edge(killed) => sample.edge == killed && self.back.is_some_and(|back| sample.began >= back),
        }
    }
}

fn verdict(sample: &Sample, faults: &[Fault]) -> Verdict {
    let excused = || faults.iter().any(|fault| fault.excuses(sample));
    match &sample.outcome {
        Outcome::Wrong(_) => Verdict::Wrong,
        Outcome::Failed(_) if excused() => Verdict::Cut,
        Outcome::Failed(_) => Verdict::Failed,
        Outcome::Served if sample.took() <= SERVED_WITHIN => Verdict::Fine,
        Outcome::Served if excused() => Verdict::Fine,
        Outcome::Served => Verdict::Late,
    }
}

/// How many exchanges came to what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    /// New connections, and requests or questions on kept ones.
    pub(super) requests: usize,
    /// Blocks through long flows.
    pub(super) blocks: usize,
    /// Failed without excuse.
    pub(super) failed: usize,
    /// Served, and too late, without excuse.
    pub(super) late: usize,
    /// Wrong bytes or a wrong answerer.
    pub(super) wrong: usize,
    /// Broke with the killed part.
    pub(super) cut: usize,
    /// Questions asked again, since UDP may lose them.
    pub(super) repeats: u64,
    /// Until, for a second, nothing new failed or waited any more; from the kill, of an edge from its restart.
    pub(super) recovered_ms: u64,
}

/// What clients saw in one step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Findings {
    /// Of all protocols.
    pub(super) total: Counts,
    pub(super) http: Counts,
    pub(super) tcp: Counts,
    pub(super) udp: Counts,
    /// Long flows that broke with it.
    pub(super) flows_cut: usize,
    /// Long flows that were open when it was killed and went on.
    pub(super) flows_unharmed: usize,
    /// The first of what failed, was late or wrong, in words.
    pub(super) examples: Vec<String>,
}

impl Findings {
    /// Where samples of this service are counted.
    fn of(&mut self, service: &Service) -> [&mut Counts; 2] {
        let own = match service.speech {
            Speech::Http => &mut self.http,
            Speech::Echo => &mut self.tcp,
            Speech::Dns => &mut self.udp,
        };
        [&mut self.total, own]
    }
}

impl Counts {
    fn count(&mut self, sample: &Sample, verdict: Verdict) {
        match sample.kind {
            Kind::New | Kind::Kept => self.requests += 1,
            Kind::Block => self.blocks += 1,
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
    pub(super) fn sent(&self) -> usize {
        self.requests + self.blocks
    }
}

/// Judges the samples of a step. The last of `faults` is the step's own; the earlier ones still excuse what took long to
/// end.
pub(super) fn judge(samples: &[Sample], faults: &[Fault]) -> Findings {
    let mut findings = Findings::default();
    for sample in samples {
        let verdict = verdict(sample, faults);
        findings.of(sample.service).into_iter().for_each(|counts| counts.count(sample, verdict));
        let tells = !matches!(verdict, Verdict::Fine | Verdict::Cut);
        if tells && findings.examples.len() < EXAMPLES_MAX {
            findings.examples.push(sample.to_string());
        }
    }
    if let Some(own) = faults.last() {
        count_flows(&mut findings, samples, own);
        time_recovery(&mut findings, samples, own);
    }
    findings
}

fn count_flows(findings: &mut Findings, samples: &[Sample], own: &Fault) {
    let mut unharmed: BTreeMap<u64, bool> = BTreeMap::new();
    let further = |sample: &&Sample| sample.kind == Kind::Block && sample.opened <= own.at && sample.ended > own.at;
    for sample in samples.iter().filter(further) {
        *unharmed.entry(sample.connection).or_insert(true) &= sample.outcome == Outcome::Served;
    }
    findings.flows_unharmed = unharmed.values().filter(|unharmed| **unharmed).count();
    findings.flows_cut = unharmed.len() - findings.flows_unharmed;
}

fn time_recovery(findings: &mut Findings, samples: &[Sample], own: &Fault) {
    let from = own.back.filter(|_| matches!(own.part, Part::Edge(_))).unwrap_or(own.at);
    let felt = |sample: &&Sample| {
        // A flow does not recover: it goes on, or it is cut.
        let new = sample.kind == Kind::New || sample.service.speech != Speech::Echo;
        new && own.disturbs(sample) && (sample.outcome != Outcome::Served || sample.took() > FELT)
    };
    let mut felt: Vec<&Sample> = samples.iter().filter(felt).collect();
    felt.sort_by_key(|sample| sample.ended);
    for sample in felt {
        let after = u64::try_from(sample.ended.saturating_sub(from).as_millis()).unwrap_or(u64::MAX);
        for counts in findings.of(sample.service) {
            if after <= counts.recovered_ms + QUIET_MS {
                counts.recovered_ms = after;
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! One fault after the other: load, break, hold, put right, wait until it is whole, look.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rig::{
    judge::{self, Beside, Clock, Fault, RECOVERY, Seen, Times},
    sample::{Kind, Sample},
    stalls::{Busy, Meter},
};
use underpass_tests::harness::wait;

use crate::{
    cases::{Case, Stage},
    lab::{self, Lab},
    load::{Load, Pace, database::committed},
    report::Row,
};

/// Load without a fault before each.
const STEADY: Duration = Duration::from_secs(1);
/// The same where what comes is held against it.
const STEADY_LONG: Duration = Duration::from_secs(8);
/// Load after everything is whole again, in which nothing may be harmed any more.
const AFTER: Duration = Duration::from_millis(1500);
/// What is not whole by then needs a human.
const WHOLE_WITHIN: Duration = Duration::from_secs(30);
/// Memory of a process besides what its links may hold.
const MEMORY_BASE_KIB: u64 = 96 * 1024;
/// What a link may hold: 64 MiB in flight and 32 MiB not yet acknowledged.
const MEMORY_LINK_KIB: u64 = 96 * 1024;
/// Links of an edge that traffic flows over: of two connectors with two replicas; a replica has half as many.
const LINKS: u64 = 8;

/// A run on its way.
#[derive(Debug)]
pub(crate) struct Run {
    load: Load,
    meter: Meter,
    clock: Clock,
    stage: Stage,
    /// What origins had seen twice before, which is told once.
    twice: BTreeSet<String>,
}

impl Run {
    /// Builds the lab and puts the load on.
    #[must_use]
    pub(crate) fn start(clock: Clock) -> Self {
        let lab = Lab::build(clock);
        // From here on this thread, and every client it starts, is on the clients' host.
        lab.client.enter();
        let epoch = Instant::now();
        let pace = match clock {
            Clock::Trusted => {
                Pace { ask: Duration::from_millis(25), block: Duration::from_millis(15), transactions: 40 }
            }
            Clock::Busy => Pace { ask: Duration::from_millis(60), block: Duration::from_millis(40), transactions: 20 },
        };
        let load = Load::start(&[lab::edge_address(0), lab::edge_address(1)], pace, epoch);
        let run = Self { load, meter: Meter::start(epoch), clock, stage: Stage::new(lab), twice: BTreeSet::new() };
        run.load.wait_past(Duration::from_millis(1));
        run
    }

    /// Breaks one thing and puts it right again; returns what was found.
    ///
    /// # Panics
    /// If the fault cannot be applied.
    pub(crate) fn fault(&mut self, case: &Case) -> Row {
        self.load.set_light(case.light);
        (case.prepare)(&mut self.stage);
        let prepared = self.load.now();
        wait::pass(if case.compares { STEADY_LONG } else { STEADY });
        // What met the preparation is over by then.
        self.load.wait_past(prepared);
        let before = self.load.take();
        let at = self.load.now();
        (case.strike)(&mut self.stage);
        let struck = self.load.now();
        wait::pass(case.hold);
        let healed = self.load.now();
        (case.heal)(&mut self.stage);
        let lacking = self.stage.lab.wait_whole(WHOLE_WITHIN);
        let whole = lacking.is_none().then(|| self.load.now());
        wait::pass(AFTER);
        self.load.wait_past(whole.unwrap_or(healed).max(healed + RECOVERY));
        let times = Times { at, struck, healed: Some(healed), whole };
        let samples = self.load.take();
        if case.compares {
            let beside: Vec<_> = samples.iter().filter(|s| s.began >= struck && s.began < healed).cloned().collect();
            self.compare(slowest(&before), slowest(&beside));
        }
        let Busy { stalls, crowded } = self.meter.busy();
        let seen = Seen { samples: &samples, stalls: &stalls, crowded: &crowded, clock: self.clock, prompt: None };
        let (beside, memory_mib) = self.beside(lacking);
        let findings = judge::judge(&seen, &[Fault { bounds: case.bounds, times }], &beside);
        Row { title: case.title, findings, memory_mib, notes: std::mem::take(&mut self.stage.notes) }
    }

    /// Answers beside a fault against those just before it.
    fn compare(&mut self, before: Duration, beside: Duration) {
        let Stage { notes, amiss, .. } = &mut self.stage;
        notes.push(format!("the clients' p99 was {before:.1?} before, {beside:.1?} beside"));
        if self.clock == Clock::Trusted && beside > before * 2 {
            amiss.push(format!("the clients' p99 went from {before:.1?} to {beside:.1?}"));
        }
    }

    /// What happened beside the clients, and the most memory that a process has held.
    fn beside(&mut self, lacking: Option<String>) -> (Beside, u64) {
        let mut beside = Beside { amiss: std::mem::take(&mut self.stage.amiss), ..Beside::default() };
        beside.amiss.extend(lacking.map(|what| format!("not whole after {WHOLE_WITHIN:?}: {what}")));
        let known = committed();
        beside.twice.extend(self.stage.lab.audit_database(known));
        let twice = self.stage.lab.twice().into_iter().filter(|what| self.twice.insert(what.clone()));
        beside.twice.extend(twice);
        let mut most = 0;
        for (name, process) in self.stage.lab.processes() {
            if !process.is_running() {
                beside.amiss.push(format!("{name} has ended by itself"));
                continue;
            }
            let links = if name.starts_with("edge") { LINKS } else { LINKS / 2 };
            let (peak, bound) = (process.memory_peak_kib(), MEMORY_BASE_KIB + links * MEMORY_LINK_KIB);
            most = most.max(peak);
            if peak > bound {
                beside.fat.push(format!("{name} has held {peak} KiB, bound {bound}"));
            }
        }
        (beside, most / 1024)
    }
}

/// What all but one of a hundred requests took at most.
fn slowest(samples: &[Sample]) -> Duration {
    let requests = samples.iter().filter(|s| matches!(s.kind, Kind::GetKept | Kind::GetNew | Kind::Post));
    let mut took: Vec<_> = requests.map(|s| s.ended.saturating_sub(s.began)).collect();
    took.sort_unstable();
    took.get(took.len() * 99 / 100).copied().unwrap_or_default()
}

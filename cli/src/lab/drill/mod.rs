//! `underpass lab --drill`: kills parts of the lab one after the other while clients are at work, and holds what they saw
//! against what is promised.
//!
//! It acts and waits; whom a death excuses is [`promise`]'s, what counts as harm is the judge's of `rig`, what is said is
//! [`report`]'s.

mod promise;
mod report;

use std::{io::Write, time::Duration};

use rig::{
    books::Taken,
    judge::{self, Beside, Bounds, Clock, Fault, RECOVERY, Seen, Times},
    stalls::{Spans, pressure},
};
use tokio::time::{Instant, sleep, sleep_until};

use self::{
    promise::{SERVED_WITHIN, without_connector, without_edge, without_origin},
    report::{Report, Step, Subject},
};
use super::{
    Ended, LabError,
    load::Load,
    plan::{REPLICAS, SERVERS},
    print, start,
    stay::Signals,
    world::{Addresses, Afterwards, World},
};

/// A drill is over within 45 s, the orderly end of its processes included; it usually takes half of that.
const STEPS_END_BY: Duration = Duration::from_secs(39);
/// Load without a fault, before the first.
const STEADY: Duration = Duration::from_secs(2);
/// Longer than a lost link takes to be found dead, so that whoever is cut knows it by then.
const CONNECTOR_AWAY: Duration = Duration::from_secs(4);
const ORIGIN_AWAY: Duration = Duration::from_secs(3);
const EDGE_AWAY: Duration = Duration::from_secs(2);
/// Everything is found healthy again within this.
const WHOLE_WITHIN: Duration = Duration::from_secs(5);
/// Load after everything is back, before the next fault.
const SETTLED: Duration = Duration::from_millis(1500);

/// Which parts are killed.
const CONNECTOR: usize = 0;
const ORIGIN: usize = 0;
const EDGE: usize = 0;
/// Which edge is replaced.
const REPLACED: usize = 1;

/// A drill on its way.
struct Drill<'a> {
    world: World,
    load: Load,
    faults: Vec<Fault>,
    steps: Vec<Step>,
    /// When the last step ended, in time that the processors were short.
    short: Option<Duration>,
    /// When the last step ended, in the load's time.
    ended: Duration,
    out: &'a mut (dyn Write + Send),
}

/// Runs a drill; people read `out`, programs `json`.
///
/// # Errors
/// If the lab does not come up, falls apart, or a signal ends it.
pub(super) async fn drill(
    afterwards: Afterwards,
    signals: &mut Signals,
    out: &mut (dyn Write + Send),
    json: Option<&mut (dyn Write + Send)>,
) -> Result<Ended, LabError> {
    let began = Instant::now();
    print(out, "starting two edges, three connectors and five origins on loopback …\n")?;
    let world = tokio::select! {
        world = start(Addresses::Remote, afterwards) => world?,
        () = signals.any() => return Err(LabError::Interrupted),
    };
    let load = Load::start(&world.plan)?;
    let mut drill = Drill {
        world,
        load,
        faults: Vec::new(),
        steps: Vec::new(),
        short: pressure::waited(),
        ended: Duration::ZERO,
        out,
    };
    let done = tokio::select! {
        done = drill.steps() => done,
        () = signals.any() => Err(LabError::Interrupted),
        () = sleep_until(began + STEPS_END_BY) => Err(LabError::Overtime),
    };
    let Drill { world, load, steps, out, .. } = drill;
    drop(load);
    world.stop().await;
    done?;
    let held = steps.iter().all(|step| step.held);
    let report = Report { held, seconds: began.elapsed().as_secs_f64(), steps };
    print(out, &report.table())?;
    if let Some(json) = json {
        print(json, &report.json())?;
    }
    Ok(if held { Ended::Well } else { Ended::PromiseBroken })
}

impl Drill<'_> {
    async fn steps(&mut self) -> Result<(), LabError> {
        self.steady().await?;
        self.reload().await?;
        self.drain().await?;
        self.replace().await?;
        self.connector().await?;
        self.origin().await?;
        self.edge().await
    }

    async fn steady(&mut self) -> Result<(), LabError> {
        let subject = self.announce("nothing".to_owned(), "every request is served, every byte right", false)?;
        sleep(STEADY).await;
        self.conclude(subject, None, Vec::new())
    }

    async fn reload(&mut self) -> Result<(), LabError> {
        let done = "both edges are given other settings: weights, and a pool more".to_owned();
        let subject = self.announce(done, "nobody notices", false)?;
        for edge in 0..self.world.edges.len() {
            self.world.change(edge)?;
            self.world.operate(edge, "reload", &[]).await?;
        }
        sleep(SETTLED).await;
        self.conclude(subject, None, Vec::new())
    }

    async fn drain(&mut self) -> Result<(), LabError> {
        let connector = REPLICAS[CONNECTOR].vnet.connector();
        let broken = format!("one of two replicas of {connector} is drained at both edges, and filled again");
        let subject = self.announce(broken, "nobody notices, nor do long flows that go through it", false)?;
        let Some(replica) = self.world.replica(EDGE, connector).await else {
            return self.conclude(subject, None, vec![format!("edge-1 knows no replica of {connector}")]);
        };
        let drained = format!("{connector}/{replica}");
        for what in ["drain", "undrain"] {
            for edge in 0..self.world.edges.len() {
                self.world.operate(edge, what, &["connector", &drained]).await?;
            }
            sleep(SETTLED).await;
        }
        let (back_ms, amiss) = self.healed(Instant::now()).await;
        self.conclude(subject, back_ms, amiss)
    }

    async fn replace(&mut self) -> Result<(), LabError> {
        let name = self.world.plan.edges[REPLACED].name;
        let done = format!("another process of {name} takes over from the one that runs");
        let subject = self.announce(done, "nobody notices, nor do long flows that are open there", false)?;
        let began = Instant::now();
        self.world.replace(REPLACED).await?;
        let (back_ms, amiss) = self.healed(began).await;
        sleep(SETTLED).await;
        self.conclude(subject, back_ms, amiss)
    }

    async fn connector(&mut self) -> Result<(), LabError> {
        let name = REPLICAS[CONNECTOR].name;
        let broke = format!("kill -9 {name}, one of two replicas of {}", REPLICAS[CONNECTOR].vnet.connector());
        let promise = "no HTTP request fails, UDP is answered again and new TCP connections are served within 1 s, TCP flows \
                       through the other replica go on unharmed";
        let subject = self.announce(broke, promise, true)?;
        self.fault(without_connector(&REPLICAS[CONNECTOR]));
        self.world.connectors[CONNECTOR].kill().await.map_err(|source| LabError::Kill { name, source })?;
        self.own_times().struck = self.load.now();
        sleep(CONNECTOR_AWAY).await;
        let back = Instant::now();
        self.world.connectors[CONNECTOR].restart()?;
        let (back_ms, amiss) = self.healed(back).await;
        sleep(SETTLED).await;
        self.conclude(subject, back_ms, amiss)
    }

    async fn origin(&mut self) -> Result<(), LabError> {
        let name = SERVERS[ORIGIN].name;
        let promise = "no HTTP request fails, UDP is answered again and new TCP connections are served within 1 s, by \
                       another origin and none by a wrong one; TCP flows to the others go on unharmed";
        let subject = self.announce(format!("origin {name} dies with all its connections"), promise, true)?;
        self.fault(without_origin(&SERVERS[ORIGIN]));
        self.world.origins[ORIGIN].kill();
        self.own_times().struck = self.load.now();
        sleep(ORIGIN_AWAY).await;
        let back = Instant::now();
        let revived = self.world.origins[ORIGIN].revive();
        let (back_ms, mut amiss) = self.healed(back).await;
        amiss.extend(revived.err().map(|error| format!("{name} could not come back: {error}")));
        sleep(SETTLED).await;
        self.conclude(subject, back_ms, amiss)
    }

    async fn edge(&mut self) -> Result<(), LabError> {
        let name = self.world.plan.edges[EDGE].name;
        let promise = "the other edge's clients notice nothing; restarted, it has its links and serves within 2 s";
        let subject = self.announce(format!("kill -9 {name}, one of two edges"), promise, true)?;
        self.fault(without_edge(EDGE));
        self.world.edges[EDGE].kill().await.map_err(|source| LabError::Kill { name, source })?;
        self.own_times().struck = self.load.now();
        sleep(EDGE_AWAY).await;
        let back = Instant::now();
        self.own_times().healed = Some(self.load.now());
        self.world.edges[EDGE].restart()?;
        let linked = self.world.linked(EDGE, RECOVERY).await;
        let mut amiss: Vec<String> = linked.err().into_iter().flatten().collect();
        amiss.iter_mut().for_each(|lacking| lacking.insert_str(0, "after 2 s: "));
        let (back_ms, lacking) = self.healed(back).await;
        amiss.extend(lacking);
        sleep((RECOVERY + SETTLED).saturating_sub(back.elapsed())).await;
        if !self.load.stop().await {
            amiss.push("a client panicked".to_owned());
        }
        self.conclude(subject, back_ms, amiss)
    }

    /// Says what is going to be broken, and what is promised for it.
    fn announce(&mut self, broke: String, promise: &'static str, kills: bool) -> Result<Subject, LabError> {
        let number = self.steps.len();
        print(self.out, &format!("{number}  broken: {broke}\n   promise: {promise}\n"))?;
        Ok(Subject { broke, promise, kills })
    }

    /// Notes the moment before a kill.
    fn fault(&mut self, bounds: Bounds) {
        let at = self.load.now();
        self.faults.push(Fault { bounds, times: Times { at, struck: at, healed: None, whole: None } });
    }

    /// When what of this step's fault happened.
    fn own_times(&mut self) -> &mut Times {
        &mut self.faults.last_mut().expect("a step notes its fault before it kills").times
    }

    /// Waits until every edge finds everything healthy; how long that took since the return, and what is lacking.
    async fn healed(&self, back: Instant) -> (Option<u64>, Vec<String>) {
        match self.world.healed(WHOLE_WITHIN).await {
            Ok(()) => (u64::try_from(back.elapsed().as_millis()).ok(), Vec::new()),
            Err(mut lacking) => {
                lacking.iter_mut().for_each(|what| what.insert_str(0, "not healed in 5 s: "));
                (None, lacking)
            }
        }
    }

    /// Judges what clients saw since the last step.
    fn conclude(&mut self, subject: Subject, back_ms: Option<u64>, mut amiss: Vec<String>) -> Result<(), LabError> {
        let Taken { samples, lost } = self.load.take();
        if lost > 0 {
            amiss.push(format!("{lost} samples were lost for want of room"));
        }
        amiss.extend(self.world.fallen());
        let (stalls, crowded) = (self.load.stalls(), Spans::default());
        let (clock, prompt) = (Clock::Trusted, Some(SERVED_WITHIN));
        let seen = Seen { samples: &samples, stalls: &stalls, crowded: &crowded, clock, prompt };
        let findings = judge::judge(&seen, &self.faults, &Beside { amiss, ..Beside::default() });
        let mut step = Step::new(subject, &findings, back_ms);
        self.tell_pressure(&mut step);
        print(self.out, &step.to_string())?;
        self.steps.push(step);
        Ok(())
    }

    /// Says, of a broken promise, how busy the machine itself was since the last step.
    fn tell_pressure(&mut self, step: &mut Step) {
        let before = std::mem::replace(&mut self.short, pressure::waited());
        let now = self.load.now();
        let stalled = self.load.stalls().within(std::mem::replace(&mut self.ended, now)..now);
        if step.held {
            return;
        }
        if let (Some(before), Some(now)) = (before, self.short) {
            let short = now.saturating_sub(before).as_millis();
            step.why.push(format!("meanwhile something waited for a processor of this machine for {short} ms in all"));
        }
        let stalled = stalled.as_millis();
        step.why.push(format!("meanwhile the clients were not let run for {stalled} ms, which no time above includes"));
    }
}

//! The state of one path of a monitored pool: what its probes, its link and live traffic say of it. Reads no clock.
//!
//! Three witnesses, kept apart. The *probes'* verdict: the first probe decides (its retries are spent by then); after that
//! `consecutive_down` failures in a row make a healthy path unhealthy and `consecutive_up` successes bring it back, except
//! that the first success ever is enough. The *link*: while it is suspect or dead the path is unhealthy with
//! `link_lost`, whatever its probes said; after that one good probe re-admits a path that they had found healthy, and
//! `consecutive_down` bad ones make the outage theirs. *Live traffic*: `passive_failures` failed connects in a row count
//! as a verdict, which only probes undo that connected as live traffic would: one over a kept connection does not.
//!
//! A path that is new is supposed to be what its origin was last found to be, until its own first probe.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::error::{Culprit, Reason};

use super::view::{Health, ProbeTimes};
use crate::model::Monitor;

/// How a probe ended, retries included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// The origin answered as expected.
    Success(ProbeTimes),
    /// It did so over a connection from before, which says nothing of new ones.
    StillAnswers(ProbeTimes),
    /// It did not, or was not reached.
    Failure(Reason, ProbeTimes),
}

/// A change of a path's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// What it was.
    pub from: Health,
    /// What it is now.
    pub to: Health,
    /// Why it is unhealthy.
    pub reason: Option<Reason>,
}

/// What was found of an origin over one path or all of them, whatever became of the links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It was well.
    Well,
    /// It was not.
    Ill(Reason),
}

impl Standing {
    /// What several paths say together: one that found the origin well outweighs the rest.
    #[must_use]
    pub fn together(self, other: Self) -> Self {
        match (self, other) {
            (Self::Ill(one), Self::Ill(other)) => Self::Ill(one.max(other)),
            (Self::Well, _) | (_, Self::Well) => Self::Well,
        }
    }
}

/// What the view shows of a path.
#[derive(Debug, Clone, PartialEq)]
pub struct PathReport {
    /// Its health.
    pub health: Health,
    /// Why it is unhealthy.
    pub reason: Option<Reason>,
    /// Found by itself; otherwise only supposed, or unknown.
    pub proven: bool,
    /// The last probe that counted.
    pub last: Option<ProbeTimes>,
    /// The probe interval in force.
    pub interval: Duration,
    /// Since when its health is what it is.
    pub since: Instant,
    /// What was met when it became so, in words; the keeper of the state adds it.
    pub detail: Option<Arc<str>>,
}

/// The state machine of one path.
#[derive(Debug, Clone)]
pub struct PathState {
    verdict: Verdict,
    link: Carried,
    /// Results in a row that speak against the verdict.
    run: u32,
    /// Failed live connects in a row.
    failed_connects: u32,
    /// A good probe that began earlier proves nothing any more.
    good_from: Option<Instant>,
    /// A bad probe that began earlier proves nothing any more.
    bad_from: Option<Instant>,
    last: Option<ProbeTimes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Unknown,
    /// Until the first probe.
    Supposed(Standing),
    Healthy,
    Unhealthy(Reason),
    /// Unhealthy since the first probe: one success is enough.
    NeverHealthy(Reason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carried {
    Up,
    /// Suspect or dead.
    Out,
    /// Up again, which no probe has confirmed yet.
    Back,
}

impl Default for PathState {
    fn default() -> Self {
        Self::new()
    }
}

impl PathState {
    /// A path that was never probed, over a link that is up.
    #[must_use]
    pub fn new() -> Self {
        Self::supposing(None)
    }

    /// The same, to an origin of which something is known.
    #[must_use]
    pub fn supposing(standing: Option<Standing>) -> Self {
        Self {
            verdict: standing.map_or(Verdict::Unknown, Verdict::Supposed),
            link: Carried::Up,
            run: 0,
            failed_connects: 0,
            good_from: None,
            bad_from: None,
            last: None,
        }
    }

    /// Takes in the result of a probe that began at `started`. A probe that began before its link or live traffic took the
    /// path out says nothing about it now, and is ignored.
    pub fn observe(&mut self, started: Instant, outcome: Outcome, monitor: &Monitor) -> Option<Transition> {
        let before = self.health();
        match outcome {
            Outcome::Success(times) if !is_stale(started, self.good_from) => {
                self.last = Some(times);
                self.succeeded(monitor);
            }
            Outcome::StillAnswers(times) if !is_stale(started, self.good_from) => {
                self.last = Some(times);
                if self.awaits_connect() { self.link = Carried::Up } else { self.succeeded(monitor) }
            }
            Outcome::Failure(reason, times) if !is_stale(started, self.bad_from) => {
                self.last = Some(times);
                self.failed(reason, monitor);
            }
            Outcome::Success(_) | Outcome::StillAnswers(_) | Outcome::Failure(..) => {}
        }
        self.change_from(before)
    }

    /// Takes the path out because its link became suspect or died.
    pub fn link_lost(&mut self, now: Instant) -> Option<Transition> {
        let before = self.health();
        self.link = Carried::Out;
        self.run = 0;
        self.good_from = Some(now);
        self.bad_from = Some(now);
        self.change_from(before)
    }

    /// Notes that the link is up again. A path with a verdict stays out until a good probe, which the caller sends now.
    pub fn link_back(&mut self, now: Instant) -> Option<Transition> {
        let before = self.health();
        if self.link == Carried::Out {
            self.link = Carried::Back;
            self.bad_from = Some(now);
        }
        self.change_from(before)
    }

    /// Takes in how a live connect over the path ended. Failures of the tunnel are its link's, not the path's.
    pub fn passive(&mut self, now: Instant, connect: Result<(), Reason>, monitor: &Monitor) -> Option<Transition> {
        let before = self.health();
        match connect {
            Ok(()) => self.failed_connects = 0,
            Err(reason) if reason.culprit() == Culprit::Tunnel || self.link == Carried::Out || self.is_down() => {}
            Err(_) => self.failed_connects = self.failed_connects.saturating_add(1),
        }
        if monitor.passive_failures > 0 && self.failed_connects >= monitor.passive_failures {
            self.condemn(Verdict::Unhealthy(Reason::PassiveFailures));
            self.good_from = Some(now);
            self.bad_from = Some(now);
        }
        self.change_from(before)
    }

    /// What was found of the origin, or is supposed of it, whatever the link does.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        match self.verdict {
            Verdict::Unknown => None,
            Verdict::Supposed(standing) => Some(standing),
            Verdict::Healthy => Some(Standing::Well),
            Verdict::Unhealthy(reason) | Verdict::NeverHealthy(reason) => Some(Standing::Ill(reason)),
        }
    }

    /// True while only probes over connections of their own can bring it back.
    #[must_use]
    pub fn awaits_connect(&self) -> bool {
        self.verdict == Verdict::Unhealthy(Reason::PassiveFailures)
    }

    /// What the path is now.
    #[must_use]
    pub fn health(&self) -> Health {
        match (self.link, self.standing()) {
            (Carried::Out, _) | (_, Some(Standing::Ill(_))) | (Carried::Back, Some(Standing::Well)) => {
                Health::Unhealthy
            }
            (Carried::Up, Some(Standing::Well)) => Health::Healthy,
            (Carried::Up | Carried::Back, None) => Health::Unknown,
        }
    }

    /// Why it is unhealthy.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match (self.link, self.standing()) {
            (Carried::Out, _) | (Carried::Back, Some(Standing::Well)) => Some(Reason::LinkLost),
            (Carried::Up | Carried::Back, Some(Standing::Ill(reason))) => Some(reason),
            (Carried::Up, Some(Standing::Well)) | (Carried::Up | Carried::Back, None) => None,
        }
    }

    /// What the view shows of it; its keeper knows since when.
    #[must_use]
    pub fn report(&self, interval: Duration, since: Instant) -> PathReport {
        let proven = !matches!(self.verdict, Verdict::Unknown | Verdict::Supposed(_));
        let (health, reason) = (self.health(), self.reason());
        PathReport { health, reason, proven, last: self.last, interval, since, detail: None }
    }

    fn succeeded(&mut self, monitor: &Monitor) {
        // Nothing proves a link better than an answer that crossed it.
        self.link = Carried::Up;
        match self.verdict {
            Verdict::Healthy => self.run = 0,
            Verdict::Unknown | Verdict::Supposed(_) | Verdict::NeverHealthy(_) => self.admit(),
            Verdict::Unhealthy(_) => {
                self.run += 1;
                if self.run >= monitor.consecutive_up {
                    self.admit();
                }
            }
        }
    }

    fn failed(&mut self, reason: Reason, monitor: &Monitor) {
        if self.link == Carried::Out {
            return;
        }
        if reason.culprit() == Culprit::Tunnel {
            // The probe noticed before the link's keeper did.
            self.link = Carried::Back;
            self.run = 0;
            return;
        }
        match self.verdict {
            Verdict::Unknown | Verdict::Supposed(_) | Verdict::NeverHealthy(_) => {
                self.condemn(Verdict::NeverHealthy(reason));
            }
            Verdict::Unhealthy(_) => self.condemn(Verdict::Unhealthy(reason)),
            Verdict::Healthy => {
                self.run += 1;
                if self.run >= monitor.consecutive_down {
                    self.condemn(Verdict::Unhealthy(reason));
                }
            }
        }
    }

    fn admit(&mut self) {
        self.verdict = Verdict::Healthy;
        self.run = 0;
    }

    fn condemn(&mut self, verdict: Verdict) {
        self.verdict = verdict;
        self.run = 0;
        self.failed_connects = 0;
        if self.link == Carried::Back {
            self.link = Carried::Up;
        }
    }

    fn is_down(&self) -> bool {
        matches!(self.standing(), Some(Standing::Ill(_)))
    }

    fn change_from(&self, from: Health) -> Option<Transition> {
        let to = self.health();
        (from != to).then(|| Transition { from, to, reason: self.reason() })
    }
}

fn is_stale(started: Instant, valid_from: Option<Instant>) -> bool {
    valid_from.is_some_and(|from| started < from)
}

#[cfg(test)]
mod tests;

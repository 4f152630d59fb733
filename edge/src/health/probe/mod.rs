//! Probes one path at its cadence: through the off-ramp, the very way that traffic takes.

mod http;
mod icmp;
mod tcp;
mod udp;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use protocol::{
    error::{Reason, StreamCode},
    stream::PRIORITY_PROBE,
};
use tokio::{
    io::AsyncReadExt,
    sync::mpsc,
    time::{self, timeout},
};

use super::{
    key::PathKey,
    schedule::{self, Ran},
    state::Outcome,
    view::ProbeTimes,
};
use crate::{
    model::{Check, HttpCheck, Monitor, Origin, Upstream},
    offramp::{Carrier, First, Offramp, Opened, Opening, Way, Why, Wire},
};

/// After a TCP probe's end of data, how long the origin may take to end its side.
const FAREWELL: Duration = Duration::from_millis(500);

/// What one probe task is to do.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) id: u64,
    pub(super) key: PathKey,
    pub(super) origin: Arc<Origin>,
    pub(super) way: Way,
    pub(super) monitor: Arc<Monitor>,
    /// Milliseconds in force; may change at any time.
    pub(super) interval: Arc<AtomicU64>,
    /// While this is so, every probe makes a connection of its own.
    pub(super) anew: Arc<AtomicBool>,
    pub(super) first_wait: Duration,
    pub(super) results: mpsc::Sender<Finished>,
}

impl Task {
    /// The way that is probed.
    fn opening(&self) -> Opening<'_> {
        let (origin, way, wait) = (&self.origin, &self.way, self.monitor.timeout);
        Opening { origin, way, wait, priority: PRIORITY_PROBE, flow: None }
    }
}

/// A probe that is over.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) id: u64,
    pub(super) key: PathKey,
    pub(super) started: Instant,
    pub(super) outcome: Outcome,
    /// What was met, if it failed.
    pub(super) detail: Option<String>,
}

/// What the stages of one attempt took.
#[derive(Debug, Clone, Copy, Default)]
struct Stages {
    connect: Option<Duration>,
    tls: Option<Duration>,
    first_byte: Option<Duration>,
    /// Over a connection from an earlier probe.
    kept: bool,
}

/// Probes; keeps a connection between probes where the protocol allows.
#[derive(Debug)]
pub(super) struct Prober {
    offramp: Offramp,
    kept: Option<http::Kept>,
}

impl Prober {
    pub(super) fn new(offramp: Offramp) -> Self {
        Self { offramp, kept: None }
    }

    /// Probes until nobody wants the results.
    pub(super) async fn run(mut self, task: Task) {
        time::sleep(task.first_wait).await;
        loop {
            let started = Instant::now();
            let (outcome, detail) = self.probe(&task).await;
            let finished = Finished { id: task.id, key: task.key.clone(), started, outcome, detail };
            if task.results.send(finished).await.is_err() {
                return;
            }
            let interval = Duration::from_millis(task.interval.load(Ordering::Relaxed));
            let ran = Ran { started, ended: Instant::now(), interval, jitter: task.monitor.jitter };
            let next = schedule::next_start(&ran, &mut rand::rng());
            time::sleep_until(next.into()).await;
        }
    }

    /// One probe: attempts until one succeeds, at most `retries` more after the first.
    async fn probe(&mut self, task: &Task) -> (Outcome, Option<String>) {
        let mut tries = 0;
        loop {
            let (began, mut stages) = (Instant::now(), Stages::default());
            let attempt = self.attempt(task, &mut stages);
            let result = timeout(task.monitor.timeout, attempt).await;
            let times = |stages: Stages| ProbeTimes {
                checked_at: SystemTime::now(),
                total: began.elapsed(),
                connect: stages.connect,
                tls: stages.tls,
                first_byte: stages.first_byte,
            };
            let why = match result {
                Ok(Ok(())) if stages.kept => return (Outcome::StillAnswers(times(stages)), None),
                Ok(Ok(())) => return (Outcome::Success(times(stages)), None),
                Ok(Err(why)) => why,
                Err(_) => late(&task.monitor, &stages),
            };
            self.kept = None;
            tries += 1;
            if tries > task.monitor.retries {
                return (Outcome::Failure(why.reason, times(stages)), Some(why.detail));
            }
        }
    }

    async fn attempt(&mut self, task: &Task, stages: &mut Stages) -> Result<(), Why> {
        match &task.monitor.check {
            Check::Tcp => {
                let opened = self.open(task, stages).await?;
                tokio::spawn(part(opened.carrier));
                Ok(())
            }
            Check::TcpAnswer(check) => {
                let mut wire = Wire::from(self.open(task, stages).await?.carrier);
                let done = tcp::ask(&mut wire, check, &mut stages.first_byte).await;
                tokio::spawn(tcp::part(wire));
                done
            }
            Check::Udp(check) => udp::ask(&self.offramp, task, check, stages).await,
            Check::Icmp => icmp::ask(&self.offramp, task, stages).await,
            Check::Http(check) => {
                // Absent: a catalog without this monitor is in force, and this task about to end.
                let gone = || Why::new(Reason::NoRoute, "the monitor is not in force any more");
                let speech = self.offramp.speech(&check.speaks).ok_or_else(gone)?;
                let is_asked_anew = task.anew.load(Ordering::Relaxed);
                let mut kept = match self.kept.take() {
                    Some(kept) if !is_asked_anew && kept.is_good(&speech, Instant::now()) => {
                        stages.kept = true;
                        // Its connect and its handshake are behind it.
                        stages.connect = Some(Duration::ZERO);
                        stages.tls = matches!(check.speaks, Upstream::Https(_)).then_some(Duration::ZERO);
                        kept
                    }
                    Some(_) | None => {
                        let opened = self.open(task, stages).await?;
                        let limits = (&*task.origin, task.monitor.timeout);
                        http::Kept::over(opened, speech, limits, &mut stages.tls).await?
                    }
                };
                let done = kept.ask(check, &task.origin, &mut stages.first_byte).await;
                if done.is_ok() && check.keep_alive {
                    self.kept = Some(kept);
                }
                done
            }
        }
    }

    async fn open(&self, task: &Task, stages: &mut Stages) -> Result<Opened, Why> {
        let opened = self.offramp.open(task.opening(), &mut First::none()).await?;
        stages.connect = Some(opened.connect);
        Ok(opened)
    }
}

/// What an attempt failed of whose time ran out, by how far it had come.
fn late(monitor: &Monitor, stages: &Stages) -> Why {
    let is_tls = |check: &HttpCheck| matches!(check.speaks, Upstream::Https(_));
    let (reason, what) = match (&monitor.check, stages.connect) {
        (Check::Http(check), Some(_)) if is_tls(check) && stages.tls.is_none() => {
            (Reason::TlsHandshake, "connected, and no TLS handshake")
        }
        (Check::Http(_), Some(_)) if stages.first_byte.is_some() => {
            (Reason::HttpTimeout, "an answer's head, and no end")
        }
        (Check::Http(_), Some(_)) => (Reason::HttpTimeout, "connected, and no answer"),
        (Check::Udp(_), Some(_)) if stages.first_byte.is_some() => {
            (Reason::UdpNoAnswer, "another answer than expected")
        }
        (Check::Udp(_), Some(_)) => (Reason::UdpNoAnswer, "no answer"),
        (Check::TcpAnswer(_), Some(_)) if stages.first_byte.is_some() => {
            (Reason::BodyMismatch, "another answer than expected")
        }
        (Check::TcpAnswer(_), Some(_)) => (Reason::BodyMismatch, "connected, and no answer"),
        (Check::Icmp, _) => (Reason::IcmpTimeout, "no echo"),
        (Check::Tcp | Check::TcpAnswer(_) | Check::Http(_) | Check::Udp(_), _) => {
            (Reason::ConnectTimeout, "not connected")
        }
    };
    Why::new(reason, format!("{what} within {}", config::spell(monitor.timeout)))
}

/// Ends a connection politely: an origin should not log a reset for every probe.
async fn part(carrier: Carrier) {
    match carrier {
        Carrier::Tunnel(mut stream, _link, _held) => {
            let _ = stream.send.finish();
            let mut rest = Vec::new();
            let _ = timeout(FAREWELL, (&mut stream.recv).take(64 * 1024).read_to_end(&mut rest)).await;
            stream.cut(StreamCode::Reset);
        }
        Carrier::Direct(socket) => {
            socket.shutdown_write();
            let mut rest = Vec::new();
            let _ = timeout(FAREWELL, socket.take(64 * 1024).read_to_end(&mut rest)).await;
        }
    }
}

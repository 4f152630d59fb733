//! Steady, bounded load: each client is a thread that does one thing after another at a fixed pace and records each.

pub(crate) mod database;
mod dns;
mod transfer;
mod web;

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rig::{
    books::Taken,
    judge,
    load::{self, Client, Goal},
    sample::{Network, Outcome, Sample},
};
use underpass_tests::harness::wait;

/// No client does one thing for longer.
const TURN_MAX: Duration = Duration::from_secs(60);

/// The private networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    /// The one that things happen to.
    A,
    /// Its neighbour with the very same addresses.
    B,
}

impl Site {
    /// As samples and faults name it.
    #[must_use]
    pub(crate) fn network(self) -> Network {
        match self {
            Self::A => Network("site A"),
            Self::B => Network("site B"),
        }
    }
}

/// Public ports of the services, the same at both edges.
pub(crate) mod ports {
    /// HTTP to site A.
    pub(crate) const WEB: u16 = 80;
    /// HTTP to site B.
    pub(crate) const WEB_B: u16 = 8080;
    /// HTTP to site A, behind a pool of its own.
    pub(crate) const SPARE: u16 = 8081;
    /// Long transfers.
    pub(crate) const TRANSFER: u16 = 7000;
    /// PostgreSQL.
    pub(crate) const DATABASE: u16 = 5432;
    /// DNS.
    pub(crate) const DNS: u16 = 53;
    /// Redis, for clients that only sit there.
    pub(crate) const CACHE: u16 = 6379;
    /// Pours bytes for as long as they are taken.
    pub(crate) const POUR: u16 = 9000;
    /// The same as an answer over HTTP.
    pub(crate) const POUR_WEB: u16 = 9001;
}

/// Numbers that no two questions of a run share.
static IDS: AtomicU64 = AtomicU64::new(1);

/// A number that nothing else in this run has.
#[must_use]
pub(crate) fn fresh_id() -> u64 {
    IDS.fetch_add(1, Ordering::SeqCst)
}

/// Clients at work; they stop when it is dropped.
#[derive(Debug)]
pub(crate) struct Load(load::Load);

/// Where a client goes.
#[derive(Debug, Clone, Copy)]
struct To {
    site: Site,
    at: SocketAddr,
}

/// How often clients do what they do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Of requests and questions.
    pub(crate) ask: Duration,
    /// Of blocks.
    pub(crate) block: Duration,
    /// Transactions a second, at each edge.
    pub(crate) transactions: u32,
}

type Work = Box<dyn FnOnce(&Client, To) + Send>;

impl Load {
    /// Starts clients at every edge.
    ///
    /// # Panics
    /// If there are no threads for them.
    #[must_use]
    pub(crate) fn start(edges: &[IpAddr], pace: Pace, epoch: Instant) -> Self {
        let mut load = load::Load::new(epoch);
        for (edge, address) in edges.iter().enumerate() {
            let mut run = |site: Site, port, work: Work| {
                let to = To { site, at: SocketAddr::new(*address, port) };
                let goal = Goal { edge, network: site.network() };
                load.set(goal, move |client| work(client, to)).expect("there are threads");
            };
            run(Site::A, ports::WEB, Box::new(move |client, to| web::kept(client, to, pace.ask)));
            run(Site::A, ports::WEB, Box::new(move |client, to| web::new(client, to, pace.ask)));
            run(Site::A, ports::WEB, Box::new(move |client, to| web::post(client, to, pace.ask)));
            run(Site::B, ports::WEB_B, Box::new(move |client, to| web::new(client, to, pace.ask)));
            run(Site::A, ports::TRANSFER, Box::new(move |client, to| transfer::run(client, to, pace.block)));
            run(Site::A, ports::TRANSFER, Box::new(move |client, to| transfer::run(client, to, pace.block)));
            run(Site::A, ports::DNS, Box::new(move |client, to| dns::run(client, to, pace.ask)));
            run(Site::A, ports::DATABASE, Box::new(move |client, to| database::run(client, to, pace.transactions)));
        }
        Self(load)
    }

    /// Has every client do one thing a second at most, or as many as ever.
    pub(crate) fn set_light(&self, light: bool) {
        self.0.set_light(light);
    }

    /// Time of the run.
    #[must_use]
    pub(crate) fn now(&self) -> Duration {
        self.0.now()
    }

    /// Waits until whatever began before `then` is over.
    pub(crate) fn wait_past(&self, then: Duration) {
        wait::until("every client to be through with what it was at", TURN_MAX, || self.0.is_past(then).then_some(()));
    }

    /// Takes all that was recorded since the last look.
    ///
    /// # Panics
    /// If there was more than there is room for.
    #[must_use]
    pub(crate) fn take(&self) -> Vec<Sample> {
        let Taken { samples, lost } = self.0.take();
        assert!(lost == 0, "too much load between two looks: {lost} samples were lost");
        samples
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Whoever fell has said so; what it was at is lacking where it is judged.
        let _ = self.0.stop().wait();
    }
}

/// Clients of site A beside the load, who ask all the time while something is done at once.
#[derive(Debug)]
pub(crate) struct Askers(load::Load);

/// What they saw, in words.
#[derive(Debug)]
pub(crate) struct Told {
    /// How many requests failed, and how long the slowest took.
    pub(crate) figures: String,
    /// The first that broke a promise.
    pub(crate) first: Option<String>,
}

impl Askers {
    /// So many ask at this port of each edge every `every`, each time over a connection of its own.
    ///
    /// # Panics
    /// If there are no threads for them.
    #[must_use]
    pub(crate) fn start(edges: &[IpAddr], port: u16, (askers, every): (usize, Duration)) -> Self {
        let mut load = load::Load::new(Instant::now());
        for (edge, address) in edges.iter().enumerate() {
            let to = To { site: Site::A, at: SocketAddr::new(*address, port) };
            for _ in 0..askers {
                let goal = Goal { edge, network: Site::A.network() };
                load.set(goal, move |client| web::new(client, to, every)).expect("there are threads");
            }
        }
        Self(load)
    }

    /// Ends them: every request had to be served, and none to take longer than `prompt`, if that is said.
    ///
    /// # Panics
    /// If one of them did.
    pub(crate) fn stop(mut self, prompt: Option<Duration>) -> Told {
        self.0.stop().wait().expect("asking does not panic");
        let Taken { samples, lost } = self.0.take();
        assert!(lost == 0, "{lost} samples were lost");
        let findings = judge::judge_whole(&samples, prompt);
        let worst = samples.iter().map(|sample| sample.ended.saturating_sub(sample.began)).max().unwrap_or_default();
        let failed = samples.iter().filter(|sample| sample.outcome != Outcome::Served).count();
        let figures = format!("{failed} of {} requests failed, the worst took {} ms", samples.len(), worst.as_millis());
        Told { figures, first: findings.broken.into_iter().next().map(|(_, first)| first) }
    }
}

//! Steady, bounded load: each client is a thread that does one thing after another at a fixed pace and records each.

pub(crate) mod database;
mod dns;
mod transfer;
mod web;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rig::{
    books::{Books, Taken},
    sample::{Connection, Kind, Network, Outcome, Sample},
};
use underpass_tests::harness::wait;

/// How often a client does what it does while the load is light, at most.
const LIGHT: Duration = Duration::from_secs(1);

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

/// The status code of one GET at this address on a connection of its own.
///
/// # Errors
/// What broke it.
pub(crate) fn get(at: SocketAddr) -> std::io::Result<u16> {
    web::get(at)
}

/// Numbers that no two questions of a run share.
static IDS: AtomicU64 = AtomicU64::new(1);

/// A number that nothing else in this run has.
#[must_use]
pub(crate) fn fresh_id() -> u64 {
    IDS.fetch_add(1, Ordering::SeqCst)
}

/// What all clients share.
#[derive(Debug)]
struct Shared {
    books: Books,
    stop: AtomicBool,
    light: AtomicBool,
    /// When what each client did last had begun.
    turns: Mutex<Vec<Duration>>,
}

/// Clients at work; they stop when it is dropped.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// One client's view: where it goes, and where it records.
#[derive(Debug, Clone)]
struct Client {
    number: usize,
    shared: Arc<Shared>,
    edge: usize,
    site: Site,
    at: SocketAddr,
}

impl Client {
    fn is_stopped(&self) -> bool {
        self.shared.stop.load(Ordering::SeqCst)
    }

    fn is_light(&self) -> bool {
        self.shared.light.load(Ordering::SeqCst)
    }

    /// How long from one thing to the next, where it is `every` under full load.
    fn every(&self, every: Duration) -> Duration {
        if self.is_light() { every.max(LIGHT) } else { every }
    }

    /// Does nothing this time.
    fn rest(&self) {
        self.shared.turns.lock().expect("no panic while held")[self.number] = self.shared.books.now();
    }

    /// Does one thing over a connection of its own and records it.
    fn record(&self, kind: Kind, act: impl FnOnce() -> Outcome) -> Outcome {
        self.record_on(&mut None, kind, |_| act())
    }

    /// Does one thing over the connection that is open, or over one that this opens, and records it, with how often it was asked
    /// again.
    fn record_on(&self, on: &mut Option<Connection>, kind: Kind, act: impl FnOnce(&mut u32) -> Outcome) -> Outcome {
        let books = &self.shared.books;
        let connection = on.unwrap_or_else(|| books.connection());
        let began = if on.replace(connection).is_some() { books.now() } else { connection.opened };
        let mut repeats = 0;
        let outcome = act(&mut repeats);
        books.write(Sample {
            kind,
            edge: self.edge,
            network: self.site.network(),
            connection,
            began,
            ended: books.now(),
            placed: None,
            outcome: outcome.clone(),
            repeats,
        });
        self.shared.turns.lock().expect("no panic while held")[self.number] = began;
        outcome
    }

    /// Does something every `every` until stopped.
    fn pace(&self, every: Duration, mut act: impl FnMut()) {
        let mut next = Instant::now();
        while !self.is_stopped() {
            wait::beat(&mut next, self.every(every));
            act();
        }
    }
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

impl Load {
    /// Starts clients at every edge.
    #[must_use]
    pub(crate) fn start(edges: &[IpAddr], pace: Pace, epoch: Instant) -> Self {
        let shared = Arc::new(Shared {
            books: Books::new(epoch),
            stop: AtomicBool::new(false),
            light: AtomicBool::new(false),
            turns: Mutex::default(),
        });
        let mut load = Self { shared, threads: Vec::new() };
        for (edge, address) in edges.iter().enumerate() {
            let mut run = |site, port, client: Box<dyn FnOnce(Client) + Send>| {
                let at = SocketAddr::new(*address, port);
                let mut turns = load.shared.turns.lock().expect("no panic while held");
                let own = Client { number: turns.len(), shared: load.shared.clone(), edge, site, at };
                turns.push(Duration::ZERO);
                drop(turns);
                load.threads.push(thread::spawn(move || client(own)));
            };
            run(Site::A, ports::WEB, Box::new(move |client| web::kept(&client, pace.ask)));
            run(Site::A, ports::WEB, Box::new(move |client| web::new(&client, pace.ask)));
            run(Site::A, ports::WEB, Box::new(move |client| web::post(&client, pace.ask)));
            run(Site::B, ports::WEB_B, Box::new(move |client| web::new(&client, pace.ask)));
            run(Site::A, ports::TRANSFER, Box::new(move |client| transfer::run(&client, pace.block)));
            run(Site::A, ports::TRANSFER, Box::new(move |client| transfer::run(&client, pace.block)));
            run(Site::A, ports::DNS, Box::new(move |client| dns::run(&client, pace.ask)));
            run(Site::A, ports::DATABASE, Box::new(move |client| database::run(&client, pace.transactions)));
        }
        load
    }

    /// Has every client do one thing a second at most, or as many as ever.
    pub(crate) fn set_light(&self, light: bool) {
        self.shared.light.store(light, Ordering::SeqCst);
    }

    /// Time of the run.
    #[must_use]
    pub(crate) fn now(&self) -> Duration {
        self.shared.books.now()
    }

    /// Waits until whatever began before `then` is over.
    pub(crate) fn wait_past(&self, then: Duration) {
        wait::until("every client to be through with what it was at", TURN_MAX, || {
            let turns = self.shared.turns.lock().expect("no panic while held");
            turns.iter().all(|turn| *turn >= then).then_some(())
        });
    }

    /// Takes all that was recorded since the last look.
    ///
    /// # Panics
    /// If there was more than there is room for.
    #[must_use]
    pub(crate) fn take(&self) -> Vec<Sample> {
        let Taken { samples, lost } = self.shared.books.take();
        assert!(lost == 0, "too much load between two looks: {lost} samples were lost");
        samples
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn failed(error: impl ToString) -> Outcome {
    Outcome::Failed(error.to_string())
}

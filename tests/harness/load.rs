//! Steady load: new connections at a fixed pace, and long flows whose every byte is checked. Each is written down as the drill
//! and the faults do it, and judged by the same judge.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rig::{
    books::Taken,
    client::http,
    judge,
    load::{self, Goal, Noted},
    sample::{Kind, Network, Outcome, Placed, Sample, Trouble},
};

use super::{client, wait};

/// Where everything goes.
pub(super) const GOAL: Goal = Goal { edge: 0, network: Network("the origins") };
/// From one block of a long flow to the next.
const BLOCK_EVERY: Duration = Duration::from_millis(5);

/// Holds what clients saw against what is promised while no fault excuses anything: everything is served, rightly and, if
/// that is said, promptly.
///
/// # Panics
/// With what was not.
pub fn holds(samples: &[Sample], prompt: Option<Duration>) {
    let broken = judge::judge_whole(samples, prompt).broken;
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Takes what clients saw, in order of its beginning, once all is over.
pub(super) fn end(mut load: load::Load) -> Vec<Sample> {
    load.stop().wait().expect("a client does not panic");
    let Taken { mut samples, lost } = load.take();
    assert_eq!(lost, 0, "no test does so much");
    samples.sort_by_key(|sample| sample.began);
    samples
}

/// Connections opened one after another at a fixed pace, each reading an origin's name.
#[derive(Debug)]
pub struct Load(load::Load);

impl Load {
    /// Starts `clients` clients that each open a connection to `at` every `every`.
    ///
    /// # Panics
    /// If there are no threads for them.
    #[must_use]
    pub fn start(at: SocketAddr, clients: usize, every: Duration) -> Self {
        let mut load = load::Load::new(Instant::now());
        for _ in 0..clients {
            let work = move |client: &load::Client| {
                client.pace(every, || {
                    client.record(&mut None, Kind::Connect, |noted| is_told_a_name(at, noted));
                });
            };
            load.set(GOAL, work).expect("there are threads");
        }
        Self(load)
    }

    /// Time since the beginning, as samples have it.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.now()
    }

    /// Waits until `more` further connections are done.
    pub fn wait_for(&self, more: usize) {
        let goal = self.0.done() + more;
        wait::soon_true(&format!("{more} more connections"), || self.0.done() >= goal);
    }

    /// Stops and returns every connection, in order of their beginning.
    ///
    /// # Panics
    /// If a client panicked.
    #[must_use]
    pub fn stop(self) -> Vec<Sample> {
        end(self.0)
    }
}

fn asks_over(open: &mut Option<http::Connection>, at: SocketAddr, noted: &mut Noted) -> Result<(), Trouble> {
    let mut connection = match open.take() {
        Some(connection) => connection,
        None => http::Connection::open(at, wait::SOON)?,
    };
    let answer = connection.exchange(b"GET /who HTTP/1.1\r\nhost: origins\r\n\r\n")?;
    if !answer.is_last {
        *open = Some(connection);
    }
    if answer.code != 200 {
        return Err(Trouble::Wrong(format!("code {}", answer.code)));
    }
    noted.placed = Some(Placed { origin: answer.body, via: String::new() });
    Ok(())
}

fn is_told_a_name(at: SocketAddr, noted: &mut Noted) -> Result<(), Trouble> {
    let origin = client::listen_to(at)?;
    if origin.is_empty() {
        return Err(Trouble::Failed("nobody said a name".to_owned()));
    }
    noted.placed = Some(Placed { origin, via: String::new() });
    Ok(())
}

/// Clients that ask for `/who` over and over on one connection each, as long as that lasts; a connection that ends under a
/// request is a request that failed.
#[derive(Debug)]
pub struct KeptAlive(load::Load);

impl KeptAlive {
    /// Starts `clients` clients that each ask every `every`.
    ///
    /// # Panics
    /// If there are no threads for them.
    #[must_use]
    pub fn start(at: SocketAddr, clients: usize, every: Duration) -> Self {
        let mut load = load::Load::new(Instant::now());
        for _ in 0..clients {
            let work = move |client: &load::Client| {
                let (mut on, mut open) = (None, None);
                client.pace(every, || {
                    client.record(&mut on, Kind::GetKept, |noted| asks_over(&mut open, at, noted));
                });
            };
            load.set(GOAL, work).expect("there are threads");
        }
        Self(load)
    }

    /// Stops and returns every request, in order of their beginning.
    ///
    /// # Panics
    /// If a client panicked.
    #[must_use]
    pub fn stop(self) -> Vec<Sample> {
        end(self.0)
    }
}

/// A long flow through an echo origin that sends block after block and checks each as it comes back.
#[derive(Debug)]
pub struct LongFlow(load::Load);

impl LongFlow {
    /// Opens a flow and starts to send.
    ///
    /// # Errors
    /// If the flow cannot be opened from end to end.
    ///
    /// # Panics
    /// If there is no thread for it.
    pub fn start(at: SocketAddr, seed: u64) -> io::Result<Self> {
        let stream = client::connect(at)?;
        client::ping(&stream, b"hello")?;
        let mut load = load::Load::new(Instant::now());
        let work = move |client: &load::Client| {
            let mut pattern = client::Pattern::new(seed);
            let (mut on, mut next) = (None, Instant::now());
            while client.goes_on(&mut next, BLOCK_EVERY) {
                let block = pattern.bytes(4096);
                let outcome = client.record(&mut on, Kind::Block, |_| Ok(client::ping(&stream, &block)?));
                if outcome != Outcome::Served {
                    break;
                }
            }
        };
        load.set(GOAL, work).expect("there are threads");
        Ok(Self(load))
    }

    /// Whether it broke already.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }

    /// Stops; returns how many blocks came back right, or what broke.
    ///
    /// # Errors
    /// What broke the flow.
    ///
    /// # Panics
    /// If the flow's thread panicked.
    pub fn stop(self) -> Result<usize, String> {
        let samples = end(self.0);
        let broke = samples.iter().find(|sample| sample.outcome != Outcome::Served);
        broke.map_or(Ok(samples.len()), |broke| Err(broke.to_string()))
    }
}

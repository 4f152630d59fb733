//! Clients at work: threads that do one thing after another at a fixed pace, and write down each.
//!
//! What they do is the callers'; here is when, and what is kept of it. Nothing is judged.

mod client;
mod pace;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub use self::client::{Client, Goal, Noted};
use self::pace::Stop;
use crate::books::{Books, Taken};

/// Clients at work; they are told to stop when it is dropped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What all clients share.
#[derive(Debug)]
struct Shared {
    books: Books,
    /// Exchanges that are over.
    done: AtomicUsize,
    stop: Stop,
    light: AtomicBool,
    /// When what each client did last had begun.
    turns: Mutex<Vec<Duration>>,
}

impl Load {
    /// No clients yet; times count from `epoch`.
    #[must_use]
    pub fn new(epoch: Instant) -> Self {
        let shared = Shared {
            books: Books::new(epoch),
            done: AtomicUsize::new(0),
            stop: Stop::default(),
            light: AtomicBool::new(false),
            turns: Mutex::default(),
        };
        Self { shared: Arc::new(shared), threads: Vec::new() }
    }

    /// Sets a client to work. It does this until it is stopped.
    ///
    /// # Errors
    /// If no thread is to be had.
    pub fn set(&mut self, goal: Goal, work: impl FnOnce(&Client) + Send + 'static) -> std::io::Result<()> {
        let number = {
            let mut turns = self.shared.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.push(Duration::ZERO);
            turns.len() - 1
        };
        let client = Client { shared: self.shared.clone(), turn: Some(number), goal };
        self.threads.push(thread::Builder::new().spawn(move || work(&client))?);
        Ok(())
    }

    /// Has every client do one thing a second at most, or as many as ever.
    pub fn set_light(&self, light: bool) {
        self.shared.light.store(light, Ordering::SeqCst);
    }

    /// Time since the beginning, as samples have it.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.shared.books.now()
    }

    /// How many exchanges are over.
    #[must_use]
    pub fn done(&self) -> usize {
        self.shared.done.load(Ordering::SeqCst)
    }

    /// What was recorded since the last look.
    #[must_use]
    pub fn take(&self) -> Taken {
        self.shared.books.take()
    }

    /// Whether whatever began before `then` is over.
    #[must_use]
    pub fn is_past(&self, then: Duration) -> bool {
        self.shared.turns.lock().unwrap_or_else(PoisonError::into_inner).iter().all(|turn| *turn >= then)
    }

    /// Whether every client has ended its work.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Begins nothing new; what is on its way goes on, and is waited for by whoever asks for the rest.
    #[must_use]
    pub fn stop(&mut self) -> Rest {
        self.shared.stop.say();
        Rest { threads: std::mem::take(&mut self.threads) }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.say();
    }
}

/// Clients that begin nothing new.
#[derive(Debug)]
pub struct Rest {
    threads: Vec<JoinHandle<()>>,
}

impl Rest {
    /// Waits for what is on its way.
    ///
    /// # Errors
    /// What the first client that panicked did so with.
    pub fn wait(self) -> thread::Result<()> {
        // Each is waited for, whatever became of those before it.
        let ended: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        ended.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Kind, Network, Outcome, Placed, Trouble};

    const GOAL: Goal = Goal { edge: 1, network: Network("red") };
    const STEP: Duration = Duration::from_millis(1);

    fn until(load: &Load, done: usize) {
        let began = Instant::now();
        while load.done() < done {
            assert!(began.elapsed() < Duration::from_secs(10), "waited in vain");
            thread::park_timeout(STEP);
        }
    }

    #[test]
    fn what_a_kept_connection_did_is_written_down_until_it_breaks() {
        let mut load = Load::new(Instant::now());
        let work = |client: &Client| {
            let (mut on, mut number) = (None, 0);
            client.pace(STEP, || {
                number += 1;
                let outcome = client.record(&mut on, Kind::GetKept, |noted| {
                    noted.placed = Some(Placed { origin: "a-1".to_owned(), via: String::new() });
                    noted.repeats = number;
                    if number == 3 { Err(Trouble::Wrong("x".to_owned())) } else { Ok(()) }
                });
                if outcome != Outcome::Served {
                    on = None;
                }
            });
        };
        load.set(GOAL, work).expect("there are threads");
        until(&load, 4);
        assert!(load.is_past(Duration::from_nanos(1)) && !load.is_past(load.now() + STEP));
        load.stop().wait().expect("nobody panics");
        let samples = load.take().samples;
        assert_eq!(samples.len(), load.done());
        let firsts: Vec<bool> = samples.iter().take(4).map(|sample| sample.is_first()).collect();
        assert_eq!(firsts, [true, false, false, true], "{samples:?}");
        assert_eq!(samples[2].outcome, Outcome::Wrong("x".to_owned()));
        assert_eq!((samples[3].edge, samples[3].network, samples[3].repeats), (1, GOAL.network, 4));
    }

    #[test]
    fn what_is_paced_apart_does_not_wait_for_what_hangs() {
        let mut load = Load::new(Instant::now());
        let hangs = Arc::new(Mutex::new(()));
        let held = hangs.lock().expect("no panic while held");
        let waits = hangs.clone();
        let work = move |client: &Client| {
            client.pace_apart(STEP, move |client| {
                let first = client.record(&mut None, Kind::Connect, |noted| {
                    if noted.connection.number == 0 {
                        drop(waits.lock());
                    }
                    Ok(())
                });
                assert_eq!(first, Outcome::Served);
            });
        };
        load.set(GOAL, work).expect("there are threads");
        until(&load, 20);
        drop(held);
        load.stop().wait().expect("nobody panics");
        assert!(load.take().samples.iter().any(|sample| sample.connection.number == 0), "it is waited for");
    }

    #[test]
    fn a_client_that_panicked_is_told() {
        let mut load = Load::new(Instant::now());
        load.set(GOAL, |_| panic!("as it should")).expect("there are threads");
        assert!(load.stop().wait().is_err());
    }

    #[test]
    fn who_waits_for_a_beat_ends_at_once() {
        let (mut load, began) = (Load::new(Instant::now()), Instant::now());
        load.set(GOAL, |client| client.pace_from(Duration::from_secs(600), STEP, || ())).expect("there are threads");
        load.stop().wait().expect("nobody panics");
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}

//! Steady load: new connections at a fixed pace, and long flows whose every byte is checked.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{client, wait};

/// One connection of a load: when it began and what became of it.
#[derive(Debug)]
pub struct Attempt {
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
    /// What came back, or what went wrong.
    pub result: io::Result<String>,
}

/// Connections opened one after another at a fixed pace, each reading an origin's name.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<Mutex<Vec<Attempt>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `clients` clients that each open a connection to `at` every `every`.
    #[must_use]
    pub fn start(at: SocketAddr, clients: usize, every: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(Mutex::new(Vec::new()));
        let client = |_| {
            let (stop, done) = (stop.clone(), done.clone());
            thread::spawn(move || {
                let mut next = Instant::now();
                while !stop.load(Ordering::SeqCst) {
                    wait::beat(&mut next, every);
                    let began = Instant::now();
                    let result = client::listen_to(at);
                    let attempt = Attempt { began, took: began.elapsed(), result };
                    done.lock().expect("no panic while held").push(attempt);
                }
            })
        };
        let threads = (0..clients).map(client).collect();
        Self { stop, done, threads }
    }

    /// How many connections are done so far.
    ///
    /// # Panics
    /// If a client panicked.
    #[must_use]
    pub fn done(&self) -> usize {
        self.done.lock().expect("no panic while held").len()
    }

    /// Waits until `more` further connections are done.
    pub fn wait_for(&self, more: usize) {
        let goal = self.done() + more;
        wait::soon_true(&format!("{more} more connections"), || self.done() >= goal);
    }

    /// Stops and returns every connection, in order of their beginning.
    ///
    /// # Panics
    /// If a client panicked.
    #[must_use]
    pub fn stop(self) -> Vec<Attempt> {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("a client does not panic");
        }
        let mut done = std::mem::take(&mut *self.done.lock().expect("no panic while held"));
        done.sort_by_key(|attempt| attempt.began);
        done
    }
}

/// A long flow through an echo origin that sends block after block and checks each as it comes back.
#[derive(Debug)]
pub struct LongFlow {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<usize>>,
}

impl LongFlow {
    /// Opens a flow and starts to send.
    ///
    /// # Errors
    /// If the flow cannot be opened from end to end.
    pub fn start(at: SocketAddr, seed: u64) -> io::Result<Self> {
        let stream = client::connect(at)?;
        client::ping(&stream, b"hello")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut pattern = client::Pattern::new(seed);
            let mut rounds = 0;
            let mut next = Instant::now();
            while !stopped.load(Ordering::SeqCst) {
                wait::beat(&mut next, Duration::from_millis(5));
                client::ping(&stream, &pattern.bytes(4096))?;
                rounds += 1;
            }
            Ok(rounds)
        });
        Ok(Self { stop, thread })
    }

    /// Whether it broke already.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops; returns how many blocks came back right, or what broke.
    ///
    /// # Errors
    /// What broke the flow.
    ///
    /// # Panics
    /// If the flow's thread panicked.
    pub fn stop(self) -> io::Result<usize> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("a long flow does not panic")
    }
}

//! A crowd of clients that ask for much and read it slowly, all served by one thread.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use underpass_tests::harness::{client, wait};

/// What each reads at a time, once a second.
const SIP: usize = 2 * 1024;
/// How often some of them take their turn.
const TICK: Duration = Duration::from_millis(10);
/// Each takes its turn so many ticks after its last.
const TURNS: usize = 100;
/// In which all have come.
const ARRIVING: Duration = Duration::from_secs(30);

/// Readers at work; they stop when this is dropped, and by themselves after a while.
#[derive(Debug)]
pub(crate) struct Readers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

impl Readers {
    /// So many readers come, spread evenly over these addresses; each says this first.
    #[must_use]
    pub(crate) fn start(at: Vec<(SocketAddr, &'static str)>, all: usize, limit: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let began = Instant::now();
            let (mut readers, mut next, mut tick) = (Vec::with_capacity(all), began, 0);
            while !stopped.load(Ordering::SeqCst) && began.elapsed() < limit {
                wait::beat(&mut next, TICK);
                let due = began.elapsed().as_secs_f64() / ARRIVING.as_secs_f64() * all as f64;
                while readers.len() < all.min(due as usize) {
                    let (at, says) = at[readers.len() % at.len()];
                    readers.push(comes(at, says));
                }
                for reader in readers.iter_mut().skip(tick % TURNS).step_by(TURNS) {
                    *reader = reader.take().filter(sips);
                }
                tick += 1;
            }
            readers.iter().flatten().count()
        });
        Self { stop, thread: Some(thread) }
    }

    /// Sends them away; how many were still being served.
    ///
    /// # Panics
    /// If their thread has.
    pub(crate) fn send_away(mut self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().map_or(0, |thread| thread.join().expect("readers do not panic"))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// A reader that has said what it wants.
fn comes(at: SocketAddr, says: &str) -> Option<TcpStream> {
    let mut stream = client::connect(at).ok()?;
    stream.write_all(says.as_bytes()).ok()?;
    stream.set_nonblocking(true).ok().map(|()| stream)
}

/// True if the reader is still served.
fn sips(reader: &TcpStream) -> bool {
    let mut reader = reader;
    match reader.read(&mut [0; SIP]) {
        Ok(read) => read > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

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

/// What each reads at a time, and how often.
const SIP: usize = 2 * 1024;
const EVERY: Duration = Duration::from_secs(1);

/// Readers at work; they stop when this is dropped, and by themselves after a while.
#[derive(Debug)]
pub(crate) struct Readers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

impl Readers {
    /// As many readers at each of these addresses, which say this first.
    #[must_use]
    pub(crate) fn start(at: &[(SocketAddr, &str)], each: usize, limit: Duration) -> Self {
        let mut readers = Vec::new();
        for (at, says) in at {
            let opened = (0..each).filter_map(|_| client::connect(*at).ok());
            readers.extend(opened.filter_map(|mut stream| {
                stream.write_all(says.as_bytes()).ok()?;
                stream.set_nonblocking(true).ok().map(|()| stream)
            }));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let (until, mut next) = (Instant::now() + limit, Instant::now());
            while !stopped.load(Ordering::SeqCst) && Instant::now() < until {
                wait::beat(&mut next, EVERY);
                readers.retain(sips);
            }
            readers.len()
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

/// True if the reader is still served.
fn sips(mut reader: &TcpStream) -> bool {
    match reader.read(&mut [0; SIP]) {
        Ok(read) => read > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

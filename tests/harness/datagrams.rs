//! UDP clients and origins made of threads.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, UdpSocket},
    ops::Deref,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{client::PATIENCE, wait};

/// Silence after which a question is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A small UDP origin; gone when dropped.
#[derive(Debug)]
pub struct UdpOrigin(rig::origin::udp::UdpOrigin);

impl UdpOrigin {
    /// Starts an origin with this habit.
    ///
    /// # Panics
    /// If the address is taken.
    #[must_use]
    pub fn start(address: SocketAddr, habit: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let mut origin = rig::origin::udp::UdpOrigin::idle(address, habit);
        origin.resume().expect("the origin's address is free");
        Self(origin)
    }

    /// One that sends everything back.
    #[must_use]
    pub fn echo(address: SocketAddr) -> Self {
        Self::start(address, |payload| vec![payload.to_vec()])
    }

    /// One that answers with its name.
    #[must_use]
    pub fn names_itself(address: SocketAddr, name: &'static str) -> Self {
        Self::start(address, move |_| vec![name.as_bytes().to_vec()])
    }
}

impl Deref for UdpOrigin {
    type Target = rig::origin::udp::UdpOrigin;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// A UDP client of one address.
#[derive(Debug)]
pub struct UdpClient(UdpSocket);

impl UdpClient {
    /// A client on any port of loopback.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn new(at: SocketAddr) -> Self {
        Self::from(([127, 0, 0, 1], 0).into(), at)
    }

    /// A client from this address.
    ///
    /// # Panics
    /// If it is taken.
    #[must_use]
    pub fn from(source: SocketAddr, at: SocketAddr) -> Self {
        let socket = UdpSocket::bind(source).expect("a port of loopback is free");
        socket.connect(at).expect("loopback leads everywhere on it");
        Self(socket)
    }

    /// Sends a payload.
    pub fn send(&self, payload: &[u8]) {
        // What is lost on the way is lost with UDP; the kernel's word of an earlier payload is none of this one.
        if self.0.send(payload).is_err() {
            let _ = self.0.send(payload);
        }
    }

    /// The next payload, if one comes within `limit`.
    ///
    /// # Panics
    /// If the socket breaks.
    #[must_use]
    pub fn receive(&self, limit: Duration) -> Option<Vec<u8>> {
        self.0.set_read_timeout(Some(limit)).expect("a timeout above zero");
        let mut buffer = vec![0; 64 * 1024];
        match self.0.recv(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                Some(buffer)
            }
            Err(error) => {
                let silent = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::ConnectionRefused];
                assert!(silent.contains(&error.kind()), "{error}");
                None
            }
        }
    }

    /// Asks, again and again as UDP clients do, until there is an answer.
    ///
    /// # Panics
    /// If there is none for long.
    #[must_use]
    pub fn ask(&self, payload: &[u8]) -> Vec<u8> {
        wait::until("an answer", PATIENCE, || {
            self.send(payload);
            self.receive(ASK_AGAIN)
        })
    }

    /// Where it sends from.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A client that sends numbers at a steady pace and notes when which came back.
#[derive(Debug)]
pub struct SteadyUdp {
    stop: Arc<AtomicBool>,
    answered: Arc<Mutex<Vec<Instant>>>,
    thread: JoinHandle<()>,
}

impl SteadyUdp {
    /// Starts one that sends every 10 ms.
    #[must_use]
    pub fn start(client: UdpClient) -> Self {
        let (stop, answered): (Arc<AtomicBool>, Arc<Mutex<Vec<Instant>>>) = Default::default();
        let (stopped, noted) = (stop.clone(), answered.clone());
        let thread = thread::spawn(move || {
            let mut next = Instant::now();
            let mut number = 0_u64;
            while !stopped.load(Ordering::SeqCst) {
                wait::beat(&mut next, Duration::from_millis(10));
                number += 1;
                client.send(&number.to_be_bytes());
                while client.receive(Duration::from_millis(1)).is_some() {
                    noted.lock().expect("no panic while held").push(Instant::now());
                }
            }
        });
        Self { stop, answered, thread }
    }

    /// Waits for so many more answers.
    ///
    /// # Panics
    /// If they do not come.
    pub fn wait_for(&self, more: usize) {
        let count = || self.answered.lock().expect("no panic while held").len();
        let goal = count() + more;
        wait::soon_true(&format!("{more} more answers"), || count() >= goal);
    }

    /// Stops, and returns the longest time without an answer since `since`.
    ///
    /// # Panics
    /// If the client panicked, or there is no answer after `since`.
    #[must_use]
    pub fn longest_silence(self, since: Instant) -> Duration {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the client does not panic");
        let answered = self.answered.lock().expect("no panic while held");
        let after: Vec<Instant> =
            std::iter::once(since).chain(answered.iter().copied().filter(|t| *t > since)).collect();
        after.windows(2).map(|pair| pair[1] - pair[0]).max().expect("some answer came")
    }
}

//! Origins of UDP: one thread each, and a habit that answers payloads.

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, ErrorKind},
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use rustix::event::PollFlags;

use super::life::{self, Death, Life};

/// No payload is longer.
const PAYLOAD_MAX: usize = 64 * 1024;
/// Sources that are told apart; beyond, they are answered and not counted.
const SOURCES_MAX: usize = 65_536;

/// What an origin answers to a payload.
type Habit = dyn Fn(&[u8]) -> Vec<Vec<u8>> + Send + Sync;

/// A UDP origin; gone when dropped.
pub struct UdpOrigin {
    address: SocketAddr,
    habit: Arc<Habit>,
    sources: Arc<Mutex<BTreeSet<SocketAddr>>>,
    serving: Option<(Life, JoinHandle<()>)>,
}

impl fmt::Debug for UdpOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UdpOrigin({}, {} sources)", self.address, self.sources())
    }
}

impl UdpOrigin {
    /// An origin with this habit that does not serve yet; port 0 will be any.
    #[must_use]
    pub fn idle(address: SocketAddr, habit: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self { address, habit: Arc::new(habit), sources: Arc::default(), serving: None }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many sources it has seen.
    #[must_use]
    pub fn sources(&self) -> usize {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Serves (again).
    ///
    /// # Errors
    /// The kernel's, if somebody has its address.
    pub fn resume(&mut self) -> io::Result<()> {
        self.stop();
        let socket = UdpSocket::bind(self.address)?;
        socket.set_nonblocking(true)?;
        self.address = socket.local_addr()?;
        let (life, death) = life::begin()?;
        let (habit, sources) = (self.habit.clone(), self.sources.clone());
        let thread = thread::Builder::new().spawn(move || serve(&socket, &habit, &sources, &death))?;
        self.serving = Some((life, thread));
        Ok(())
    }

    /// Gives its address up.
    pub fn stop(&mut self) {
        let Some((life, thread)) = self.serving.take() else { return };
        drop(life);
        // It ends by itself, whatever became of it.
        let _ = thread.join();
    }
}

impl Drop for UdpOrigin {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(socket: &UdpSocket, habit: &Arc<Habit>, sources: &Mutex<BTreeSet<SocketAddr>>, death: &Death) {
    let mut buffer = vec![0; PAYLOAD_MAX];
    while death.wait(socket, PollFlags::IN, None).is_ok() {
        // An error tells of what was sent earlier: the next may be heard.
        let Ok((length, source)) = socket.recv_from(&mut buffer) else { continue };
        let mut seen = sources.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < SOURCES_MAX {
            seen.insert(source);
        }
        drop(seen);
        for answer in habit(&buffer[..length]) {
            send(socket, (&answer, source), death);
        }
    }
}

fn send(socket: &UdpSocket, (answer, to): (&[u8], SocketAddr), death: &Death) {
    loop {
        match socket.send_to(answer, to) {
            Err(full) if full.kind() == ErrorKind::WouldBlock && death.wait(socket, PollFlags::OUT, None).is_ok() => {}
            // A client that is gone is its own affair.
            Ok(_) | Err(_) => return,
        }
    }
}

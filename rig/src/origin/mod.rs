//! Origins made of threads, each with one habit. They count who came, remember how each connection ended, and can be
//! stopped, die, and be started again on their address.
//!
//! What an origin says is its habit's; here is nothing of any protocol.

mod connection;
pub mod habits;
pub mod http;
mod life;
pub mod udp;

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, ErrorKind},
    mem,
    net::{Shutdown, SocketAddr, TcpListener},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::event::PollFlags;

pub use self::connection::{Connection, reset};
use self::life::{Death, Life};

/// Connections served at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 16_384;
/// After an accept that failed, or found no room: others must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Endings that are remembered; what ends later is only counted.
const ENDINGS_MAX: usize = 100_000;
/// Who dies waits for so long until each of its connections is closed: a habit may be at something else.
const DYING: Duration = Duration::from_secs(1);

/// How a connection looked from the origin when it was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The other side ended its data properly.
    Clean,
    /// The connection was reset.
    Reset,
}

/// What an origin does with a connection; it returns how it saw it end.
type Habit = dyn Fn(&Connection) -> io::Result<Ending> + Send + Sync;

/// An origin; dropping it stops it.
pub struct Origin {
    address: SocketAddr,
    habit: Arc<Habit>,
    seen: Arc<Seen>,
    listening: Option<Listening>,
    /// Of its connections.
    life: Option<(Life, Arc<Death>)>,
}

#[derive(Default)]
struct Seen {
    accepted: AtomicUsize,
    connections: Mutex<Connections>,
    closed: Condvar,
}

#[derive(Default)]
struct Connections {
    /// By their number.
    open: BTreeMap<usize, Arc<Connection>>,
    closed: usize,
    endings: Vec<Ending>,
}

struct Listening {
    life: Life,
    thread: JoinHandle<()>,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({}, {} accepted)", self.address, self.accepted())
    }
}

impl Origin {
    /// An origin with this habit that does not listen yet; port 0 will be any.
    #[must_use]
    pub fn idle(
        address: SocketAddr,
        habit: impl Fn(&Connection) -> io::Result<Ending> + Send + Sync + 'static,
    ) -> Self {
        Self { address, habit: Arc::new(habit), seen: Arc::default(), listening: None, life: None }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections came so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.seen.accepted.load(Ordering::SeqCst)
    }

    /// How the connections that are over ended.
    #[must_use]
    pub fn endings(&self) -> Vec<Ending> {
        self.seen.connections().endings.clone()
    }

    /// Listens (again).
    ///
    /// # Errors
    /// The kernel's, if somebody has its address.
    pub fn resume(&mut self) -> io::Result<()> {
        self.refuse_new();
        let listener = TcpListener::bind(self.address)?;
        listener.set_nonblocking(true)?;
        self.address = listener.local_addr()?;
        let (life, closed) = life::begin()?;
        let death = match &self.life {
            Some((_, death)) => death.clone(),
            None => {
                let (life, death) = life::begin()?;
                self.life.insert((life, Arc::new(death))).1.clone()
            }
        };
        let door = Door { listener, habit: self.habit.clone(), seen: self.seen.clone(), closed, death };
        let thread = thread::Builder::new().spawn(move || door.accept())?;
        self.listening = Some(Listening { life, thread });
        Ok(())
    }

    /// Stops listening and ends every open connection, as when a server's process is killed.
    pub fn stop(&mut self) {
        self.refuse_new();
        for stream in mem::take(&mut self.seen.connections().open).into_values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Stops listening and resets every open connection, as when a machine's power fails and comes back without the server.
    pub fn die(&mut self) {
        self.refuse_new();
        for stream in mem::take(&mut self.seen.connections().open).into_values() {
            // If it fails the connection is gone already.
            let _ = reset(&stream);
        }
        self.life = None;
        let is_open = |connections: &mut Connections| connections.closed < self.accepted();
        let waited = self.seen.closed.wait_timeout_while(self.seen.connections(), DYING, is_open);
        drop(waited);
    }

    /// Stops listening; who is connected goes on being served.
    pub fn refuse_new(&mut self) {
        let Some(Listening { life, thread }) = self.listening.take() else { return };
        drop(life);
        // It ends by itself, whatever became of it.
        let _ = thread.join();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Seen {
    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, ending: Ending) {
        let mut connections = self.connections();
        connections.closed += 1;
        if connections.endings.len() < ENDINGS_MAX {
            connections.endings.push(ending);
        }
        self.closed.notify_all();
    }
}

/// Where an origin listens.
struct Door {
    listener: TcpListener,
    habit: Arc<Habit>,
    seen: Arc<Seen>,
    /// It listens no longer.
    closed: Death,
    /// Nor is anybody served.
    death: Arc<Death>,
}

impl Door {
    fn accept(&self) {
        loop {
            if self.seen.connections().open.len() >= CONNECTIONS_MAX {
                if self.closed.comes_within(ACCEPT_PAUSE) {
                    return;
                }
                continue;
            }
            if self.closed.wait(&self.listener, PollFlags::IN, None).is_err() {
                return;
            }
            match self.listener.accept() {
                Ok((stream, _)) => self.serve(Connection::new(stream, self.death.clone())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Out of descriptors, most likely.
                Err(_) if self.closed.comes_within(ACCEPT_PAUSE) => return,
                Err(_) => {}
            }
        }
    }

    fn serve(&self, stream: Connection) {
        let number = self.seen.accepted.fetch_add(1, Ordering::SeqCst);
        let stream = Arc::new(stream);
        self.seen.connections().open.insert(number, stream.clone());
        let (habit, seen) = (self.habit.clone(), self.seen.clone());
        let served = thread::Builder::new().spawn(move || {
            let ending = habit(&stream).unwrap_or_else(|error| ending_of(&error));
            // Its other copy would hold the connection open.
            let other = seen.connections().open.remove(&number);
            drop((other, stream));
            seen.close(ending);
        });
        if served.is_err() {
            // No thread is to be had: whoever came is sent away.
            let other = self.seen.connections().open.remove(&number);
            drop(other);
            self.seen.close(Ending::Clean);
        }
    }
}

fn ending_of(error: &io::Error) -> Ending {
    let reset = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::ConnectionAborted];
    if reset.contains(&error.kind()) { Ending::Reset } else { Ending::Clean }
}

#[cfg(test)]
mod tests;

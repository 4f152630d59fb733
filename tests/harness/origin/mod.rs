//! Origins: small ones made of threads, each with one habit, and real servers.
//!
//! A small origin counts who came, remembers how each connection ended, and can be stopped and started again on its
//! address.

pub mod frames;
pub mod habits;
pub mod recorder;
pub mod servers;
pub mod web;

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, ErrorKind},
    mem,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use socket2::SockRef;

use super::wait;

/// How a connection looked from the origin when it was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The other side ended its data properly.
    Clean,
    /// The connection was reset.
    Reset,
}

/// What an origin does with a connection; it returns how it saw it end.
type Habit = dyn Fn(&TcpStream) -> io::Result<Ending> + Send + Sync;

/// A small origin.
pub struct Origin {
    address: SocketAddr,
    habit: Arc<Habit>,
    seen: Arc<Seen>,
    listening: Option<Listening>,
}

#[derive(Default)]
struct Seen {
    accepted: AtomicUsize,
    endings: Mutex<Vec<Ending>>,
    /// A copy of each connection that is open, by its number.
    open: Mutex<BTreeMap<usize, TcpStream>>,
}

struct Listening {
    stop: Arc<AtomicBool>,
    socket: TcpListener,
    thread: JoinHandle<()>,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({}, {} accepted)", self.address, self.accepted())
    }
}

impl Origin {
    /// Starts an origin with this habit; with port 0, on any.
    #[must_use]
    pub fn start(
        address: SocketAddr,
        habit: impl Fn(&TcpStream) -> io::Result<Ending> + Send + Sync + 'static,
    ) -> Self {
        let mut origin = Self { address, habit: Arc::new(habit), seen: Arc::default(), listening: None };
        origin.resume();
        origin
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
    ///
    /// # Panics
    /// If a connection's thread panicked.
    #[must_use]
    pub fn endings(&self) -> Vec<Ending> {
        self.seen.endings.lock().expect("no panic while held").clone()
    }

    /// Listens (again).
    ///
    /// # Panics
    /// If the address is taken.
    pub fn resume(&mut self) {
        let listener = wait::soon("the origin's address to be free", || TcpListener::bind(self.address).ok());
        self.address = listener.local_addr().expect("a bound socket has an address");
        let stop = Arc::new(AtomicBool::new(false));
        let (habit, seen, stopped) = (self.habit.clone(), self.seen.clone(), stop.clone());
        let socket = listener.try_clone().expect("a descriptor is free");
        let thread = thread::spawn(move || accept(&listener, &habit, &seen, &stopped));
        self.listening = Some(Listening { stop, socket, thread });
    }

    /// Stops listening and ends every open connection, as when a server's process is killed.
    ///
    /// # Panics
    /// If the accepting thread panicked.
    pub fn stop(&mut self) {
        self.refuse_new();
        for stream in mem::take(&mut *self.seen.open.lock().expect("no panic while held")).into_values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Stops listening; who is connected goes on being served.
    ///
    /// # Panics
    /// If the accepting thread panicked.
    pub fn refuse_new(&mut self) {
        let Some(listening) = self.listening.take() else { return };
        listening.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, whatever network the caller is in.
        let _ = SockRef::from(&listening.socket).shutdown(Shutdown::Both);
        listening.thread.join().expect("the accepting thread does not panic");
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(listener: &TcpListener, habit: &Arc<Habit>, seen: &Arc<Seen>, stop: &AtomicBool) {
    for stream in listener.incoming() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let number = seen.accepted.fetch_add(1, Ordering::SeqCst);
        if let Ok(copy) = stream.try_clone() {
            seen.open.lock().expect("no panic while held").insert(number, copy);
        }
        let (habit, seen) = (habit.clone(), seen.clone());
        thread::spawn(move || {
            let ending = habit(&stream).unwrap_or_else(|error| ending_of(&error));
            // The copy kept for `stop` would hold the connection open.
            seen.open.lock().expect("no panic while held").remove(&number);
            drop(stream);
            seen.endings.lock().expect("no panic while held").push(ending);
        });
    }
}

fn ending_of(error: &io::Error) -> Ending {
    let reset = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::ConnectionAborted];
    if reset.contains(&error.kind()) { Ending::Reset } else { Ending::Clean }
}

/// Makes the close of this socket a reset.
///
/// # Panics
/// If the socket is none.
pub fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("a TCP socket lingers as told");
}

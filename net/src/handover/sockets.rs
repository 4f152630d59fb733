//! The system's network, with sockets that were bound before this process: by whoever started it (systemd's socket units,
//! `LISTEN_FDS`), or by the process that it takes over from. And a list of those that are open, for the process that takes over from
//! this one.

use std::{
    fmt, io, mem,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use listenfd::ListenFd;
use quinn::AsyncUdpSocket;
use tokio_util::sync::CancellationToken;

use super::{
    bound::{Bound, Divided},
    relay::pair,
    sharing::{Generation, Sharing},
};
use crate::{
    Datagrams, Front, Listener, Network, Os, PingError, Socket, Unreachables,
    network::{Boxed, OsListener, bound_tcp, bound_udp, front, naming},
    quic::QuicSocket,
};

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketKind {
    /// Connections are accepted from it.
    Tcp,
    /// Clients send to it.
    Udp,
    /// Connectors dial it.
    Quic,
}

/// The system's network, in which some addresses are bound already.
#[derive(Default)]
pub struct Sockets {
    given: Mutex<Vec<Given>>,
    open: Mutex<Vec<Open>>,
    /// Which of the processes that have had them this one is, and how packets of QUIC say for which they are.
    generation: OnceLock<(u8, Generation)>,
    orphaned: CancellationToken,
}

/// A socket that was bound before.
#[derive(Debug)]
struct Given {
    /// A UDP socket may be for either, unless whoever gave it has said.
    kind: Option<SocketKind>,
    socket: OwnedFd,
    address: SocketAddr,
    used: bool,
    /// It stays bound: a listener that is dropped, and comes again, finds it.
    stays: bool,
    relays: Relays,
}

/// Ways to the processes that have a socket, too, the latest first; each with its generation.
type Relays = Vec<(u8, OwnedFd)>;

/// A socket that is open.
#[derive(Debug)]
struct Open {
    kind: SocketKind,
    socket: Weak<Bound>,
}

/// A socket for another process.
#[derive(Debug)]
pub struct Handed {
    /// What it is for.
    pub kind: SocketKind,
    /// Whether it stays bound while nobody wants it.
    pub stays: bool,
    /// The socket.
    pub socket: OwnedFd,
    /// For UDP, ways to the processes that have had it, the latest first; each with its generation.
    pub relays: Vec<(u8, OwnedFd)>,
}

/// UDP sockets that were handed over: with each the relay from the process that has it now.
#[derive(Debug, Default)]
pub struct Shares {
    /// Of the process that they are for.
    generation: u8,
    ends: Vec<(SocketKind, Weak<Bound>, OwnedFd)>,
    given: Vec<Weak<Bound>>,
}

impl Shares {
    /// From now on the other process has its part of what comes to sockets of this kind; all of it once it has taken over.
    ///
    /// # Errors
    /// The kernel's.
    pub fn give_way(&mut self, kind: SocketKind) -> io::Result<()> {
        for (_, bound, end) in self.ends.extract_if(.., |(of, _, _)| *of == kind) {
            if let Some(bound) = bound.upgrade() {
                bound.sharing.set_successor(self.generation, end)?;
                self.given.push(Arc::downgrade(&bound));
            }
        }
        Ok(())
    }

    /// The other process has taken over. If it fails now, [`Sockets::orphaned`] is told.
    pub fn settle(&self) {
        self.given.iter().filter_map(Weak::upgrade).for_each(|bound| bound.sharing.settle());
    }
}

impl Sockets {
    /// What this process was given by whoever started it: nothing, most likely.
    ///
    /// # Errors
    /// If something of it is neither a listening TCP socket nor a UDP socket of IP.
    pub fn of_process() -> io::Result<Self> {
        let mut given = ListenFd::from_env();
        let all = Self::default();
        for number in 0..given.len() {
            let (kind, socket) = match given.take_tcp_listener(number) {
                Ok(socket) => (Some(SocketKind::Tcp), socket.map(OwnedFd::from)),
                Err(_) => {
                    (None, given.take_udp_socket(number).map_err(|error| wrong(number, &error))?.map(OwnedFd::from))
                }
            };
            if let Some(socket) = socket {
                all.take((kind, true), (socket, Vec::new())).map_err(|error| wrong(number, &error))?;
            }
        }
        Ok(all)
    }

    /// Takes a socket of the process that this one takes over from.
    ///
    /// # Errors
    /// If it is not bound to an address.
    pub fn take_over(&self, Handed { kind, stays, socket, relays }: Handed) -> io::Result<()> {
        self.take((Some(kind), stays), (socket, relays))
    }

    fn take(&self, (kind, stays): (Option<SocketKind>, bool), (socket, relays): (OwnedFd, Relays)) -> io::Result<()> {
        let address = socket2::SockRef::from(&socket).local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidData)?;
        lock(&self.given).push(Given { kind, socket, address, used: false, stays, relays });
        Ok(())
    }

    /// Says which of the processes that have had them this one is, and how packets of QUIC say for which they are. Without, it is the first.
    pub fn divide_by(&self, number: u8, generation: Generation) {
        let _ = self.generation.set((number, generation));
    }

    /// Told when nobody reads any more what is for this process, since the one that has taken over is gone.
    #[must_use]
    pub fn orphaned(&self) -> CancellationToken {
        self.orphaned.clone()
    }

    fn number(&self) -> u8 {
        self.generation.get().map(|(number, _)| *number).unwrap_or_default()
    }

    /// Reads itself from now on what the process before has read so far.
    pub fn begin(&self) {
        self.each_open(|_, bound| bound.sharing.begin());
    }

    /// Whether a process that this one has taken over from has not ended.
    #[must_use]
    pub fn has_predecessors(&self) -> bool {
        let mut any = false;
        self.each_open(|kind, bound| any |= kind == SocketKind::Quic && bound.sharing.has_predecessors());
        any
    }

    fn each_open(&self, mut look: impl FnMut(SocketKind, &Bound)) {
        for Open { kind, socket } in &*lock(&self.open) {
            if let Some(bound) = socket.upgrade() {
                look(*kind, &bound);
            }
        }
    }

    /// Where connectors dial the process before, if nobody here has asked for that address.
    #[must_use]
    pub fn tunnel_left(&self) -> Option<SocketAddr> {
        let is_tunnel = |given: &&Given| given.kind == Some(SocketKind::Quic) && !given.used;
        lock(&self.given).iter().find(is_tunnel).map(|given| given.address)
    }

    /// Lets go of what the process before had and nobody here wants.
    pub fn settle(&self) {
        lock(&self.given).retain(|given| given.stays);
    }

    /// Sockets that were given and that nobody has asked for, in words.
    #[must_use]
    pub fn unused(&self) -> Vec<String> {
        lock(&self.given).iter().filter(|given| !given.used).map(Given::to_string).collect()
    }

    /// How many were given that stay.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.given).iter().filter(|given| given.stays).count()
    }

    /// All that another process needs to have the same sockets, and what this one needs to share them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn hand_over(&self) -> io::Result<(Vec<Handed>, Shares)> {
        let (mut handed, mut shares) = (Vec::new(), Shares::default());
        shares.generation = self.number().wrapping_add(1);
        for Open { kind, socket } in &*lock(&self.open) {
            let Some(bound) = socket.upgrade() else { continue };
            let mut relays = Relays::new();
            if *kind != SocketKind::Tcp {
                let (here, there) = pair()?;
                relays.push((self.number(), there));
                relays.extend(bound.sharing.predecessors()?);
                shares.ends.push((*kind, socket.clone(), here));
            }
            handed.push(Handed { kind: *kind, stays: bound.stays, socket: bound.socket.try_clone()?, relays });
        }
        for given in lock(&self.given).iter().filter(|given| given.stays && !given.used) {
            let kind = given.kind.unwrap_or(SocketKind::Udp);
            handed.push(Handed { kind, stays: true, socket: given.socket.try_clone()?, relays: Vec::new() });
        }
        Ok((handed, shares))
    }

    /// A socket that is bound to this address already.
    fn find(&self, kind: SocketKind, address: SocketAddr) -> io::Result<Option<Found>> {
        let mut all = lock(&self.given);
        let fits = |given: &Given| given.fits(kind) && is_same(given.address, address);
        let Some(at) = all.iter().position(fits) else { return Ok(None) };
        if !all[at].stays {
            let Given { socket, relays, .. } = all.swap_remove(at);
            return Ok(Some(Found { socket, relays, stays: false }));
        }
        let given = &mut all[at];
        given.used = true;
        Ok(Some(Found { socket: given.socket.try_clone()?, relays: mem::take(&mut given.relays), stays: true }))
    }

    /// Notes that a socket is open.
    fn note(&self, kind: SocketKind, Found { socket, relays, stays }: Found) -> io::Result<Arc<Bound>> {
        let sharing = Arc::new(Sharing::new(self.orphaned.clone()));
        for (generation, end) in relays {
            sharing.add_predecessor(generation, end)?;
        }
        if kind == SocketKind::Quic && sharing.has_predecessors() {
            sharing.wait();
        }
        let bound = Arc::new(Bound { socket, stays, sharing });
        let mut open = lock(&self.open);
        open.retain(|open| open.socket.strong_count() > 0);
        open.push(Open { kind, socket: Arc::downgrade(&bound) });
        Ok(bound)
    }

    fn udp(&self, kind: SocketKind, address: SocketAddr) -> io::Result<Arc<Bound>> {
        let found = match self.find(kind, address)? {
            Some(found) => found,
            None => Found { socket: bound_udp(address)?.into(), relays: Relays::new(), stays: false },
        };
        self.note(kind, found)
    }
}

/// A socket for an address.
struct Found {
    socket: OwnedFd,
    relays: Relays,
    stays: bool,
}

impl Given {
    fn fits(&self, kind: SocketKind) -> bool {
        self.kind.map_or(kind != SocketKind::Tcp, |of| of == kind)
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wrong(number: usize, error: &io::Error) -> io::Error {
    let right =
        "it must be a listening TCP socket (ListenStream=) or a UDP socket (ListenDatagram=), with an IP address";
    io::Error::new(error.kind(), format!("socket {number} that the process was given cannot be used: {error}; {right}"))
}

/// Whether a socket is the one that an address asks for. All addresses are all, of whichever family.
fn is_same(bound: SocketAddr, asked: SocketAddr) -> bool {
    let (here, there): (IpAddr, IpAddr) = (bound.ip().to_canonical(), asked.ip().to_canonical());
    bound.port() == asked.port() && (here == there || (here.is_unspecified() && there.is_unspecified()))
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.fits(SocketKind::Tcp) { "TCP" } else { "UDP" };
        write!(f, "{kind} {}", self.address)
    }
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets").field("given", &self.given).field("open", &self.open).finish_non_exhaustive()
    }
}

impl Network for Sockets {
    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let listen = || {
            let found = match self.find(SocketKind::Tcp, address)? {
                Some(found) => found,
                None => Found { socket: bound_tcp(address)?.into(), relays: Relays::new(), stays: false },
            };
            let listening = TcpListener::from(found.socket.try_clone()?);
            listening.set_nonblocking(true)?;
            let listening = tokio::net::TcpListener::from_std(listening)?;
            let bound = self.note(SocketKind::Tcp, found)?;
            Ok(Box::new(Noted { listener: OsListener(listening), _bound: bound }))
        };
        listen()
            .map_err(|error: io::Error| naming("TCP", address, &error))
            .map(|listener| listener as Box<dyn Listener>)
    }

    fn dial(&self, address: SocketAddr) -> Boxed<'_, io::Result<Socket>> {
        Os.dial(address)
    }

    fn bind_quic(&self, address: SocketAddr, heard: &Unreachables) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let bind = || {
            let bound = self.udp(SocketKind::Quic, address)?;
            let socket = UdpSocket::from(bound.socket.try_clone()?);
            let socket = Arc::new(QuicSocket::new(socket, heard.clone())?);
            let generation = self.generation.get().map_or((|_| None) as Generation, |(_, generation)| *generation);
            Ok(Arc::new(Divided { socket, bound, generation }))
        };
        bind()
            .map_err(|error: io::Error| naming("UDP", address, &error))
            .map(|socket| socket as Arc<dyn AsyncUdpSocket>)
    }

    fn bind_udp(&self, address: SocketAddr) -> io::Result<Front> {
        let bind = || {
            let bound = self.udp(SocketKind::Udp, address)?;
            Ok(front(bound.socket.try_clone()?.into())?.shared(bound))
        };
        bind().map_err(|error: io::Error| naming("UDP", address, &error))
    }

    fn dial_udp(&self, address: SocketAddr) -> io::Result<Datagrams> {
        Os.dial_udp(address)
    }

    fn ping(&self, ip: IpAddr) -> Boxed<'_, Result<Duration, PingError>> {
        Os.ping(ip)
    }
}

/// A listener that is to be found while it is open.
#[derive(Debug)]
struct Noted {
    listener: OsListener,
    _bound: Arc<Bound>,
}

impl Listener for Noted {
    fn accept(&self) -> Boxed<'_, io::Result<(Socket, SocketAddr)>> {
        self.listener.accept()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

#[cfg(test)]
mod tests;

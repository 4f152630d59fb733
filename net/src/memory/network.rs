//! A space of addresses and the hosts in it: who has which, what is bound there, what is cut between them, and what is lost.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, ready},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    datagram::{Datagram, Dropped, Loss},
    ports::{Ports, seen_by},
    stream::{self, Direction, Stream},
    waiters::Waiters,
};
use crate::Unreachables;

/// A way is cleared of connections that are over when it lists this many, or twice as many as were alive then.
const LIST_MIN: usize = 64;

/// A space of addresses that hosts share.
#[derive(Debug, Clone)]
pub struct MemoryNetwork(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    hosts: HashMap<IpAddr, Weak<Inner>>,
    /// From one address to another.
    between: HashMap<(IpAddr, IpAddr), Between>,
    dice: StdRng,
}

#[derive(Debug, Default)]
struct Between {
    cut: bool,
    /// Share of datagrams that are lost.
    loss: f64,
    ways: Vec<Direction>,
    length_max: usize,
    /// Dials that the cut holds back.
    dials: Waiters,
}

/// A connection and where it is from.
pub(super) type Arrival = (Stream, SocketAddr);

/// A host: its addresses, and what is bound there.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) interfaces: Mutex<Vec<(MemoryNetwork, IpAddr)>>,
    pub(super) tcp: Mutex<Ports<Arrival>>,
    pub(super) udp: Mutex<Ports<Datagram>>,
    pub(super) dropped: Mutex<Dropped>,
}

/// How a host reaches an address.
struct Reach {
    to: Arc<Inner>,
    from: IpAddr,
    /// Absent: it is the host itself.
    over: Option<MemoryNetwork>,
}

impl MemoryNetwork {
    /// A network without hosts. The seed is that of the dice which decide what is lost.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let dice = StdRng::seed_from_u64(seed);
        Self(Arc::new(Mutex::new(State { hosts: HashMap::new(), between: HashMap::new(), dice })))
    }

    /// Lets nothing through between two addresses, without a word to either. What TCP sends meanwhile, and dials, wait.
    pub fn cut(&self, a: IpAddr, b: IpAddr) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Lets nothing through from one address to another, without a word to either.
    pub fn cut_one_way(&self, from: IpAddr, to: IpAddr) {
        let mut state = self.lock();
        let between = state.between.entry((from, to)).or_default();
        between.cut = true;
        between.ways.iter().for_each(Direction::hold);
    }

    /// Ends every cut between two addresses: what TCP has sent meanwhile arrives.
    pub fn heal(&self, a: IpAddr, b: IpAddr) {
        for pair in [(a, b), (b, a)] {
            let mut state = self.lock();
            let between = state.between.entry(pair).or_default();
            between.cut = false;
            between.ways.iter().for_each(Direction::release);
            let dials = between.dials.take();
            drop(state);
            dials.wake();
        }
    }

    /// Loses a share of the datagrams between two addresses, both ways: 0.0 none, 1.0 all. TCP is not touched.
    pub fn lose(&self, a: IpAddr, b: IpAddr, share: f64) {
        let mut state = self.lock();
        for pair in [(a, b), (b, a)] {
            state.between.entry(pair).or_default().loss = share;
        }
    }

    pub(super) fn add(&self, ip: IpAddr, host: &Arc<Inner>) {
        let before = self.lock().hosts.insert(ip, Arc::downgrade(host));
        let taken = before.and_then(|host| host.upgrade()).is_some_and(|before| !Arc::ptr_eq(&before, host));
        assert!(!taken, "{ip} is the address of another host of this network");
    }

    pub(super) fn find(&self, ip: IpAddr) -> Option<Arc<Inner>> {
        self.lock().hosts.get(&ip)?.upgrade()
    }

    /// Connects unless a cut lies between; then it waits until that is healed.
    pub(super) fn poll_connect(
        &self,
        cx: &Context<'_>,
        (from, to): (IpAddr, IpAddr),
        connect: impl FnOnce() -> io::Result<Stream>,
    ) -> Poll<io::Result<Stream>> {
        let mut state = self.lock();
        ready!(state.poll_open(cx, (from, to)));
        ready!(state.poll_open(cx, (to, from)));
        // No cut can come between here: it needs the same lock.
        let stream = connect()?;
        let (there, back) = stream.ways();
        state.between.entry((from, to)).or_default().list(there);
        state.between.entry((to, from)).or_default().list(back);
        Poll::Ready(Ok(stream))
    }

    /// Whether a datagram gets from one address to another.
    pub(super) fn judge(&self, from: IpAddr, to: IpAddr) -> Result<(), Loss> {
        let mut state = self.lock();
        let (cut, loss) = state.between.get(&(from, to)).map_or((false, 0.0), |between| (between.cut, between.loss));
        if cut {
            return Err(Loss::Cut);
        }
        if loss > 0.0 && state.dice.random::<f64>() < loss { Err(Loss::Dice) } else { Ok(()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn poll_open(&mut self, cx: &Context<'_>, pair: (IpAddr, IpAddr)) -> Poll<()> {
        match self.between.get_mut(&pair) {
            Some(between) if between.cut => {
                between.dials.add(cx);
                Poll::Pending
            }
            Some(_) | None => Poll::Ready(()),
        }
    }
}

impl Between {
    fn list(&mut self, way: Direction) {
        if self.ways.len() >= self.length_max {
            self.ways.retain(Direction::is_alive);
            self.length_max = LIST_MIN.max(self.ways.len() * 2);
        }
        self.ways.push(way);
    }
}

impl Inner {
    /// With nothing but its loopback.
    pub(super) fn new() -> Self {
        Self {
            interfaces: Mutex::default(),
            tcp: Mutex::new(Ports::new()),
            udp: Mutex::new(Ports::new()),
            dropped: Mutex::default(),
        }
    }

    pub(super) fn unbind_tcp(&self, bound: SocketAddr) {
        lock(&self.tcp).unbind(bound);
    }

    pub(super) fn unbind_udp(&self, bound: SocketAddr) {
        lock(&self.udp).unbind(bound);
    }

    /// Sends a datagram from a socket bound to `datagram.from`; one that does not arrive is counted. If the other host says
    /// that nobody listens there, `heard` notes it.
    pub(super) fn send(self: &Arc<Self>, datagram: Datagram, heard: &Unreachables) {
        let to = datagram.to;
        if let Err(loss) = self.try_send(datagram) {
            lock(&self.dropped).count(loss);
            if loss == Loss::Refused {
                heard.note(to);
            }
        }
    }

    fn try_send(self: &Arc<Self>, mut datagram: Datagram) -> Result<(), Loss> {
        if datagram.is_too_large() {
            return Err(Loss::TooLarge);
        }
        let to = datagram.to.ip();
        let route = self.route(to, datagram.from.ip()).ok_or(Loss::Unreachable)?;
        datagram.from.set_ip(route.from);
        if let Some(network) = &route.over {
            network.judge(route.from, to)?;
        }
        let Some((_, queue)) = lock(&route.to.udp).find(datagram.to) else {
            // The host's word has a way back to go.
            let back = route.over.as_ref().is_none_or(|network| network.judge(to, route.from).is_ok());
            return Err(if back { Loss::Refused } else { Loss::Unreachable });
        };
        queue.push(datagram).map_err(|_| Loss::Full)
    }

    pub(super) fn poll_dial(self: &Arc<Self>, cx: &Context<'_>, port: u16, to: SocketAddr) -> Poll<io::Result<Stream>> {
        let unspecified = if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        let Some(route) = self.route(to.ip(), unspecified) else {
            return Poll::Ready(Err(io::ErrorKind::HostUnreachable.into()));
        };
        let from = SocketAddr::new(route.from, port);
        match route.over {
            None => Poll::Ready(route.to.admit(from, to)),
            Some(network) => network.poll_connect(cx, (from.ip(), to.ip()), || route.to.admit(from, to)),
        }
    }

    /// Puts a connection before whoever listens; gives the dialler's end.
    fn admit(&self, from: SocketAddr, to: SocketAddr) -> io::Result<Stream> {
        let (bound, queue) = lock(&self.tcp).find(to).ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, far) = stream::connect(from, to);
        let source = seen_by(bound, from);
        // A listener with a full backlog refuses: nobody here would send the first packet again.
        let arrived = queue.push((far.seen_as(seen_by(bound, to), source), source));
        arrived.map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(near)
    }

    /// The way to an address, from a given one unless that is a wildcard.
    fn route(self: &Arc<Self>, to: IpAddr, from: IpAddr) -> Option<Reach> {
        let interfaces = lock(&self.interfaces).clone();
        let is_own = |ip: IpAddr| ip.is_loopback() || interfaces.iter().any(|(_, own)| *own == ip);
        if is_own(to) {
            let from = if from.is_unspecified() { to } else { from };
            return Some(Reach { to: self.clone(), from, over: None });
        }
        let fits = |own: &IpAddr| own.is_ipv4() == to.is_ipv4() && (from.is_unspecified() || from == *own);
        interfaces.into_iter().filter(|(_, own)| fits(own)).find_map(|(network, from)| {
            let to = network.find(to)?;
            Some(Reach { to, from, over: Some(network) })
        })
    }

    pub(super) fn check_local(&self, address: SocketAddr) -> io::Result<()> {
        let ip = address.ip().to_canonical();
        let own = ip.is_unspecified() || ip.is_loopback() || lock(&self.interfaces).iter().any(|(_, own)| *own == ip);
        if own { Ok(()) } else { Err(io::ErrorKind::AddrNotAvailable.into()) }
    }
}

/// Whoever held it may have panicked: what is behind is whole all the same.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

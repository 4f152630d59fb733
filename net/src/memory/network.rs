//! A space of addresses: which host has which, what is cut between them, and what is lost.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, ready},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    host::{Inner, MemoryHost},
    stream::{Stream, Way},
    udp::Loss,
    waiters::Waiters,
};

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
    ways: Vec<Way>,
    length_max: usize,
    /// Dials that the cut holds back.
    dials: Waiters,
}

impl MemoryNetwork {
    /// A network without hosts. The seed is that of the dice which decide what is lost.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let dice = StdRng::seed_from_u64(seed);
        Self(Arc::new(Mutex::new(State { hosts: HashMap::new(), between: HashMap::new(), dice })))
    }

    /// The host with this address; it is made if there is none. It lives as long as somebody holds it, or a socket of it.
    #[must_use]
    pub fn host(&self, ip: IpAddr) -> MemoryHost {
        if let Some(inner) = self.find(ip) {
            return MemoryHost::of(inner);
        }
        let host = MemoryHost::new();
        host.join(self, ip);
        host
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
        between.ways.iter().for_each(Way::hold);
    }

    /// Ends every cut between two addresses: what TCP has sent meanwhile arrives.
    pub fn heal(&self, a: IpAddr, b: IpAddr) {
        for pair in [(a, b), (b, a)] {
            let mut state = self.lock();
            let between = state.between.entry(pair).or_default();
            between.cut = false;
            between.ways.iter().for_each(Way::release);
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
    fn list(&mut self, way: Way) {
        if self.ways.len() >= self.length_max {
            self.ways.retain(Way::is_alive);
            self.length_max = LIST_MIN.max(self.ways.len() * 2);
        }
        self.ways.push(way);
    }
}

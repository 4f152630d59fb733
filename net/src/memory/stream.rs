//! One end of a TCP connection in memory, with those who wait at it.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::BufMut;
use tokio::{task::coop, time};

use super::{
    connection::{Connection, Readiness, Side},
    waiters::Waiters,
};

/// An end that is held. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Stream {
    shared: Arc<Shared>,
    side: Side,
    local: SocketAddr,
    peer: SocketAddr,
}

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    connection: Connection,
    /// By side.
    waiters: [Waiters; 2],
}

/// One direction of a connection that the network may cut; outlives neither of its ends.
#[derive(Debug, Clone)]
pub(super) struct Direction {
    shared: Weak<Shared>,
    from: Side,
}

/// Both ends of a new connection.
pub(super) fn connect(dialler: SocketAddr, listener: SocketAddr) -> (Stream, Stream) {
    let shared = Arc::<Shared>::default();
    let near = Stream { shared: shared.clone(), side: Side::Dialler, local: dialler, peer: listener };
    (near, Stream { shared, side: Side::Listener, local: listener, peer: dialler })
}

impl Stream {
    /// The same end under other spellings of its addresses.
    pub(super) fn seen_as(mut self, local: SocketAddr, peer: SocketAddr) -> Self {
        (self.local, self.peer) = (local, peer);
        self
    }

    /// The direction that begins here, and the one that ends here.
    pub(super) fn ways(&self) -> (Direction, Direction) {
        let way = |from| Direction { shared: Arc::downgrade(&self.shared), from };
        (way(self.side), way(self.side.other()))
    }

    pub(crate) async fn readable(&self) {
        self.ready(|r| r.readable).await;
    }

    pub(crate) async fn writable(&self) {
        self.ready(|r| r.writable).await;
    }

    pub(crate) async fn broken(&self) {
        self.ready(|r| r.broken).await;
    }

    pub(crate) fn try_read(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        self.shared.change(|c| c.read(self.side, buffer))
    }

    pub(crate) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.shared.change(|c| c.write(self.side, slices))
    }

    pub(crate) fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut impl BufMut) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_ready(cx, |r| r.readable));
            match self.try_read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_ready(cx, |r| r.writable));
            match self.try_write(slices) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    pub(crate) fn shutdown_write(&self) {
        self.shared.change(|c| c.finish(self.side));
    }

    pub(crate) fn abort(self) {
        self.shared.change(|c| c.abort(self.side));
    }

    pub(crate) async fn abort_when_sent(self, wait: Duration) {
        // However this ends, and even if this future is dropped, the close is a hard one.
        let held = HardClose(self);
        let _ = time::timeout(wait, held.0.ready(|r| r.sent)).await;
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    async fn ready(&self, is: fn(Readiness) -> bool) {
        poll_fn(|cx| self.poll_ready(cx, is)).await;
    }

    /// Takes part in the runtime's fairness, as sockets of the operating system do.
    fn poll_ready(&self, cx: &mut Context<'_>, is: fn(Readiness) -> bool) -> Poll<()> {
        let turn = ready!(coop::poll_proceed(cx));
        let mut state = self.shared.lock();
        if !is(state.connection.readiness(self.side)) {
            state.waiters[self.side as usize].add(cx);
            return Poll::Pending;
        }
        turn.made_progress();
        Poll::Ready(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.change(|c| c.close(self.side));
    }
}

/// Aborts its stream when it is dropped.
struct HardClose(Stream);

impl Drop for HardClose {
    fn drop(&mut self) {
        self.0.shared.change(|c| c.abort(self.0.side));
    }
}

impl Direction {
    /// Lets nothing through.
    pub(super) fn hold(&self) {
        self.change(Connection::hold);
    }

    /// Lets everything through again.
    pub(super) fn release(&self) {
        self.change(Connection::release);
    }

    /// False once both ends are gone.
    pub(super) fn is_alive(&self) -> bool {
        self.shared.strong_count() > 0
    }

    fn change(&self, act: fn(&mut Connection, Side)) {
        if let Some(shared) = self.shared.upgrade() {
            shared.change(|c| act(c, self.from));
        }
    }
}

impl Shared {
    /// Changes the connection, then wakes each end that can do something it could not do before.
    fn change<T>(&self, act: impl FnOnce(&mut Connection) -> T) -> T {
        let mut state = self.lock();
        let before = Side::BOTH.map(|side| state.connection.readiness(side));
        let done = act(&mut state.connection);
        let mut woken = [Waiters::default(), Waiters::default()];
        for (side, before) in Side::BOTH.into_iter().zip(before) {
            if state.connection.readiness(side).gained_over(before) {
                woken[side as usize] = state.waiters[side as usize].take();
            }
        }
        drop(state);
        woken.into_iter().for_each(Waiters::wake);
        done
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

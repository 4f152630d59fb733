//! The accounts of addresses, over all listeners of the edge: a bounded table, and what a session holds of it.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use lru::LruCache;
use protocol::limiter::Limiter;

use super::proof::{Account, BEYOND_ALL};

/// Most addresses known at once (about 4 MiB). Beyond it the one longest unheard of is forgotten, and has to prove itself
/// again; what it may be sent then is still within what its listener gives to all.
const SOURCES_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("above zero");

/// What is known of addresses that use this edge.
#[derive(Debug)]
pub struct Sources(Mutex<LruCache<IpAddr, Arc<Mutex<Account>>>>);

/// What the unproven addresses of one listener share.
#[derive(Debug, Clone)]
pub(super) struct Everybody(Arc<Limiter>);

/// Where a session's address stands.
#[derive(Debug)]
pub(super) struct Standing {
    account: Arc<Mutex<Account>>,
    everybody: Everybody,
    /// Once proven, a session stays so: then nothing is shared any more.
    proven: bool,
}

impl Default for Sources {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(SOURCES_MAX)))
    }
}

impl Sources {
    /// The address has completed a TCP handshake with this edge, which nobody does who does not receive there.
    pub(in crate::listener) fn handshake(&self, address: IpAddr, now: Instant) {
        lock(&self.of(address)).prove(now);
    }

    /// For a session that begins.
    pub(super) fn standing(&self, address: IpAddr, everybody: &Everybody) -> Standing {
        let account = self.of(address);
        Standing { account, everybody: everybody.clone(), proven: false }
    }

    fn of(&self, address: IpAddr) -> Arc<Mutex<Account>> {
        let new = || Arc::new(Mutex::new(Account::default()));
        lock(&self.0).get_or_insert(one_holder(address), new).clone()
    }
}

impl Default for Everybody {
    fn default() -> Self {
        Self(Arc::new(Limiter::new(BEYOND_ALL)))
    }
}

impl Standing {
    /// A payload came from the address.
    pub(super) fn heard(&mut self, bytes: usize) {
        if self.proven {
            return;
        }
        let now = Instant::now();
        let mut account = lock(&self.account);
        account.heard(now, bytes);
        self.proven = account.is_proven(now);
    }

    /// Whether this answer may be sent; it counts as sent then.
    pub(super) fn may_answer(&self, bytes: usize) -> bool {
        self.proven || lock(&self.account).may_answer(Instant::now(), bytes, &self.everybody.0)
    }
}

/// Whoever has an address of IPv6 has all of its /64.
pub(super) fn one_holder(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// Short sections, in which nothing panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn sessions_of_one_address_share_what_is_known_of_it() {
        let sources = Sources::default();
        let everybody = Everybody::default();
        let mut one = sources.standing(ip("192.0.2.1"), &everybody);
        one.heard(10);
        assert!(one.may_answer(65_000));
        assert!(!one.may_answer(65_000));
        let mut two = sources.standing(ip("::ffff:192.0.2.1"), &everybody);
        two.heard(10);
        assert!((0..100).all(|_| two.may_answer(65_000)), "it went on, if from another port");
    }

    #[test]
    fn a_tcp_handshake_proves_the_address_and_no_other() {
        let (sources, now) = (Sources::default(), Instant::now());
        let everybody = Everybody::default();
        sources.handshake(ip("2001:db8:1:2::3"), now);
        let standing = |address| {
            let mut standing = sources.standing(ip(address), &everybody);
            standing.heard(10);
            standing
        };
        assert!(standing("2001:db8:1:2::4").proven, "the same holder");
        assert!(!standing("2001:db8:1:3::3").proven);
    }
}

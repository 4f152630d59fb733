//! Handshakes and registrations under way: how many there are, in all and from one source, and who may begin another.
//!
//! Pure but for its lock. It knows addresses and numbers, no connection.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Under way beyond which an address must prove itself by a Retry first.
const FREE: usize = 100;
/// Under way that an edge finishes, however little processor time it is given. From there on it takes no more than it can
/// begin in [`LATE`]: whoever is served late gives up half way, and the work is lost; whoever is turned away comes again.
const ALWAYS: usize = 64;
/// An edge that comes to a connection later than this has more work than it can do in time.
const LATE: Duration = Duration::from_secs(1);
/// Under way beyond which one source has no more than its share.
const CROWDED: usize = 1_000;
/// Share of one source then. More than [`FREE`], so that nobody uses it up with another's address.
const SHARE: usize = 200;
/// Under way beyond which nobody is answered.
const MAX: usize = 2_000;

/// Everybody half way in.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// Who asks to come in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    pub(super) address: IpAddr,
    /// It has shown that it receives what is sent there.
    pub(super) is_proven: bool,
}

/// What is to be done with somebody.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Serve, and keep this until it is half way in no more.
    Serve(Place),
    /// Have the address prove itself.
    Retry,
    /// Turn away.
    Refuse,
}

/// A place in the crowd; left when dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    source: IpAddr,
}

impl Crowd {
    pub(super) fn judge(self: &Arc<Self>, asking: Asking) -> Verdict {
        let source = source(asking.address);
        let mut counts = self.lock();
        let of_source = counts.by_source.get(&source).copied().unwrap_or_default();
        if counts.all >= MAX || (counts.all >= CROWDED && of_source >= SHARE) {
            return Verdict::Refuse;
        }
        if counts.all >= FREE && !asking.is_proven {
            return Verdict::Retry;
        }
        counts.all += 1;
        counts.by_source.insert(source, of_source + 1);
        drop(counts);
        Verdict::Serve(Place { crowd: self.clone(), source })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Nothing that panics runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// True if whoever has this place would not be served in time, since its turn came only after `waited`.
    pub(super) fn is_hopeless(&self, waited: Duration) -> bool {
        waited > LATE && self.crowd.lock().all > ALWAYS
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.lock();
        counts.all -= 1;
        let left = counts.by_source.get(&self.source).map_or(0, |count| count - 1);
        if left == 0 {
            counts.by_source.remove(&self.source);
        } else {
            counts.by_source.insert(self.source, left);
        }
    }
}

/// Whom an address belongs to: with IPv6, whoever has one has its whole /64.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proven(address: &str) -> Asking {
        Asking { address: address.parse().expect("an address"), is_proven: true }
    }

    fn unproven(address: &str) -> Asking {
        Asking { is_proven: false, ..proven(address) }
    }

    /// As many places as there are for this one, of `wanted`.
    fn places(crowd: &Arc<Crowd>, asking: Asking, wanted: usize) -> Vec<Place> {
        let place = |verdict| match verdict {
            Verdict::Serve(place) => Some(place),
            Verdict::Retry | Verdict::Refuse => None,
        };
        (0..wanted).map_while(|_| place(crowd.judge(asking))).collect()
    }

    #[test]
    fn beyond_a_hundred_an_address_proves_itself_first() {
        let crowd = Arc::default();
        let held = places(&crowd, unproven("192.0.2.1"), 1000);
        assert_eq!(held.len(), FREE);
        assert!(matches!(crowd.judge(unproven("192.0.2.2")), Verdict::Retry));
        assert!(matches!(crowd.judge(proven("192.0.2.2")), Verdict::Serve(_)));
        drop(held);
        assert!(matches!(crowd.judge(unproven("192.0.2.2")), Verdict::Serve(_)), "places are given back");
        let counts = crowd.lock();
        assert_eq!((counts.all, counts.by_source.len()), (0, 0), "and nothing is remembered");
    }

    #[test]
    fn one_source_cannot_take_all_places_from_the_others() {
        let crowd = Arc::default();
        let hoarder = places(&crowd, proven("192.0.2.1"), 5000);
        assert_eq!(hoarder.len(), CROWDED);
        assert_eq!(places(&crowd, proven("192.0.2.1"), 1).len(), 0);
        assert_eq!(places(&crowd, proven("::ffff:192.0.2.1"), 1).len(), 0, "another form of the same");
        let others: Vec<_> = (1..=4).flat_map(|n| places(&crowd, proven(&format!("198.51.100.{n}")), 5000)).collect();
        assert_eq!(others.len(), 4 * SHARE);
        let last = places(&crowd, proven("203.0.113.1"), 5000);
        assert_eq!(hoarder.len() + others.len() + last.len(), MAX);
        assert!(matches!(crowd.judge(proven("203.0.113.2")), Verdict::Refuse));
    }

    #[test]
    fn late_turns_are_hopeless_only_while_there_are_many() {
        let crowd = Arc::default();
        let mut held = places(&crowd, proven("192.0.2.1"), ALWAYS + 1);
        let last = held.pop().expect("one more than always");
        assert!(last.is_hopeless(LATE * 2));
        assert!(!last.is_hopeless(LATE));
        held.pop();
        assert!(!last.is_hopeless(LATE * 2), "few are served however late");
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        assert_eq!(source("2001:db8::1".parse().expect("one")), source("2001:db8::ffff:1".parse().expect("one")));
        assert_ne!(source("2001:db8::1".parse().expect("one")), source("2001:db8:0:1::1".parse().expect("one")));
    }
}

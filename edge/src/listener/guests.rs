//! Whom a listener admits, and how much of it each client has: flows at once, and how often they begin or ask. A bounded table;
//! it knows no flow.

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use lru::LruCache;
use protocol::limiter::Limiter;

use super::sources::one_holder;
use crate::{
    metrics::RefusedFlow,
    model::{Admission, Held, Rate},
};

/// Most clients of a listener that are known at once (about 8 MiB). Beyond it the one longest unheard of is forgotten, and begins
/// anew with nothing counted.
const GUESTS_MAX: NonZeroUsize = NonZeroUsize::new(32_768).expect("above zero");

/// The clients of one listener, as far as it bounds what each may have.
#[derive(Debug)]
pub(super) struct Guests {
    all: Meter,
    /// Nobody, unless each client has a bound of its own.
    table: Mutex<LruCache<IpAddr, Arc<Guest>>>,
}

/// What one client has.
#[derive(Debug, Default)]
struct Guest {
    open: Arc<AtomicUsize>,
    flows: Meter,
    requests: Meter,
}

/// A flow that is admitted: it counts for as long as this lives.
#[derive(Debug)]
pub(super) struct Admitted {
    _at_listener: Held,
    _of_source: Option<Held>,
}

/// How often something happens, against a rate that a reload may change.
#[derive(Debug, Default)]
struct Meter(Mutex<Option<(Rate, Limiter)>>);

impl Default for Guests {
    fn default() -> Self {
        // It grows as it is used.
        let mut table = LruCache::unbounded();
        table.resize(GUESTS_MAX);
        Self { all: Meter::default(), table: Mutex::new(table) }
    }
}

impl Guests {
    /// Admits a flow of a client, which counts at the listener already.
    ///
    /// # Errors
    /// Why it is not admitted. What a client may not have of its own takes nothing from others.
    pub(super) fn admit(
        &self,
        admission: &Admission,
        (client, held): (IpAddr, Held),
        now: Instant,
    ) -> Result<Admitted, RefusedFlow> {
        if !admission.admits(client) {
            return Err(RefusedFlow::Denied);
        }
        let guest = admission.knows_sources().then(|| self.of(client));
        if let Some(guest) = &guest {
            let may_have = admission.connections_per_source.unwrap_or(usize::MAX);
            if guest.open.load(Ordering::Relaxed) >= may_have {
                return Err(RefusedFlow::ConnectionsPerSource);
            }
            if !guest.flows.takes(admission.rate_per_source, now) {
                return Err(RefusedFlow::RatePerSource);
            }
        }
        if !self.all.takes(admission.rate, now) {
            return Err(RefusedFlow::Rate);
        }
        Ok(Admitted { _at_listener: held, _of_source: guest.map(|guest| Held::new(&guest.open)) })
    }

    /// Whether a client may ask once more.
    pub(super) fn may_ask(&self, admission: &Admission, client: IpAddr, now: Instant) -> bool {
        let Some(rate) = admission.requests_per_source else { return true };
        self.of(client).requests.takes(Some(rate), now)
    }

    fn of(&self, client: IpAddr) -> Arc<Guest> {
        lock(&self.table).get_or_insert(one_holder(client), Arc::default).clone()
    }
}

impl Meter {
    /// Counts one more, if the rate has room for it.
    fn takes(&self, rate: Option<Rate>, now: Instant) -> bool {
        let Some(rate) = rate else { return true };
        let mut metered = lock(&self.0);
        let known = metered.take().filter(|(of, _)| *of == rate);
        let (_, limiter) = metered.insert(known.unwrap_or_else(|| (rate, Limiter::counting(rate.count, rate.per))));
        limiter.take(now, 1)
    }
}

/// Short sections, in which nothing panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn rate(count: u32) -> Option<Rate> {
        Some(Rate { count: NonZeroU32::new(count).expect("above zero"), per: Duration::from_secs(1) })
    }

    /// What becomes of so many flows that come at once, each from its own of these clients in turn.
    fn admitted(admission: &Admission, clients: &[&str], count: usize) -> (Vec<Admitted>, Vec<RefusedFlow>) {
        let (guests, counter, now) = (Guests::default(), Arc::default(), Instant::now());
        let mut outcome = (Vec::new(), Vec::new());
        for client in clients.iter().cycle().take(count) {
            match guests.admit(admission, (ip(client), Held::new(&counter)), now) {
                Ok(admitted) => outcome.0.push(admitted),
                Err(why) => outcome.1.push(why),
            }
        }
        assert_eq!(counter.load(Ordering::Relaxed), outcome.0.len(), "what is refused counts no more");
        outcome
    }

    #[test]
    fn a_client_has_so_many_at_once_and_a_new_one_for_each_that_ends() {
        let admission = Admission { connections_per_source: Some(2), ..Admission::default() };
        let (open, refused) = admitted(&admission, &["192.0.2.1", "::ffff:192.0.2.1"], 5);
        assert_eq!((open.len(), &refused[..]), (2, &[RefusedFlow::ConnectionsPerSource; 3][..]));
        assert_eq!(admitted(&admission, &["192.0.2.1", "192.0.2.2"], 4).0.len(), 4, "each has its own");
        assert_eq!(admitted(&admission, &["2001:db8::1", "2001:db8::2"], 4).0.len(), 2, "a /64 is one client");

        let (guests, counter, now) = (Guests::default(), Arc::default(), Instant::now());
        let admit = || guests.admit(&admission, (ip("192.0.2.1"), Held::new(&counter)), now);
        let (one, _two) = (admit().expect("the first"), admit().expect("the second"));
        assert!(admit().is_err());
        drop(one);
        assert!(admit().is_ok());
    }

    #[test]
    fn whoever_comes_too_often_takes_nothing_from_others() {
        let admission = Admission { rate: rate(10), rate_per_source: rate(3), ..Admission::default() };
        let (guests, counter, now) = (Guests::default(), Arc::default(), Instant::now());
        let admit = |client: &str| guests.admit(&admission, (ip(client), Held::new(&counter)), now).map(drop);
        for _ in 0..3 {
            assert_eq!(admit("192.0.2.1"), Ok(()));
        }
        for _ in 0..100 {
            assert_eq!(admit("192.0.2.1"), Err(RefusedFlow::RatePerSource));
        }
        for other in 2..9 {
            assert_eq!(admit(&format!("192.0.2.{other}")), Ok(()));
        }
        assert_eq!(admit("192.0.2.9"), Err(RefusedFlow::Rate));
    }

    #[test]
    fn a_rate_that_a_reload_changes_counts_anew() {
        let (guests, now) = (Guests::default(), Instant::now());
        let may_ask = |count| {
            let admission = Admission { requests_per_source: rate(count), ..Admission::default() };
            (0..10).filter(|_| guests.may_ask(&admission, ip("192.0.2.1"), now)).count()
        };
        assert_eq!([may_ask(2), may_ask(2), may_ask(5)], [2, 0, 5]);
    }

    #[test]
    fn no_more_clients_are_known_than_there_is_room_for() {
        let admission = Admission { requests_per_source: rate(1), ..Admission::default() };
        let (guests, now) = (Guests::default(), Instant::now());
        for client in 0..GUESTS_MAX.get() as u32 + 10 {
            assert!(guests.may_ask(&admission, IpAddr::V4(client.into()), now));
        }
        assert_eq!(lock(&guests.table).len(), GUESTS_MAX.get());
        assert!(!guests.may_ask(&admission, IpAddr::V4((GUESTS_MAX.get() as u32).into()), now));
    }
}

//! Several addresses of one name: begun one a little after the other, and the first that answers wins (RFC 8305).
//!
//! It opens nothing itself: callers say what an attempt is.

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use lru::LruCache;
use tokio::time::{self, Instant};

/// From the beginning of one attempt to that of the next, unless one fails sooner (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// How long an address that lost its race in silence is begun last.
const SILENT_FOR: Duration = Duration::from_secs(60);
/// Most such addresses; beyond, the oldest is forgotten, and costs somebody a stagger again.
const SILENT_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("above zero");

/// Races addresses, and remembers which were silent.
#[derive(Debug, Clone)]
pub struct Racer(Arc<Mutex<LruCache<IpAddr, Instant>>>);

impl Default for Racer {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(SILENT_MAX))))
    }
}

impl Racer {
    /// What the first successful attempt gives; else the address and the error of the attempt that failed last, or none if
    /// there is no address. Every attempt has begun within `wait`; it never ends by itself while one of them is silent.
    ///
    /// # Errors
    /// See above.
    pub async fn race<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        addresses: Vec<IpAddr>,
        wait: Duration,
        attempt: impl Fn(IpAddr) -> F,
    ) -> Result<T, Option<(IpAddr, E)>> {
        let stagger = STAGGER.min(wait / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX));
        let mut waiting = self.in_order(addresses).into_iter().peekable();
        let mut begun: Vec<(IpAddr, Instant)> = Vec::new();
        let mut under_way = FuturesUnordered::new();
        let mut turn = pin!(time::sleep(Duration::ZERO));
        let mut last = None;
        loop {
            tokio::select! {
                biased;
                Some((address, outcome)) = under_way.next(), if !under_way.is_empty() => match outcome {
                    Ok(won) => {
                        self.note(address, &begun, stagger);
                        return Ok(won);
                    }
                    Err(error) => {
                        begun.retain(|(other, _)| *other != address);
                        last = Some((address, error));
                        turn.as_mut().reset(Instant::now());
                    }
                },
                () = &mut turn, if waiting.peek().is_some() => {
                    turn.as_mut().reset(Instant::now() + stagger);
                    if let Some(address) = waiting.next() {
                        begun.push((address, Instant::now()));
                        let attempt = attempt(address);
                        under_way.push(async move { (address, attempt.await) });
                    }
                }
                else => return Err(last),
            }
        }
    }

    /// The order to begin in: the families by turns, as the resolver has them otherwise; those known to be silent last.
    #[must_use]
    pub fn in_order(&self, addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        let now = Instant::now();
        let mut addresses = by_turns(addresses);
        let silent = self.lock();
        let is_silent = |address: &IpAddr| silent.peek(address).is_some_and(|until| now < *until);
        addresses.sort_by_key(is_silent);
        addresses
    }

    /// Notes that nobody answers there: it is begun last for a while.
    pub fn unanswered(&self, address: IpAddr) {
        self.lock().put(address, Instant::now() + SILENT_FOR);
    }

    /// Notes that somebody answers there.
    pub fn answered(&self, address: IpAddr) {
        self.lock().pop(&address);
    }

    /// Notes who has answered, and who has not although it had a whole stagger more.
    fn note(&self, winner: IpAddr, begun: &[(IpAddr, Instant)], stagger: Duration) {
        let now = Instant::now();
        let mut silent = self.lock();
        silent.pop(&winner);
        for (address, since) in begun {
            if *address != winner && now.saturating_duration_since(*since) >= stagger {
                silent.put(*address, now + SILENT_FOR);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<IpAddr, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of each family after the other, beginning with the first's (RFC 8305 section 4).
fn by_turns(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (first, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut other) = (first.into_iter(), other.into_iter());
    let mut mixed = Vec::new();
    loop {
        let pair = [first.next(), other.next()];
        if pair == [None, None] {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const WAIT: Duration = Duration::from_secs(3);

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    /// Answers, refuses or is silent, as its last octet says: 1, 2, 3; 4 answers after 10 ms.
    async fn dial(address: IpAddr) -> Result<IpAddr, &'static str> {
        let IpAddr::V4(v4) = address else { return Err("no route") };
        match v4.octets()[3] % 10 {
            1 => Ok(address),
            2 => Err("refused"),
            3 => pending().await,
            _ => {
                let _ = time::timeout(Duration::from_millis(10), pending::<()>()).await;
                Ok(address)
            }
        }
    }

    async fn raced(racer: &Racer, lasts: &[u8], wait: Duration) -> (Option<u8>, u128) {
        let began = Instant::now();
        let addresses = lasts.iter().map(|last| ip(*last)).collect();
        let won = time::timeout(wait, racer.race(addresses, wait, dial)).await;
        let won = won.ok().and_then(Result::ok);
        (lasts.iter().copied().find(|last| won == Some(ip(*last))), began.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_answers_wins_and_silence_costs_a_stagger() {
        for (lasts, winner, after) in [
            (&[1, 11][..], Some(1), 0),
            (&[3, 1], Some(1), 250),
            (&[3, 13, 1], Some(1), 500),
            (&[2, 1], Some(1), 0),
            (&[3, 2, 1], Some(1), 250),
            (&[3, 4], Some(4), 260),
            (&[3, 13], None, 3_000),
        ] {
            assert_eq!(raced(&Racer::default(), lasts, WAIT).await, (winner, after), "{lasts:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_address_has_its_turn_within_the_wait() {
        let eight = [3, 13, 23, 33, 43, 53, 63, 1];
        assert_eq!(raced(&Racer::default(), &eight, Duration::from_millis(80)).await, (Some(1), 70));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_was_silent_is_begun_last_for_a_while() {
        let racer = Racer::default();
        assert_eq!(raced(&racer, &[3, 1], WAIT).await, (Some(1), 250));
        assert_eq!(raced(&racer, &[3, 1], WAIT).await, (Some(1), 0));
        assert_eq!(raced(&racer, &[3, 13], WAIT).await, (None, 3_000), "nobody else is left");
        time::advance(SILENT_FOR).await;
        assert_eq!(raced(&racer, &[3, 1], WAIT).await, (Some(1), 250));
    }

    #[tokio::test(start_paused = true)]
    async fn who_loses_by_a_hair_is_not_called_silent() {
        let racer = Racer::default();
        assert_eq!(raced(&racer, &[4, 1], Duration::from_millis(2)).await.0, Some(1));
        assert_eq!(racer.in_order(vec![ip(4), ip(1)]), [ip(1), ip(4)], "it had its stagger of 1 ms");
        let racer = Racer::default();
        assert_eq!(raced(&racer, &[4, 11], WAIT).await, (Some(4), 10));
        assert_eq!(racer.in_order(vec![ip(4), ip(11)]), [ip(4), ip(11)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_last_is_told() {
        let racer = Racer::default();
        assert_eq!(racer.race(vec![ip(2), ip(12)], WAIT, dial).await, Err(Some((ip(12), "refused"))));
        assert_eq!(racer.race(Vec::new(), WAIT, dial).await, Err(None));
    }

    #[test]
    fn the_families_take_turns() {
        let [a, b, c] = [1, 2, 3].map(ip);
        let [x, y] = [1, 2].map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]));
        assert_eq!(by_turns(vec![x, y, a, b, c]), [x, a, y, b, c]);
        assert_eq!(by_turns(vec![a, b, x]), [a, x, b]);
        assert_eq!(by_turns(Vec::new()), [] as [IpAddr; 0]);
    }
}

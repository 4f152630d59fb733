//! How often a link may change what it claims: each change is a new view of all links. It decides when, and judges nothing.

use std::time::Duration;

use protocol::control::Claims;
use tokio::time::{self, Instant};

/// From one change of a link's claims to the next.
const CLAIMS_EVERY: Duration = Duration::from_millis(50);

/// What a link claims next, and when that may be.
#[derive(Debug, Default)]
pub(super) struct Pace {
    next: Option<Claims>,
    /// Not before.
    at: Option<Instant>,
}

/// The connector has not waited for the answer to what it claimed last.
#[derive(Debug)]
pub(super) struct Unanswered;

impl Pace {
    /// Takes claims that have come.
    pub(super) fn take(&mut self, claims: Claims) -> Result<(), Unanswered> {
        match self.next.replace(claims) {
            None => Ok(()),
            Some(_) => Err(Unanswered),
        }
    }

    /// Waits for claims, and until it is their time.
    pub(super) async fn due(&mut self) -> Claims {
        if self.next.is_none() {
            std::future::pending::<()>().await;
        }
        if let Some(at) = self.at {
            time::sleep_until(at).await;
        }
        self.at = Some(Instant::now() + CLAIMS_EVERY);
        self.next.take().expect("looked for above")
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn claims(links: u16) -> Claims {
        Claims { links, routes: Vec::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_change_is_at_once_and_the_next_a_moment_later() {
        let (mut pace, began) = (Pace::default(), Instant::now());
        assert!(pace.due().now_or_never().is_none(), "nothing has come");
        pace.take(claims(1)).expect("the first");
        assert_eq!(pace.due().await, claims(1));
        assert_eq!(began.elapsed(), Duration::ZERO);
        pace.take(claims(2)).expect("the one before was taken");
        assert!(pace.due().now_or_never().is_none());
        assert!(pace.take(claims(3)).is_err(), "the one before is not answered");
        assert_eq!(pace.due().await, claims(3));
        assert!(began.elapsed() >= CLAIMS_EVERY, "{:?}", began.elapsed());
    }
}

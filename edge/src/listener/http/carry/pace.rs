//! How patient the edge is with a client, and above all with one whose body dawdles.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::model::HttpSettings;

/// What a listener says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// How long a client may take nothing, and how far its body may fall behind; nothing is saved up beyond it.
    pub(crate) wait: Duration,
    /// The slowest pace of a body, in bytes a second; at 0 each wait has all of `wait`.
    pub(crate) pace: u64,
}

impl From<&HttpSettings> for Patience {
    fn from(settings: &HttpSettings) -> Self {
        Self { wait: settings.client_timeout, pace: settings.upload_pace }
    }
}

/// How far a body is behind.
#[derive(Debug)]
pub(crate) struct Pace {
    patience: Patience,
    /// How long the next wait may be.
    left: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Pace {
    /// At the beginning.
    pub(crate) fn new(patience: Patience) -> Self {
        Self { patience, left: patience.wait, waiting: None }
    }

    /// Waits for the moment when the body is too late, unless something comes.
    pub(crate) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.left;
        let (_, sleep) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(sleep_until(now + left)))
        });
        sleep.as_mut().poll(cx)
    }

    /// So many bytes have come.
    pub(crate) fn came(&mut self, bytes: u64) {
        let Patience { wait, pace } = self.patience;
        if let Some((since, _)) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        let earned = bytes.saturating_mul(1000).checked_div(pace).map_or(wait, Duration::from_millis);
        self.left = self.left.saturating_add(earned).min(wait);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);
    const PLAIN: Patience = Patience { wait: Duration::from_secs(60), pace: 500 };

    /// How long a body is borne of which so many bytes come every `every`, at most an hour.
    async fn borne(pace: &mut Pace, bytes: u64, every: Duration) -> Duration {
        let started = Instant::now();
        while started.elapsed() < HOUR {
            if time::timeout(every, poll_fn(|cx| pace.poll_late(cx))).await.is_ok() {
                break;
            }
            pace.came(bytes);
        }
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_dribbles_is_late_whatever_its_bytes() {
        let Patience { wait, pace } = PLAIN;
        let late = borne(&mut Pace::new(PLAIN), 1, SECOND).await;
        assert!(late >= wait && late <= wait + SECOND, "{late:?}");
        let late = borne(&mut Pace::new(PLAIN), pace / 2, SECOND).await;
        assert!(late >= wait * 2 - SECOND && late <= wait * 2 + SECOND, "half the pace lasts twice as long: {late:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_borne_for_as_long_as_it_comes() {
        assert!(borne(&mut Pace::new(PLAIN), PLAIN.pace, SECOND).await >= HOUR);
        assert!(borne(&mut Pace::new(PLAIN), 5 * PLAIN.pace, SECOND * 5).await >= HOUR, "in bursts too");
    }

    #[tokio::test(start_paused = true)]
    async fn fast_bytes_do_not_pay_for_a_long_silence_later() {
        let mut pace = Pace::new(PLAIN);
        for _ in 0..100 {
            assert!(time::timeout(SECOND, poll_fn(|cx| pace.poll_late(cx))).await.is_err());
            pace.came(10 << 20);
        }
        assert_eq!(borne(&mut pace, 0, HOUR).await, PLAIN.wait);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_pace_a_byte_within_the_wait_is_enough() {
        let patience = Patience { pace: 0, ..PLAIN };
        assert!(borne(&mut Pace::new(patience), 1, PLAIN.wait - SECOND).await >= HOUR);
        assert_eq!(borne(&mut Pace::new(patience), 1, PLAIN.wait + SECOND).await, PLAIN.wait);
    }
}

//! An HTTP/2 answer that its client does not take: given up after a while, so that it holds neither memory nor an origin.
//!
//! Each stream is a task of its own, which asks a body for no more while the client's window is closed. So the
//! body notes when it has handed something over, and the stream's task is watched from beside it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

tokio::task_local! {
    static DRAIN: Arc<Drain>;
}

/// When the part of an answer was handed over that the client has not taken yet.
#[derive(Debug, Default)]
struct Drain(Mutex<Handed>);

#[derive(Debug, Default)]
struct Handed {
    since: Option<Instant>,
    given_up: bool,
}

/// More of the answer is asked for: what was handed over has been taken.
pub(crate) fn asked() {
    let _ = DRAIN.try_with(|drain| drain.note(None));
}

/// A part of the answer was handed over.
pub(crate) fn handed() {
    let _ = DRAIN.try_with(|drain| drain.note(Some(Instant::now())));
}

/// True for what ends because its client took nothing.
pub(crate) fn is_given_up() -> bool {
    DRAIN.try_with(|drain| drain.handed().given_up).unwrap_or(false)
}

impl Drain {
    fn handed(&self) -> MutexGuard<'_, Handed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, since: Option<Instant>) {
        self.handed().since = since;
    }

    /// Completes once something was left untaken for too long.
    async fn stalled(&self, wait: Duration) {
        loop {
            let now = Instant::now();
            let due = self.handed().since.unwrap_or(now) + wait;
            if due <= now {
                self.handed().given_up = true;
                return;
            }
            sleep_until(due).await;
        }
    }
}

/// Runs a stream's task until it ends or its client takes nothing for so long. A task that is given up takes its stream with it, which
/// resets it.
pub(crate) async fn watch(stream: impl Future<Output = ()>, wait: Duration) {
    let drain = Arc::new(Drain::default());
    tokio::select! {
        () = DRAIN.scope(drain.clone(), stream) => {}
        () = drain.stalled(wait) => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::oneshot, time};

    use super::*;

    const WAIT: Duration = Duration::from_secs(60);

    /// Runs a stream that hands something over every `every` and is asked for more at once, so many times, and then waits.
    async fn lasts(every: Duration, times: u32) -> Duration {
        let (alive, dead) = oneshot::channel::<()>();
        let started = Instant::now();
        tokio::spawn(watch(
            async move {
                let _alive = alive;
                for _ in 0..times {
                    asked();
                    let _ = time::timeout(every, std::future::pending::<()>()).await;
                    handed();
                }
                std::future::pending::<()>().await;
            },
            WAIT,
        ));
        let _ = dead.await;
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_nobody_takes_is_given_up() {
        assert_eq!(lasts(Duration::ZERO, 1).await.as_secs(), WAIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_origin_is_not_the_clients_fault() {
        let origins_time = WAIT * 3;
        assert_eq!(lasts(origins_time, 2).await.as_secs(), (origins_time * 2 + WAIT).as_secs());
    }
}

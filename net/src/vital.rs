//! Tasks that a process is not itself without: begun anew after a panic where they can be, and the end of the process where
//! they cannot, so that whoever started it starts it again.
//!
//! Nothing that must run stops in silence: what has failed is counted, and unreadiness while it is not itself again. It
//! starts no task and knows none: callers spawn what they get back.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// A task that has run this long since it was begun anew is itself again. One that fails sooner begins again only after
/// this, so that a bug that strikes at once costs little.
const SETTLED: Duration = Duration::from_secs(1);

/// A future has panicked; the panic itself has been told where panics are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it panicked")]
pub struct Panicked;

/// Runs a future to its end, or to its panic.
///
/// # Errors
/// [`Panicked`].
pub async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        // What it has left half done is its owner's to judge: nothing of it is used here.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

/// What can be begun anew after a panic, from what others have published.
pub trait Lasting: Send {
    /// Runs until it is told to end.
    fn run(&mut self) -> impl Future<Output = ()> + Send;
}

impl<F, R> Lasting for F
where
    F: FnMut() -> R + Send,
    R: Future<Output = ()> + Send,
{
    fn run(&mut self) -> impl Future<Output = ()> + Send {
        self()
    }
}

/// How the vital tasks of a process fare; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Vital(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tasks: Mutex<BTreeMap<&'static str, Standing>>,
    lost: watch::Sender<Option<&'static str>>,
}

impl Default for Inner {
    fn default() -> Self {
        Self { tasks: Mutex::default(), lost: watch::Sender::new(None) }
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Standing {
    panics: u64,
    /// Of those that bear this name, how many are not themselves.
    ailing: usize,
}

impl Vital {
    /// Runs a task until it ends by itself; after each panic it is begun anew.
    pub async fn keep(self, name: &'static str, mut task: impl Lasting) {
        let mut ailing = None;
        loop {
            let begun = Instant::now();
            let settled = async {
                if ailing.is_some() {
                    time::sleep(SETTLED).await;
                    ailing = None;
                }
                std::future::pending::<()>().await;
            };
            let ended = {
                let running = caught(task.run());
                tokio::select! {
                    ended = running => ended,
                    () = settled => Ok(()),
                }
            };
            if ended.is_ok() {
                return;
            }
            self.panicked(name);
            ailing = Some(self.ailing(name));
            let wait = SETTLED.saturating_sub(begun.elapsed());
            warn!(task = name, after_ms = wait.as_millis(), "it failed and is begun anew");
            time::sleep(wait).await;
        }
    }

    /// Runs a task that must not end before `stop`: if it does, the process is lost.
    pub async fn need(self, name: &'static str, stop: CancellationToken, task: impl Future<Output = ()>) {
        match caught(task).await {
            Ok(()) if stop.is_cancelled() => return,
            Ok(()) => error!(task = name, "it ended before it was told to"),
            Err(Panicked) => self.panicked(name),
        }
        self.lose(name);
    }

    /// Counts a panic that somebody else has caught.
    pub fn panicked(&self, name: &'static str) {
        self.tasks().entry(name).or_default().panics += 1;
    }

    /// Says that the process can do no more without this, and is to end.
    pub fn lose(&self, name: &'static str) {
        self.0.lost.send_if_modified(|lost| lost.is_none() && lost.replace(name).is_none());
    }

    /// Waits until something is lost that cannot be begun anew, and says what.
    pub async fn lost(&self) -> &'static str {
        let mut lost = self.0.lost.subscribe();
        // The sender is ours.
        let name = lost.wait_for(Option::is_some).await.ok().and_then(|name| *name);
        name.unwrap_or("a task")
    }

    /// Whether something is lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.0.lost.borrow().is_some()
    }

    /// What is not itself now, in words.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let lost = self.0.lost.borrow().map(|name| format!("{name} failed: the process is about to end"));
        let tasks = self.tasks();
        let ailing = tasks.iter().filter(|(_, standing)| standing.ailing > 0);
        lost.into_iter().chain(ailing.map(|(name, _)| format!("{name} failed and is begun anew"))).collect()
    }

    /// How often each has panicked that ever did.
    #[must_use]
    pub fn panics(&self) -> Vec<(&'static str, u64)> {
        self.tasks().iter().map(|(name, standing)| (*name, standing.panics)).collect()
    }

    fn ailing(&self, name: &'static str) -> Ailing {
        self.tasks().entry(name).or_default().ailing += 1;
        Ailing(self.clone(), name)
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeMap<&'static str, Standing>> {
        // Nothing that panics runs under the lock.
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a task as not itself until dropped.
struct Ailing(Vital, &'static str);

impl Drop for Ailing {
    fn drop(&mut self) {
        self.0.tasks().entry(self.1).and_modify(|standing| standing.ailing -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Panics at its first so many runs, then lasts until it is told to end.
    fn clumsy(panics: usize, stop: &CancellationToken) -> (Arc<AtomicUsize>, impl Lasting + use<>) {
        let (runs, stop) = (Arc::new(AtomicUsize::new(0)), stop.clone());
        let counted = runs.clone();
        let task = move || {
            let (run, stop) = (counted.fetch_add(1, Ordering::Relaxed), stop.clone());
            async move {
                assert!(run >= panics, "clumsy");
                stop.cancelled().await;
            }
        };
        (runs, task)
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_begun_anew_and_is_not_well_until_it_has_settled() {
        let (vital, stop) = (Vital::default(), CancellationToken::new());
        let (runs, task) = clumsy(3, &stop);
        let kept = tokio::spawn(vital.clone().keep("the juggler", task));
        time::sleep(SETTLED / 2).await;
        assert_eq!(vital.complaints(), ["the juggler failed and is begun anew"]);
        time::sleep(SETTLED * 3).await;
        assert_eq!(runs.load(Ordering::Relaxed), 4, "not more often than once a second");
        assert_eq!(vital.complaints().len(), 1, "it has only just begun");
        time::sleep(SETTLED).await;
        assert!(vital.complaints().is_empty() && !vital.is_lost());
        assert_eq!(vital.panics(), [("the juggler", 3)]);
        stop.cancel();
        kept.await.expect("it ends when its task does");
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_begun_anew_is_the_end() {
        let stop = CancellationToken::new();
        for broken in [true, false] {
            let vital = Vital::default();
            vital.clone().need("the rope", stop.clone(), async move { assert!(!broken, "torn") }).await;
            assert_eq!(vital.lost().await, "the rope");
            assert_eq!(vital.complaints(), ["the rope failed: the process is about to end"]);
        }
        stop.cancel();
        let vital = Vital::default();
        vital.clone().need("the rope", stop, async {}).await;
        assert!(!vital.is_lost(), "it was told to end");
    }
}

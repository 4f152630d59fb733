//! Whether worker threads make progress: each is given a word to pass back, and has done so by the next look or has not.
//!
//! It is about the whole process, as whoever watches over that is, and costs nothing while nobody looks. It starts no thread and
//! decides nothing.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicBool, Ordering},
};

use tokio::runtime::Handle;

/// The runtimes that are looked at; those that have ended drop out.
static WATCHED: Mutex<Vec<Weak<Watched>>> = Mutex::new(Vec::new());

/// A runtime on a thread of its own. It is looked at until this is dropped.
#[derive(Debug)]
pub struct Watched {
    name: String,
    runtime: Handle,
    has_answered: Arc<AtomicBool>,
}

impl Watched {
    /// Has a runtime looked at from now on, under this name.
    #[must_use]
    pub fn enter(name: String, runtime: Handle) -> Arc<Self> {
        let watched = Arc::new(Self { name, runtime, has_answered: Arc::new(AtomicBool::new(true)) });
        all(|all| all.push(Arc::downgrade(&watched)));
        watched
    }

    /// Whether it has run what it was given at the last look. If so, it is given something anew: one that is stuck piles up
    /// nothing.
    fn has_moved(&self) -> bool {
        let has_moved = self.has_answered.swap(false, Ordering::Relaxed);
        if has_moved {
            let answer = self.has_answered.clone();
            self.runtime.spawn(async move { answer.store(true, Ordering::Relaxed) });
        }
        has_moved
    }
}

/// Looks at every runtime; the names of those that have run nothing since the last look.
#[must_use]
pub fn stuck() -> Vec<String> {
    let watched = all(|all| {
        all.retain(|one| one.strong_count() > 0);
        all.clone()
    });
    let watched = watched.iter().filter_map(Weak::upgrade);
    watched.filter(|one| !one.has_moved()).map(|one| one.name.clone()).collect()
}

fn all<T>(act: impl FnOnce(&mut Vec<Weak<Watched>>) -> T) -> T {
    // Nothing that panics runs under the lock.
    act(&mut WATCHED.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn a_runtime_that_runs_nothing_is_stuck_until_it_does() {
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let watched = Watched::enter("dawdler".to_owned(), runtime.handle().clone());
        let is_stuck = || stuck().iter().any(|name| name == "dawdler");
        assert!(!is_stuck(), "nothing was asked of it before");
        assert!(is_stuck() && is_stuck(), "nobody drives it");
        runtime.block_on(tokio::task::yield_now());
        assert!(!is_stuck());
        drop(watched);
        assert!(!is_stuck(), "it is not looked at any more");
    }
}

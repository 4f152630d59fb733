//! What HTTP listeners keep from one connection to the next.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::listener::http::origin::idle::Idle;

/// How often idle connections to origins are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What HTTP listeners keep: a part for every worker, so that none waits for another.
#[derive(Debug)]
pub struct Http {
    workers: Vec<Arc<Worker>>,
    next: AtomicUsize,
}

/// The part of one worker.
#[derive(Debug, Default)]
pub(in crate::listener) struct Worker {
    /// Connections to origins.
    pub(in crate::listener::http) idle: Arc<Idle>,
}

impl Http {
    /// One part for each of so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { workers: std::iter::repeat_with(Arc::default).take(workers.max(1)).collect(), next: AtomicUsize::new(0) }
    }

    /// Looks through idle connections now and then, for as long as anybody holds this.
    pub async fn sweep(this: Weak<Self>) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        loop {
            ticks.tick().await;
            let Some(this) = this.upgrade() else { return };
            let now = Instant::now();
            this.workers.iter().for_each(|worker| worker.idle.sweep(now));
        }
    }

    /// Closes every connection to an origin that nobody uses: files are used up.
    pub(in crate::listener) fn let_go_of_idle(&self) {
        self.workers.iter().for_each(|worker| worker.idle.clear());
    }

    /// What is kept on a worker.
    pub(in crate::listener) fn worker(&self, number: usize) -> Arc<Worker> {
        self.workers[number].clone()
    }

    /// The worker for the next connection.
    pub(in crate::listener) fn next_worker(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len()
    }
}

//! What a splice has carried so far, shared by its directions, and the limit on carrying nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time;

use super::{Carried, Ended};

#[derive(Debug, Default)]
pub(super) struct Progress {
    count: Count,
    reset: AtomicBool,
    totals: Option<Totals>,
}

/// What one flow has carried so far, for whoever must tell of it whatever becomes of the flow; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Count(Arc<Bytes>);

/// Each has one writer, so nothing need be locked.
#[derive(Debug, Default)]
struct Bytes {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Count {
    /// Bytes from the socket to the stream.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Bytes from the stream to the socket.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }
}

/// Counters that many flows add to while they run, so that a long flow shows before its end.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Bytes from the socket to the stream.
    pub sent: Arc<AtomicU64>,
    /// Bytes from the stream to the socket.
    pub received: Arc<AtomicU64>,
}

impl Progress {
    pub(super) fn new(count: Count, totals: Option<Totals>) -> Self {
        Self { count, totals, ..Self::default() }
    }

    pub(super) fn add_sent(&self, bytes: usize) {
        add(&self.count.0.sent, bytes);
        if let Some(totals) = &self.totals {
            totals.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn add_received(&self, bytes: usize) {
        add(&self.count.0.received, bytes);
        if let Some(totals) = &self.totals {
            totals.received.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// One side was reset; the rest is carried for the sake of what was sent before.
    pub(super) fn set_reset(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_reset(&self) -> bool {
        self.reset.load(Ordering::Relaxed)
    }

    pub(super) fn carried(&self, ended: Ended) -> Carried {
        let (sent, received) = self.counts();
        Carried { sent, received, ended }
    }

    /// Completes when nothing was carried for the limit, if there is one.
    pub(super) async fn idle(&self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        let mut before = self.counts();
        loop {
            time::sleep(limit).await;
            let now = self.counts();
            if now == before {
                return;
            }
            before = now;
        }
    }

    fn counts(&self) -> (u64, u64) {
        (self.count.sent(), self.count.received())
    }
}

fn add(total: &AtomicU64, bytes: usize) {
    total.store(total.load(Ordering::Relaxed) + bytes as u64, Ordering::Relaxed);
}

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
}

/// What one flow has carried so far, for whoever must tell of it whatever becomes of the flow; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Count {
    own: Arc<Bytes>,
    totals: Option<Totals>,
}

/// Each has one writer, so nothing need be locked.
#[derive(Debug, Default)]
struct Bytes {
    sent: AtomicU64,
    received: AtomicU64,
}

/// Counters that many flows add to while they run, so that a long flow shows before its end.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Bytes from the socket to the stream.
    pub sent: Arc<AtomicU64>,
    /// Bytes from the stream to the socket.
    pub received: Arc<AtomicU64>,
}

impl Count {
    /// One that adds to these as well.
    #[must_use]
    pub fn adding_to(totals: Totals) -> Self {
        Self { own: Arc::default(), totals: Some(totals) }
    }

    /// Bytes from the socket to the stream, or from a client to an origin.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.own.sent.load(Ordering::Relaxed)
    }

    /// Bytes from the stream to the socket, or from an origin to a client.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.own.received.load(Ordering::Relaxed)
    }

    /// So many more were sent. Only whoever carries that direction may say so.
    pub fn add_sent(&self, bytes: u64) {
        add(&self.own.sent, bytes);
        if let Some(totals) = &self.totals {
            totals.sent.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// So many more were received. Only whoever carries that direction may say so.
    pub fn add_received(&self, bytes: u64) {
        add(&self.own.received, bytes);
        if let Some(totals) = &self.totals {
            totals.received.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl Progress {
    pub(super) fn new(count: Count) -> Self {
        Self { count, ..Self::default() }
    }

    pub(super) fn add_sent(&self, bytes: usize) {
        self.count.add_sent(bytes as u64);
    }

    pub(super) fn add_received(&self, bytes: usize) {
        self.count.add_received(bytes as u64);
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

fn add(own: &AtomicU64, bytes: u64) {
    own.store(own.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
}

//! What a listener and a session of it know of each other. It carries no payload.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use protocol::datagram::Packet;
use tokio::sync::mpsc;

use super::table::InUse;
use crate::listener::flow::story::End;

/// What the table knows of a session.
#[derive(Debug)]
pub(super) struct Client {
    /// Tells this session from an earlier one of the same source.
    pub(super) number: u64,
    /// Where its payloads go; dropping it ends the session.
    pub(super) queue: mpsc::Sender<Packet>,
    pub(super) life: Arc<Life>,
}

/// What a session and its listener tell each other.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) began: Instant,
    answered_ms: AtomicU64,
    /// Why the listener let go of it.
    pub(super) let_go: OnceLock<End>,
}

impl Life {
    pub(super) fn new(began: Instant) -> Self {
        Self { began, answered_ms: AtomicU64::new(0), let_go: OnceLock::new() }
    }

    /// Time since its first payload.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// The other side has used the session.
    pub(super) fn answered(&self) {
        let since = u64::try_from(self.age().as_millis()).unwrap_or(u64::MAX);
        self.answered_ms.store(since, Ordering::Relaxed);
    }
}

impl InUse for Client {
    fn last_used(&self) -> Instant {
        self.life.began + Duration::from_millis(self.life.answered_ms.load(Ordering::Relaxed))
    }
}

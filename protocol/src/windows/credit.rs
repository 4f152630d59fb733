//! What the writer of a flow may still send, and the wait for more.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use super::Windows;

/// What a flow's reader has allowed.
#[derive(Debug)]
pub(super) struct Credit(Mutex<Allowed>);

#[derive(Debug)]
struct Allowed {
    limit: u64,
    /// A flow has one writer.
    waiting: Option<Waker>,
}

impl Credit {
    pub(super) fn new(limit: u64) -> Self {
        Self(Mutex::new(Allowed { limit, waiting: None }))
    }

    /// A limit is never taken back.
    pub(super) fn raise(&self, limit: u64) {
        let mut allowed = self.lock();
        if limit > allowed.limit {
            allowed.limit = limit;
            if let Some(waker) = allowed.waiting.take() {
                waker.wake();
            }
        }
    }

    fn poll_beyond(&self, sent: u64, cx: &mut Context<'_>) -> Poll<u64> {
        let mut allowed = self.lock();
        match allowed.limit.saturating_sub(sent) {
            0 => {
                allowed.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
            room => Poll::Ready(room),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Allowed> {
        // Nothing panics under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing end of a flow: what it may send.
#[derive(Debug)]
pub struct Writer {
    pub(super) windows: Arc<Windows>,
    pub(super) stream: u64,
    pub(super) credit: Arc<Credit>,
    pub(super) sent: u64,
}

impl Writer {
    /// How many bytes may be sent now; waits until it is one at least.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<usize> {
        self.credit.poll_beyond(self.sent, cx).map(|room| usize::try_from(room).unwrap_or(usize::MAX))
    }

    /// The same as a future. Dropping it loses nothing.
    pub async fn room(&self) -> usize {
        poll_fn(|cx| self.poll_room(cx)).await
    }

    /// So many bytes have been sent.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.windows.forget(self.stream);
    }
}

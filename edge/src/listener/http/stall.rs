//! Patience with a client that takes nothing of its answer.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A client that takes none of its answer for this long is gone.
pub(super) const STALL_WAIT: Duration = Duration::from_secs(60);

/// Gives up a client that takes nothing of what is written.
#[derive(Debug, Default)]
pub(super) struct Stall(Option<Pin<Box<Sleep>>>);

impl Stall {
    /// What a write came to, or the end of patience.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.0 = None;
            return written;
        }
        let patience = self.0.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + STALL_WAIT)));
        ready!(patience.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

//! Patience with a client that takes nothing of its answer.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::talk::Talk;

/// A client that takes none of its answer for this long is given up, unless the listener says otherwise.
pub(super) const STALL_WAIT: Duration = Duration::from_secs(60);

/// Gives up a client that takes nothing of what is written.
#[derive(Debug)]
pub(super) struct Stall {
    wait: Duration,
    talk: Arc<Talk>,
    since: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    /// Gives up after this long, and says so.
    pub(super) fn new(wait: Duration, talk: Arc<Talk>) -> Self {
        Self { wait, talk, since: None }
    }

    /// What a write came to, or the end of patience.
    pub(super) fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.since = None;
            return written;
        }
        let wait = self.wait;
        let patience = self.since.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + wait)));
        ready!(patience.as_mut().poll(cx));
        self.talk.give_up();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

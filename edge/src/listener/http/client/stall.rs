//! Patience with a client that takes nothing of its answer.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::talk::Talk;

/// A client that takes none of its answer for this long is given up, unless the listener says otherwise.
pub(crate) const STALL_WAIT: Duration = Duration::from_secs(60);

/// What a client's connection knows besides bytes.
pub(crate) trait Line {
    /// Bytes that the client's system has taken; it grows while the client reads.
    fn taken(&self) -> u64;

    /// From here on a close is a hard one, whoever closes it, or no longer.
    fn close_hard(&self, hard: bool);
}

/// Gives up a client that takes nothing of what is written.
#[derive(Debug)]
pub(crate) struct Stall {
    wait: Duration,
    talk: Arc<Talk>,
    waiting: Option<Waiting>,
}

/// A write that has to wait.
#[derive(Debug)]
struct Waiting {
    /// What the client had taken when its patience began anew.
    taken: u64,
    patience: Pin<Box<Sleep>>,
    /// The answer's flow is sacrificed: there will be no more of it.
    sacrificed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Stall {
    /// Gives up after this long, and says so.
    pub(crate) fn new(wait: Duration, talk: Arc<Talk>) -> Self {
        Self { wait, talk, waiting: None }
    }

    /// What a write came to, or the end of patience, or of what the client would have been sent.
    pub(crate) fn watch(
        &mut self,
        cx: &mut Context<'_>,
        line: &impl Line,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let Self { wait, talk, waiting } = self;
        let waiting = waiting.get_or_insert_with(|| Waiting {
            taken: line.taken(),
            patience: Box::pin(sleep_until(Instant::now() + *wait)),
            sacrificed: talk.sacrificed().wait(),
        });
        // An answer that has come to its end has given its flow back.
        if waiting.sacrificed.as_mut().poll(cx).is_ready() && talk.sacrificed().is_said() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        loop {
            ready!(waiting.patience.as_mut().poll(cx));
            // The system takes more from us only in large pieces: a client that reads slowly may be reading all the while.
            let before = std::mem::replace(&mut waiting.taken, line.taken());
            if waiting.taken == before {
                break;
            }
            waiting.patience.as_mut().reset(Instant::now() + *wait);
        }
        self.talk.give_up();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
impl Line for tokio::io::DuplexStream {
    fn taken(&self) -> u64 {
        0
    }

    fn close_hard(&self, _: bool) {}
}

//! Word that the process has run out of files, from whoever was refused one to whoever holds one without using it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use protocol::sparing::Sparing;
use tokio::sync::watch;

/// Word goes out at most this often: those who heard it need a moment to act.
const WORD_EVERY: Duration = Duration::from_millis(200);

/// Who tells and who hears.
#[derive(Debug, Default)]
pub struct Scarce {
    word: watch::Sender<()>,
    last: Mutex<Option<Instant>>,
    /// For the log of those who were refused.
    pub(super) refused: Sparing,
}

impl Scarce {
    /// Somebody was refused for want of a file; true if word went out now.
    pub(super) fn tell(&self, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now.saturating_duration_since(last) < WORD_EVERY) {
            return false;
        }
        *last = Some(now);
        self.word.send_replace(());
        true
    }

    /// Where word arrives from now on.
    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.word.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_goes_out_now_and_then_however_many_are_refused() {
        let (scarce, start) = (Scarce::default(), Instant::now());
        let mut heard = scarce.listen();
        assert!(scarce.tell(start) && !scarce.tell(start + WORD_EVERY / 2));
        assert!(heard.has_changed().is_ok_and(|changed| changed));
        heard.mark_unchanged();
        assert!(scarce.tell(start + WORD_EVERY));
        assert!(heard.has_changed().is_ok_and(|changed| changed));
    }
}

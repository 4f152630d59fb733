//! Word that the process has run out of files, from whoever was refused one to whoever holds one without using it.

use std::time::Instant;

use protocol::{
    limiter::{Limiter, Rate},
    sparing::Sparing,
};
use tokio::sync::watch;

/// Words that go out: those who heard one need a moment to act.
const WORDS: Rate = Rate { at_once: 1, per_second: 5 };

/// Who tells and who hears.
#[derive(Debug)]
pub struct Scarce {
    word: watch::Sender<()>,
    words: Limiter,
    /// For the log of those who were refused.
    pub(super) refused: Sparing,
}

impl Default for Scarce {
    fn default() -> Self {
        Self { word: watch::Sender::default(), words: Limiter::new(WORDS), refused: Sparing::default() }
    }
}

impl Scarce {
    /// Somebody was refused for want of a file; true if word went out now.
    pub(super) fn tell(&self, now: Instant) -> bool {
        let may = self.words.take(now, 1);
        if may {
            self.word.send_replace(());
        }
        may
    }

    /// Where word arrives from now on.
    pub(super) fn listen(&self) -> watch::Receiver<()> {
        self.word.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn word_goes_out_now_and_then_however_many_are_refused() {
        let (scarce, start) = (Scarce::default(), Instant::now());
        let mut heard = scarce.listen();
        assert!(scarce.tell(start) && !scarce.tell(start + Duration::from_millis(199)));
        assert!(heard.has_changed().is_ok_and(|changed| changed));
        heard.mark_unchanged();
        assert!(scarce.tell(start + Duration::from_millis(200)));
        assert!(heard.has_changed().is_ok_and(|changed| changed));
    }
}

//! Whether a session should leave an origin that answers nothing. Pure: callers bring the time and what they see.
//!
//! A session whose payloads are answered never leaves, whatever is said of its origin: it may hold what no other origin has.

use std::time::{Duration, Instant};

use crate::{health::view::HealthView, listener::flow::placing::Place, model::Answers};

/// A payload may be unanswered for so long where the path is known to be unhealthy.
const IN_DOUBT: Duration = Duration::from_millis(500);
/// And for so long where only silence speaks against the origin, while others of its pool answer.
const SILENT: Duration = Duration::from_secs(2);
/// How often a session that waits looks around.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A client whom nobody answers waits twice as long before each further move, up to 64 s.
const DOUBLED_MAX: u32 = 5;

/// How long a session's payloads have been unanswered.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// When the first payload was sent that nothing has come back for.
    since: Option<Instant>,
    looked: Option<Instant>,
    /// Moves since the last answer.
    moves: u32,
}

/// What speaks against the origin of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The path is unhealthy.
    Ill,
    /// The origin has answered nobody since, and another one of its pool has answered somebody.
    OnlySilent,
    /// Nothing.
    None,
}

impl Silence {
    /// A payload goes to the origin.
    pub(super) fn asked(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// The origin has answered.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// The session leaves because of it.
    pub(super) fn moved(&mut self) {
        self.moves = (self.moves + 1).min(DOUBLED_MAX);
    }

    /// The session goes on elsewhere, for whatever reason.
    pub(super) fn begins_anew(&mut self) {
        *self = Self { moves: self.moves, ..Self::default() };
    }

    /// Since when payloads have been unanswered, if for so long that it is time to look around.
    pub(super) fn looks(&mut self, now: Instant) -> Option<Instant> {
        let since = self.since.filter(|since| now.saturating_duration_since(*since) >= self.stretched(IN_DOUBT))?;
        let may = self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_EVERY);
        may.then(|| {
            self.looked = Some(now);
            since
        })
    }

    /// Whether to leave for a better place.
    pub(super) fn leaves(&self, now: Instant, doubt: Doubt) -> bool {
        let limit = match doubt {
            Doubt::Ill => IN_DOUBT,
            Doubt::OnlySilent => SILENT,
            Doubt::None => return false,
        };
        self.since.is_some_and(|since| now.saturating_duration_since(since) >= self.stretched(limit))
    }

    fn stretched(&self, limit: Duration) -> Duration {
        limit * 2_u32.pow(self.moves)
    }
}

/// What the view and the answers of others say of a session's place, `since` whenever it waits.
pub(super) fn doubt(view: &HealthView, place: &Place, since: Instant) -> Doubt {
    let Some(pool) = view.pools.iter().find(|pool| pool.pool.name == place.path.pool) else { return Doubt::None };
    let Some(own) = pool.origins.iter().find(|origin| origin.key == place.path.origin) else { return Doubt::None };
    let is_ill = |via| own.paths.iter().any(|path| path.via() == via && path.is_unhealthy());
    if is_ill(place.path.via) {
        return Doubt::Ill;
    }
    let answers = |answers: &Answers| answers.is_after(since);
    let others = pool.origins.iter().filter(|origin| origin.key != own.key);
    if !answers(&own.answers) && others.into_iter().any(|origin| answers(&origin.answers)) {
        Doubt::OnlySilent
    } else {
        Doubt::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// After how many milliseconds of unanswered payloads a session leaves.
    fn leaves_after(silence: &Silence, begin: Instant, doubt: Doubt) -> Option<u32> {
        (0..100_000).find(|after| silence.leaves(begin + MILLI * *after, doubt))
    }

    #[test]
    fn who_is_answered_stays_and_who_is_not_leaves_in_time() {
        let begin = Instant::now();
        let mut silence = Silence::default();
        for doubt in [Doubt::Ill, Doubt::OnlySilent, Doubt::None] {
            assert_eq!(leaves_after(&silence, begin, doubt), None, "nothing was asked");
        }
        silence.asked(begin);
        silence.asked(begin + MILLI * 400);
        assert_eq!(leaves_after(&silence, begin, Doubt::Ill), Some(500));
        assert_eq!(leaves_after(&silence, begin, Doubt::OnlySilent), Some(2_000));
        assert_eq!(leaves_after(&silence, begin, Doubt::None), None);
        silence.answered();
        assert_eq!(leaves_after(&silence, begin, Doubt::Ill), None);
    }

    #[test]
    fn whom_nobody_answers_moves_ever_more_seldom() {
        let begin = Instant::now();
        let mut silence = Silence::default();
        let waits: Vec<_> = (0..7)
            .map(|_| {
                silence.asked(begin);
                let wait = leaves_after(&silence, begin, Doubt::OnlySilent);
                silence.moved();
                silence.begins_anew();
                wait.expect("it leaves at last")
            })
            .collect();
        assert_eq!(waits, [2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 64_000]);
        silence.answered();
        silence.asked(begin);
        assert_eq!(leaves_after(&silence, begin, Doubt::OnlySilent), Some(2_000));
    }

    #[test]
    fn a_session_that_waits_looks_around_now_and_then() {
        let begin = Instant::now();
        let mut silence = Silence::default();
        silence.asked(begin);
        let looks: Vec<_> = (0..1_000).filter(|after| silence.looks(begin + MILLI * *after).is_some()).collect();
        assert_eq!(looks, [500, 700, 900]);
    }
}

//! Whether a link is up, suspect or dead, from what was sent and what was acknowledged. Pure: callers bring the time.

use std::time::{Duration, Instant};

use crate::{
    acks,
    limits::{DEAD_AFTER, LOOK_EVERY, LOOK_IDLE, SUSPECT_AFTER},
};

/// State of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkState {
    /// What is sent is acknowledged.
    Up,
    /// Nothing was acknowledged for longer than a healthy path takes: place nothing new here.
    Suspect,
    /// Give it up.
    Dead,
}

/// Counters of one link so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Frames sent that the peer must acknowledge.
    pub demanding: u64,
    /// Packets that the peer has acknowledged, each counted once: one that hears nothing any more repeats its last
    /// acknowledgement with whatever it sends. The count begins again when the peer moves.
    pub acknowledged: u64,
}

impl Traffic {
    /// Reads the counters of a link. Path MTU probes are left out: losing them is their purpose.
    ///
    /// # Panics
    /// If the connection's transport is not that of a link.
    #[must_use]
    pub fn of(link: &quinn::Connection) -> Self {
        let stats = link.stats();
        let tx = &stats.frame_tx;
        let demanding = tx.stream
            + tx.ping
            + tx.crypto
            + tx.datagram
            + tx.max_data
            + tx.max_stream_data
            + tx.max_streams_bidi
            + tx.max_streams_uni
            + tx.new_connection_id
            + tx.path_challenge
            + tx.path_response
            + tx.reset_stream
            + tx.retire_connection_id
            + tx.stop_sending;
        Self {
            demanding: demanding.saturating_sub(stats.path.sent_plpmtud_probes),
            acknowledged: acks::acknowledged(link),
        }
    }
}

/// Watches one link; fed whenever [`Self::wait`] is over.
#[derive(Debug)]
pub struct Liveness {
    seen: Traffic,
    is_idle: bool,
    unanswered_since: Option<Instant>,
    looked: Instant,
}

impl Liveness {
    /// A link that has just been made.
    #[must_use]
    pub fn new(now: Instant, traffic: Traffic) -> Self {
        Self { seen: traffic, is_idle: false, unanswered_since: None, looked: now }
    }

    /// Takes a look: `rtt` is the connection's smoothed round trip.
    pub fn observe(&mut self, now: Instant, traffic: Traffic, rtt: Duration) -> LinkState {
        self.forgive_own_pause(now);
        let sent_more = traffic.demanding > self.seen.demanding;
        if traffic.acknowledged != self.seen.acknowledged {
            // Which packets were acknowledged is not known. Should one sent since still be missing, it is sent again within
            // a few round trips, and counts from then on.
            self.unanswered_since = None;
        } else if sent_more && self.unanswered_since.is_none() {
            self.unanswered_since = Some(now);
        }
        self.is_idle = !sent_more && self.unanswered_since.is_none();
        self.seen = traffic;
        match self.unanswered_since.map(|since| now.duration_since(since)) {
            Some(silence) if silence >= DEAD_AFTER => LinkState::Dead,
            Some(silence) if silence >= SUSPECT_AFTER.max(rtt * 4) => LinkState::Suspect,
            Some(_) | None => LinkState::Up,
        }
    }

    /// How long until the next look: seldom on a link where nothing is on its way.
    #[must_use]
    pub fn wait(&self) -> Duration {
        if self.is_idle { LOOK_IDLE } else { LOOK_EVERY }
    }

    /// If this process itself was not running, the silence was ours: acknowledgements may wait unread in the kernel.
    fn forgive_own_pause(&mut self, now: Instant) {
        let pause = now.duration_since(self.looked).saturating_sub(LOOK_EVERY * 2);
        self.unanswered_since = self.unanswered_since.map(|since| (since + pause).min(now));
        self.looked = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(1);

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    /// Looks every 100 ms over (demanding, acknowledged) counters; returns the states seen.
    fn watch(looks: &[(u64, u64)], rtt: Duration) -> Vec<LinkState> {
        let start = Instant::now();
        let mut liveness = Liveness::new(start, Traffic::default());
        let look = |(i, (demanding, acknowledged)): (usize, &(u64, u64))| {
            let traffic = Traffic { demanding: *demanding, acknowledged: *acknowledged };
            liveness.observe(at(start, 100 * (i as u64 + 1)), traffic, rtt)
        };
        looks.iter().enumerate().map(look).collect()
    }

    #[test]
    fn an_idle_link_stays_up() {
        assert!(watch(&[(0, 0); 100], RTT).iter().all(|s| *s == LinkState::Up));
    }

    #[test]
    fn a_link_that_answers_stays_up() {
        let looks: Vec<_> = (1..100).map(|n| (n, n / 2)).collect();
        assert!(watch(&looks, RTT).iter().all(|s| *s == LinkState::Up));
    }

    #[test]
    fn a_question_answered_between_two_looks_leaves_nothing_open() {
        assert!(watch(&[(1, 1); 100], RTT).iter().all(|s| *s == LinkState::Up));
    }

    #[test]
    fn silence_makes_it_suspect_after_300_ms_and_dead_after_3_s() {
        let states = watch(&[(1, 0); 40], RTT);
        assert_eq!(states[2], LinkState::Up, "200 ms after the look that saw it sent");
        assert_eq!(states[3], LinkState::Suspect);
        assert_eq!(states[29], LinkState::Suspect);
        assert_eq!(states[30], LinkState::Dead);
    }

    #[test]
    fn a_long_round_trip_gets_four_of_them() {
        let states = watch(&[(1, 0); 12], Duration::from_millis(200));
        assert_eq!(states[7], LinkState::Up);
        assert_eq!(states[8], LinkState::Suspect);
    }

    #[test]
    fn an_acknowledgement_clears_suspicion() {
        assert_eq!(watch(&[(1, 0), (1, 0), (1, 0), (1, 0), (1, 1)], RTT)[3..], [LinkState::Suspect, LinkState::Up]);
    }

    #[test]
    fn an_idle_link_is_looked_at_seldom_until_something_is_sent() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start, Traffic::default());
        let mut wait_after = |ms, demanding, acknowledged| {
            liveness.observe(at(start, ms), Traffic { demanding, acknowledged }, RTT);
            liveness.wait()
        };
        assert_eq!(wait_after(50, 0, 0), LOOK_IDLE);
        assert_eq!(wait_after(300, 1, 0), LOOK_EVERY, "sent, not answered yet");
        assert_eq!(wait_after(350, 1, 0), LOOK_EVERY);
        assert_eq!(wait_after(400, 2, 1), LOOK_EVERY, "answered, and more was sent");
        assert_eq!(wait_after(450, 2, 2), LOOK_IDLE);
    }

    #[test]
    fn a_pause_of_our_own_is_not_held_against_the_link() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start, Traffic::default());
        let sent = Traffic { demanding: 1, acknowledged: 0 };
        assert_eq!(liveness.observe(at(start, 100), sent, RTT), LinkState::Up);
        assert_eq!(liveness.observe(at(start, 9_000), sent, RTT), LinkState::Up, "nobody looked for nine seconds");
        assert_eq!(liveness.observe(at(start, 9_100), Traffic { demanding: 1, acknowledged: 1 }, RTT), LinkState::Up);
    }
}

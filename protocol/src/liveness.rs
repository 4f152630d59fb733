//! Whether a link is up, suspect or dead, from what was sent and what was acknowledged. Pure: callers bring the time.

use std::time::{Duration, Instant};

use crate::{
    limits::{DEAD_AFTER, GONE_AFTER, LOOK_EVERY, LOOK_IDLE, QUIET_CONNECTOR, QUIET_EDGE, SUSPECT_AFTER},
    link::{Connection, Counters, Side},
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

/// Why a link is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Death {
    /// Nothing was acknowledged for [`DEAD_AFTER`].
    Silence,
    /// Nothing was acknowledged for [`GONE_AFTER`], and the peer's host says that nobody listens there.
    Gone,
}

impl Death {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Silence => "nothing was acknowledged for 3 s",
            Self::Gone => "nothing was acknowledged, and the peer's host says that nobody listens there",
        }
    }
}

/// Counters of one link so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Frames sent that the peer must acknowledge.
    pub demanding: u64,
    /// Packets that the peer has acknowledged, each counted once: one that hears nothing any more repeats its last
    /// acknowledgement with whatever it sends. The count begins again when the peer moves.
    pub acknowledged: u64,
    /// Packets that came.
    pub received: u64,
    /// Times that the peer's host said that nobody listens there. Anybody can say so in its name.
    pub refused: u64,
}

/// A look at a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// When.
    pub now: Instant,
    /// Its counters.
    pub traffic: Traffic,
    /// How long a round trip takes.
    pub rtt: Duration,
    /// Flows that it carries.
    pub flows: usize,
}

impl Look {
    /// Reads a link whose peer's host has refused so often.
    #[must_use]
    pub fn at(connection: &Connection, now: Instant, refused: u64, flows: usize) -> Self {
        let Counters { demanding, acknowledged, received, rtt } = connection.counters();
        Self { now, traffic: Traffic { demanding, acknowledged, received, refused }, rtt, flows }
    }
}

/// Watches one link; fed whenever [`Self::wait`] is over.
#[derive(Debug)]
pub struct Liveness {
    /// Longest silence of the peer while there are flows.
    quiet: Duration,
    seen: Traffic,
    heard: Instant,
    wait: Duration,
    unanswered_since: Option<Instant>,
    /// The peer's host has said since the last answer that nobody listens there.
    is_refused: bool,
    asks: bool,
    looked: Instant,
}

impl Liveness {
    /// A link that has just been made, watched from this side.
    #[must_use]
    pub fn new(side: Side, Look { now, traffic, .. }: Look) -> Self {
        let quiet = match side {
            Side::Edge => QUIET_CONNECTOR,
            Side::Connector => QUIET_EDGE,
        };
        Self {
            quiet,
            seen: traffic,
            heard: now,
            wait: LOOK_EVERY,
            unanswered_since: None,
            is_refused: false,
            asks: false,
            looked: now,
        }
    }

    /// Takes a look.
    pub fn observe(&mut self, look: Look) -> LinkState {
        let Look { now, traffic, rtt, flows } = look;
        self.forgive_own_pause(now);
        let sent_more = traffic.demanding > self.seen.demanding;
        let refused = traffic.refused != self.seen.refused;
        if traffic.acknowledged != self.seen.acknowledged {
            // Which packets were acknowledged is not known. Should one sent since still be missing, it is sent again within
            // a few round trips, and counts from then on. Nor is it known which came first, the answer or a refusal.
            self.unanswered_since = None;
            self.is_refused = refused;
        } else {
            self.is_refused |= refused;
            if sent_more && self.unanswered_since.is_none() {
                self.unanswered_since = Some(now);
            }
        }
        if traffic.received != self.seen.received {
            self.heard = now;
        }
        let is_quiet = flows > 0 && now.duration_since(self.heard) >= self.quiet;
        self.asks = self.unanswered_since.is_none() && (self.is_refused || is_quiet);
        if self.asks {
            self.unanswered_since = Some(now);
        }
        let is_idle = !sent_more && flows == 0 && self.unanswered_since.is_none();
        self.wait = if is_idle { LOOK_IDLE } else { LOOK_EVERY };
        self.seen = traffic;
        self.state(now, rtt)
    }

    /// Why a link is dead that is.
    #[must_use]
    pub fn death(&self) -> Death {
        if self.is_refused { Death::Gone } else { Death::Silence }
    }

    fn state(&self, now: Instant, rtt: Duration) -> LinkState {
        let Some(since) = self.unanswered_since else { return LinkState::Up };
        let (silence, patience) = (now.duration_since(since), rtt * 4);
        let is_gone = self.is_refused && silence >= GONE_AFTER.max(patience);
        if is_gone || silence >= DEAD_AFTER {
            LinkState::Dead
        } else if silence >= SUSPECT_AFTER.max(patience) {
            LinkState::Suspect
        } else {
            LinkState::Up
        }
    }

    /// Whether the last look wants the peer to be asked for a sign of life: nothing is on its way that it would have to
    /// acknowledge, and it may be gone.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// How long until the next look: seldom on a link where nothing is on its way.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// If this process itself was not running, the silence was ours: acknowledgements may wait unread in the kernel.
    fn forgive_own_pause(&mut self, now: Instant) {
        let pause = now.duration_since(self.looked).saturating_sub(LOOK_EVERY * 2);
        self.unanswered_since = self.unanswered_since.map(|since| (since + pause).min(now));
        self.looked = now;
    }
}

#[cfg(test)]
mod tests;

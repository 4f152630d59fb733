//! What an HTTP/2 client asks of an edge without asking for anything: counted frame by frame, and ended when it is too much.
//! Pure; it sees the bytes of both directions before, and beside, the library that speaks HTTP/2.
//!
//! Limits are a second's, a head's or a connection's. What honest clients do more of the more they are given is earned by
//! what they were given.

use std::{collections::BTreeSet, time::Instant};

use protocol::limiter::{Limiter, Rate};

use super::frames::{END_HEADERS, END_STREAM, Frame, Frames, Kind};

/// Streams a client may reset in a second, and in a connection's life.
const RESETS_PER_SECOND: u32 = 100;
const RESETS_MAX: u32 = 10_000;
/// Streams a client may reset before they are answered, beyond as many as were answered.
const EARLY_RESETS_MAX: u32 = 50;
/// Streams the edge may have to reset for a client's mistakes in a connection's life.
const PROVOKED_RESETS_MAX: u32 = 500;
/// Questions for a sign of life in a second, beyond one for each frame of data it was sent.
const PINGS_PER_SECOND: u32 = 100;
/// SETTINGS frames in a second.
const SETTINGS_PER_SECOND: u32 = 50;
/// Frames of data without data in a second.
const EMPTY_DATA_PER_SECOND: u32 = 100;
/// Window updates in a second, beyond so many for each frame of data it was sent and each stream it opened.
const UPDATES_PER_SECOND: u32 = 100;
const UPDATES_PER_DATA: u32 = 20;
const UPDATES_PER_STREAM: u32 = 5;
/// Most that is earned ahead.
const EARNED_MAX: u32 = 10_000;
/// Frames that move nothing (PRIORITY and unknown ones): so many, and so many more for each stream.
const IDLE_PER_STREAM: u32 = 100;
/// CONTINUATION frames of one head, and bytes of one head as they cross, compressed.
const CONTINUATIONS_MAX: u32 = 20;
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Bytes of answers that a slow client has to take for its connection not to count as idle.
const DRAINED: u64 = 16 * 1024;
/// Streams open without an answer, those beyond the advertised limit that are still to be refused included.
const UNANSWERED_MAX: usize = 256;

/// What was too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
pub(crate) enum Abuse {
    /// Streams were reset faster, or more often, than anybody needs to.
    Resets,
    /// Streams were reset before they were answered.
    EarlyResets,
    /// The edge was made to reset streams.
    ProvokedResets,
    /// More streams were opened at once than there may be.
    Streams,
    /// One head in too many frames.
    Continuations,
    /// One head of too many bytes.
    HeadBytes,
    /// One head that did not end in time.
    SlowHead,
    /// PING.
    Pings,
    /// SETTINGS.
    Settings,
    /// DATA without data.
    EmptyData,
    /// WINDOW_UPDATE.
    WindowUpdates,
    /// PRIORITY and unknown frames.
    IdleFrames,
    /// What the HTTP/2 library counts itself.
    Other,
}

impl Abuse {
    /// Its word in metrics, logs and the client's GOAWAY.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::EarlyResets => "early_resets",
            Self::ProvokedResets => "provoked_resets",
            Self::Streams => "streams",
            Self::Continuations => "continuations",
            Self::HeadBytes => "head_bytes",
            Self::SlowHead => "slow_head",
            Self::Pings => "pings",
            Self::Settings => "settings",
            Self::EmptyData => "empty_data",
            Self::WindowUpdates => "window_updates",
            Self::IdleFrames => "idle_frames",
            Self::Other => "other",
        }
    }
}

/// Counts one connection's frames.
#[derive(Debug)]
pub(crate) struct Meter {
    inbound: Frames,
    outbound: Frames,
    seen: Seen,
}

#[derive(Debug, Default)]
struct Seen {
    begun: bool,
    last_stream: u32,
    streams: u32,
    unanswered: BTreeSet<u32>,
    resets: Allowance,
    resets_ever: u32,
    early_resets: u32,
    provoked_resets: u32,
    pings: Allowance,
    settings: Allowance,
    empty_data: Allowance,
    updates: Allowance,
    idle: u32,
    /// Of the head that is open: CONTINUATION frames and bytes so far.
    head: Option<(u32, usize)>,
    heads: u64,
    /// Bytes of data sent to the client.
    sent: u64,
    in_head_frame: bool,
}

/// What may be done of a kind: what was earned beforehand, and so much a second.
#[derive(Debug, Default)]
struct Allowance {
    limiter: Option<Limiter>,
    earned: u32,
}

impl Allowance {
    /// Counts one more; false if it is beyond what a second allows.
    fn allows(&mut self, now: Instant, per_second: u32) -> bool {
        if self.earned > 0 {
            self.earned -= 1;
            return true;
        }
        let rate = Rate { at_once: per_second, per_second };
        self.limiter.get_or_insert_with(|| Limiter::new(rate)).take(now, 1)
    }

    fn earn(&mut self, more: u32) {
        self.earned = (self.earned + more).min(EARNED_MAX);
    }
}

fn unless(allowed: bool, abuse: Abuse) -> Result<(), Abuse> {
    if allowed { Ok(()) } else { Err(abuse) }
}

impl Meter {
    /// For a connection whose first bytes are the client's preface of this length.
    pub(crate) fn new(preface: usize) -> Self {
        Self { inbound: Frames::behind(preface), outbound: Frames::behind(0), seen: Seen::default() }
    }

    /// Counts bytes from the client.
    pub(crate) fn asked(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Abuse> {
        let Self { inbound, seen, .. } = self;
        inbound.pass(bytes, |frame| seen.asked(now, frame))
    }

    /// Counts bytes to the client.
    pub(crate) fn answered(&mut self, bytes: &[u8]) -> Result<(), Abuse> {
        let Self { outbound, seen, .. } = self;
        outbound.pass(bytes, |frame| seen.answered(frame))
    }

    /// The head that is awaited or under way, by its number; nothing between heads.
    pub(crate) fn open_head(&self) -> Option<u64> {
        let in_frame = self.seen.in_head_frame && !self.inbound.is_between();
        (!self.seen.begun || self.seen.head.is_some() || in_frame).then_some(self.seen.heads)
    }

    /// Grows with every request, and with every part of an answer that is worth waiting for.
    pub(crate) fn progress(&self) -> u64 {
        self.seen.heads + self.seen.sent / DRAINED
    }

    /// The last stream the client has opened.
    pub(crate) fn last_stream(&self) -> u32 {
        self.seen.last_stream
    }

    /// True if the edge's own frames may be written now.
    pub(crate) fn is_between_answers(&self) -> bool {
        self.outbound.is_between()
    }
}

impl Seen {
    fn asked(&mut self, now: Instant, frame: Frame) -> Result<(), Abuse> {
        self.begun = true;
        self.in_head_frame = matches!(frame.kind, Kind::Headers | Kind::Continuation);
        match frame.kind {
            Kind::Headers => self.head_begins(frame),
            Kind::Continuation => self.head_goes_on(frame),
            Kind::Data if frame.length == 0 && frame.flags & END_STREAM == 0 => {
                unless(self.empty_data.allows(now, EMPTY_DATA_PER_SECOND), Abuse::EmptyData)
            }
            Kind::Data => Ok(()),
            Kind::Reset => self.reset(now, frame.stream),
            Kind::Settings => unless(self.settings.allows(now, SETTINGS_PER_SECOND), Abuse::Settings),
            Kind::Ping => unless(self.pings.allows(now, PINGS_PER_SECOND), Abuse::Pings),
            Kind::WindowUpdate => unless(self.updates.allows(now, UPDATES_PER_SECOND), Abuse::WindowUpdates),
            Kind::Idle => {
                self.idle = self.idle.saturating_add(1);
                let most = IDLE_PER_STREAM.saturating_mul(self.streams.saturating_add(1));
                unless(self.idle <= most, Abuse::IdleFrames)
            }
        }
    }

    fn head_begins(&mut self, frame: Frame) -> Result<(), Abuse> {
        if frame.stream > self.last_stream {
            self.last_stream = frame.stream;
            self.streams = self.streams.saturating_add(1);
            self.unanswered.insert(frame.stream);
            self.updates.earn(UPDATES_PER_STREAM);
            unless(self.unanswered.len() <= UNANSWERED_MAX, Abuse::Streams)?;
        }
        self.head = Some((0, 0));
        self.head_bytes(frame)
    }

    fn head_goes_on(&mut self, frame: Frame) -> Result<(), Abuse> {
        // Without a head that goes on it is the library's to refuse.
        let Some((frames, _)) = &mut self.head else { return Ok(()) };
        *frames += 1;
        unless(*frames <= CONTINUATIONS_MAX, Abuse::Continuations)?;
        self.head_bytes(frame)
    }

    fn head_bytes(&mut self, frame: Frame) -> Result<(), Abuse> {
        let Some((_, bytes)) = &mut self.head else { return Ok(()) };
        *bytes += frame.length;
        unless(*bytes <= HEAD_BYTES_MAX, Abuse::HeadBytes)?;
        if frame.flags & END_HEADERS != 0 {
            self.head = None;
            self.heads += 1;
        }
        Ok(())
    }

    fn reset(&mut self, now: Instant, stream: u32) -> Result<(), Abuse> {
        self.resets_ever = self.resets_ever.saturating_add(1);
        if self.unanswered.remove(&stream) {
            self.early_resets += 1;
        }
        unless(self.early_resets <= EARLY_RESETS_MAX, Abuse::EarlyResets)?;
        let few = self.resets.allows(now, RESETS_PER_SECOND);
        unless(few && self.resets_ever <= RESETS_MAX, Abuse::Resets)
    }

    fn answered(&mut self, frame: Frame) -> Result<(), Abuse> {
        match frame.kind {
            Kind::Headers => {
                if self.unanswered.remove(&frame.stream) {
                    self.early_resets = self.early_resets.saturating_sub(1);
                }
            }
            Kind::Data => {
                self.sent += u64::try_from(frame.length).unwrap_or(0);
                self.updates.earn(UPDATES_PER_DATA);
                self.pings.earn(1);
            }
            Kind::Reset => {
                self.unanswered.remove(&frame.stream);
                if is_clients_mistake(frame.code) {
                    self.provoked_resets += 1;
                }
            }
            Kind::Settings | Kind::Ping | Kind::WindowUpdate | Kind::Continuation | Kind::Idle => {}
        }
        unless(self.provoked_resets <= PROVOKED_RESETS_MAX, Abuse::ProvokedResets)
    }
}

/// A reset for one of these says nothing about the client: all is well, the edge failed, the origin broke off.
fn is_clients_mistake(code: u32) -> bool {
    let blameless = [h2::Reason::NO_ERROR, h2::Reason::INTERNAL_ERROR, h2::Reason::CANCEL];
    !blameless.contains(&h2::Reason::from(code))
}

#[cfg(test)]
mod tests;

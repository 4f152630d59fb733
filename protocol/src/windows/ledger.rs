//! What each flow of a link is allowed, what of it nobody has taken yet, and who is sacrificed when that becomes too much.
//!
//! Pure: callers bring the time, the round trip and the bytes.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::limits::{
    FLOW_PROVEN, FLOW_WINDOW, FLOW_WINDOW_MIN, GROWN_MAX, HELD_MAX, LAST_BYTES_WAIT, LINK_WINDOW, SLOW_AFTER,
    STALL_AFTER, STREAM_WINDOW,
};

/// A window that was taken in less than a round trip becomes so many times as large.
const GROWTH: u64 = 4;
/// A window that took this long, and so many round trips, is too large for its reader.
const SLUGGISH: (Duration, u32) = (Duration::from_secs(1), 16);
/// A reader that has paused for less is at work.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Most flows sacrificed at a time; the next look is soon.
const VICTIMS_MAX: usize = 64;

/// How much is borne.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// A flow's first window.
    pub first: u64,
    /// All that may be held by flows whose readers do not take it.
    pub held_max: u64,
    /// By how much all windows together may have grown.
    pub grown_max: u64,
    /// How long a flow that has not taken half its window is safe.
    pub patience: Duration,
    /// After a reset, how long the last bytes may take where the reader takes nothing.
    pub last_wait: Duration,
    /// Writers keep to what readers allow.
    pub agreed: bool,
}

impl Bounds {
    /// Those of a link whose writers keep to what readers allow.
    pub const AGREED: Self = Self {
        first: FLOW_WINDOW as u64,
        held_max: HELD_MAX,
        grown_max: GROWN_MAX,
        patience: SLOW_AFTER,
        last_wait: LAST_BYTES_WAIT,
        agreed: true,
    };
    /// Those of a link to an older peer, which uses a stream's whole window whatever it is told.
    pub const ALONE: Self =
        Self { first: STREAM_WINDOW as u64, grown_max: 0, patience: STALL_AFTER, agreed: false, ..Self::AGREED };
}

/// The time, and how long the link takes to ask and answer.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Now.
    pub now: Instant,
    /// The link's round trip.
    pub rtt: Duration,
}

/// Ends a flow, from outside of it.
pub(super) type Sacrifice = Box<dyn FnOnce() + Send>;

/// All flows of a link, as their readers see them.
pub(super) struct Ledger {
    bounds: Bounds,
    flows: HashMap<u64, Flow>,
    sources: HashMap<IpAddr, Share>,
    all: Share,
    /// Limits that the writers have not been told.
    untold: BTreeMap<u64, u64>,
    /// Since the last look, a window could not grow for want of room.
    cramped: bool,
}

struct Flow {
    source: IpAddr,
    /// Bytes its writer may have sent in all.
    limit: u64,
    taken: u64,
    /// The window that was given last.
    window: u64,
    /// When its reader took the first bytes of that.
    begun: Option<Instant>,
    given: Instant,
    /// Its reader has paused since then.
    paused: bool,
    /// When its reader has begun to take nothing.
    since: Instant,
    /// What it may hold of the link; nothing while its reader waits for more.
    held: u64,
    sacrifice: Sacrifice,
}

/// What flows have of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    flows: usize,
    held: u64,
    grown: u64,
}

impl Ledger {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            flows: HashMap::new(),
            sources: HashMap::new(),
            all: Share::default(),
            untold: BTreeMap::new(),
            cramped: false,
        }
    }

    /// A flow begins, whose reader acts for this source.
    pub(super) fn open(&mut self, stream: u64, source: IpAddr, now: Instant, sacrifice: Sacrifice) {
        let Bounds { first, .. } = self.bounds;
        let flow = Flow {
            source,
            limit: first,
            taken: 0,
            window: first,
            begun: None,
            given: now,
            paused: false,
            since: now,
            held: 0,
            sacrifice,
        };
        self.all.flows += 1;
        self.sources.entry(source).or_default().flows += 1;
        self.flows.insert(stream, flow);
    }

    /// From now on the flow's reader acts for another source: a kept connection has a new client.
    pub(super) fn pass(&mut self, stream: u64, source: IpAddr) {
        let Some(flow) = self.flows.get_mut(&stream) else { return };
        if flow.source == source {
            return;
        }
        let share = flow.share(self.bounds.first);
        give_back(&mut self.sources, flow.source, share);
        flow.source = source;
        self.sources.entry(source).or_default().add(share);
    }

    /// The flow's reader has taken bytes. True if there is something to tell its writer.
    pub(super) fn take(&mut self, stream: u64, bytes: u64, moment: Moment) -> bool {
        let Some(flow) = self.flows.get_mut(&stream) else { return false };
        flow.taken += bytes;
        flow.begun.get_or_insert(moment.now);
        if flow.limit.saturating_sub(flow.taken) > flow.window / 2 {
            return false;
        }
        self.give(stream, moment)
    }

    /// A new window, as large as the reader is quick and as there is room.
    fn give(&mut self, stream: u64, moment: Moment) -> bool {
        let Some(flow) = self.flows.get(&stream) else { return false };
        let (window, before) = (self.next_window(flow, moment), flow.window);
        self.cramped |= window <= before && self.bounds.is_quick(flow, moment);
        self.change(stream, |flow| {
            flow.window = window;
            flow.begun = None;
            flow.paused = false;
            flow.given = moment.now;
        });
        let Some(flow) = self.flows.get_mut(&stream) else { return false };
        let limit = flow.taken + window;
        if limit <= flow.limit {
            return false;
        }
        flow.limit = limit;
        if self.bounds.agreed {
            self.untold.insert(stream, limit);
        }
        self.bounds.agreed
    }

    fn next_window(&self, flow: &Flow, moment: Moment) -> u64 {
        let Bounds { first, grown_max, agreed, .. } = self.bounds;
        if !agreed {
            return flow.window;
        }
        let crowded = self.all.held > self.bounds.held_max / 2;
        let taking = flow.begun.map_or(Duration::ZERO, |begun| moment.now.saturating_duration_since(begun));
        let sluggish = taking > SLUGGISH.0.max(moment.rtt * SLUGGISH.1);
        if flow.paused && (crowded || sluggish) {
            let least = if crowded { u64::from(FLOW_WINDOW_MIN).min(first) } else { first };
            return (flow.window / 2).max(least);
        }
        if flow.window < first && !crowded {
            return first;
        }
        if crowded {
            return flow.window;
        }
        // Nobody keeps more than is left for everybody: so windows of many become alike.
        let of_source = self.sources.get(&flow.source).map_or(0, |share| share.grown);
        let left = grown_max.saturating_sub(self.all.grown).min((grown_max / 2).saturating_sub(of_source));
        let own = flow.window.saturating_sub(first);
        match left.checked_sub(own) {
            None => flow.window - own / 4,
            Some(_) if !self.bounds.is_quick(flow, moment) => flow.window,
            Some(more) => (flow.window * GROWTH).min(flow.window + more / 2).min(u64::from(STREAM_WINDOW)),
        }
    }

    /// The flow's reader takes nothing for now: what its writer may have sent may all be there.
    pub(super) fn pause(&mut self, stream: u64, now: Instant) {
        self.change(stream, |flow| {
            flow.paused = true;
            flow.since = now;
            flow.held = flow.limit.saturating_sub(flow.taken);
        });
    }

    /// The flow's reader takes whatever comes. False if there is no such flow any more.
    pub(super) fn resume(&mut self, stream: u64) -> bool {
        self.change(stream, |flow| flow.held = 0);
        self.flows.contains_key(&stream)
    }

    pub(super) fn close(&mut self, stream: u64) -> Option<Sacrifice> {
        let flow = self.flows.remove(&stream)?;
        self.untold.remove(&stream);
        let share = flow.share(self.bounds.first);
        self.all.take(share);
        give_back(&mut self.sources, flow.source, share);
        Some(flow.sacrifice)
    }

    /// Those who must go, so that others have room: of the source that holds most, who has taken least for longest.
    pub(super) fn look(&mut self, now: Instant) -> Vec<Sacrifice> {
        let mut victims = Vec::new();
        while self.all.held > self.bounds.held_max && victims.len() < VICTIMS_MAX {
            // Beyond half of what is left of the link's window nobody is safe.
            let brim = self.bounds.held_max + (u64::from(LINK_WINDOW) - HELD_MAX) / 2;
            let patience = if self.all.held > brim { Duration::ZERO } else { self.bounds.patience };
            let Some(worst) = self.worst(now, patience) else { break };
            victims.extend(self.close(worst));
        }
        if std::mem::take(&mut self.cramped) && victims.is_empty() {
            let worst = self.worst_grown(now);
            victims.extend(worst.and_then(|worst| self.close(worst)));
        }
        victims
    }

    /// Of those who pause, hold something and have not taken half a window for so long.
    fn worst(&self, now: Instant, patience: Duration) -> Option<u64> {
        let pause = PAUSE_MIN.min(patience);
        let slow = self.flows.iter().filter(|(_, flow)| {
            flow.held > 0
                && now.saturating_duration_since(flow.since) >= pause
                && now.saturating_duration_since(flow.given) >= patience
        });
        let of_source = |flow: &Flow| self.sources.get(&flow.source).map_or(0, |share| share.held);
        let worst = slow.max_by_key(|(_, flow)| (of_source(flow), now.saturating_duration_since(flow.given)));
        worst.map(|(stream, _)| *stream)
    }

    /// Of those who have held more than a first window for long.
    fn worst_grown(&self, now: Instant) -> Option<u64> {
        let stalled = self.flows.iter().filter(|(_, flow)| {
            flow.held > self.bounds.first && now.saturating_duration_since(flow.given) >= STALL_AFTER
        });
        let of_source = |flow: &Flow| self.sources.get(&flow.source).map_or(0, |share| share.grown);
        let worst = stalled.max_by_key(|(_, flow)| (of_source(flow), now.saturating_duration_since(flow.given)));
        worst.map(|(stream, _)| *stream)
    }

    /// New limits, at most so many.
    pub(super) fn untold(&mut self, most: usize) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| self.untold.pop_first()).take(most).collect()
    }

    /// What flows hold whose readers do not take it.
    pub(super) fn held(&self) -> u64 {
        self.all.held
    }

    fn change(&mut self, stream: u64, edit: impl FnOnce(&mut Flow)) {
        let Some(flow) = self.flows.get_mut(&stream) else { return };
        let before = flow.share(self.bounds.first);
        edit(flow);
        let after = flow.share(self.bounds.first);
        if before != after {
            let source = self.sources.entry(flow.source).or_default();
            for share in [&mut self.all, source] {
                share.take(before);
                share.add(after);
            }
        }
    }
}

impl Bounds {
    /// True if the flow's reader takes what comes faster than its window lets it come.
    fn is_quick(&self, flow: &Flow, moment: Moment) -> bool {
        let taking = flow.begun.map_or(Duration::ZERO, |begun| moment.now.saturating_duration_since(begun));
        self.grown_max > 0 && flow.taken >= FLOW_PROVEN && taking < moment.rtt && flow.window < u64::from(STREAM_WINDOW)
    }
}

impl Flow {
    fn share(&self, first: u64) -> Share {
        Share { flows: 1, held: self.held, grown: self.window.saturating_sub(first) }
    }
}

impl Share {
    fn add(&mut self, other: Self) {
        self.flows += other.flows;
        self.held += other.held;
        self.grown += other.grown;
    }

    fn take(&mut self, other: Self) {
        self.flows -= other.flows;
        self.held -= other.held;
        self.grown -= other.grown;
    }
}

fn give_back(sources: &mut HashMap<IpAddr, Share>, source: IpAddr, share: Share) {
    if let Some(of_source) = sources.get_mut(&source) {
        of_source.take(share);
        if of_source.flows == 0 {
            sources.remove(&source);
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("all", &self.all).field("sources", &self.sources.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

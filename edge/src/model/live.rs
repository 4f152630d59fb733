//! What lives while the edge runs: ways, the load of links, flows as they arrive. Counters only; nothing here decides.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use protocol::id::LinkId;

/// Which way a path leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// From the edge itself.
    Direct,
    /// Through this link.
    Link(LinkId),
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Link(id) => write!(f, "{id}"),
        }
    }
}

/// What the balancer may know of a link: whether to place on it, and how much it carries. Written by the tunnel room.
#[derive(Debug, Default)]
pub struct LinkLoad {
    suspect: AtomicBool,
    drained: AtomicBool,
    streams: Arc<AtomicUsize>,
}

impl LinkLoad {
    /// True while new flows may be placed on the link.
    #[must_use]
    pub fn is_placeable(&self) -> bool {
        !self.suspect.load(Ordering::Relaxed) && !self.is_drained()
    }

    /// Takes the link out of placement, or back in.
    pub fn set_suspect(&self, suspect: bool) {
        self.suspect.store(suspect, Ordering::Relaxed);
    }

    /// Takes the link out of placement by hand, or back in.
    pub fn set_drained(&self, drained: bool) {
        self.drained.store(drained, Ordering::Relaxed);
    }

    /// True while it is taken out by hand.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    /// Counts one stream as open until the guard is dropped.
    #[must_use]
    pub fn hold(&self) -> Held {
        Held::new(&self.streams)
    }

    /// Streams open on the link.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }
}

/// Open flows, counted while held: of a link, an origin, a listener.
#[derive(Debug)]
pub struct Held(Arc<AtomicUsize>);

impl Held {
    /// Counts one until dropped.
    #[must_use]
    pub fn new(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When an origin last answered a session, whosever that was. Written by listeners.
#[derive(Debug, Default)]
pub struct Answers {
    first: OnceLock<Instant>,
    /// Milliseconds from the first to the last.
    last_ms: AtomicU64,
}

impl Answers {
    /// It has answered now.
    pub fn note(&self, now: Instant) {
        let since = now.saturating_duration_since(*self.first.get_or_init(|| now));
        self.last_ms.fetch_max(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// True if it has answered later than this.
    #[must_use]
    pub fn is_after(&self, moment: Instant) -> bool {
        let last = self.first.get().map(|first| *first + Duration::from_millis(self.last_ms.load(Ordering::Relaxed)));
        last.is_some_and(|last| last > moment)
    }
}

/// What a listener can read of a flow as it arrives; where it goes is decided by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowKey<'a> {
    /// The client.
    pub source: SocketAddr,
    /// Where it was for, if somebody who may has said so; never where it has come in.
    pub destination: Option<SocketAddr>,
    /// Whom it asks for, in lower case and without port; absent where nothing says that.
    pub host: Option<&'a str>,
    /// The path it asks for, in every reading that servers may have of it; empty where there is none.
    pub paths: &'a [String],
}

impl FlowKey<'_> {
    /// A flow of which nothing can be read.
    #[must_use]
    pub fn of(source: SocketAddr) -> Self {
        Self { source, destination: None, host: None, paths: &[] }
    }

    /// The address that affinity and hashing go by.
    #[must_use]
    pub fn source_ip(&self) -> IpAddr {
        self.source.ip().to_canonical()
    }
}

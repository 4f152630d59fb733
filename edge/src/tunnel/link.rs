//! One link: the handle through which streams are opened, and what status shows of it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::BytesMut;
use futures_util::FutureExt;
use protocol::{
    error::{CloseCode, StreamCode},
    flow_id::FlowId,
    id::{LinkId, Name},
    limits::{CREDIT_WAIT, STREAMS_MAX},
    link::{Connection, Lost, RecvStream, SendStream},
    liveness::LinkState,
    splice::Stream,
    stream::Open,
    switch::Switch,
    version::VERSION_FLOWS,
    windows::{Tally, Windows},
};
use tokio::{
    sync::{Notify, watch},
    time,
};

use crate::model::{Held, LinkLoad};

/// A registered link. Its task lives in the tunnel room; this handle is shared by all who place on it.
#[derive(Debug)]
pub struct Link {
    /// Number at this edge.
    pub id: LinkId,
    /// Whose it is.
    pub connector: Name,
    /// Which replica of it.
    pub replica: Name,
    /// Random number of the replica's process.
    pub run: u64,
    /// Which of the replica's links to this edge.
    pub slot: u16,
    /// The connector's product version.
    pub software: String,
    /// The version of control messages that both speak.
    pub version: u16,
    /// When it registered.
    pub since: SystemTime,
    /// Load and suspicion, for the balancer.
    pub load: Arc<LinkLoad>,
    /// What flows of this link may have on their way.
    pub windows: Arc<Windows>,
    /// UDP sessions of this link.
    pub switch: Arc<Switch>,
    /// The worker that runs it.
    pub worker: usize,
    connection: Connection,
    state: watch::Sender<LinkState>,
    leaving: AtomicBool,
    nudged: Notify,
    expires: AtomicU64,
    /// Why this side closed it.
    closed: OnceLock<String>,
}

/// Why no stream could be opened on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The link carries as many streams as the connector allows, and it did not allow more in time.
    #[error("the link has no stream to spare")]
    NoCredit,
    /// The link is gone.
    #[error("the link is gone")]
    Lost,
    /// The link's window is full, and was so for too long.
    #[error("the link takes no more bytes")]
    Full,
    /// The header has left, and of what follows it nobody knows how much.
    #[error("the link took the beginning, and no more")]
    Unanswered,
}

/// What a registering link brings.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) connector: Name,
    pub(super) replica: Name,
    pub(super) run: u64,
    pub(super) slot: u16,
    pub(super) software: String,
    pub(super) expires: SystemTime,
    pub(super) worker: usize,
    pub(super) version: u16,
    pub(super) tally: Tally,
    pub(super) connection: Connection,
}

impl Link {
    pub(super) fn new(id: LinkId, registration: Registration) -> Self {
        let Registration { connector, replica, run, slot, software, expires, worker, version, tally, connection } =
            registration;
        let link = Self {
            id,
            connector,
            replica,
            run,
            slot,
            software,
            version,
            since: SystemTime::now(),
            load: Arc::default(),
            windows: Arc::new(Windows::new(connection.clone(), version, tally)),
            switch: Arc::default(),
            worker,
            connection,
            state: watch::Sender::new(LinkState::Up),
            leaving: AtomicBool::new(false),
            closed: OnceLock::new(),
            nudged: Notify::new(),
            expires: AtomicU64::new(0),
        };
        link.extend(expires);
        link
    }

    /// What the connector is told of a flow: nothing, if it is too old to be told which one a stream is for.
    #[must_use]
    pub fn told(&self, flow: Option<FlowId>) -> Option<FlowId> {
        flow.filter(|_| self.version >= VERSION_FLOWS)
    }

    /// Opens a stream: the header and the client's first bytes leave together, without waiting for any answer.
    ///
    /// # Errors
    /// [`OpenError`]; then the header has not left as a whole, so nobody has dialled, unless it is [`OpenError::Unanswered`].
    pub async fn open(
        &self,
        header: &Open,
        first: &[u8],
        (priority, wait): (i32, Duration),
    ) -> Result<(Stream, Held), OpenError> {
        let until = time::Instant::now() + wait;
        let mut stream = Stream::new(self.stream().await?);
        let held = self.load.hold();
        let header = header.encode();
        let mut frame = BytesMut::with_capacity(header.len() + first.len());
        frame.extend_from_slice(&header);
        frame.extend_from_slice(first);
        let _ = stream.send.set_priority(priority);
        let (mut left, mut sent) = ([frame.freeze()], 0);
        while !left[0].is_empty() {
            let failed = match time::timeout_at(until, stream.send.write_chunks(&mut left)).await {
                Ok(Ok(written)) => {
                    sent += written;
                    continue;
                }
                Ok(Err(_)) => OpenError::Lost,
                Err(_) => OpenError::Full,
            };
            stream.cut(StreamCode::Cancelled);
            return Err(if sent < header.len() { failed } else { OpenError::Unanswered });
        }
        Ok((stream, held))
    }

    /// A fresh stream. The connector allows more as they are used, and a burst may be ahead of its word; one that is at its
    /// end allows no more, so another link serves better.
    async fn stream(&self) -> Result<(SendStream, RecvStream), OpenError> {
        let opened = match self.connection.open_stream().now_or_never() {
            Some(opened) => opened,
            None if self.load.streams() >= STREAMS_MAX as usize => return Err(OpenError::NoCredit),
            None => {
                let wait = CREDIT_WAIT.max(self.connection.rtt() * 4);
                time::timeout(wait, self.connection.open_stream()).await.map_err(|_| OpenError::NoCredit)?
            }
        };
        opened.map_err(|_| OpenError::Lost)
    }

    /// Completes as soon as the link is suspect or dead.
    pub async fn suspected(&self) {
        let mut state = self.state.subscribe();
        // The sender lives in this very link, so waiting cannot fail.
        let _ = state.wait_for(|s| *s != LinkState::Up).await;
    }

    /// Asks the link for a sign of life: something is sent that must be acknowledged.
    pub fn nudge(&self) {
        self.nudged.notify_one();
    }

    /// Completes when a sign of life is wanted.
    pub(super) async fn nudged(&self) {
        self.nudged.notified().await;
    }

    /// Up, suspect or dead.
    #[must_use]
    pub fn state(&self) -> LinkState {
        *self.state.borrow()
    }

    /// Records a state; true if it is a new one.
    pub(super) fn set_state(&self, state: LinkState) -> bool {
        self.load.set_suspect(state != LinkState::Up || self.is_leaving());
        self.state.send_if_modified(|s| std::mem::replace(s, state) != state)
    }

    /// The connector has said that it leaves: nothing new is placed on the link from now on; what it carries goes on.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.load.set_suspect(true);
    }

    /// True once the connector has said that it leaves.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// True while nothing new is placed on it, for its connector leaves or is drained here.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_leaving() || self.load.is_drained()
    }

    /// True while it answers and stays, whether or not it is drained.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state() == LinkState::Up && !self.is_leaving()
    }

    /// True if nothing can come over it any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.connection.is_over()
    }

    /// Smoothed round trip of the link.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    /// Where the connector is now; it may move.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Ends the link with a code and words for the connector's log.
    pub fn close(&self, code: CloseCode, words: &str) {
        self.closed.get_or_init(|| format!("closed here ({code}): {words}"));
        self.set_state(LinkState::Dead);
        self.connection.close(code, words);
    }

    /// Why it has ended, as its connection tells it; if it was closed here, in the words of whoever did that.
    pub(super) fn ending(&self, lost: &Lost) -> String {
        self.closed.get().cloned().unwrap_or_else(|| lost.to_string())
    }

    /// Until when its certificate admits it.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.expires.load(Ordering::Relaxed))
    }

    /// A renewed certificate extends a live link.
    pub(super) fn extend(&self, expires: SystemTime) {
        let since_epoch = expires.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.expires.store(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }
}

//! Who gets which datagram of a link: session ids, and a bounded queue for each session. One reader serves a whole link.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use tokio::sync::mpsc;

use crate::{datagram::Datagram, limits::SESSION_QUEUE_MAX, link::Connection};

macro_rules! dropped {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// Why a payload of a UDP session was thrown away. A closed set, the same on both sides.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Dropped { $($(#[$doc])* $name,)* }

        impl Dropped {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word for metrics.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

dropped! {
    /// The link takes no more datagrams, or the stream no more payloads, for now.
    BufferFull = "buffer_full",
    /// More came before the session was open than may wait.
    NotReady = "not_ready",
    /// The session's own queue is full: it cannot keep up.
    QueueFull = "queue_full",
    /// The listener has as many sessions as it may, none of them idle.
    TooManySessions = "too_many_sessions",
    /// Its client may not use the listener, or not so much of it.
    NotAdmitted = "not_admitted",
    /// No origin could take the session.
    NoPlace = "no_place",
    /// An answer larger than an unproven source may be sent.
    ReplyBudget = "reply_budget",
    /// The kernel takes no more, for now.
    SocketFull = "socket_full",
    /// The kernel refused the packet: too large for the way, most likely.
    NotSent = "not_sent",
    /// No session of the link has this id, any more or yet.
    UnknownSession = "unknown_session",
    /// Shorter than a datagram's head.
    Malformed = "malformed",
    /// The link ended with it.
    LinkLost = "link_lost",
}

/// Counts payloads that were thrown away; clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct Drops(Arc<[AtomicU64; Dropped::ALL.len()]>);

impl Drops {
    /// Counts one.
    pub fn count(&self, why: Dropped) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Every reason with its count.
    pub fn readings(&self) -> impl Iterator<Item = (Dropped, u64)> {
        Dropped::ALL.iter().map(|why| (*why, self.0[*why as usize].load(Ordering::Relaxed)))
    }
}

/// The sessions of one link.
#[derive(Debug, Default)]
pub struct Switch {
    queues: Mutex<HashMap<u32, mpsc::Sender<Datagram>>>,
    next: AtomicU32,
}

/// Where the datagrams of one session arrive. Dropping it takes the session off the link.
pub struct Inbox {
    session: u32,
    switch: Arc<Switch>,
    queue: mpsc::Receiver<Datagram>,
}

impl Switch {
    /// A session under an id of our choice, which no live session of the link has.
    #[must_use]
    pub fn open(self: &Arc<Self>) -> Inbox {
        loop {
            // Ids wrap around after four billion sessions; the few that still live are passed over.
            if let Some(inbox) = self.admit(self.next.fetch_add(1, Ordering::Relaxed)) {
                return inbox;
            }
        }
    }

    /// A session under an id of the peer's choice; `None` if it is taken.
    #[must_use]
    pub fn admit(self: &Arc<Self>, session: u32) -> Option<Inbox> {
        let mut queues = self.lock();
        if queues.contains_key(&session) {
            return None;
        }
        let (sender, queue) = mpsc::channel(SESSION_QUEUE_MAX);
        queues.insert(session, sender);
        Some(Inbox { session, switch: self.clone(), queue })
    }

    /// Reads the link's datagrams until it ends.
    pub async fn run(self: Arc<Self>, connection: Connection, drops: Drops) {
        while let Ok(bytes) = connection.read_datagram().await {
            // The peer wanted a sign of life, and has it.
            if bytes.is_empty() {
                continue;
            }
            let handed = match Datagram::decode(bytes) {
                Ok(datagram) => self.hand(datagram),
                Err(_) => Err(Dropped::Malformed),
            };
            if let Err(why) = handed {
                drops.count(why);
            }
        }
    }

    fn hand(&self, datagram: Datagram) -> Result<(), Dropped> {
        let queues = self.lock();
        let queue = queues.get(&datagram.session).ok_or(Dropped::UnknownSession)?;
        queue.try_send(datagram).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Dropped::QueueFull,
            mpsc::error::TrySendError::Closed(_) => Dropped::UnknownSession,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, mpsc::Sender<Datagram>>> {
        // Taken by the link's own worker, but for sessions that begin or end elsewhere; nothing panics under it.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    /// The session's id on its link.
    #[must_use]
    pub fn session(&self) -> u32 {
        self.session
    }

    /// The next datagram.
    pub(crate) async fn next(&mut self) -> Option<Datagram> {
        self.queue.recv().await
    }

    /// The next datagram, if it is here.
    pub(crate) fn try_next(&mut self) -> Option<Datagram> {
        self.queue.try_recv().ok()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.switch.lock().remove(&self.session);
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({})", self.session)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn datagram(session: u32, sequence: u32) -> Datagram {
        Datagram { session, sequence, payload: Bytes::new() }
    }

    #[test]
    fn a_datagram_goes_to_its_session_alone() {
        let switch = Arc::new(Switch::default());
        let (mut one, mut two) = (switch.open(), switch.open());
        assert_eq!(switch.hand(datagram(one.session(), 5)), Ok(()));
        assert_eq!(one.try_next(), Some(datagram(one.session(), 5)));
        assert_eq!(two.try_next(), None);
    }

    #[test]
    fn a_full_queue_keeps_what_it_has_and_says_so() {
        let switch = Arc::new(Switch::default());
        let mut inbox = switch.open();
        let room = u32::try_from(SESSION_QUEUE_MAX).expect("a small number");
        for sequence in 0..room {
            assert_eq!(switch.hand(datagram(inbox.session(), sequence)), Ok(()));
        }
        assert_eq!(switch.hand(datagram(inbox.session(), room)), Err(Dropped::QueueFull));
        assert_eq!(inbox.try_next(), Some(datagram(inbox.session(), 0)));
    }

    #[test]
    fn an_ended_session_is_unknown_and_a_live_id_is_never_given_twice() {
        let switch = Arc::new(Switch::default());
        let taken = switch.admit(0).expect("free");
        assert!(switch.admit(0).is_none(), "one id, one session");
        let opened = switch.open();
        assert_ne!(opened.session(), taken.session());
        drop(taken);
        assert_eq!(switch.hand(datagram(0, 0)), Err(Dropped::UnknownSession));
        assert!(switch.admit(0).is_some());
    }

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        let drops = Drops::default();
        for (times, why) in Dropped::ALL.iter().enumerate() {
            (0..times).for_each(|_| drops.count(*why));
        }
        let counts: Vec<u64> = drops.readings().map(|(_, count)| count).collect();
        assert_eq!(counts, (0..Dropped::ALL.len() as u64).collect::<Vec<_>>());
    }
}

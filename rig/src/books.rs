//! The books in which the clients of a load record what they did: one clock, one bound, and a count of what found no room.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::sample::{Connection, Sample};

/// Samples kept until they are taken. Beyond it they are counted as lost, which fails whoever relies on them.
const SAMPLES_MAX: usize = 1_000_000;

/// What all clients write into.
#[derive(Debug)]
pub struct Books {
    epoch: Instant,
    connections: AtomicU64,
    room: usize,
    written: Mutex<Taken>,
}

/// What came in since the last time.
#[derive(Debug, Default)]
pub struct Taken {
    /// What has ended since.
    pub samples: Vec<Sample>,
    /// Samples lost for want of room.
    pub lost: u64,
}

impl Books {
    /// Empty books; times count from `epoch`.
    #[must_use]
    pub fn new(epoch: Instant) -> Self {
        Self { epoch, connections: AtomicU64::new(0), room: SAMPLES_MAX, written: Mutex::default() }
    }

    /// Time since the beginning, as samples have it.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// A connection that is opened now.
    #[must_use]
    pub fn connection(&self) -> Connection {
        Connection { number: self.connections.fetch_add(1, Ordering::Relaxed), opened: self.now() }
    }

    /// Records a sample.
    pub fn write(&self, sample: Sample) {
        let mut written = self.written();
        if written.samples.len() < self.room {
            written.samples.push(sample);
        } else {
            written.lost += 1;
        }
    }

    /// What was recorded since the last look.
    #[must_use]
    pub fn take(&self) -> Taken {
        std::mem::take(&mut *self.written())
    }

    fn written(&self) -> MutexGuard<'_, Taken> {
        // A client that panicked has left whole samples behind, or none.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Kind, Network, Outcome};

    fn sample(books: &Books) -> Sample {
        let connection = books.connection();
        Sample {
            kind: Kind::GetNew,
            edge: 0,
            network: Network("red"),
            connection,
            began: connection.opened,
            ended: books.now(),
            placed: None,
            outcome: Outcome::Served,
            repeats: 0,
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_and_told_once() {
        let books = Books { room: 2, ..Books::new(Instant::now()) };
        (0..5).for_each(|_| books.write(sample(&books)));
        let taken = books.take();
        assert_eq!((taken.samples.len(), taken.lost), (2, 3));
        assert_ne!(taken.samples[0].connection.number, taken.samples[1].connection.number);
        books.write(sample(&books));
        let taken = books.take();
        assert_eq!((taken.samples.len(), taken.lost), (1, 0));
    }
}

//! The links of one slot: which one it has, what the next one is called, and when it may be dialled. Pure: callers bring the
//! time and the dice.
//!
//! A link is known by its serial, which no other link of the slot ever had. The number it registers with says nothing about
//! that: there are two, and they take turns.

use std::time::{Duration, Instant};

use super::backoff::Backoff;

/// A link that lives for this long has come to stay.
const SETTLED: Duration = Duration::from_secs(10);

/// Which link of a slot, of all that it ever had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Serial(u64);

/// A link that is to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The number it registers with: another one than the link it stands in for has, which it would supersede.
    pub(super) number: u16,
    /// It is not dialled before.
    pub(super) not_before: Instant,
    /// Dials that fail go on from here, while links come and go at once: both are one outage.
    pub(super) flapping: Option<Backoff>,
}

/// A link has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Come {
    /// The new link.
    pub(super) serial: Serial,
    /// The one that it stands in for.
    pub(super) replaced: Option<Serial>,
}

/// One slot.
#[derive(Debug)]
pub(super) struct Slot {
    numbers: [u16; 2],
    last: Serial,
    current: Option<Current>,
    /// The number of the latest link. It is taken again, so that an edge which has not noticed the end does now.
    number: u16,
    /// While links come and go at once.
    flapping: Option<Backoff>,
    not_before: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    serial: Serial,
    number: u16,
    since: Instant,
    is_suspect: bool,
    is_outdated: bool,
}

/// Which of a slot's two numbers its first link has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Turn {
    /// The lower.
    #[default]
    First,
    /// The higher: a link that leaves may still have the other.
    Second,
}

impl Turn {
    /// The one that a link with this number leaves free.
    #[must_use]
    pub fn beside(number: u16) -> Self {
        if number.is_multiple_of(2) { Self::Second } else { Self::First }
    }
}

impl Slot {
    /// A slot without a link. Its numbers are its own however many slots there are to its edge, now and later.
    pub(super) fn new(slot: u16, turn: Turn, now: Instant) -> Self {
        let first = slot.saturating_mul(2);
        let numbers = [first, first.saturating_add(1)];
        let number = match turn {
            Turn::First => numbers[0],
            Turn::Second => numbers[1],
        };
        Self { numbers, last: Serial(0), current: None, number, flapping: None, not_before: now }
    }

    /// The link to be had now, if one is: there is none, or the one there is leaves packets unanswered, or claims what is not
    /// claimed any more and cannot say otherwise.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        let number = match self.current {
            None => self.number,
            Some(current) if current.is_suspect || current.is_outdated => {
                self.numbers[usize::from(current.number == self.numbers[0])]
            }
            Some(_) => return None,
        };
        Some(Wanted { number, not_before: self.not_before, flapping: self.flapping })
    }

    /// The link that new flows go over.
    pub(super) fn current(&self) -> Option<Serial> {
        self.current.map(|current| current.serial)
    }

    /// A link that was wanted has registered with this number; dials that failed meanwhile have got to `reached`. Where links come
    /// and go at once, that is where their waits go on from: else each link that comes would begin them anew.
    pub(super) fn come(&mut self, (number, reached): (u16, Backoff), now: Instant, dice: f64) -> Come {
        self.flapping = self.flapping.map(|_| reached);
        self.last = Serial(self.last.0 + 1);
        let new = Current { serial: self.last, number, since: now, is_suspect: false, is_outdated: false };
        let replaced = self.current.replace(new);
        self.number = number;
        // One that was good, and only out of date, says nothing of how long others last.
        if let Some(replaced) = replaced.filter(|replaced| replaced.is_suspect || !replaced.is_outdated) {
            self.space_out(replaced, now, dice);
        }
        Come { serial: new.serial, replaced: replaced.map(|replaced| replaced.serial) }
    }

    /// A link leaves packets unanswered, or no longer does; true if that is news about the current one.
    pub(super) fn suspect(&mut self, serial: Serial, is_suspect: bool) -> bool {
        match &mut self.current {
            Some(current) if current.serial == serial => {
                std::mem::replace(&mut current.is_suspect, is_suspect) != is_suspect
            }
            Some(_) | None => false,
        }
    }

    /// A link claims what is not claimed any more, and its edge cannot be told otherwise over it; or the edge's process that it
    /// leads to has a successor. True if that is news about the current one.
    pub(super) fn outdated(&mut self, serial: Serial) -> bool {
        let current = self.current.as_mut().filter(|current| current.serial == serial);
        current.is_some_and(|current| !std::mem::replace(&mut current.is_outdated, true))
    }

    /// A link is not out of date after all; true if that is news about the current one.
    pub(super) fn up_to_date(&mut self, serial: Serial) -> bool {
        let current = self.current.as_mut().filter(|current| current.serial == serial);
        current.is_some_and(|current| std::mem::replace(&mut current.is_outdated, false))
    }

    /// A link is the slot's again, with its number: the one that has replaced it is gone, and it is still there.
    pub(super) fn resume(&mut self, serial: Serial, number: u16, now: Instant) {
        let again = Current { serial, number, since: now, is_suspect: false, is_outdated: false };
        if self.current.is_none() {
            self.current = Some(again);
            self.number = number;
        }
    }

    /// A link has ended; true if it was the current one. It may be one that was replaced long ago.
    pub(super) fn ended(&mut self, serial: Serial, now: Instant, dice: f64) -> bool {
        let Some(ended) = self.current.take_if(|current| current.serial == serial) else { return false };
        self.space_out(ended, now, dice);
        true
    }

    /// When the next link may be dialled: at once, unless this one was lost as soon as it was had. An edge that welcomes
    /// links and drops them would else be dialled without end.
    fn space_out(&mut self, lost: Current, now: Instant, dice: f64) {
        if now.duration_since(lost.since) >= SETTLED {
            self.flapping = None;
            self.not_before = now;
        } else {
            self.not_before = now + self.flapping.get_or_insert_with(|| Backoff::new(now)).next(now, dice);
        }
    }
}

#[cfg(test)]
mod tests;

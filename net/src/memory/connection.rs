//! One TCP connection between two hosts, as its two kernels see it: what was written, what has arrived, how each
//! direction ended. Pure: who waits is woken by others.
//!
//! Bytes that the receiver has no room for, or that a cut holds back, stay in the sender's buffer; so does an end of data
//! behind them. A reset throws the sender's buffer away and leaves what has arrived to be read.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
};

use bytes::BufMut;

/// Bytes that may have arrived and wait to be read.
pub(super) const ARRIVED_MAX: usize = 64 * 1024;
/// Bytes that may wait to be sent.
pub(super) const UNSENT_MAX: usize = 64 * 1024;

/// One end of a connection, or the direction that begins there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Dialler,
    Listener,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Dialler, Self::Listener];

    pub(super) fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Listener,
            Self::Listener => Self::Dialler,
        }
    }
}

/// How far something has come that is sent once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Mark {
    #[default]
    None,
    Sent,
    Arrived,
}

#[derive(Debug, Default)]
struct Direction {
    bytes: VecDeque<u8>,
    /// How many of `bytes`, from the front, have arrived.
    arrived: usize,
    finish: Mark,
    reset: Mark,
    /// The network lets nothing through.
    held: bool,
}

impl Direction {
    fn unsent(&self) -> usize {
        self.bytes.len() - self.arrived
    }

    /// Lets arrive what may; true if the reset just did.
    fn carry(&mut self) -> bool {
        if self.held {
            return false;
        }
        self.arrived = self.bytes.len().min(ARRIVED_MAX);
        if self.finish == Mark::Sent && self.unsent() == 0 {
            self.finish = Mark::Arrived;
        }
        let resets = self.reset == Mark::Sent;
        if resets {
            self.reset = Mark::Arrived;
        }
        resets
    }

    fn drop_all(&mut self) {
        self.bytes.clear();
        self.arrived = 0;
    }
}

/// What an end can do without waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Readiness {
    /// A read brings bytes, the end or an error.
    pub(super) readable: bool,
    /// A write takes bytes or fails.
    pub(super) writable: bool,
    /// Reset, or ended both ways.
    pub(super) broken: bool,
    /// Nothing waits to be sent.
    pub(super) sent: bool,
}

impl Readiness {
    /// True if something became possible that was not before.
    pub(super) fn gained_over(self, before: Self) -> bool {
        let flags = |r: Self| [r.readable, r.writable, r.broken, r.sent];
        flags(self).iter().zip(flags(before)).any(|(now, before)| *now && !before)
    }
}

/// A connection that is established.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// By the side it begins at.
    directions: [Direction; 2],
    /// Ends nobody holds any more.
    gone: [bool; 2],
}

impl Connection {
    /// Reads what has arrived at an end; 0 is the end of data.
    pub(super) fn read(&mut self, side: Side, buffer: &mut impl BufMut) -> io::Result<usize> {
        let from = self.towards(side);
        let length = from.arrived.min(buffer.chunk_mut().len());
        if length > 0 {
            let (front, back) = from.bytes.as_slices();
            let in_front = length.min(front.len());
            buffer.put_slice(&front[..in_front]);
            buffer.put_slice(&back[..length - in_front]);
            from.bytes.drain(..length);
            from.arrived -= length;
            self.settle();
            return Ok(length);
        }
        match (from.finish, from.reset) {
            // A full buffer reads nothing, whatever is there.
            _ if from.arrived > 0 => Ok(0),
            // The end was seen: a reset behind it shows only on writes.
            (Mark::Arrived, _) => Ok(0),
            (_, Mark::Arrived) => Err(io::ErrorKind::ConnectionReset.into()),
            (Mark::None | Mark::Sent, Mark::None | Mark::Sent) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Writes as much as the sender's buffer takes.
    pub(super) fn write(&mut self, side: Side, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_reset(side) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let to = &mut self.directions[side as usize];
        if to.finish != Mark::None {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = UNSENT_MAX - to.unsent();
        let mut written = 0;
        for slice in slices {
            let length = slice.len().min(room - written);
            to.bytes.extend(&slice[..length]);
            written += length;
        }
        if written == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.settle();
        Ok(written)
    }

    /// Ends an end's data; it may still read.
    pub(super) fn finish(&mut self, side: Side) {
        let to = &mut self.directions[side as usize];
        if to.finish == Mark::None {
            to.finish = Mark::Sent;
        }
        self.settle();
    }

    /// Closes an end hard: what it has not sent is lost.
    pub(super) fn abort(&mut self, side: Side) {
        self.gone[side as usize] = true;
        self.reset_from(side);
        self.settle();
    }

    /// Closes an end: what it has written still arrives, unless it leaves something unread, which is answered by a reset.
    pub(super) fn close(&mut self, side: Side) {
        if std::mem::replace(&mut self.gone[side as usize], true) {
            return;
        }
        if self.towards(side).arrived == 0 {
            self.finish(side);
        } else {
            self.settle();
        }
    }

    /// Lets nothing through in the direction that begins at a side.
    pub(super) fn hold(&mut self, side: Side) {
        self.directions[side as usize].held = true;
    }

    /// Lets everything through again.
    pub(super) fn release(&mut self, side: Side) {
        self.directions[side as usize].held = false;
        self.settle();
    }

    /// What an end can do now.
    pub(super) fn readiness(&self, side: Side) -> Readiness {
        let (to, from) = (&self.directions[side as usize], &self.directions[side.other() as usize]);
        let (reset, ended) = (self.is_reset(side), from.finish == Mark::Arrived);
        Readiness {
            readable: from.arrived > 0 || ended || reset,
            writable: to.unsent() < UNSENT_MAX || to.finish != Mark::None || reset,
            broken: reset || (ended && to.finish != Mark::None),
            sent: to.unsent() == 0 || reset,
        }
    }

    fn towards(&mut self, side: Side) -> &mut Direction {
        &mut self.directions[side.other() as usize]
    }

    fn is_reset(&self, side: Side) -> bool {
        self.directions[side.other() as usize].reset == Mark::Arrived
    }

    fn reset_from(&mut self, side: Side) {
        let to = &mut self.directions[side as usize];
        to.bytes.truncate(to.arrived);
        // An end of data that has not arrived is lost with the bytes before it.
        if to.finish == Mark::Sent {
            to.finish = Mark::None;
        }
        if to.reset == Mark::None {
            to.reset = Mark::Sent;
        }
    }

    /// Lets arrive what may, and answers for ends that are gone.
    fn settle(&mut self) {
        self.carry();
        for side in Side::BOTH {
            if self.gone[side as usize] && self.towards(side).arrived > 0 {
                self.towards(side).drop_all();
                self.reset_from(side);
            }
        }
        self.carry();
    }

    fn carry(&mut self) {
        for side in Side::BOTH {
            if self.directions[side as usize].carry() {
                self.directions[side.other() as usize].drop_all();
            }
        }
    }
}

#[cfg(test)]
mod tests;

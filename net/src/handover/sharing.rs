//! A UDP socket that two processes have: the newer one reads, and passes on what belongs to the other.
//!
//! Packets of QUIC say by their connection ID whose they are. Payloads of clients do not: those of a source that has no session here
//! are passed to the process before, which gives back what has none there either. There may be several before, which all are known here:
//! one that ends breaks nothing between the others.

use std::{
    io::{self, IoSliceMut},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use futures_util::task::AtomicWaker;
use quinn::{AsyncUdpSocket, udp::RecvMeta};
use tokio_util::sync::CancellationToken;

use super::relay::{Came, Relay};

/// Tells which process a packet is for, if it says so.
pub type Generation = fn(&[u8]) -> Option<u8>;

/// The processes that a socket is shared with: none, most of the time.
#[derive(Debug, Default)]
pub(crate) struct Sharing {
    others: Mutex<Others>,
    /// Whoever receives, to be told that it is from somewhere else now.
    receiver: AtomicWaker,
    /// Told that the process which has taken over is gone, and nobody reads.
    orphaned: CancellationToken,
}

#[derive(Debug, Default)]
struct Others {
    /// The latest first.
    predecessors: Vec<Predecessor>,
    successor: Option<Successor>,
    /// The process before reads so far, and passes on what is for this one.
    waits: bool,
    /// The successor has the ways to the processes before: nothing is asked of them or heard from them here any more.
    are_given: bool,
}

/// A process that had the socket before, and has some of its sessions still.
#[derive(Debug, Clone)]
struct Predecessor {
    generation: u8,
    relay: Arc<Relay>,
    /// It wants what belongs to it.
    wants: bool,
}

/// The process that is to take over: until it has, this one reads, and passes on what begins, or is of its generation.
#[derive(Debug, Clone)]
struct Successor {
    generation: u8,
    relay: Arc<Relay>,
    /// It has taken over, and reads: what it does not know it passes on.
    is_final: bool,
    /// It was told that nothing is left here.
    is_told: bool,
}

/// Where a batch has come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    /// From the kernel, or the process that reads it: whose it is has not been asked.
    Fresh,
    /// Given back by the process of this generation: it is of an earlier one, or nobody else's.
    Back(u8),
}

/// What has become of a payload that was to be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    /// Another process has it.
    Passed,
    /// There was no room: it is lost.
    Lost,
    /// There is no other process that it could be for.
    Alone,
}

impl Sharing {
    /// Not shared yet; `orphaned` is told when a process that has taken over is gone.
    pub(super) fn new(orphaned: CancellationToken) -> Self {
        Self { orphaned, ..Self::default() }
    }

    /// Adds a process that had the socket before all that were added.
    pub(super) fn add_predecessor(&self, generation: u8, end: OwnedFd) -> io::Result<()> {
        let relay = Arc::new(Relay::new(end)?);
        self.others().predecessors.push(Predecessor { generation, relay, wants: true });
        self.receiver.wake();
        Ok(())
    }

    /// Relays to those that had the socket before, for a process that is to have them, too.
    pub(super) fn predecessors(&self) -> io::Result<Vec<(u8, OwnedFd)>> {
        let end = |before: &Predecessor| Ok((before.generation, before.relay.end()?));
        self.others().own_predecessors().iter().map(end).collect()
    }

    /// The process before reads until [`Sharing::begin`].
    pub(super) fn wait(&self) {
        self.others().waits = true;
    }

    /// This process reads from now on.
    pub(super) fn begin(&self) {
        self.others().waits = false;
        self.receiver.wake();
    }

    /// Whether a process before has not ended.
    pub(super) fn has_predecessors(&self) -> bool {
        !self.others().own_predecessors().is_empty()
    }

    pub(super) fn set_successor(&self, generation: u8, end: OwnedFd) -> io::Result<()> {
        let relay = Arc::new(Relay::new(end)?);
        self.others().successor = Some(Successor { generation, relay, is_final: false, is_told: false });
        self.receiver.wake();
        Ok(())
    }

    /// The successor has taken over, and has all that were before.
    pub(super) fn settle(&self) {
        let mut others = self.others();
        others.are_given = true;
        if let Some(successor) = &mut others.successor {
            successor.is_final = true;
        }
        drop(others);
        self.receiver.wake();
    }

    /// Receives: from the process that reads in place of this one while one does, else from the socket itself.
    ///
    /// # Errors
    /// The kernel's, and `UnexpectedEof` after [`Sharing::leave`], once nothing can come any more.
    pub(crate) fn poll_receive(
        &self,
        socket: &dyn AsyncUdpSocket,
        cx: &mut Context<'_>,
        (buffers, meta): (&mut [IoSliceMut<'_>], &mut [RecvMeta]),
    ) -> Poll<io::Result<(usize, Passed)>> {
        self.receiver.register(cx.waker());
        if let Poll::Ready(generation) = self.poll_predecessors(cx, (&mut buffers[0], &mut meta[0])) {
            return Poll::Ready(Ok((1, Passed::Back(generation))));
        }
        if self.others().waits {
            return Poll::Pending;
        }
        loop {
            let Some(Successor { relay, is_final, is_told, .. }) = self.others().successor.clone() else {
                return Poll::Ready(Ok((ready!(socket.poll_recv(cx, buffers, meta))?, Passed::Fresh)));
            };
            let came = match relay.poll_came(cx, &mut buffers[0], &mut meta[0]) {
                Poll::Ready(came) => came,
                Poll::Pending if is_final => return Poll::Pending,
                Poll::Pending => {
                    return Poll::Ready(Ok((ready!(socket.poll_recv(cx, buffers, meta))?, Passed::Fresh)));
                }
            };
            match came {
                Ok(Came::Packets) => return Poll::Ready(Ok((1, Passed::Fresh))),
                Ok(Came::Enough) => {}
                Ok(Came::Over) | Err(_) if is_told => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                // Several may be left without one who reads for them; none of them knows what is for which.
                Ok(Came::Over) | Err(_) if is_final => {
                    self.orphaned.cancel();
                    return Poll::Pending;
                }
                // It has failed: this process goes on.
                Ok(Came::Over) | Err(_) => self.others().successor = None,
            }
        }
    }

    /// What a process before gives back, if anything; and which.
    fn poll_predecessors(
        &self,
        cx: &mut Context<'_>,
        (buffer, meta): (&mut IoSliceMut<'_>, &mut RecvMeta),
    ) -> Poll<u8> {
        let all = self.others().own_predecessors().to_vec();
        for Predecessor { generation, relay, .. } in all {
            loop {
                match relay.poll_came(cx, buffer, meta) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(Came::Packets)) => return Poll::Ready(generation),
                    Poll::Ready(Ok(Came::Enough)) => {
                        let mut others = self.others();
                        let of_it = others.predecessors.iter_mut().filter(|before| before.generation == generation);
                        of_it.for_each(|before| before.wants = false);
                        relay.close();
                    }
                    Poll::Ready(Ok(Came::Over) | Err(_)) => {
                        self.others().predecessors.retain(|before| before.generation != generation);
                        break;
                    }
                }
            }
        }
        Poll::Pending
    }

    /// Passes on what nobody here knows: to the latest of the processes before that has not been asked; else to the one after.
    pub(crate) fn pass_on(&self, (meta, packets): (&RecvMeta, &[u8]), from: Passed) -> Passing {
        let others = self.others();
        let asked = match from {
            Passed::Fresh => 0,
            // One that is gone by now was asked, and so were those that came after it.
            Passed::Back(of) => {
                let at = others.own_predecessors().iter().position(|before| before.generation == of);
                at.map_or(0, |at| at + 1)
            }
        };
        let left = others.own_predecessors().get(asked..).unwrap_or_default();
        let before = left.iter().filter(|before| before.wants).map(|before| &before.relay);
        let mut to = before.chain(others.successor.as_ref().map(|after| &after.relay));
        to.find_map(|relay| there(relay.pass(meta, packets))).unwrap_or(Passing::Alone)
    }

    /// Nothing is left here: the process after this one keeps what it gets, and what is on its way here is to be given back.
    /// False if there is none.
    pub(crate) fn leave(&self) -> bool {
        let mut others = self.others();
        let Some(successor) = &mut others.successor else { return false };
        // It is told again where there was no room.
        successor.is_told |= successor.relay.enough().is_ok();
        true
    }

    /// Passes to other processes what is theirs; gives the number of batches that have something left.
    pub(super) fn sort(
        &self,
        generation: Generation,
        (buffers, meta): (&mut [IoSliceMut<'_>], &mut [RecvMeta]),
    ) -> usize {
        let others = self.others();
        let Others { predecessors, successor, .. } = &*others;
        // What was read before the other took over may be looked at after that.
        if predecessors.is_empty() && successor.is_none() {
            return meta.len();
        }
        let relay_of = |of: Option<u8>| {
            // What begins is for the process that is to last.
            let after = successor.as_ref().filter(|after| of.is_none_or(|of| of == after.generation));
            let before = || predecessors.iter().find(|before| Some(before.generation) == of);
            after.map(|after| &after.relay).or_else(|| before().map(|before| &before.relay))
        };
        for (buffer, meta) in buffers.iter_mut().zip(meta.iter_mut()) {
            let (stride, len) = (meta.stride.max(1), meta.len);
            let mut kept = 0;
            for at in (0..len).step_by(stride) {
                let end = (at + stride).min(len);
                let one = RecvMeta { len: end - at, stride: end - at, ..*meta };
                let packet = &buffer[at..end];
                // Where the other is gone, it is for us to say so.
                if relay_of(generation(packet)).and_then(|relay| there(relay.pass(&one, packet))).is_none() {
                    buffer.copy_within(at..end, kept);
                    kept += end - at;
                }
            }
            meta.len = kept;
        }
        meta.iter().filter(|meta| meta.len > 0).count()
    }

    fn others(&self) -> MutexGuard<'_, Others> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Others {
    /// The processes before that are this one's to ask.
    fn own_predecessors(&self) -> &[Predecessor] {
        if self.are_given { &[] } else { &self.predecessors }
    }
}

/// What has become of packets; none if there is nobody at the other end.
fn there(passing: io::Result<()>) -> Option<Passing> {
    match passing {
        Ok(()) => Some(Passing::Passed),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Passing::Lost),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests;

//! One UDP session over a link, the same on both sides: payloads as datagrams, those too large for one on the session's
//! stream, whose end is the session's.
//!
//! It waits for nobody: what cannot leave now is dropped, and the caller is told why.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use tokio::select;

use crate::{
    datagram::{FRAME_HEAD, PAYLOAD_MAX, Packet, take_frame},
    error::StreamCode,
    inflow::{Cut, Inflow},
    limits::SESSION_BACKLOG_MAX,
    link::{Connection, DatagramError},
    splice::Stream,
    switch::{Dropped, Inbox},
};

/// A session whose open was accepted.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    stream: Stream,
    inbox: Inbox,
    read: BytesMut,
    backlog: Backlog,
    sequence: u32,
    gaps: Gaps,
}

/// What a session brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A payload from the other side.
    Payload(Bytes),
    /// Nothing more will come or go.
    Ended(SessionEnd),
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// The peer has done with it.
    Finished,
    /// The peer cut it.
    Cut(StreamCode),
    /// The link died.
    LinkLost,
}

impl Session {
    /// A session over a stream whose header and reply have passed; `unsent` frames go on the stream first.
    #[must_use]
    pub fn new(connection: Connection, stream: Stream, inbox: Inbox, unsent: impl IntoIterator<Item = Bytes>) -> Self {
        let frames: VecDeque<Bytes> = unsent.into_iter().collect();
        let backlog = Backlog { bytes: frames.iter().map(Bytes::len).sum(), frames };
        let (read, gaps) = (BytesMut::new(), Gaps::default());
        Self { connection, stream, inbox, read, backlog, sequence: 0, gaps }
    }

    /// Sends a payload.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn send(&mut self, packet: Packet) -> Result<(), Dropped> {
        let length = packet.datagram_len();
        if self.connection.datagram_max().is_none_or(|max| length > max) {
            return self.backlog.push(packet.into_frame());
        }
        // A full buffer would make room by throwing the oldest away, unseen and uncounted.
        if self.connection.datagram_room() < length {
            return Err(Dropped::BufferFull);
        }
        let datagram = packet.into_datagram(self.inbox.session(), self.sequence);
        self.sequence = self.sequence.wrapping_add(1);
        self.connection.send_datagram(datagram).map_err(|error| match error {
            DatagramError::TooLarge | DatagramError::Untaken => Dropped::NotSent,
            DatagramError::Lost(_) => Dropped::LinkLost,
        })
    }

    /// Waits for the next event, and meanwhile sends what waits for the stream. Dropping it loses nothing.
    pub async fn next(&mut self) -> Event {
        loop {
            let Self { stream, inbox, read, backlog, gaps, .. } = self;
            select! {
                Some(datagram) = inbox.next() => {
                    gaps.note(datagram.sequence);
                    return Event::Payload(datagram.payload);
                }
                frame = next_frame(&mut stream.recv, read) => return match frame {
                    Ok(payload) => Event::Payload(payload),
                    Err(end) => Event::Ended(end),
                },
                sent = stream.send.write(backlog.front()), if !backlog.is_empty() => match sent {
                    Ok(sent) => backlog.advance(sent),
                    // How the session ended shows on the other direction.
                    Err(_) => backlog.clear(),
                },
            }
        }
    }

    /// The next payload that has come as a datagram already.
    pub fn try_next(&mut self) -> Option<Bytes> {
        let datagram = self.inbox.try_next()?;
        self.gaps.note(datagram.sequence);
        Some(datagram.payload)
    }

    /// Datagrams that the peer sent and that did not come.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.gaps.missing
    }

    /// Ends the session: the peer need not wait for more.
    pub fn finish(mut self) {
        let _ = self.stream.send.finish();
        // Either direction may have ended already; then there is nothing left to end.
        let _ = self.stream.recv.stop(StreamCode::Cancelled);
    }

    /// Ends the session and says why. What was sent before, the reply above all, still arrives.
    pub fn cut(mut self, code: StreamCode) {
        let _ = self.stream.recv.stop(code);
        let _ = self.stream.send.finish();
    }
}

async fn next_frame(recv: &mut Inflow, read: &mut BytesMut) -> Result<Bytes, SessionEnd> {
    loop {
        if let Some(payload) = take_frame(read) {
            return Ok(payload);
        }
        match recv.read_chunk(FRAME_HEAD + PAYLOAD_MAX).await {
            Ok(Some(bytes)) => read.extend_from_slice(&bytes),
            Ok(None) | Err(Cut::Peer(StreamCode::Cancelled)) => return Err(SessionEnd::Finished),
            Err(Cut::Peer(code)) => return Err(SessionEnd::Cut(code)),
            Err(Cut::Lost(_)) => return Err(SessionEnd::LinkLost),
        }
    }
}

/// Frames that wait for the stream, within [`SESSION_BACKLOG_MAX`].
#[derive(Debug)]
struct Backlog {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Backlog {
    fn push(&mut self, frame: Bytes) -> Result<(), Dropped> {
        if self.bytes + frame.len() > SESSION_BACKLOG_MAX {
            return Err(Dropped::BufferFull);
        }
        self.bytes += frame.len();
        self.frames.push_back(frame);
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    fn front(&self) -> &[u8] {
        self.frames.front().map_or(&[], |frame| frame)
    }

    fn advance(&mut self, sent: usize) {
        self.bytes -= sent;
        if let Some(frame) = self.frames.front_mut() {
            frame.advance(sent);
            if frame.is_empty() {
                self.frames.pop_front();
            }
        }
    }

    fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }
}

/// Counts what is missing between sequence numbers.
#[derive(Debug, Default)]
struct Gaps {
    expected: u32,
    missing: u64,
}

impl Gaps {
    fn note(&mut self, sequence: u32) {
        let ahead = sequence.wrapping_sub(self.expected);
        if ahead < u32::MAX / 2 {
            self.missing += u64::from(ahead);
            self.expected = sequence.wrapping_add(1);
        } else {
            // It was overtaken, and counted as missing then.
            self.missing = self.missing.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests;

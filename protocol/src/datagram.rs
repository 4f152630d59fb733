//! Payloads of UDP sessions as bytes: a datagram of the link each, or one after the other on the session's stream. Pure layout; how
//! they are carried is the session's business.
//!
//! ```text
//! datagram    0         4         8
//!             | session | sequence| payload (the rest)
//!             | u32 BE  | u32 BE  |
//! on a stream 0       2
//!             | length| payload (length bytes)
//!             | u16 BE|
//! ```

use std::cell::RefCell;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::codec::DecodeError;

/// Bytes before the payload of a datagram.
pub const DATAGRAM_HEAD: usize = 8;
/// Bytes before a payload on a stream.
pub const FRAME_HEAD: usize = 2;
/// Largest payload: that of the largest UDP packet over IPv4.
pub const PAYLOAD_MAX: usize = 65_507;

/// Room taken from the allocator at a time; several payloads share it. Every session has one, and a payload that waits
/// keeps its whole block, so it is small.
const BLOCK: usize = 16 * 1024;
/// What an unreadable datagram is called in errors, where frames have their kind.
const DATAGRAM: u16 = 0;

/// Where payloads are put one after the other, so that each has room for its head right before it.
#[derive(Debug, Default)]
pub struct Arena(BytesMut);

thread_local! {
    /// Where a payload whose size is not known yet is read to, so that no session needs room for the largest.
    static SCRATCH: RefCell<BytesMut> = RefCell::default();
}

/// A payload on its way into the tunnel, with room for its head.
#[derive(Debug)]
pub struct Packet(BytesMut);

impl Arena {
    /// A copy of this payload.
    #[must_use]
    pub fn copy(&mut self, payload: &[u8]) -> Packet {
        debug_assert!(payload.len() <= usize::from(u16::MAX), "no UDP payload is longer");
        self.make_room(payload.len());
        self.0.put_slice(payload);
        Packet(self.0.split())
    }

    /// What `read` puts into the buffer, at most the largest payload there is. It must only append.
    ///
    /// # Errors
    /// What `read` says.
    pub fn fill<E>(&mut self, read: impl FnOnce(&mut BytesMut) -> Result<usize, E>) -> Result<Packet, E> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            scratch.reserve(usize::from(u16::MAX));
            read(scratch)?;
            Ok(self.copy(scratch))
        })
    }

    /// A payload behind a word of the sender's own; nothing if both are longer than any payload.
    #[must_use]
    pub fn join(&mut self, word: &[u8], payload: &[u8]) -> Option<Packet> {
        let length = word.len() + payload.len();
        (length <= PAYLOAD_MAX).then(|| {
            self.make_room(length);
            self.0.put_slice(word);
            self.0.put_slice(payload);
            Packet(self.0.split())
        })
    }

    fn make_room(&mut self, payload: usize) {
        self.0.clear();
        if self.0.capacity() < DATAGRAM_HEAD + payload {
            self.0.reserve(BLOCK.max(DATAGRAM_HEAD + payload));
        }
        self.0.put_bytes(0, DATAGRAM_HEAD);
    }
}

impl Packet {
    /// The payload alone.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.0[DATAGRAM_HEAD..]
    }

    /// Its bytes as a datagram.
    #[must_use]
    pub fn datagram_len(&self) -> usize {
        self.0.len()
    }

    /// The whole datagram.
    #[must_use]
    pub fn into_datagram(mut self, session: u32, sequence: u32) -> Bytes {
        self.0[..4].copy_from_slice(&session.to_be_bytes());
        self.0[4..DATAGRAM_HEAD].copy_from_slice(&sequence.to_be_bytes());
        self.0.freeze()
    }

    /// The payload as it goes on a stream.
    #[must_use]
    pub fn into_frame(mut self) -> Bytes {
        let length = u16::try_from(self.payload().len()).unwrap_or(u16::MAX);
        self.0.advance(DATAGRAM_HEAD - FRAME_HEAD);
        self.0[..FRAME_HEAD].copy_from_slice(&length.to_be_bytes());
        self.0.freeze()
    }
}

/// A datagram that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Which session of the link.
    pub session: u32,
    /// Counts the datagrams of one session and direction, wrapping around.
    pub sequence: u32,
    /// What the other side was sent.
    pub payload: Bytes,
}

impl Datagram {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] if it is shorter than its head.
    pub fn decode(mut bytes: Bytes) -> Result<Self, DecodeError> {
        if bytes.len() < DATAGRAM_HEAD {
            let what = format!("a datagram has at least {DATAGRAM_HEAD} bytes, not {}", bytes.len());
            return Err(DecodeError::Malformed { kind: DATAGRAM, what });
        }
        Ok(Self { session: bytes.get_u32(), sequence: bytes.get_u32(), payload: bytes })
    }
}

/// Takes the next whole payload off what has been read of a stream; `None` if it is not whole yet.
#[must_use]
pub fn take_frame(read: &mut BytesMut) -> Option<Bytes> {
    let head = read.first_chunk::<FRAME_HEAD>()?;
    let length = usize::from(u16::from_be_bytes(*head));
    if read.len() < FRAME_HEAD + length {
        return None;
    }
    let mut frame = read.split_to(FRAME_HEAD + length).freeze();
    frame.advance(FRAME_HEAD);
    Some(frame)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn datagram_and_frame_have_their_golden_bytes() {
        let mut arena = Arena::default();
        let datagram = arena.copy(b"abc").into_datagram(0x0102_0304, 7);
        assert_eq!(&datagram[..], b"\x01\x02\x03\x04\x00\x00\x00\x07abc");
        assert_eq!(&arena.copy(b"abc").into_frame()[..], b"\x00\x03abc");
        assert_eq!(&arena.copy(b"").into_frame()[..], b"\x00\x00");
        assert_eq!(&arena.copy(b"").into_datagram(1, 2)[..], b"\x00\x00\x00\x01\x00\x00\x00\x02");
    }

    #[test]
    fn a_datagram_without_its_whole_head_is_none() {
        for length in 0..DATAGRAM_HEAD {
            assert!(Datagram::decode(Bytes::from(vec![0; length])).is_err(), "{length} bytes");
        }
        assert!(Datagram::decode(Bytes::from_static(&[0; DATAGRAM_HEAD])).is_ok());
    }

    #[test]
    fn the_largest_payload_fits_a_frame() {
        let frame = Arena::default().copy(&vec![1; PAYLOAD_MAX]).into_frame();
        assert_eq!(take_frame(&mut BytesMut::from(&frame[..])).map(|payload| payload.len()), Some(PAYLOAD_MAX));
    }

    #[test]
    fn a_word_goes_before_a_payload_unless_both_are_too_long() {
        let mut arena = Arena::default();
        let joined = arena.join(b"word ", b"payload").expect("short");
        assert_eq!(&joined.into_frame()[..], b"\0\x0cword payload");
        assert!(arena.join(b"1", &vec![0; PAYLOAD_MAX - 1]).is_some());
        assert!(arena.join(b"1", &vec![0; PAYLOAD_MAX]).is_none());
    }

    #[test]
    fn what_a_failed_read_left_is_not_sent() {
        let mut arena = Arena::default();
        let failed = arena.fill(|buffer| {
            buffer.put_slice(b"rest");
            Err::<usize, _>("no")
        });
        assert!(failed.is_err());
        assert_eq!(arena.copy(b"x").payload(), b"x");
    }

    proptest! {
        #[test]
        fn datagrams_come_back_as_they_were(session: u32, sequence: u32, payload in vec(any::<u8>(), 0..3000)) {
            let bytes = Arena::default().copy(&payload).into_datagram(session, sequence);
            let read = Datagram::decode(bytes).expect("whole");
            prop_assert_eq!(read, Datagram { session, sequence, payload: payload.into() });
        }

        #[test]
        fn frames_come_back_however_they_are_cut(payloads in vec(vec(any::<u8>(), 0..50), 0..20), cut in 1..60_usize) {
            let mut arena = Arena::default();
            let stream: Vec<u8> = payloads.iter().flat_map(|p| arena.copy(p).into_frame().to_vec()).collect();
            let (mut read, mut got) = (BytesMut::new(), Vec::new());
            for chunk in stream.chunks(cut) {
                read.extend_from_slice(chunk);
                got.extend(std::iter::from_fn(|| take_frame(&mut read)).map(|p| p.to_vec()));
            }
            prop_assert_eq!(got, payloads);
            prop_assert!(read.is_empty());
        }

        #[test]
        fn no_bytes_upset_the_readers(bytes in vec(any::<u8>(), 0..200)) {
            let _ = Datagram::decode(bytes.clone().into());
            let mut read = BytesMut::from(&bytes[..]);
            while take_frame(&mut read).is_some() {}
        }
    }
}

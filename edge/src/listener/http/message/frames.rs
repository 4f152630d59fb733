//! Where the frames of a WebSocket end (RFC 6455 section 5.2), and the one frame that the edge says itself. What is in them
//! stays unread.

/// A server that goes away says so: an unmasked Close with code 1001 (RFC 6455 sections 5.5.1 and 7.4.1).
pub(crate) const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

/// Longest head: two bytes, eight of a length, four of a mask.
const HEAD_MAX: usize = 14;

/// How far one direction has got. Control frames may stand between the frames of a message, so every end of a frame is a place
/// for one.
#[derive(Debug)]
pub(crate) enum Frames {
    /// In a head, of which this much is known.
    Head([u8; HEAD_MAX], usize),
    /// In a payload, of which this much is to come.
    Payload(u64),
}

impl Default for Frames {
    fn default() -> Self {
        Self::Head([0; HEAD_MAX], 0)
    }
}

impl Frames {
    /// Whether one frame has ended and none has begun.
    pub(crate) fn is_between(&self) -> bool {
        matches!(self, Self::Head(_, 0))
    }

    /// Follows bytes as they are carried.
    pub(crate) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.step(bytes)..];
        }
    }

    /// How many of the bytes that come next belong to the frame that has begun; none if none has.
    pub(crate) fn rest(&self, bytes: &[u8]) -> usize {
        let (mut frames, mut taken) = (self.copy(), 0);
        while taken < bytes.len() && !frames.is_between() {
            taken += frames.step(&bytes[taken..]);
        }
        taken
    }

    /// Takes at least one byte; how many.
    fn step(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Payload(left) => {
                let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= taken as u64;
                if *left == 0 {
                    *self = Self::default();
                }
                taken
            }
            Self::Head(head, known) => {
                head[*known] = bytes[0];
                *known += 1;
                if let Some(length) = length(&head[..*known]) {
                    *self = if length == 0 { Self::default() } else { Self::Payload(length) };
                }
                1
            }
        }
    }

    fn copy(&self) -> Self {
        match self {
            Self::Head(head, known) => Self::Head(*head, *known),
            Self::Payload(left) => Self::Payload(*left),
        }
    }
}

/// How long the payload behind this head is, once the head is whole.
fn length(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (more, short) = match second & 0x7f {
        126 => (2, None),
        127 => (8, None),
        short => (0, Some(u64::from(short))),
    };
    if head.len() < 2 + more + mask {
        return None;
    }
    let long = || head[2..2 + more].iter().fold(0, |length: u64, byte| length << 8 | u64::from(*byte));
    Some(short.unwrap_or_else(long))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// A frame with a payload of this length.
    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match length {
            0..=125 => frame.push(mask | u8::try_from(length).expect("a small number")),
            126..=0xffff => {
                frame.push(mask | 126);
                frame.extend(u16::try_from(length).expect("a small number").to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(std::iter::repeat_n(7, length + if masked { 4 } else { 0 }));
        frame
    }

    #[test]
    fn what_the_edge_says_is_a_frame() {
        let mut frames = Frames::default();
        frames.follow(&GOING_AWAY);
        assert!(frames.is_between());
    }

    proptest! {
        #[test]
        fn every_end_of_a_frame_is_found_however_the_bytes_come(
            lengths in vec((prop_oneof![0_usize..200, 65_500_usize..65_600], any::<bool>()), 1..6),
            pieces in vec(1_usize..70_000, 1..40),
        ) {
            let all: Vec<Vec<u8>> = lengths.iter().map(|(length, masked)| frame(*length, *masked)).collect();
            let ends: Vec<usize> = all.iter().scan(0, |end, frame| { *end += frame.len(); Some(*end) }).collect();
            let (bytes, mut at, mut frames) = (all.concat(), 0, Frames::default());
            for piece in pieces.iter().cycle() {
                prop_assert_eq!(frames.is_between(), at == 0 || ends.contains(&at));
                let next = ends.iter().find(|end| **end > at);
                let Some(next) = next else { break };
                let rest = if frames.is_between() { 0 } else { next - at };
                prop_assert_eq!(frames.rest(&bytes[at..]), rest);
                let to = (at + piece).min(bytes.len());
                frames.follow(&bytes[at..to]);
                at = to;
            }
        }
    }
}

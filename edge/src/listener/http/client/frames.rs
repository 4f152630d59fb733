//! Frames of HTTP/2 as their bytes pass, seen no deeper than the first bytes of each. Pure.

/// Bytes of a frame's head.
const HEAD: usize = 9;
/// Bytes of an error code.
const CODE: usize = 4;

/// The flag that ends a stream.
pub(crate) const END_STREAM: u8 = 0x1;
/// The flag that ends a head.
pub(crate) const END_HEADERS: u8 = 0x4;

/// What a frame is for (RFC 9113 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A part of a body.
    Data,
    /// A head begins.
    Headers,
    /// A stream is over.
    Reset,
    /// What a side bears.
    Settings,
    /// A question for a sign of life, or its answer.
    Ping,
    /// More may be sent.
    WindowUpdate,
    /// A head goes on.
    Continuation,
    /// Any other: it moves nothing.
    Idle,
}

/// What is seen of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// What it is for.
    pub(crate) kind: Kind,
    /// Its flags.
    pub(crate) flags: u8,
    /// Its stream, or 0 for the connection.
    pub(crate) stream: u32,
    /// Bytes behind its head.
    pub(crate) length: usize,
    /// The error code of a [`Kind::Reset`].
    pub(crate) code: u32,
}

impl Frame {
    fn read(bytes: [u8; HEAD + CODE]) -> Self {
        let [a, b, c, kind, flags, s0, s1, s2, s3, code @ ..] = bytes;
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Headers,
            3 => Kind::Reset,
            4 => Kind::Settings,
            6 => Kind::Ping,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            _ => Kind::Idle,
        };
        Self {
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & (u32::MAX >> 1),
            length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            code: u32::from_be_bytes(code),
        }
    }

    /// Bytes that are waited for before the frame is told.
    fn shown(self) -> usize {
        if self.kind == Kind::Reset && self.length >= CODE { HEAD + CODE } else { HEAD }
    }
}

/// Where in a sequence of frames the bytes are.
#[derive(Debug)]
pub(crate) struct Frames {
    skip: usize,
    first: [u8; HEAD + CODE],
    have: usize,
}

impl Frames {
    /// Behind so many bytes that are no frames.
    pub(crate) fn behind(skip: usize) -> Self {
        Self { skip, first: [0; HEAD + CODE], have: 0 }
    }

    /// True if the last byte was the last of a frame.
    pub(crate) fn is_between(&self) -> bool {
        self.skip == 0 && self.have == 0
    }

    /// Tells of each frame that begins in these bytes; the first error ends it.
    pub(crate) fn pass<E>(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame) -> Result<(), E>) -> Result<(), E> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let here = self.skip.min(bytes.len());
                self.skip -= here;
                bytes = &bytes[here..];
                continue;
            }
            let wanted = if self.have < HEAD { HEAD } else { HEAD + CODE };
            let here = (wanted - self.have).min(bytes.len());
            self.first[self.have..self.have + here].copy_from_slice(&bytes[..here]);
            self.have += here;
            bytes = &bytes[here..];
            if self.have < HEAD {
                continue;
            }
            let frame = Frame::read(self.first);
            if self.have == frame.shown() {
                self.skip = frame.length - (self.have - HEAD);
                self.have = 0;
                self.first = [0; HEAD + CODE];
                each(frame)?;
            }
        }
        Ok(())
    }
}

/// A GOAWAY frame with a word for whoever looks.
pub(crate) fn go_away(last_stream: u32, code: u32, word: &str) -> Vec<u8> {
    let length = u32::try_from(8 + word.len()).expect("a short word").to_be_bytes();
    let head = [&length[1..], &[7, 0], &[0; 4]].concat();
    [&head[..], &last_stream.to_be_bytes(), &code.to_be_bytes(), word.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn told(pieces: &[&[u8]], skip: usize) -> (Vec<Frame>, bool) {
        let mut frames = Frames::behind(skip);
        let mut all = Vec::new();
        for piece in pieces {
            let passed = frames.pass(piece, |frame| {
                all.push(frame);
                Ok::<_, Infallible>(())
            });
            assert_eq!(passed, Ok(()));
        }
        (all, frames.is_between())
    }

    #[test]
    fn frames_are_told_by_their_heads() {
        let ping = [0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let reset = [0, 0, 4, 3, 0, 0x80, 0, 0, 5, 0, 0, 0, 8];
        let bytes = [&b"preface"[..], &ping, &reset, &[0, 0, 0, 0, 1, 0, 0, 0, 7]].concat();
        let expected = [
            Frame { kind: Kind::Ping, flags: 1, stream: 0, length: 8, code: 0 },
            Frame { kind: Kind::Reset, flags: 0, stream: 5, length: 4, code: 8 },
            Frame { kind: Kind::Data, flags: END_STREAM, stream: 7, length: 0, code: 0 },
        ];
        assert_eq!(told(&[&bytes], 7), (expected.to_vec(), true));
        assert!(!told(&[&bytes[..bytes.len() - 1]], 7).1);
    }

    #[test]
    fn an_error_ends_it() {
        let mut frames = Frames::behind(0);
        let mut seen = 0;
        let ended = frames.pass(&[0; 3 * HEAD], |_| {
            seen += 1;
            Err(seen)
        });
        assert_eq!((ended, seen), (Err(1), 1));
    }

    #[test]
    fn a_go_away_is_a_frame() {
        let bytes = go_away(3, 11, "pings");
        let frame = Frame { kind: Kind::Idle, flags: 0, stream: 0, length: 13, code: 0 };
        assert_eq!(told(&[&bytes], 0), (vec![frame], true));
    }

    proptest! {
        #[test]
        fn what_is_told_does_not_depend_on_how_bytes_arrive(
            heads in prop::collection::vec((0_u8..12, any::<u8>(), any::<u8>(), 0_usize..20), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let frame = |(kind, flags, stream, length): &(u8, u8, u8, usize)| {
                let head = [0, 0, u8::try_from(*length).expect("small"), *kind, *flags, 0, 0, 0, *stream];
                [&head[..], &vec![7; *length]].concat()
            };
            let bytes = heads.iter().flat_map(frame).collect::<Vec<u8>>();
            let (all, between) = told(&[&bytes], 0);
            prop_assert_eq!(all.len(), heads.len());
            prop_assert!(between);
            let cut = cut.index(bytes.len() + 1);
            prop_assert_eq!(told(&[&bytes[..cut], &bytes[cut..]], 0), (all.clone(), between));
            let single = bytes.chunks(1).collect::<Vec<_>>();
            prop_assert_eq!(told(&single, 0), (all, between));
        }
    }
}

//! An HTTP/2 client that writes whatever frames it is told to, well-formed or not, and shows the frames that come back.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::client;

/// Kinds of frames.
pub mod kind {
    #![expect(missing_docs, reason = "the names of RFC 9113 section 6")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// The flag of DATA and HEADERS that ends a stream.
pub const END_STREAM: u8 = 1;
/// The flag of SETTINGS and PING that answers another.
pub const ACK: u8 = 1;
/// The flag of HEADERS and CONTINUATION that ends a head.
pub const END_HEADERS: u8 = 4;
/// Error codes.
pub const PROTOCOL_ERROR: u32 = 1;
/// The code for a client that asks too much.
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Which kind.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// The rest.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of a RST_STREAM or GOAWAY.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        self.payload.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// As it crosses.
    ///
    /// # Panics
    /// If its payload is larger than a frame may be.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("a small payload").to_be_bytes();
        [&length[1..], &[self.kind, self.flags], &self.stream.to_be_bytes(), &self.payload[..]].concat()
    }
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// An answer came to its end; the first byte of its head says which status it is (0x88 is 200).
    Answered(u8),
    /// The stream was reset with this code.
    Reset(u32),
    /// The connection was ended with this code, or none.
    Closed(Option<u32>),
}

/// The status 200, first in an answer's head.
pub const OK: Ended = Ended::Answered(0x88);
/// The status 400, first in an answer's head.
pub const BAD_REQUEST: Ended = Ended::Answered(0x8c);

/// A head, each field literal and never indexed.
#[must_use]
pub fn head(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let text = |bytes: &[u8]| {
        let length = bytes.len();
        let short = u8::try_from(length).ok().filter(|length| *length < 127);
        let mut out = match short {
            Some(length) => vec![length],
            None => {
                let (mut left, mut out) = (length - 127, vec![127]);
                while left >= 128 {
                    out.push(u8::try_from(left % 128).expect("below 128") | 128);
                    left /= 128;
                }
                out.push(u8::try_from(left).expect("below 128"));
                out
            }
        };
        out.extend_from_slice(bytes);
        out
    };
    fields.iter().flat_map(|(name, value)| [vec![0x10], text(name), text(value)].concat()).collect()
}

/// A connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    next: u32,
    goodbye: Option<u32>,
}

impl Raw {
    /// Connects, and says preface and SETTINGS of these (identifier, value) pairs.
    ///
    /// # Panics
    /// If nobody listens.
    #[must_use]
    pub fn connect(at: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = client::connect(at).expect("the listener accepts");
        let mut raw = Self { stream, next: 1, goodbye: None };
        let settings = settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
        let settings = Frame { kind: kind::SETTINGS, flags: 0, stream: 0, payload: settings.collect() };
        raw.write(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings.bytes()[..]].concat()).expect("written");
        raw
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// If the other side has closed.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// If the other side has closed.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.write(&Frame { kind, flags, stream, payload: payload.to_vec() }.bytes())
    }

    /// The number of a stream not used yet.
    pub fn fresh(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// Opens a stream with this head, which ends it unless a body follows.
    ///
    /// # Panics
    /// If the other side has closed.
    pub fn open(&mut self, fields: &[(&[u8], &[u8])], flags: u8) -> u32 {
        let stream = self.fresh();
        self.send(kind::HEADERS, END_HEADERS | flags, stream, &head(fields)).expect("written");
        stream
    }

    /// The next frame, or `None` at the end of the connection.
    ///
    /// # Panics
    /// If nothing comes for too long.
    pub fn read(&mut self) -> Option<Frame> {
        let mut first = [0; 9];
        if let Err(error) = self.stream.read_exact(&mut first) {
            assert!(error.kind() != io::ErrorKind::WouldBlock, "no frame came");
            return None;
        }
        let [a, b, c, kind, flags, stream @ ..] = first;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("24 bits")];
        self.stream.read_exact(&mut payload).ok()?;
        let frame = Frame { kind, flags, stream: u32::from_be_bytes(stream), payload };
        if kind == kind::GOAWAY {
            self.goodbye = frame.code();
        }
        Some(frame)
    }

    /// Reads until this stream has ended, whatever happens on others.
    pub fn end_of(&mut self, stream: u32) -> Ended {
        self.answer(stream).0
    }

    /// Reads until this stream has ended, whatever happens on others: how it did, and the body that came before that.
    pub fn answer(&mut self, stream: u32) -> (Ended, Vec<u8>) {
        let (mut status, mut body) = (0, Vec::new());
        while let Some(frame) = self.read() {
            if frame.stream != stream {
                continue;
            }
            if let (kind::RST_STREAM, Some(code)) = (frame.kind, frame.code()) {
                return (Ended::Reset(code), body);
            }
            if frame.kind == kind::HEADERS && status == 0 {
                status = frame.payload.first().copied().unwrap_or(0);
            }
            if frame.kind == kind::DATA {
                body.extend_from_slice(&frame.payload);
            }
            if frame.flags & END_STREAM != 0 && matches!(frame.kind, kind::HEADERS | kind::DATA) {
                return (Ended::Answered(status), body);
            }
        }
        (Ended::Closed(self.goodbye), body)
    }

    /// The frames of this stream until a question that is asked now is answered.
    ///
    /// # Panics
    /// If the connection ends instead.
    pub fn until_pong(&mut self, stream: u32) -> Vec<Frame> {
        self.send(kind::PING, 0, 0, b"whatever").expect("written");
        let mut seen = Vec::new();
        while let Some(frame) = self.read() {
            if frame.kind == kind::PING && frame.payload == b"whatever" {
                return seen;
            }
            if frame.stream == stream {
                seen.push(frame);
            }
        }
        panic!("the connection ended: {seen:?}");
    }

    /// Reads until the connection has ended: the code of its GOAWAY, if one came.
    pub fn end(&mut self) -> Option<u32> {
        while self.read().is_some() {}
        self.goodbye
    }
}

//! An HTTP/2 origin without TLS that answers each request with whatever frames it is told to, and counts deliveries.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Connection, Ending, Origin};
use crate::harness::frames::{ACK, END_HEADERS, END_STREAM, Frame, kind};

/// What a request is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A head without a body that says 200.
    Ok,
    /// Nothing, for as long as the client waits.
    Nothing,
    /// The stream is reset with this code.
    Reset(u32),
    /// The connection ends with this code: nothing of this request was looked at.
    Leave(u32),
    /// These frames on its stream, at once: kind, flags, payload.
    Frames(&'static [(u8, u8, &'static [u8])]),
}

/// The code of a stream that was not looked at.
pub const REFUSED_STREAM: u32 = 7;

/// How many requests were delivered.
pub type Deliveries = Arc<AtomicUsize>;

/// Answers each request as `answer` says of its number, counted from 0 over all connections. `settings` are said first.
#[must_use]
pub fn answers(
    at: SocketAddr,
    settings: &[(u16, u32)],
    answer: impl Fn(usize) -> Answer + Send + Sync + 'static,
) -> (Origin, Deliveries) {
    let settings = settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
    let settings = Frame { kind: kind::SETTINGS, flags: 0, stream: 0, payload: settings.collect() }.bytes();
    let deliveries = Deliveries::default();
    let counted = deliveries.clone();
    let origin = Origin::start(at, move |mut stream| {
        let mut preface = [0; 24];
        // A monitor connects, and says nothing.
        if stream.read_exact(&mut preface).is_err() {
            return Ok(Ending::Clean);
        }
        stream.write_all(&settings)?;
        while let Some(frame) = next(stream)? {
            match frame.kind {
                kind::SETTINGS | kind::PING if frame.flags & ACK == 0 => {
                    let payload = if frame.kind == kind::PING { frame.payload } else { Vec::new() };
                    stream.write_all(&Frame { flags: ACK, payload, ..frame }.bytes())?;
                }
                kind::HEADERS => {
                    let answer = answer(counted.fetch_add(1, Ordering::SeqCst));
                    let frames: Vec<u8> = reply(answer, frame.stream).iter().flat_map(Frame::bytes).collect();
                    stream.write_all(&frames)?;
                    if matches!(answer, Answer::Leave(_)) {
                        // What is still on its way is read: a close over it would be a reset, which overtakes the word.
                        while next(stream)?.is_some() {}
                        return Ok(Ending::Clean);
                    }
                }
                _ => {}
            }
        }
        Ok(Ending::Clean)
    });
    (origin, deliveries)
}

fn reply(answer: Answer, stream: u32) -> Vec<Frame> {
    let frame = |kind, flags, payload: &[u8]| Frame { kind, flags, stream, payload: payload.to_vec() };
    match answer {
        Answer::Nothing => Vec::new(),
        Answer::Ok => vec![frame(kind::HEADERS, END_HEADERS | END_STREAM, &[0x88])],
        Answer::Reset(code) => vec![frame(kind::RST_STREAM, 0, &code.to_be_bytes())],
        Answer::Leave(code) => {
            let payload = [(stream - 1).to_be_bytes(), code.to_be_bytes()].concat();
            vec![Frame { stream: 0, ..frame(kind::GOAWAY, 0, &payload) }]
        }
        Answer::Frames(frames) => frames.iter().map(|(kind, flags, payload)| frame(*kind, *flags, payload)).collect(),
    }
}

fn next(mut stream: &Connection) -> io::Result<Option<Frame>> {
    let mut first = [0; 9];
    if stream.read_exact(&mut first).is_err() {
        return Ok(None);
    }
    let [a, b, c, kind, flags, number @ ..] = first;
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("24 bits")];
    stream.read_exact(&mut payload)?;
    Ok(Some(Frame { kind, flags, stream: u32::from_be_bytes(number), payload }))
}

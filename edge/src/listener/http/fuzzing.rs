//! What reads the bytes of HTTP clients, as functions of bytes: `fuzz/` searches them, and its corpora are replayed. No part
//! of the product calls it.

use crate::balancer::{Sealer, cookie::Purpose};
use std::time::{Instant, SystemTime};

use bytes::BytesMut;
use certs::secret::Secret;
use http::{HeaderMap, HeaderValue, header};
use protocol::id::Name;

use crate::listener::http::client::meter::Meter;
use crate::listener::http::message::{
    authority::Authority,
    chunks::Chunks,
    head::{self, Framing, Scan},
    path::UrlPath,
};
use crate::model::Paths;

/// How the bytes behind an accepted head are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framed {
    /// Not at all.
    Nothing,
    /// By their number.
    Length(u64),
    /// By chunks.
    Chunks,
}

/// The head that these bytes begin with, if it is whole and accepted, as the HTTP library gets it, and how what follows is
/// framed.
#[must_use]
pub fn head(bytes: &[u8]) -> Option<(BytesMut, Framed)> {
    let length = Scan::default().feed(bytes).ok()??;
    let framed = match head::check(&bytes[..length]).ok()?.framing {
        Framing::None => Framed::Nothing,
        Framing::Length(length) => Framed::Length(length),
        Framing::Chunked => Framed::Chunks,
    };
    let mut head = BytesMut::from(&bytes[..length]);
    let end = head::respell(&mut head, length);
    head.truncate(end);
    Some((head, framed))
}

/// The length of the chunked body that these pieces begin with, if it is whole and accepted.
#[must_use]
pub fn chunks<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<usize> {
    let mut chunks = Chunks::new();
    let mut length = 0;
    for piece in pieces {
        length += chunks.pass(piece).ok()?;
    }
    chunks.is_done().then_some(length)
}

/// What is said of these pieces as HTTP/2 frames from a client, and then as frames to one.
#[must_use]
pub fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Option<&'static str>, u32) {
    let (mut meter, now) = (Meter::new(0), Instant::now());
    for piece in pieces {
        let judged = meter.asked(now, piece).and_then(|()| meter.answered(piece));
        if let Err(abuse) = judged {
            return (Some(abuse.as_str()), 0);
        }
    }
    (None, meter.last_stream())
}

/// A path in its one spelling.
#[must_use]
pub fn path(text: &str) -> Option<String> {
    UrlPath::read(text, Paths::AsSent).ok().map(|path| path.sent)
}

/// An authority as it is spelt on.
#[must_use]
pub fn authority(text: &str) -> Option<String> {
    Authority::parse(text).map(|authority| authority.spell())
}

/// True if this Cookie field leads to an origin, although the edge never sealed any.
#[must_use]
pub fn forges(cookie: &[u8]) -> bool {
    let Ok(value) = HeaderValue::from_bytes(cookie) else { return false };
    let balancer: Name = "www".parse().expect("a name");
    let headers = HeaderMap::from_iter([(header::COOKIE, value)]);
    let sealer = Sealer::new(&Secret::new("known to nobody".to_owned()));
    sealer.read(&headers, Purpose { balancer: &balancer, now: SystemTime::UNIX_EPOCH }).is_some()
}

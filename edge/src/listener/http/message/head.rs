//! The strict reading of an HTTP/1 request head: everything hyper would let pass and a server behind might read another
//! way. Pure; it sees the raw bytes before hyper does.

use bytes::BytesMut;
use http::Uri;

use super::{
    authority::Authority,
    fault::Fault,
    grammar::{is_target, is_token, length},
    path, protocols,
};

/// Most bytes of a head, its last empty line included.
pub(crate) const HEAD_MAX: usize = 32 * 1024;
/// Most fields of a head.
pub(crate) const FIELDS_MAX: usize = 100;

/// How the bytes behind a head are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// What a head says of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message {
    /// How its body is framed.
    pub(crate) framing: Framing,
    /// It asks for another protocol: whose the bytes behind it are is known with the answer.
    pub(crate) switches: bool,
}

/// Finds the end of a head as it arrives, judging line ends on the way.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    at: usize,
    line: usize,
}

impl Scan {
    /// Looks at what has arrived since; `Some` is the length of the whole head.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        while let Some(found) = bytes[self.at..].iter().position(|b| matches!(b, b'\r' | b'\n')) {
            let at = self.at + found;
            match (bytes[at], bytes.get(at + 1)) {
                (b'\n', _) => return Err(Fault::LINE_END),
                (_, None) => {
                    self.at = at;
                    return if bytes.len() > HEAD_MAX { Err(Fault::HEAD_TOO_LARGE) } else { Ok(None) };
                }
                (_, Some(b'\n')) => {}
                (_, Some(_)) => return Err(Fault::LINE_END),
            }
            if self.line == 0 {
                // An old or foreign protocol is told off at its first line; it may never send another.
                request_line(&bytes[..at])?;
            }
            let empty = at == self.line;
            (self.at, self.line) = (at + 2, at + 2);
            if self.at > HEAD_MAX {
                return Err(Fault::HEAD_TOO_LARGE);
            }
            if empty {
                return Ok(Some(self.at));
            }
        }
        self.at = bytes.len();
        if bytes.len() > HEAD_MAX { Err(Fault::HEAD_TOO_LARGE) } else { Ok(None) }
    }
}

/// True if the line is of version 1.1.
fn request_line(line: &[u8]) -> Result<bool, Fault> {
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Fault::REQUEST_LINE);
    };
    if method.is_empty() || !method.iter().all(|b| is_token(*b)) {
        return Err(Fault::REQUEST_LINE);
    }
    let is_1_1 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ if version.starts_with(b"HTTP/") => return Err(Fault::VERSION),
        _ => return Err(Fault::REQUEST_LINE),
    };
    // What begins otherwise than a path is left to the library's grammar.
    let is_path = target.starts_with(b"/");
    let is_uri = || Uri::try_from(path::target(target).as_deref().unwrap_or(target)).is_ok();
    if !target.iter().all(|b| is_target(*b)) || !(is_path || is_uri()) {
        return Err(Fault::TARGET);
    }
    if method == b"CONNECT" {
        return Err(Fault::METHOD);
    }
    Ok(is_1_1)
}

/// Spells the target of a checked head, which ends here, so that the HTTP library takes it; returns where the head ends then.
pub(crate) fn respell(bytes: &mut BytesMut, end: usize) -> usize {
    let first = bytes.iter().position(|b| *b == b' ').map_or(0, |at| at + 1);
    let length = bytes[first..end].iter().position(|b| *b == b' ').unwrap_or(0);
    let Some(target) = path::target(&bytes[first..first + length]) else { return end };
    let respelt = [&bytes[..first], &target, &bytes[first + length..]].concat();
    *bytes = BytesMut::from(&respelt[..]);
    end + target.len() - length
}

fn is_value(b: u8) -> bool {
    b == b'\t' || matches!(b, 0x20..=0x7e | 0x80..)
}

/// The fields that decide how a message is framed and whom it is for.
#[derive(Debug, Default)]
struct Deciding<'a> {
    host: Vec<&'a [u8]>,
    length: Vec<&'a [u8]>,
    encoding: Vec<&'a [u8]>,
    connection_upgrade: bool,
    upgrade: Vec<&'a [u8]>,
    count: usize,
}

/// Checks a whole head, its empty line included, and says how its body is framed.
pub(crate) fn check(head: &[u8]) -> Result<Message, Fault> {
    let mut lines = head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let is_1_1 = request_line(lines.next().unwrap_or_default())?;
    let mut seen = Deciding::default();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = field(line)?;
        seen.note(name, value)?;
    }
    let has_host = match seen.host[..] {
        [] => false,
        [host] => std::str::from_utf8(host).ok().and_then(Authority::parse).is_some(),
        _ => return Err(Fault::HOST),
    };
    if !has_host && (is_1_1 || !seen.host.is_empty()) {
        return Err(Fault::HOST);
    }
    let switches = is_1_1 && seen.connection_upgrade && protocols::named(seen.upgrade.iter().copied()).next().is_some();
    Ok(Message { framing: framing(&seen, is_1_1)?, switches })
}

/// One field line: name, colon, value without the blanks around it.
pub(crate) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Fault::FOLDED);
    }
    let colon = line.iter().position(|b| *b == b':').ok_or(Fault::FIELD_NAME)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
        return Err(Fault::FIELD_NAME);
    }
    if !value.iter().all(|b| is_value(*b)) {
        return Err(Fault::FIELD_VALUE);
    }
    Ok((name, trim(value)))
}

/// Blanks are space and tab, nothing else: 0x85 and 0xA0 are bytes of the value.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

impl<'a> Deciding<'a> {
    fn note(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Fault> {
        self.count += 1;
        if self.count > FIELDS_MAX {
            return Err(Fault::TOO_MANY_FIELDS);
        }
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("host") {
            self.host.push(value);
        } else if is("content-length") {
            self.length.push(value);
        } else if is("transfer-encoding") {
            self.encoding.push(value);
        } else if is("upgrade") {
            self.upgrade.push(value);
        } else if is("connection") {
            let named = |part: &[u8]| trim(part).eq_ignore_ascii_case(b"upgrade");
            self.connection_upgrade |= value.split(|b| *b == b',').any(named);
        }
        Ok(())
    }
}

fn framing(seen: &Deciding<'_>, is_1_1: bool) -> Result<Framing, Fault> {
    let length = match seen.length[..] {
        [] => None,
        [one] => Some(length(one).ok_or(Fault::LENGTH)?),
        _ => return Err(Fault::LENGTH),
    };
    match (&seen.encoding[..], length) {
        ([], None) => Ok(Framing::None),
        ([], Some(length)) => Ok(Framing::Length(length)),
        (_, Some(_)) => Err(Fault::LENGTH_AND_ENCODING),
        ([one], None) if is_1_1 && one.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        (_, None) => Err(Fault::ENCODING),
    }
}

#[cfg(test)]
mod tests;

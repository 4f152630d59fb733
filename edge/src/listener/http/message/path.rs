//! What a path says, to rules and to origins. Pure.
//!
//! A path goes on as it came; only dot segments are resolved, raw or escaped. Rules read it in the spelling that every
//! reader's spelling comes down to: all escapes undone, `/` and `\` separators however they were spelt, parameters behind
//! `;` and empty segments left out. Where a reader could find a dot segment that another does not see, the path is refused:
//! so none reads its way past a rule.

use std::fmt::Write as _;

use super::{fault::Fault, grammar};
use crate::model::Paths;

/// A path that every reader reads below the same rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UrlPath {
    /// What goes on to the origin.
    pub(crate) sent: String,
    /// What rules read: what is below one of these is below a rule's path.
    pub(crate) ruled: Vec<String>,
}

impl UrlPath {
    /// Reads the path of a request's target.
    pub(crate) fn read(path: &str, paths: Paths) -> Result<Self, Fault> {
        if !path.starts_with('/') {
            return Err(Fault::TARGET);
        }
        let path = escaped(path, is_path);
        let sent = match paths {
            Paths::AsSent => resolved(&checked(&path)?)?,
            Paths::Normalised => resolved(&merged(&unescaped(&path, is_unreserved)?))?,
        };
        let ruled = readings(&sent)?;
        Ok(Self { sent, ruled })
    }

    /// `*`, which stands for the whole server.
    pub(crate) fn asterisk() -> Self {
        Self { sent: "*".to_owned(), ruled: vec!["*".to_owned()] }
    }
}

/// A query as it came, but for what stands in no target.
pub(crate) fn query(query: &str) -> String {
    escaped(query, is_query)
}

/// A whole target whose every byte the HTTP library takes; `None` if it is one as it is.
pub(crate) fn target(target: &[u8]) -> Option<Vec<u8>> {
    let (path, query) = target.split_at(target.iter().position(|b| *b == b'?').unwrap_or(target.len()));
    let is_good = path.iter().all(|b| is_path(*b)) && query.iter().all(|b| is_query(*b));
    let escape = |bytes: &[u8], is_plain: fn(u8) -> bool| -> Vec<u8> {
        bytes.iter().flat_map(|b| if is_plain(*b) { vec![*b] } else { format!("%{b:02X}").into_bytes() }).collect()
    };
    (!is_good).then(|| [escape(path, is_path), escape(query, is_query)].concat())
}

/// Clients send these unescaped, and the library refuses them in a path: a backtick, angle brackets, what is not ASCII.
fn is_path(b: u8) -> bool {
    b.is_ascii() && !b"`<>".contains(&b)
}

/// And these in a query.
fn is_query(b: u8) -> bool {
    b.is_ascii() && !b"\"<>".contains(&b)
}

fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~".contains(&b)
}

/// What rules may name, but for the escape itself.
fn is_named(b: u8) -> bool {
    b.is_ascii_graphic() && b != b'%'
}

fn escaped(text: &str, is_plain: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        push(&mut out, byte, is_plain(byte));
    }
    out
}

fn push(out: &mut String, byte: u8, is_plain: bool) {
    if is_plain {
        out.push(char::from(byte));
    } else {
        write!(out, "%{byte:02X}").expect("a string takes everything");
    }
}

/// The path, if every escape in it is one, and none is a NUL.
fn checked(path: &str) -> Result<String, Fault> {
    unescaped(path, |_| false).map(|_| path.to_owned())
}

/// Undoes the escapes of what `is_plain`; others are kept, with capital digits.
fn unescaped(path: &str, is_plain: impl Fn(u8) -> bool) -> Result<String, Fault> {
    let mut out = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if byte == b'\\' || !grammar::is_target(byte) {
                return Err(Fault::PATH);
            }
            out.push(char::from(byte));
            continue;
        }
        let mut digit = || bytes.next().and_then(|d| char::from(d).to_digit(16)).ok_or(Fault::PATH);
        let (high, low) = (digit()?, digit()?);
        match u8::try_from(high << 4 | low).expect("two hexadecimal digits make a byte") {
            0 => return Err(Fault::PATH),
            meant => push(&mut out, meant, is_plain(meant)),
        }
    }
    Ok(out)
}

/// Resolves dot segments, however their dots are spelt (RFC 3986 section 5.2.4). An empty segment is one.
fn resolved(path: &str) -> Result<String, Fault> {
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = path[1..].split('/').peekable();
    while let Some(part) = parts.next() {
        match dots(part) {
            None => {
                segments.push(part);
                continue;
            }
            Some(Dots::Here) => {}
            Some(Dots::Up) => drop(segments.pop().ok_or(Fault::PATH)?),
        }
        if parts.peek().is_none() {
            segments.push("");
        }
    }
    Ok(format!("/{}", segments.join("/")))
}

/// A segment that moves.
enum Dots {
    Here,
    Up,
}

fn dots(segment: &str) -> Option<Dots> {
    match &segment.to_ascii_lowercase().replace("%2e", ".")[..] {
        "." => Some(Dots::Here),
        ".." => Some(Dots::Up),
        _ => None,
    }
}

/// Runs of slashes as one.
fn merged(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if !(c == '/' && out.ends_with('/')) {
            out.push(c);
        }
    }
    out
}

/// What rules read of a path in which dot segments have been resolved. More than one reading if parameters hold separators:
/// where those end depends on which of them a server knows.
fn readings(sent: &str) -> Result<Vec<String>, Fault> {
    let plain = unescaped(sent, |b| is_named(b) && !b"/\\".contains(&b))?;
    let all: &[(bool, bool)] = &[(true, true), (false, false), (true, false), (false, true)];
    let count = if plain.contains(';') && SEPARATORS.iter().any(|s| plain.contains(s)) { all.len() } else { 1 };
    let mut readings = Vec::with_capacity(count);
    for (slashes, backslashes) in &all[..count] {
        let known = SEPARATORS.into_iter().zip([*slashes, *backslashes]).filter(|(_, is_known)| *is_known);
        let parted = known.fold(plain.clone(), |text, (separator, _)| text.replace(separator, "/"));
        let reading = reading(&parted)?;
        if !readings.contains(&reading) {
            readings.push(reading);
        }
    }
    Ok(readings)
}

/// Separators to some servers and not to others, as [`unescaped`] keeps them.
const SEPARATORS: [&str; 2] = ["%2F", "%5C"];

/// One reading: parameters are left out, then every separator is one.
fn reading(parted: &str) -> Result<String, Fault> {
    let bare: Vec<&str> = parted.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    let text = SEPARATORS.iter().fold(bare.join("/"), |text, separator| text.replace(separator, "/"));
    let mut out = String::with_capacity(text.len());
    for segment in text.split('/') {
        if dots(segment).is_some() {
            return Err(Fault::PATH);
        }
        if !segment.is_empty() {
            out.push('/');
            out.push_str(segment);
        }
    }
    if text.ends_with('/') {
        out.push('/');
    }
    Ok(out)
}

#[cfg(test)]
mod tests;

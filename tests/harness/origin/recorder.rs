//! An HTTP/1 origin that keeps every byte that reaches it, and answers as it was last told to.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use super::{Connection, Ending, Origin};

/// What it says unless told otherwise.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The origin.
#[derive(Debug)]
pub struct Recorder {
    origin: Origin,
    told: Arc<Mutex<Told>>,
}

#[derive(Debug)]
struct Told {
    answer: Vec<u8>,
    connections: usize,
    /// Bytes of each connection since they were last taken.
    seen: BTreeMap<usize, Vec<u8>>,
}

impl Recorder {
    /// Starts one that answers [`OK`].
    #[must_use]
    pub fn start(at: SocketAddr) -> Self {
        let told = Told { answer: OK.into(), connections: 0, seen: BTreeMap::new() };
        let told = Arc::new(Mutex::new(told));
        let seen = told.clone();
        let origin = Origin::start(at, move |stream| record(stream, &seen));
        Self { origin, told }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("no panic while held")
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.origin.address()
    }

    /// Connections that are over.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.origin.endings().len()
    }

    /// From now on each whole request is answered with these bytes; if they say `Connection: close` the connection ends.
    pub fn answer(&self, bytes: impl Into<Vec<u8>>) {
        self.told().answer = bytes.into();
    }

    /// What has come since the last time, one text for each connection that brought anything.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        let seen = std::mem::take(&mut self.told().seen);
        seen.into_values().map(|bytes| bytes.iter().map(|b| char::from(*b)).collect()).collect()
    }
}

fn record(mut stream: &Connection, told: &Mutex<Told>) -> io::Result<Ending> {
    let told = || told.lock().expect("no panic while held");
    let number = {
        let mut told = told();
        told.connections += 1;
        told.connections
    };
    let mut open = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(Ending::Clean);
        }
        told().seen.entry(number).or_default().extend_from_slice(&buffer[..read]);
        open.extend_from_slice(&buffer[..read]);
        while let Some(length) = whole(&open) {
            open.drain(..length);
            let answer = told().answer.clone();
            stream.write_all(&answer)?;
            if String::from_utf8_lossy(&answer).contains("Connection: close") {
                return Ok(Ending::Clean);
            }
        }
    }
}

/// The length of the first message, once all of it is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    if text.contains("\r\ntransfer-encoding:") {
        return chunked(&bytes[head..]).map(|body| head + body);
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    Some(head + length.unwrap_or(0)).filter(|end| *end <= bytes.len())
}

fn chunked(body: &[u8]) -> Option<usize> {
    let line_end = |at: usize| Some(at + body.get(at..)?.windows(2).position(|w| w == b"\r\n")?);
    let mut at = 0;
    loop {
        let end = line_end(at)?;
        let size = usize::from_str_radix(std::str::from_utf8(&body[at..end]).ok()?, 16).ok()?;
        at = end + 2;
        if size == 0 {
            break;
        }
        at += size + 2;
    }
    // Trailers, then an empty line.
    loop {
        let end = line_end(at)?;
        if end == at {
            return Some(end + 2);
        }
        at = end + 2;
    }
}

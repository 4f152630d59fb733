//! Small HTTP origins that show what reached them, byte for byte.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use rig::origin::http::{self, Answer};

use super::{Ending, Origin, habits::hold_little};

/// Heads that reached an origin.
pub type Heads = Arc<Mutex<Vec<String>>>;

/// Answers each request with these bytes, whatever it was, once its head has come; remembers the heads. The connection
/// ends if the bytes say so.
#[must_use]
pub fn says(at: SocketAddr, answer: &'static str) -> (Origin, Heads) {
    let heads = Heads::default();
    let seen = heads.clone();
    let origin = Origin::start(at, move |mut stream| {
        while let Some(head) = head(stream)? {
            seen.lock().expect("no panic while held").push(head);
            stream.write_all(answer.as_bytes())?;
            if answer.contains("Connection: close") {
                return Ok(Ending::Clean);
            }
        }
        Ok(Ending::Clean)
    });
    (origin, heads)
}

/// Answers the first request of each connection with `answer` and so many zeros, as fast as they are taken, and then
/// neither goes on nor ends.
#[must_use]
pub fn pours(at: SocketAddr, answer: &'static str, len: u64) -> Origin {
    Origin::start(at, move |mut stream| {
        hold_little(stream);
        if head(stream)?.is_some() {
            stream.write_all(answer.as_bytes())?;
            io::copy(&mut io::repeat(0).take(len), &mut stream)?;
            io::copy(&mut &*stream, &mut io::sink())?;
        }
        Ok(Ending::Clean)
    })
}

/// Answers each request with its own head as body.
#[must_use]
pub fn mirror(at: SocketAddr) -> Origin {
    Origin::start(at, |stream| http::serve(stream, |request| Answer::ok(request.head())))
}

/// Remembers everything that comes, answers `answer` after the first head, and then echoes.
#[must_use]
pub fn echoes_after(at: SocketAddr, answer: &'static str) -> (Origin, Heads) {
    let heads = Heads::default();
    let seen = heads.clone();
    let origin = Origin::start(at, move |mut stream| {
        let Some(head) = head(stream)? else { return Ok(Ending::Clean) };
        // Whatever follows the head before the answer would show here.
        stream.set_nonblocking(true)?;
        let mut early = [0; 1024];
        let early = stream.peek(&mut early).map_or(0, |n| n);
        stream.set_nonblocking(false)?;
        seen.lock().expect("no panic while held").push(format!("{head}[{early}]"));
        stream.write_all(answer.as_bytes())?;
        io::copy(&mut &*stream, &mut stream)?;
        stream.shutdown(std::net::Shutdown::Write).map(|()| Ending::Clean)
    });
    (origin, heads)
}

/// One head, or `None` at the end.
///
/// # Errors
/// Those of the connection.
pub fn head(mut stream: impl Read) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        bytes.push(byte[0]);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

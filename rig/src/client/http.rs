//! As much of HTTP/1 (RFC 9112) as clients speak who know what they will be answered: whatever is sent, one answer is read.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::SocketAddr,
    time::Duration,
};

use super::Timed;

/// Longest line of a head, and most lines.
const LINE_MAX: u64 = 64 * 1024;
const LINES_MAX: usize = 200;
/// Largest body.
const BODY_MAX: u64 = 64 * 1024 * 1024;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body, as text.
    pub body: String,
    /// Whether its connection carries no other.
    pub is_last: bool,
}

/// A connection; dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<Timed>,
    patience: Duration,
}

impl Connection {
    /// Connects; each exchange has this time.
    ///
    /// # Errors
    /// What the connect says.
    pub fn open(at: SocketAddr, patience: Duration) -> io::Result<Self> {
        Ok(Self { stream: BufReader::new(Timed::connect(at, patience)?), patience })
    }

    /// Sends a request as it is, and reads the answer.
    ///
    /// # Errors
    /// If no whole answer comes. The connection is of no use then.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.get_mut().allow(self.patience);
        self.stream.get_mut().write_all(request)?;
        read(&mut self.stream)
    }
}

/// Asks once, with fields as lines, and as a client of HTTP/1.0: the body ends with the connection, so there are no chunks to take
/// apart.
///
/// # Errors
/// If no whole answer comes.
pub fn ask(at: SocketAddr, patience: Duration, (method, path, fields): (&str, &str, &str)) -> io::Result<Answer> {
    let host = if fields.contains("Host:") { String::new() } else { format!("Host: {at}\r\n") };
    let request = format!("{method} {path} HTTP/1.0\r\n{host}{fields}\r\n");
    Connection::open(at, patience)?.exchange(request.as_bytes())
}

fn read(stream: &mut impl BufRead) -> io::Result<Answer> {
    let first = line(stream)?;
    let code = first.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(no_answer)?;
    let (mut length, mut closes) = (None, false);
    for number in 0.. {
        let line = line(stream)?;
        let Some((name, value)) = line.split_once(':') else { break };
        if number > LINES_MAX || name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(no_answer());
        }
        closes |= name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close");
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<u64>().map_err(|_| no_answer())?);
        }
    }
    if length.is_some_and(|length| length > BODY_MAX) {
        return Err(no_answer());
    }
    let mut body = Vec::new();
    let came = stream.take(length.unwrap_or(BODY_MAX)).read_to_end(&mut body)?;
    if length.is_some_and(|length| length != came as u64) {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(Answer { code, body: String::from_utf8_lossy(&body).into_owned(), is_last: closes || length.is_none() })
}

/// A line without its end.
fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.take(LINE_MAX).read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn no_answer() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "no HTTP answer that such a client reads")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<(u16, String)> {
        super::read(&mut text.as_bytes()).map(|Answer { code, body, .. }| (code, body))
    }

    #[test]
    fn an_answer_is_as_long_as_it_says_or_as_its_connection() -> io::Result<()> {
        let two = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 404 No\r\n\r\nto the end";
        let mut stream = two.as_bytes();
        assert_eq!(super::read(&mut stream)?, Answer { code: 200, body: "ok".to_owned(), is_last: false });
        assert_eq!(super::read(&mut stream)?, Answer { code: 404, body: "to the end".to_owned(), is_last: true });
        Ok(())
    }

    #[test]
    fn an_answer_may_say_that_it_is_the_last() -> io::Result<()> {
        let mut stream = &b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n"[..];
        assert!(super::read(&mut stream)?.is_last);
        Ok(())
    }

    #[test]
    fn half_an_answer_is_none() {
        for half in
            ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nA: b\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"]
        {
            assert_eq!(read(half).expect_err("it is no answer").kind(), ErrorKind::UnexpectedEof, "{half:?}");
        }
        for other in ["hello\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] {
            assert_eq!(read(other).expect_err("it is no answer").kind(), ErrorKind::InvalidData, "{other:?}");
        }
    }
}

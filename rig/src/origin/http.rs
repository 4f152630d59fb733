//! As much of HTTP/1 (RFC 9112) as small origins speak: requests are read with their bodies, answers are short.

use std::io::{self, BufRead, BufReader, ErrorKind, Read as _, Write as _};

use super::{Connection, Ending};

/// Longest head, and longest line that says how long a piece of a body is.
const HEAD_MAX: u64 = 64 * 1024;
const SIZE_MAX: u64 = 1024;

/// The head of a request, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    head: String,
}

/// What a request is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// All is well, and this is it.
    #[must_use]
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { code: 200, body: body.into() }
    }
}

/// Answers request after request.
///
/// # Errors
/// Those of the connection, and what is no HTTP.
pub fn serve(stream: &Connection, answer: impl Fn(&Request) -> Answer) -> io::Result<Ending> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader)? {
        if request.field("expect").is_some() {
            reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        request.take_body(&mut reader)?;
        let Answer { code, body } = answer(&request);
        let is_last = request.is_last();
        let how = if is_last { "Connection: close\r\n" } else { "" };
        let mut bytes = format!("HTTP/1.1 {code} \r\nContent-Length: {}\r\n{how}\r\n", body.len()).into_bytes();
        if request.method() != "HEAD" {
            bytes.extend(body);
        }
        reader.get_mut().write_all(&bytes)?;
        if is_last {
            break;
        }
    }
    Ok(Ending::Clean)
}

impl Request {
    /// Reads the next head; none at the end of the connection.
    ///
    /// # Errors
    /// Those of the connection, and a head that is too long or ends early.
    pub fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        let mut bounded = reader.take(HEAD_MAX);
        loop {
            let before = head.len();
            bounded.read_until(b'\n', &mut head)?;
            match &head[before..] {
                [] if before == 0 => return Ok(None),
                [] => return Err(ErrorKind::UnexpectedEof.into()),
                b"\r\n" | b"\n" if before > 0 => break,
                _ => {}
            }
        }
        Ok(Some(Self { head: String::from_utf8_lossy(&head).into_owned() }))
    }

    /// All of it.
    #[must_use]
    pub fn head(&self) -> &str {
        &self.head
    }

    /// What is to be done.
    #[must_use]
    pub fn method(&self) -> &str {
        self.word(0)
    }

    /// With what.
    #[must_use]
    pub fn target(&self) -> &str {
        self.word(1)
    }

    fn word(&self, number: usize) -> &str {
        self.head.lines().next().and_then(|line| line.split(' ').nth(number)).unwrap_or_default()
    }

    /// The first field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Whether the client wants no other answer over this connection.
    #[must_use]
    pub fn is_last(&self) -> bool {
        let said = |word: &str| self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case(word));
        said("close") || self.word(2) == "HTTP/1.0" && !said("keep-alive")
    }

    /// Reads its body and forgets it.
    ///
    /// # Errors
    /// Those of the connection, and a body that is not framed as it has to be.
    pub fn take_body(&self, reader: &mut impl BufRead) -> io::Result<()> {
        if self.field("transfer-encoding").is_some() {
            return take_chunks(reader);
        }
        let length = self.field("content-length").map_or(Ok(0), str::parse);
        take(reader, length.map_err(|_| io::Error::from(ErrorKind::InvalidData))?)
    }
}

fn take(reader: &mut impl BufRead, length: u64) -> io::Result<()> {
    let taken = io::copy(&mut reader.take(length), &mut io::sink())?;
    if taken == length { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

fn take_chunks(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let size = line(reader)?;
        let size = size.trim_end().split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(size, 16).map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
        if size == 0 {
            break;
        }
        take(reader, size.saturating_add(2))?;
    }
    // Trailers, then an empty line.
    while !line(reader)?.trim_end().is_empty() {}
    Ok(())
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.take(SIZE_MAX).read_line(&mut line).map(|_| line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_one_after_the_other_with_their_bodies() -> io::Result<()> {
        let sent = "POST /a?id=7 HTTP/1.1\r\nHost: x\r\ncontent-LENGTH: 3\r\n\r\nabc\
                    PUT /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\nt: u\r\n\r\n\
                    GET /c HTTP/1.0\r\n\r\n";
        let mut reader = sent.as_bytes();
        let mut seen = Vec::new();
        while let Some(request) = Request::read(&mut reader)? {
            request.take_body(&mut reader)?;
            seen.push((request.method().to_owned(), request.target().to_owned(), request.is_last()));
        }
        let own = |method: &str, target: &str, is_last| (method.to_owned(), target.to_owned(), is_last);
        assert_eq!(seen, [own("POST", "/a?id=7", false), own("PUT", "/b", false), own("GET", "/c", true)]);
        Ok(())
    }

    #[test]
    fn what_ends_early_or_is_no_number_is_an_error() {
        for sent in [
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            "P / H\r\nContent-Length: 9\r\n\r\nab",
        ] {
            let mut reader = sent.as_bytes();
            let read =
                Request::read(&mut reader).and_then(|request| request.expect("it begins").take_body(&mut reader));
            assert!(read.is_err(), "{sent:?}");
        }
    }
}

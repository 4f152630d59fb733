//! The least HTTP that reads an admin endpoint.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body, as text.
    pub body: String,
}

/// Sends a request and reads the answer, or `None` if the server cannot be reached or talks nonsense.
#[must_use]
pub fn ask(at: SocketAddr, method: &str, path: &str, headers: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    // HTTP/1.0: the body ends with the connection, so no chunks to take apart.
    let host = if headers.contains("Host:") { String::new() } else { format!("Host: {at}\r\n") };
    stream.write_all(format!("{method} {path} HTTP/1.0\r\n{host}{headers}\r\n").as_bytes()).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { code, body: body.to_owned() })
}

/// A plain GET.
#[must_use]
pub fn get(at: SocketAddr, path: &str) -> Option<Answer> {
    ask(at, "GET", path, "")
}

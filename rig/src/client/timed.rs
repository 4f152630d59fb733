//! A TCP connection whose every exchange has its time: however slowly bytes come, it is over by then.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// The connection.
#[derive(Debug)]
pub struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl Timed {
    /// Connects, and has this time for that and the first exchange.
    ///
    /// # Errors
    /// What the connect says.
    pub fn connect(at: SocketAddr, patience: Duration) -> io::Result<Self> {
        let until = Instant::now() + patience;
        let stream = TcpStream::connect_timeout(&at, patience)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, until })
    }

    /// Another exchange begins, and has this time.
    pub fn allow(&mut self, patience: Duration) {
        self.until = Instant::now() + patience;
    }

    /// Ends this side.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn end(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(silent()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer).map_err(in_words)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes).map_err(in_words)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The kernel's word for a time-out is that one should try again.
fn in_words(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { silent() } else { error }
}

fn silent() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "no answer in time")
}

//! A connection as an origin has it: whoever waits on it stops waiting when the origin dies.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    ops::Deref,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::PollFlags,
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};
use socket2::SockRef;

use super::life::Death;

/// One connection. Its time-outs are those of the stream.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    death: Arc<Death>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, death: Arc<Death>) -> Self {
        Self { stream, death }
    }
}

impl Deref for Connection {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Read for &Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(&self.stream, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((length, _)) => return Ok(length),
                Err(Errno::AGAIN) => self.death.wait(&self.stream, PollFlags::IN, self.stream.read_timeout()?)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Write for &Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match send(&self.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(length) => return Ok(length),
                Err(Errno::AGAIN) => self.death.wait(&self.stream, PollFlags::OUT, self.stream.write_timeout()?)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes the close of this socket a reset.
///
/// # Errors
/// If the socket is none of TCP.
pub fn reset(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

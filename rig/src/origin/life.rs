//! How a thread that waits for a socket learns that it is no longer wanted.

use std::{
    io::{self, ErrorKind, PipeReader, PipeWriter},
    os::fd::AsFd,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// Held by whoever may end others: dropping it does.
#[derive(Debug)]
pub(super) struct Life {
    _held: PipeWriter,
}

/// The end of a life, as those see it who wait.
#[derive(Debug)]
pub(super) struct Death(PipeReader);

/// A life and its end.
///
/// # Errors
/// If no descriptor is free.
pub(super) fn begin() -> io::Result<(Life, Death)> {
    let (reader, writer) = io::pipe()?;
    Ok((Life { _held: writer }, Death(reader)))
}

impl Death {
    /// Waits until a socket is ready.
    ///
    /// # Errors
    /// `ConnectionAborted` if the end comes first, `TimedOut` after `limit`.
    pub(super) fn wait(&self, socket: impl AsFd, ready: PollFlags, limit: Option<Duration>) -> io::Result<()> {
        let mut looked = [PollFd::new(&self.0, PollFlags::IN), PollFd::new(&socket, ready)];
        look(&mut looked, limit)?;
        let [end, socket] = looked.map(|looked| !looked.revents().is_empty());
        match (end, socket) {
            (true, _) => Err(ErrorKind::ConnectionAborted.into()),
            (false, true) => Ok(()),
            (false, false) => Err(ErrorKind::TimedOut.into()),
        }
    }

    /// Whether the end comes within this time.
    pub(super) fn comes_within(&self, limit: Duration) -> bool {
        let mut looked = [PollFd::new(&self.0, PollFlags::IN)];
        // Where nobody can be asked any more, nothing is wanted either.
        look(&mut looked, Some(limit)).is_err() || !looked[0].revents().is_empty()
    }
}

fn look(looked: &mut [PollFd<'_>], limit: Option<Duration>) -> io::Result<()> {
    let limit = limit.map(|limit| Timespec::try_from(limit).map_err(|_| io::Error::from(ErrorKind::InvalidInput)));
    let limit = limit.transpose()?;
    loop {
        match poll(looked, limit.as_ref()) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

//! Child processes: how they are started, what they say, how they end. None outlives the value that stands for it.
//!
//! Nothing here waits by the clock, since some of those who wait are async: they ask [`Process::ended`] as often as they like.

mod command;
mod log;

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
};

pub use command::{strip, tied, tied_as};
pub use log::Log;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process, kill_process_group};

/// The process group that a child belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// One of its own: whatever it starts is killed with it.
    Own,
    /// This one, which somebody else ends: it is killed alone.
    Of(i32),
}

/// A child that was started; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Group,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts it with what it prints appended to a log.
    ///
    /// # Errors
    /// If it or the log cannot be opened.
    pub fn start(mut command: Command, group: Group, log: &Log) -> io::Result<Self> {
        let file = log.append()?;
        command.stdout(file.try_clone()?);
        Self::start_writing(command, group, file.into())
    }

    /// Starts it with what it says of itself written there; for its standard output the command has a place already.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_writing(mut command: Command, group: Group, standard_error: Stdio) -> io::Result<Self> {
        let number = match group {
            Group::Own => 0,
            Group::Of(number) => number,
        };
        let child = command.stdin(Stdio::null()).stderr(standard_error).process_group(number).spawn()?;
        Ok(Self { child, group, ended: None })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    /// How it ended, if that has been seen: until then its process id is nobody else's.
    #[must_use]
    pub fn seen_ended(&self) -> Option<ExitStatus> {
        self.ended
    }

    /// Sends a signal to the process alone, as `kill` does.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            // A process that is gone already needs no signal: its number is held until its end is seen.
            let _ = kill_process(self.pid(), signal);
        }
    }

    /// Ends it at once, with all it started if its group is its own, and waits until it is gone.
    ///
    /// # Errors
    /// The kernel's.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        if let Some(ended) = self.ended()? {
            return Ok(ended);
        }
        match self.group {
            Group::Own => {
                // Nothing is left of the group, if this fails.
                let _ = kill_process_group(self.pid(), Signal::KILL);
            }
            Group::Of(_) => self.signal(Signal::KILL),
        }
        let ended = self.child.wait()?;
        self.ended = Some(ended);
        Ok(ended)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

#[cfg(test)]
mod tests;

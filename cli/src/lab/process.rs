//! Child processes of the lab: this very binary, started as a user would start it, its output kept in a file.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use rig::process::{self, Group, Log, Signal};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::LabError;

/// Time to end in order after SIGTERM.
pub(super) const END_WITHIN: Duration = Duration::from_secs(5);
/// How much of a log is shown when something goes wrong.
const TAIL_LINES: usize = 12;
/// How often is looked whether a process that has to end has ended.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Settings are what the user means for other edges and connectors, and so is the word that one is ready.
const OWN_SETTINGS: [&str; 3] = ["UNDERPASS_", "NOTIFY_SOCKET", "WATCHDOG_"];
/// How to log is meant for these too.
const HOW_TO_LOG: &str = "UNDERPASS_LOG_";

/// How to start a process, again and again.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) args: Vec<OsString>,
    pub(super) dir: PathBuf,
    /// Process group it belongs to, so that the guard can end it.
    pub(super) group: i32,
}

impl Program {
    /// Where its output goes.
    pub(super) fn log(&self) -> Log {
        Log::at(self.dir.join(format!("{}.log", self.name)))
    }

    /// Starts it.
    ///
    /// # Errors
    /// If this binary or the log cannot be opened.
    pub(super) fn start(&self) -> Result<Process, LabError> {
        let spawn = || {
            let mut command = Command::new(std::env::current_exe()?);
            process::strip(&mut command, &OWN_SETTINGS, &[HOW_TO_LOG]);
            command.args(&self.args).current_dir(&self.dir);
            process::Process::start(command, Group::Of(self.group), &self.log())
        };
        let child = spawn().map_err(|source| LabError::Spawn { name: self.name, source })?;
        Ok(Process { program: self.clone(), child })
    }

    /// Whether its output has this text in it.
    pub(super) fn has_logged(&self, text: &str) -> bool {
        self.log().find(&[text]).is_some()
    }

    /// The last lines of its output.
    pub(super) fn tail(&self) -> String {
        self.log().tail(TAIL_LINES)
    }
}

/// A running process; dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) program: Program,
    child: process::Process,
}

impl Process {
    /// Its number; none once it has ended.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.seen_ended().is_none().then(|| self.child.id())
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.ended()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if let Some(status) = self.child.ended()? {
                return Ok(status);
            }
        }
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        self.child.signal(Signal::KILL);
        self.wait().await.map(drop)
    }

    /// Starts the program again, after its end.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn restart(&mut self) -> Result<(), LabError> {
        *self = self.program.start()?;
        Ok(())
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        self.child.signal(Signal::TERM);
    }

    /// Waits for the end that was asked for, and kills it if that takes too long.
    pub(super) async fn ends(&mut self) {
        if timeout(END_WITHIN, self.wait()).await.is_err() {
            let _ = self.kill().await;
        }
    }
}

/// Runs a program to its end.
///
/// # Errors
/// If it cannot be started, does not end in time, or fails.
pub(super) async fn run(program: &Program, within: Duration) -> Result<(), LabError> {
    let mut process = program.start()?;
    let ended = timeout(within, process.wait()).await;
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(LabError::ended(program, status)),
        Ok(Err(source)) => Err(LabError::Spawn { name: program.name, source }),
        Err(_) => Err(LabError::Slow { what: vec![format!("{} has not ended", program.name)], tail: program.tail() }),
    }
}

/// This binary's own name, as a user may type it.
pub(super) fn own_name() -> String {
    let own = std::env::current_exe().unwrap_or_else(|_| Path::new("underpass").to_owned());
    own.display().to_string()
}

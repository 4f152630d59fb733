//! Child processes of the lab: this very binary, started as a user would start it, its output kept in a file.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::LabError;

/// Time to end in order after SIGTERM.
pub(super) const END_WITHIN: Duration = Duration::from_secs(5);
/// How much of a log is shown when something goes wrong.
const TAIL_LINES: usize = 12;
const TAIL_BYTES: u64 = 16 * 1024;

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
    pub(super) fn log(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    /// Starts it.
    ///
    /// # Errors
    /// If this binary or the log cannot be opened.
    pub(super) fn start(&self) -> Result<Process, LabError> {
        let spawn = || {
            let log = OpenOptions::new().create(true).append(true).open(self.log())?;
            let mut command = Command::new(std::env::current_exe()?);
            std::env::vars_os().filter(|(key, _)| is_a_setting(key)).for_each(|(key, _)| {
                command.env_remove(key);
            });
            command.args(&self.args).current_dir(&self.dir).env_remove("NOTIFY_SOCKET");
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            command.process_group(self.group).kill_on_drop(true).spawn()
        };
        let child = spawn().map_err(|source| LabError::Spawn { name: self.name, source })?;
        Ok(Process { program: self.clone(), child })
    }

    /// Whether its output has this text in it.
    pub(super) fn has_logged(&self, text: &str) -> bool {
        let read = std::fs::read(self.log()).unwrap_or_default();
        String::from_utf8_lossy(&read).contains(text)
    }

    /// The last lines of its output.
    pub(super) fn tail(&self) -> String {
        let read = || {
            let mut file = File::open(self.log())?;
            let len = file.metadata()?.len();
            file.seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_else(|error| format!("(its log cannot be read: {error})"));
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

/// A running process; dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) program: Program,
    child: Child,
}

impl Process {
    /// Its number; none once it has ended.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
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
        let pid = self.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            // It has ended by itself meanwhile, if this fails: its number is held until it is waited for.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits for the end that was asked for, and kills it if that takes too long.
    pub(super) async fn ends(&mut self) {
        if timeout(END_WITHIN, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// Whether a variable stands for a setting, which the user means for other edges and connectors. How to log is meant for
/// these too.
fn is_a_setting(key: &OsStr) -> bool {
    let key = key.as_encoded_bytes();
    key.starts_with(b"UNDERPASS_") && !key.starts_with(b"UNDERPASS_LOG_")
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

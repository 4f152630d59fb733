//! A guard that ends the lab's processes and removes its files when the lab itself is killed.
//!
//! The guard is a process of its own that leads the process group of all the lab's children and reads a pipe from the lab.
//! When the lab ends in whatever way, the pipe ends, and the guard ends the whole group, itself last. What remains: whoever
//! kills the lab *and* the guard with signal 9 has to end the children by hand.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Signal, kill_current_process_group};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

use super::LabError;

/// Time the children have to end in order.
const GRACE: Duration = Duration::from_secs(1);

/// A guard on duty.
#[derive(Debug)]
pub(super) struct Guard {
    child: Child,
    group: i32,
}

impl Guard {
    /// Posts a guard that removes `dir` too, unless it is to be kept.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn post(dir: Option<&Path>) -> Result<Self, LabError> {
        let spawn = || {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("lab").arg("--guard").args(dir);
            // Its group is its own: a ctrl-C in the terminal is not for it.
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn()
        };
        let child = spawn().map_err(|source| LabError::Spawn { name: "the guard", source })?;
        let group = child.id().and_then(|pid| i32::try_from(pid).ok());
        let group = group.expect("a child that nobody waited for has a number, and numbers fit");
        Ok(Self { child, group })
    }

    /// The process group that it ends.
    pub(super) fn group(&self) -> i32 {
        self.group
    }

    /// Takes the guard away, when there is nothing left to guard.
    pub(super) async fn dismiss(mut self) {
        let _ = self.child.kill().await;
    }
}

/// What the guard itself does: waits for the end of its input, then ends its group.
///
/// # Errors
/// If it cannot be on duty at all. It does not come back otherwise.
pub(super) fn stand(dir: Option<PathBuf>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Handled, which is to say ignored: what ends the others must not end the guard before them.
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let ignored = kinds.map(signal);
        let read = || {
            // Nothing is ever written: this returns at the end.
            let _ = io::stdin().lock().read(&mut [0]);
        };
        tokio::task::spawn_blocking(read).await?;
        kill_current_process_group(Signal::TERM)?;
        tokio::time::sleep(GRACE).await;
        if let Some(dir) = dir {
            // It may be gone, as after an orderly end.
            let _ = std::fs::remove_dir_all(dir);
        }
        drop(ignored);
        kill_current_process_group(Signal::KILL)?;
        Ok(())
    })
}

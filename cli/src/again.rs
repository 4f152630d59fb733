//! SIGUSR2: the program at this process's path is started again, with the same flags, to take over from this one.

use std::{
    convert::Infallible,
    env,
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    process::{Child, Command},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
};
use tracing::{error, info, warn};

use crate::failure::Failure;

/// What was said to this process alone, by its number.
const OWN: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];
const REPLACE: &str = "--replace";
/// What the kernel adds to the path of a program whose file has been replaced.
const DELETED: &[u8] = b" (deleted)";

/// Starts the program again at each signal; one that fails is told of.
pub(crate) async fn at_signals() -> Result<Infallible, Failure> {
    let mut signals = signal(SignalKind::user_defined2())
        .map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
    loop {
        let _ = signals.recv().await;
        match start() {
            Ok(child) => tell_of(child).await,
            Err(error) => error!(%error, "SIGUSR2: cannot start the program again"),
        }
    }
}

fn start() -> io::Result<Child> {
    let mut command = Command::new(program(env::current_exe()?));
    command.args(arguments(env::args_os().skip(1).collect()));
    for name in OWN {
        command.env_remove(name);
    }
    command.spawn()
}

/// Says what was started, and how it has ended if it does before this process.
async fn tell_of(mut child: Child) {
    info!(pid = child.id(), "SIGUSR2: started again, to take over");
    match spawn_blocking(move || child.wait()).await {
        Ok(Ok(status)) => warn!(%status, "what was started to take over has ended"),
        Ok(Err(error)) => error!(%error, "nothing is known of what was started to take over"),
        // The runtime ends.
        Err(_) => {}
    }
}

/// The path, whoever is there now.
fn program(own: PathBuf) -> PathBuf {
    let bytes = own.into_os_string().into_vec();
    let path = bytes.strip_suffix(DELETED).unwrap_or(&bytes);
    PathBuf::from(OsStr::from_bytes(path))
}

fn arguments(mut own: Vec<OsString>) -> Vec<OsString> {
    if !own.iter().any(|argument| argument == REPLACE) {
        own.push(REPLACE.into());
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_replaced_is_found_at_its_path() {
        assert_eq!(program("/usr/bin/underpass (deleted)".into()), PathBuf::from("/usr/bin/underpass"));
        assert_eq!(program("/usr/bin/underpass".into()), PathBuf::from("/usr/bin/underpass"));
    }

    #[test]
    fn a_flag_is_given_once() {
        let given = |arguments: &[&str]| super::arguments(arguments.iter().map(Into::into).collect());
        assert_eq!(given(&["edge", "-c", "a"]), ["edge", "-c", "a", "--replace"]);
        assert_eq!(given(&["edge", "--replace", "-c", "a"]), ["edge", "--replace", "-c", "a"]);
    }
}

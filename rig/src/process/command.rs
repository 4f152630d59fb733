//! Commands that bring nothing of the caller's own with them.

use std::{path::Path, process::Command};

/// Named by its path, so that a child is spawned without a copy of this process's memory: a program found in a `PATH` that is
/// set for the child needs a fork, which stops every thread of a measuring process for milliseconds.
const SETPRIV: &str = "/usr/bin/setpriv";

/// A command that the kernel kills when the thread that starts it ends, however it ends.
#[must_use]
pub fn tied(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(SETPRIV);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program.as_ref());
    command
}

/// The same, as another user.
#[must_use]
pub fn tied_as(user: &str, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(SETPRIV);
    command.args(["--reuid", user, "--regid", user, "--clear-groups", "--pdeathsig", "KILL", "--"]);
    command.arg(program.as_ref());
    command
}

/// No variable of the caller's whose name begins like one of these reaches the child, unless it begins like one of `kept`.
pub fn strip(command: &mut Command, prefixes: &[&str], kept: &[&str]) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let begins = |like: &[&str]| like.iter().any(|prefix| text.starts_with(prefix));
        if begins(prefixes) && !begins(kept) {
            command.env_remove(&name);
        }
    }
}

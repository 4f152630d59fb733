//! What commands print: text to standard output, failures to standard error. Nothing else of the binary prints.

use std::io::{self, ErrorKind, IsTerminal, Write};

use crate::failure::Failure;

/// Prints to standard output. A reader that went away early (`| head`) has what it wanted.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Failure::Failed(format!("cannot print: {e}"))),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether people look at standard output.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Prints why a command failed.
pub(crate) fn complain(failure: &Failure) {
    let mut err = io::stderr().lock();
    for line in failure.lines() {
        // Nowhere is left to say that this failed; the exit code still tells.
        let _ = writeln!(err, "{line}");
    }
}

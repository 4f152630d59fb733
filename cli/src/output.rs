//! What commands print: text to standard output, failures to standard error. Nothing else of the binary prints.

use std::io::{self, ErrorKind, IsTerminal, Write};

use api::code::Code;

use crate::failure::Failure;

/// Prints to standard output. A reader that went away early (`| head`) has what it wanted.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_on(text).map(drop)
}

/// The same; false if nobody reads any more.
pub(crate) fn print_on(text: &str) -> Result<bool, Failure> {
    match write(text) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(cannot_print(&e)),
    }
}

/// Prints what nobody has yet, such as a secret: that nobody reads is a failure too.
pub(crate) fn hand_over(text: &str) -> Result<(), Failure> {
    write(text).map_err(|e| cannot_print(&e))
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// What a command says whose text cannot be printed.
pub(crate) fn cannot_print(error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot print: {error}")).coded(Code::NotWritten)
}

/// Whether people look at standard output.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// How many columns and lines people look at, if that is known.
pub(crate) fn terminal_size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}

/// Prints why a command failed whose answers are for programs: one object, where the answer does not go.
pub(crate) fn complain_in_json(failure: &Failure) {
    match serde_json::to_string(&failure.problem()) {
        Ok(line) => {
            // As below.
            let _ = writeln!(io::stderr().lock(), "{line}");
        }
        Err(_) => complain(failure),
    }
}

/// Prints why a command failed.
pub(crate) fn complain(failure: &Failure) {
    let mut err = io::stderr().lock();
    for line in failure.lines() {
        // Nowhere is left to say that this failed; the exit code still tells.
        let _ = writeln!(err, "{line}");
    }
}

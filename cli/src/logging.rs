//! The log on standard error: text for people or JSON for machines, filtered by level or by target.
//!
//! It chooses how lines look; what is logged is each room's business. Access lines have the target `access`. What runs on
//! never waits for whoever reads them (`lines`).

mod lines;

use std::{
    io::{self, IsTerminal},
    panic::{self, PanicHookInfo},
    sync::{Arc, OnceLock, atomic::AtomicU64},
    thread,
    time::Duration,
};

use tracing::{error, level_filters::LevelFilter};
use tracing_subscriber::{EnvFilter, fmt};

use self::lines::Lines;
use crate::{
    args::{LogFlags, LogFormat},
    failure::Failure,
};

/// How long a process that ends waits for its last lines to be written.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The lines of a process that runs on.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Targets that are ours: `--log-level debug` is about them, not about the libraries below.
const OUR_TARGETS: [&str; 8] = ["access", "underpass", "edge", "connector", "certs", "net", "protocol", "config"];

/// What a filter may look like.
const RIGHT: &str =
    "must be error, warn, info, debug, trace or off, or a filter such as \"info,edge=debug,access=off\"";

/// Starts the log of a command that only answers: its reader is waited for.
pub(crate) fn start(flags: &LogFlags) -> Result<(), Failure> {
    let lines = fmt().with_env_filter(filter(flags, LevelFilter::WARN)?).with_writer(io::stderr);
    let started = match flags.format {
        LogFormat::Text => lines.with_ansi(is_colourful()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
    };
    started.map_err(cannot)
}

/// Starts the log of what runs on: nobody who logs waits for its reader, and panics are lines of it.
pub(crate) fn start_running(flags: &LogFlags) -> Result<(), Failure> {
    let filter = filter(flags, LevelFilter::INFO)?;
    let lines = Lines::to_standard_error().map_err(|e| cannot(e.into()))?;
    let lines = LINES.get_or_init(|| lines).clone();
    // What it would say of its own failures would be written, and waited for, by whoever logs.
    let log = fmt().with_env_filter(filter).with_writer(lines).log_internal_errors(false);
    let started = match flags.format {
        LogFormat::Text => log.with_ansi(is_colourful()).try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).try_init(),
    };
    panic::set_hook(Box::new(log_panic));
    started.map_err(cannot)
}

fn cannot(error: Box<dyn std::error::Error + Send + Sync>) -> Failure {
    Failure::Failed(format!("cannot start logging: {error}"))
}

/// What of this process's log could not be written; it goes on counting.
pub(crate) fn lost() -> Arc<AtomicU64> {
    LINES.get().map(Lines::lost).unwrap_or_default()
}

/// Says why what ran has failed: as lines of its log, so that a log of JSON stays one to its last line.
pub(crate) fn complain(failure: &Failure, format: LogFormat) {
    for line in failure.lines() {
        match (format, LINES.get()) {
            (LogFormat::Text, Some(lines)) => lines.add(format!("{line}\n").as_bytes()),
            (LogFormat::Text, None) | (LogFormat::Json, _) => error!("{}", line.trim_start_matches("error: ")),
        }
    }
}

/// Waits a moment for the last lines to be written.
pub(crate) fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(LAST_WORDS);
    }
}

/// Only a bug panics. The message may hold what a stranger sent, so it stays on one line.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let (thread, what) = (thread::current(), panic.payload_as_str().unwrap_or("no message").escape_debug().to_string());
    let at = panic.location().map(ToString::to_string);
    error!(thread = thread.name(), at, what, "panic: this is a bug of Underpass, please report it");
}

fn filter(flags: &LogFlags, default: LevelFilter) -> Result<EnvFilter, Failure> {
    let text = flags.level.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let default = default.to_string();
    let text = text.unwrap_or(&default);
    let wrong = |why: &str| Failure::Usage(format!("--log-level {}: {why}", text.escape_debug()));
    let directives = directives(text).map_err(wrong)?;
    EnvFilter::try_new(&directives).map_err(|_| wrong(RIGHT))
}

fn is_colourful() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A filter from what users write. A level that shows much is about our own targets only.
fn directives(text: &str) -> Result<String, &'static str> {
    if text.contains([',', '=', '[']) {
        return Ok(text.to_owned());
    }
    let level: LevelFilter = match text.to_ascii_lowercase().as_str() {
        word @ ("off" | "error" | "warn" | "info" | "debug" | "trace") => word.parse().map_err(|_| RIGHT)?,
        _ => return Err(RIGHT),
    };
    if level <= LevelFilter::INFO {
        return Ok(level.to_string());
    }
    let ours = OUR_TARGETS.map(|target| format!("{target}={level}"));
    Ok(format!("info,{}", ours.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_shows_much_is_about_our_own_targets() {
        assert_eq!(directives("info").as_deref(), Ok("info"));
        assert_eq!(directives("WARN").as_deref(), Ok("warn"));
        let debug = directives("debug").expect("a level");
        assert!(debug.starts_with("info,access=debug,") && debug.contains(",edge=debug,"), "{debug}");
        assert_eq!(directives("warn,edge=trace").as_deref(), Ok("warn,edge=trace"));
    }

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for wrong in ["verbose", "5", "", "inf"] {
            assert!(directives(wrong).is_err(), "{wrong}");
        }
    }
}

//! The log on standard error: text for people or JSON for machines, filtered by level or by target.
//!
//! It chooses how lines look; what is logged is each room's business. Access lines have the target `access`. What runs on
//! never waits for whoever reads them (`lines`).

mod lines;

use std::{
    convert::Infallible,
    future::pending,
    io::{self, IsTerminal},
    panic::{self, PanicHookInfo},
    sync::{Arc, OnceLock, atomic::AtomicU64},
    thread,
    time::Duration,
};

use config::{BadLogFilter, LogFilter};
use tokio::sync::watch;
use tracing::error;
use tracing_subscriber::{EnvFilter, fmt, reload};

use self::lines::Lines;
use crate::{
    args::{LogFlags, LogFormat},
    failure::Failure,
};

/// How long a process that ends waits for its last lines to be written.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The lines of a process that runs on.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Changes what it logs.
static FILTER: OnceLock<Reload> = OnceLock::new();

type Reload = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

/// What commands that only answer log, unless told otherwise; and what runs on.
const QUIET: &str = "warn";
const TELLING: &str = "info";

/// Starts the log of a command that only answers: its reader is waited for.
pub(crate) fn start(flags: &LogFlags) -> Result<(), Failure> {
    let lines = fmt().with_env_filter(filter(flags, level(QUIET))?.filter()).with_writer(io::stderr);
    let started = match flags.format {
        LogFormat::Text => lines.with_ansi(is_colourful()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
    };
    started.map_err(cannot)
}

/// Starts the log of what runs on: nobody who logs waits for its reader, and panics are lines of it.
pub(crate) fn start_running(flags: &LogFlags) -> Result<(), Failure> {
    let filter = filter(flags, level(TELLING))?.filter();
    let lines = Lines::to_standard_error().map_err(|e| cannot(e.into()))?;
    let lines = LINES.get_or_init(|| lines).clone();
    // What it would say of its own failures would be written, and waited for, by whoever logs.
    let log = fmt().with_env_filter(filter).with_writer(lines).log_internal_errors(false);
    let started = match flags.format {
        LogFormat::Text => {
            let log = log.with_ansi(is_colourful()).with_filter_reloading();
            let filter = log.reload_handle();
            keep(move |next| filter.reload(next));
            log.try_init()
        }
        LogFormat::Json => {
            let log = log.json().flatten_event(true).with_current_span(false).with_filter_reloading();
            let filter = log.reload_handle();
            keep(move |next| filter.reload(next));
            log.try_init()
        }
    };
    panic::set_hook(Box::new(log_panic));
    started.map_err(cannot)
}

fn keep(reload: impl Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync + 'static) {
    // It is set once, since a log is started once.
    let _ = FILTER.set(Box::new(reload));
}

/// What runs logs what its settings say, whenever they say otherwise, unless the command line has the word.
pub(crate) async fn follow(flags: &LogFlags, mut settings: watch::Receiver<Option<LogFilter>>) -> Infallible {
    while settings.changed().await.is_ok() {
        let next = settings.borrow_and_update().clone().unwrap_or_else(|| level(TELLING));
        match FILTER.get() {
            Some(reload) if given(flags).is_none() => {
                if let Err(error) = reload(next.filter()) {
                    error!(%error, "what is logged cannot be changed");
                }
            }
            Some(_) | None => {}
        }
    }
    pending().await
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
    let (code, help) = (failure.code(), failure.code().remedy());
    match (format, LINES.get()) {
        (LogFormat::Text, Some(lines)) => {
            failure.lines().iter().for_each(|line| lines.add(format!("{line}\n").as_bytes()));
        }
        (LogFormat::Text, None) | (LogFormat::Json, _) => {
            for line in failure.wrong() {
                error!(%code, help, "{}", line.trim_start_matches("error: "));
            }
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

/// What the flags say, or the default if they say nothing.
fn filter(flags: &LogFlags, default: LogFilter) -> Result<LogFilter, Failure> {
    let Some(text) = given(flags) else { return Ok(default) };
    let wrong = |error: BadLogFilter| Failure::Usage(format!("--log-level {}: {error}", text.escape_debug()));
    text.parse().map_err(wrong)
}

fn given(flags: &LogFlags) -> Option<&str> {
    flags.level.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

fn level(word: &str) -> LogFilter {
    word.parse().expect("a level")
}

fn is_colourful() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

//! The log on standard error: text for people or JSON for machines, filtered by level or by target.
//!
//! It chooses how lines look; what is logged is each room's business. Access lines have the target `access`.

use std::io::{self, IsTerminal};

use tracing::{error, level_filters::LevelFilter};
use tracing_subscriber::{EnvFilter, fmt};

use crate::{
    args::{LogFlags, LogFormat},
    failure::Failure,
};

/// Targets that are ours: `--log-level debug` is about them, not about the libraries below.
const OUR_TARGETS: [&str; 8] = ["access", "underpass", "edge", "connector", "certs", "net", "protocol", "config"];

/// What a filter may look like.
const RIGHT: &str =
    "must be error, warn, info, debug, trace or off, or a filter such as \"info,edge=debug,access=off\"";

/// Starts logging; `default` is the level unless flags say otherwise.
pub(crate) fn start(flags: &LogFlags, default: LevelFilter) -> Result<(), Failure> {
    let text = flags.level.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let default = default.to_string();
    let text = text.unwrap_or(&default);
    let wrong = |why: &str| Failure::Usage(format!("--log-level {}: {why}", text.escape_debug()));
    let directives = directives(text).map_err(wrong)?;
    let filter = EnvFilter::try_new(&directives).map_err(|_| wrong(RIGHT))?;
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match flags.format {
        LogFormat::Text => lines.with_ansi(is_colourful()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
    };
    started.map_err(|e| Failure::Failed(format!("cannot start logging: {e}")))
}

/// Logs why a command failed, for a log that must stay JSON to its last line.
pub(crate) fn complain(failure: &Failure) {
    for line in failure.lines() {
        error!("{}", line.trim_start_matches("error: "));
    }
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

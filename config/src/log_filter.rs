//! What is logged, from what users write: a level, or a filter by target.

use std::{fmt, str::FromStr};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Targets that are ours: a level that shows much is about them, not about the libraries below.
const OUR_TARGETS: [&str; 8] = ["access", "underpass", "edge", "connector", "certs", "net", "protocol", "config"];

/// A filter of log lines that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter {
    text: String,
    directives: String,
}

/// A text that is no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be error, warn, info, debug, trace or off, or a filter such as \"info,edge=debug,access=off\"")]
pub struct BadLogFilter;

impl LogFilter {
    /// In the terms of whoever filters.
    #[must_use]
    pub fn filter(&self) -> EnvFilter {
        EnvFilter::new(&self.directives)
    }
}

impl FromStr for LogFilter {
    type Err = BadLogFilter;

    fn from_str(text: &str) -> Result<Self, BadLogFilter> {
        let text = text.trim();
        let directives = directives(text)?;
        EnvFilter::try_new(&directives).map_err(|_| BadLogFilter)?;
        Ok(Self { text: text.to_owned(), directives })
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A level that shows much is about our own targets only.
fn directives(text: &str) -> Result<String, BadLogFilter> {
    if text.contains([',', '=', '[']) {
        return Ok(text.to_owned());
    }
    let level: LevelFilter = match text.to_ascii_lowercase().as_str() {
        word @ ("off" | "error" | "warn" | "info" | "debug" | "trace") => word.parse().map_err(|_| BadLogFilter)?,
        _ => return Err(BadLogFilter),
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
    fn what_is_no_filter_is_refused() {
        for wrong in ["verbose", "5", "", "inf", "info,edge=loud"] {
            assert_eq!(wrong.parse::<LogFilter>(), Err(BadLogFilter), "{wrong}");
        }
        let right: LogFilter = " debug ".parse().expect("a level");
        assert_eq!(right.to_string(), "debug");
    }
}

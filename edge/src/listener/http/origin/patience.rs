//! How long an origin keeps a connection without a request, by its own word. Pure.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// How much earlier than its origin a connection is given up: a request takes a while to get there, and the origin counts
/// from when its answer left.
const MARGIN: Duration = Duration::from_secs(1);

/// How long a connection may be idle by `Keep-Alive: timeout=SECONDS` in an answer, with a margin.
pub(crate) fn of(answer: &HeaderMap) -> Option<Duration> {
    let said = answer.get_all(KEEP_ALIVE).iter().filter_map(|value| value.to_str().ok());
    let seconds = said.flat_map(|value| value.split(',')).filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("timeout").then_some(value)?.parse::<u32>().ok()
    });
    let said = Duration::from_secs(seconds.min()?.into());
    Some(said.saturating_sub(MARGIN).max(said.min(MARGIN) / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_text(values: &[&str]) -> Option<Duration> {
        of(&values.iter().map(|value| (KEEP_ALIVE, value.parse().expect("a value"))).collect())
    }

    #[test]
    fn an_origins_word_is_heeded_with_a_margin() {
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(of_text(&["timeout=5"]), seconds(4));
        assert_eq!(of_text(&["Timeout = \"75\", max=1000"]), seconds(74));
        assert_eq!(of_text(&["max=5", "timeout=10, timeout=3"]), seconds(2), "the shortest");
        assert_eq!(of_text(&["timeout=1"]), Some(Duration::from_millis(500)));
        assert_eq!(of_text(&["timeout=0"]), seconds(0), "it closes at once");
    }

    #[test]
    fn what_says_no_time_says_nothing() {
        for value in ["max=5", "timeout", "timeout=soon", "timeout=-1", ""] {
            assert_eq!(of_text(&[value]), None, "{value}");
        }
        assert_eq!(of_text(&[]), None);
    }
}

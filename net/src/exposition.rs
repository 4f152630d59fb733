//! The two text formats of metrics: OpenMetrics for those who ask for it, and the one everybody reads for all others.

/// What OpenMetrics is called.
pub const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What the older format is called.
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics in OpenMetrics' text, for somebody who accepts this: the content's type and the content.
#[must_use]
pub fn fitting(open: String, accept: Option<&str>) -> (&'static str, String) {
    if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
        (OPEN, open)
    } else {
        (PLAIN, plain(&open))
    }
}

/// The same in the older format, where a counter's family bears the name of its samples, and units and the end have no line.
fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => continue,
            (Some("#"), Some("HELP"), Some(name), help) => {
                // Its type is on the next line.
                let kind = lines.peek().and_then(|next| next.strip_prefix("# TYPE ")?.strip_prefix(name));
                let total = if kind == Some(" counter") { "_total" } else { "" };
                text.push_str(&format!("# HELP {name}{total} {}", help.unwrap_or_default()));
            }
            (Some("#"), Some("TYPE"), Some(name), Some("counter")) => {
                text.push_str(&format!("# TYPE {name}_total counter"));
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "# HELP a_flows Flows.\n# TYPE a_flows gauge\na_flows 1\n# HELP a_up_bytes Up and on.\n\
        # TYPE a_up_bytes counter\n# UNIT a_up_bytes bytes\na_up_bytes_total{b=\"c\"} 7\n# EOF\n";

    #[test]
    fn whoever_does_not_ask_for_openmetrics_gets_what_everybody_reads() {
        let (kind, text) = fitting(METRICS.to_owned(), Some("*/*"));
        assert_eq!(kind, PLAIN);
        let right = "# HELP a_flows Flows.\n# TYPE a_flows gauge\na_flows 1\n# HELP a_up_bytes_total Up and on.\n\
            # TYPE a_up_bytes_total counter\na_up_bytes_total{b=\"c\"} 7\n";
        assert_eq!(text, right);
        assert_eq!(fitting(METRICS.to_owned(), None).0, PLAIN);
    }

    #[test]
    fn whoever_asks_for_openmetrics_gets_it() {
        let asked = Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
        assert_eq!(fitting(METRICS.to_owned(), asked), (OPEN, METRICS.to_owned()));
    }
}

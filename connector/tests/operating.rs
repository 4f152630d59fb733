//! `docs/operating.md` says what the connector has: every setting and metric.

use connector::metrics::Metrics;
use protocol::{
    error::Reason,
    splice::{Carried, Ended},
};

const MANUAL: &str = include_str!("../../docs/operating.md");
const EXAMPLE: &str = include_str!("../../examples/connector.toml");

fn assert_told<'a>(things: impl IntoIterator<Item = &'a str>) {
    let missing: Vec<_> = things.into_iter().filter(|thing| !MANUAL.contains(thing)).collect();
    assert!(missing.is_empty(), "docs/operating.md does not tell of {missing:?}");
}

#[test]
fn every_setting_is_told() {
    let lines = EXAMPLE.lines().map(|line| line.trim_start_matches("# "));
    let words =
        lines.filter_map(|line| if line.starts_with('[') { Some(line) } else { Some(line.split_once(" = ")?.0) });
    let words: Vec<_> = words.filter(|word| word.bytes().all(|b| !b.is_ascii_whitespace())).collect();
    assert!(words.len() > 15, "the example shows every setting: {words:?}");
    assert_told(words);
}

#[test]
fn every_metric_moves_and_is_told() {
    let metrics = Metrics::default();
    let _open = metrics.flow();
    metrics.carried(&Carried { sent: 1, received: 2, ended: Ended::Finished });
    metrics.refused(Reason::PolicyDenied);
    let text = metrics.encode(1);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let (names, values): (Vec<_>, Vec<_>) = samples.filter_map(|line| line.rsplit_once(' ')).unzip();
    assert_eq!(names.len(), 7, "one sample a family: {names:?}");
    assert!(values.iter().all(|value| *value != "0"), "every metric has moved:\n{text}");
    assert_told(names.iter().map(|name| name.split_once('{').map_or(*name, |(name, _)| name)));
}

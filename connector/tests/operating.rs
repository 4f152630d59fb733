//! `docs/operating.md` says what the connector has: every setting and metric.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use connector::{
    link::EdgeLinks,
    metrics::{Metrics, Process},
};
use protocol::{
    error::Reason,
    splice::{Carried, Ended},
    switch::Dropped,
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
    let (vital, lost_lines) = (net::Vital::default(), Arc::new(AtomicU64::new(1)));
    vital.panicked("a link");
    let metrics = Metrics::of(Process { vital, lost_lines });
    metrics.drops().count(Dropped::Malformed);
    let _open = metrics.flow();
    let _ = metrics.carried(&Carried { sent: 1, received: 2, ended: Ended::Finished });
    metrics.refused(Reason::PolicyDenied);
    metrics.reload_refused();
    metrics.reloaded();
    metrics.windows().hold(0, 1);
    metrics.windows().sacrifice(1);
    let edge = "10.0.0.1:7843".parse().expect("a target");
    let text = metrics.encode(&[EdgeLinks { edge, up: 1, wanted: 2, why: None }]);
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let mut moved: BTreeMap<&str, bool> = BTreeMap::new();
    for (name, value) in samples {
        *moved.entry(name.split_once('{').map_or(name, |(name, _)| name)).or_default() |= value != "0";
    }
    assert_eq!(moved.len(), 16, "every family is there: {moved:?}");
    assert!(moved.values().all(|moved| *moved), "every metric has moved:\n{text}");
    assert_told(moved.into_keys());
}

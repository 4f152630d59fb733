//! `docs/operating.md` says what the edge has: every setting, metric and reason. `README.md` shows settings that are right.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use edge::metrics::{FlowEnd, Metrics, Process, Readings, RefusedFlow};
use protocol::{error::Reason, splice::Ended, switch::Dropped};

const MANUAL: &str = include_str!("../../docs/operating.md");
const README: &str = include_str!("../../README.md");
const EXAMPLE: &str = include_str!("../../examples/edge.toml");

/// Keys and section names of a TOML text, commented-out ones included.
fn keys(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.trim_start_matches("# ");
        let word = match line.strip_prefix('[') {
            Some(section) => section.trim_matches(['[', ']']),
            None => line.split_once(" = ")?.0,
        };
        let is_key = !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'.'));
        is_key.then_some(word)
    })
}

fn assert_told<'a>(things: impl IntoIterator<Item = &'a str>) {
    let missing: Vec<_> = things.into_iter().filter(|thing| !MANUAL.contains(thing)).collect();
    assert!(missing.is_empty(), "docs/operating.md does not tell of {missing:?}");
}

#[test]
fn every_setting_is_told() {
    let quoted: Vec<_> = keys(EXAMPLE).map(|key| format!("`{key}`")).collect();
    assert!(quoted.len() > 60, "the example shows every setting");
    let sections = [("`tunnel`", "`[tunnel]`"), ("`admin`", "`[admin]`")];
    let told = quoted.iter().map(|key| {
        let section = sections.iter().find(|(name, _)| key == name);
        let section = section.map_or(key.as_str(), |(_, section)| section);
        match section.trim_matches('`') {
            list @ ("connector" | "monitor" | "pool" | "pool.origin" | "load_balancer" | "listener") => {
                assert!(MANUAL.contains(&format!("`[[{list}]]`")), "docs/operating.md does not tell of [[{list}]]");
                list
            }
            _ => section,
        }
    });
    assert_told(told);
}

#[test]
fn the_readmes_settings_are_right() {
    let block =
        README.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the README shows one");
    let parsed = edge::config::parse(block, Path::new("edge.toml"));
    assert_eq!(parsed.map(|config| config.name.to_string()).map_err(|e| e.to_string()), Ok("edge-1".to_owned()));
}

#[test]
fn every_reason_is_told() {
    let quoted: Vec<_> = Reason::ALL.iter().map(|reason| format!("`{reason}`")).collect();
    assert_told(quoted.iter().map(String::as_str));
}

#[test]
fn every_metric_moves_and_is_told() {
    let (vital, lost_lines) = (net::Vital::default(), Arc::new(AtomicU64::new(1)));
    vital.panicked("the health board");
    let metrics = Metrics::of(Process { vital, lost_lines });
    metrics.drops().count(Dropped::Malformed);
    let listener = "www".parse().expect("a name");
    let _open = metrics.flow(&listener);
    let totals = metrics.totals(&listener);
    totals.sent.store(1, Ordering::Relaxed);
    totals.received.store(2, Ordering::Relaxed);
    metrics.flow_ended(&FlowEnd { listener: &listener, ended: Ended::Finished.as_str() });
    metrics.refused_flow(&listener, RefusedFlow::NoPlace);
    metrics.probe(&listener, "healthy");
    metrics.reload(true);
    metrics.reload(false);
    metrics.in_force(1);
    metrics.handshake_failed("silence");
    metrics.windows().hold(0, 1);
    metrics.windows().sacrifice(1);
    let certificates = vec![("www".to_owned(), "a\"b\\c.pem".to_owned(), 1)];
    let readings = Readings {
        ca_ends: 1,
        links: 1,
        links_up: 1,
        streams: 1,
        origins: 1,
        origins_healthy: 1,
        drained: 1,
        certificates,
    };
    let text = metrics.encode(readings).expect("a string takes every write");
    assert!(text.contains(r#"certificate="a\"b\\c.pem"}"#), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let mut moved: BTreeMap<&str, bool> = BTreeMap::new();
    for (name, value) in samples {
        *moved.entry(name.split_once('{').map_or(name, |(name, _)| name)).or_default() |= value != "0";
    }
    assert_eq!(moved.len(), 24, "every family is there: {moved:?}");
    assert!(moved.values().all(|moved| *moved), "every metric has moved:\n{text}");
    assert_told(moved.into_keys());
    let labels = text.split(['{', ',', '}']).filter_map(|label| label.split_once('='));
    let words = labels.filter(|(name, _)| ["why", "cause", "reason"].contains(name));
    let words: BTreeSet<String> = words.map(|(_, word)| word.replace('"', "`")).collect();
    assert!(words.len() > 7, "{words:?}");
    assert_told(words.iter().map(String::as_str));
}

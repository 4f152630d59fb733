//! What is read back is what was said, by another version too.

mod schema;

use serde_json::{Value, from_value, json, to_value};

use super::*;
use crate::words::{Health, LinkState, Protocol};

fn read(value: Value) -> Status {
    from_value(value).expect("a status")
}

#[test]
fn a_connector_is_known_from_an_edge_by_its_edges() {
    assert!(matches!(read(json!({ "edge": "edge-1" })), Status::Edge(status) if status.edge == "edge-1"));
    let connector =
        json!({ "connector": null, "version": "1", "edges": [{ "address": "a:1", "links": [{ "slot": 3 }] }] });
    let Status::Connector(status) = read(connector) else { panic!("it has edges") };
    assert_eq!((status.edges[0].address.as_str(), status.edges[0].links[0].slot), ("a:1", 3));
    assert_eq!(status.connector, None);
}

#[test]
fn what_another_version_says_is_kept_or_passed_over() {
    let newer =
        json!({ "edge": "e", "dashboards": 3, "listeners": [{ "listener": "l", "protocol": "http3", "flows": 1 }] });
    let Status::Edge(status) = read(newer) else { panic!("it has no edges") };
    let listener = &status.listeners[0];
    assert_eq!(listener.protocol, Protocol::Other("http3".to_owned()));
    assert_eq!(to_value(&listener.protocol).expect("a word"), json!("http3"));
    assert_eq!(format!("{:<8}|", listener.protocol), "http3   |");
    assert!(status.unready.is_empty(), "an older one does not say why");
}

#[test]
fn what_is_absent_is_told_as_null_or_not_at_all() {
    let link = edge::Link { state: Some(LinkState::Up), ..edge::Link::default() };
    let told = to_value(&link).expect("JSON");
    assert_eq!((&told["state"], &told["rtt_ms"]), (&json!("up"), &Value::Null));
    let stages = edge::Stages { tls: Some(1.5), ..edge::Stages::default() };
    assert_eq!(to_value(stages).expect("JSON"), json!({ "tls": 1.5 }));
    assert_eq!(stages.known().collect::<Vec<_>>(), [("tls", 1.5)]);
    let revoked = Revoked { connector: "dc1".to_owned(), links_closed: 2, error: None, code: None };
    assert_eq!(to_value(&revoked).expect("JSON"), json!({ "connector": "dc1", "links_closed": 2 }));
    assert!(from_value::<Revoked>(json!({ "error": "no" })).is_err(), "who closed nothing did not revoke");
    assert!(from_value::<Health>(json!(null)).is_err());
}

#[test]
fn a_duration_has_three_decimals() {
    assert_eq!(millis(Duration::from_nanos(1_234_567)).to_string(), "1.235");
}

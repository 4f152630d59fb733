//! Tables from a fixed answer.

use super::edge::{connectors, tables};

const ANSWER: &str = r#"{ "edge": "edge-1", "version": "0.1.0", "catalog_version": 7, "later": {"release": true},
  "tunnels": [
    { "connector": "dc1", "health": "degraded",
      "links": [ { "id": "l1", "replica": "r-0a1b2c3d", "remote": "192.0.2.7:50000", "rtt_ms": 1.24, "streams": 3,
                   "since": "2026-01-02T03:04:05Z" } ],
      "routes": [ { "vnet": "prod", "cidr": "10.0.0.0/16" }, { "vnet": "prod", "cidr": "fd00::/8" } ],
      "refused_routes": [ { "vnet": "prod", "cidr": "0.0.0.0/0", "reason": "outside the grant" },
                          { "vnet": "\u001b[2J", "cidr": "x", "reason": null } ] },
    { "connector": "dc2", "health": "inactive", "links": [], "routes": [], "refused_routes": [] } ],
  "origins": [
    { "pool": "web", "origin": "web-1", "vnet": "prod", "address": "10.0.1.10:8080", "health": "healthy", "flows": 5,
      "paths": [ { "link": "l1", "connector": "dc1", "health": "healthy", "rtt_ms": 2.1,
                   "stages_ms": { "connect": 0.4, "first_byte": 1.1, "tls": null }, "reason": null,
                   "checked_at": "2026-01-02T03:04:06Z" } ] },
    { "pool": "web", "origin": "web-2", "vnet": null, "address": "192.0.2.9:80", "health": "unhealthy",
      "paths": [ { "link": null, "connector": null, "health": "unhealthy", "rtt_ms": null, "stages_ms": {},
                   "reason": "connect_refused", "checked_at": null } ] } ],
  "pools": [ { "pool": "web", "health": "degraded", "healthy_origins": 1, "origins": 2 } ],
  "load_balancers": [ { "load_balancer": "www", "health": "critical", "serving_pool": null } ],
  "listeners": [ { "listener": "www", "address": "0.0.0.0:80", "protocol": "tcp", "flows": 12 },
                 { "listener": "in", "address": "127.0.0.1:90", "protocol": "tcp", "vnet": "prod", "flows": 3 } ] }"#;

const TABLES: &str = "\
edge edge-1, version 0.1.0, catalog 7

listeners
  LISTENER  PROTOCOL  ADDRESS       VNET  FLOWS
  www       tcp       0.0.0.0:80    -     12
  in        tcp       127.0.0.1:90  prod  3

load balancers
  LOAD BALANCER  HEALTH    SERVING POOL
  www            critical  -

pools
  POOL  HEALTH    HEALTHY ORIGINS
  web   degraded  1 of 2

origins
  POOL  ORIGIN  VNET    ADDRESS         HEALTH     PATHS   FLOWS  REASON
  web   web-1   prod    10.0.1.10:8080  healthy    1 of 1  5      -
  web   web-2   direct  192.0.2.9:80    unhealthy  0 of 1  0      -

paths
  POOL  ORIGIN  VIA     HEALTH     PROBE   STAGES                             REASON           CHECKED
  web   web-1   dc1 l1  healthy    2.1 ms  connect 0.4 ms, first_byte 1.1 ms  -                2026-01-02T03:04:06Z
  web   web-2   direct  unhealthy  -       -                                  connect_refused  -

tunnels
  CONNECTOR  HEALTH    LINKS  ROUTES
  dc1        degraded  1      prod 10.0.0.0/16, prod fd00::/8
  dc2        inactive  0      -

links
  LINK  CONNECTOR  REPLICA     REMOTE           STATE  RTT     STREAMS  SINCE
  l1    dc1        r-0a1b2c3d  192.0.2.7:50000  up     1.2 ms  3        2026-01-02T03:04:05Z

refused routes
  CONNECTOR  VNET  CIDR       REASON
  dc1        prod  0.0.0.0/0  outside the grant
  dc1        \u{FFFD}[2J  x          -
";

fn status(text: &str) -> api::edge::Status {
    serde_json::from_str(text).expect("an answer")
}

#[test]
fn people_read_aligned_tables_that_no_stranger_can_draw_in() {
    let printed: Vec<String> = tables(&status(ANSWER)).lines().map(str::to_owned).collect();
    assert_eq!(printed, TABLES.lines().collect::<Vec<_>>());
}

#[test]
fn an_edge_with_nothing_says_so() {
    let printed = tables(&status(r#"{ "edge": "edge-1", "version": "0.1.0", "catalog_version": 0 }"#));
    assert!(printed.contains("\ntunnels: none\n"), "{printed}");
    assert!(printed.contains("\nlisteners: none\n"), "{printed}");
    assert!(!printed.contains("refused"), "{printed}");
}

#[test]
fn connectors_are_listed_with_their_links_and_refused_routes() {
    let printed = connectors(&status(ANSWER));
    assert!(printed.starts_with("tunnels\n  CONNECTOR  HEALTH"), "{printed}");
    for part in ["dc2        inactive", "r-0a1b2c3d", "outside the grant"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert!(!printed.contains("web-1"), "{printed}");
}

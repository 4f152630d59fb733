//! Tables from a fixed answer.

use super::{
    drawn_over,
    edge::{Empty, connectors, tables},
    overview,
    select::Selection,
    text,
};
use crate::commands::look::Look;

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
    let printed: Vec<String> = tables(&status(ANSWER), Empty::Shown).lines().map(str::to_owned).collect();
    assert_eq!(printed, TABLES.lines().collect::<Vec<_>>());
}

#[test]
fn an_edge_with_nothing_says_so() {
    let printed = tables(&status(r#"{ "edge": "edge-1", "version": "0.1.0", "catalog_version": 0 }"#), Empty::Shown);
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

/// An edge with failures of every kind, told at one time.
const FAILING: &str = r#"{ "edge": "edge-1", "version": "0.1.0", "catalog_version": 7, "now": "2026-01-02T03:10:00Z",
  "tunnels": [
    { "connector": "dc1", "health": "degraded", "since": "2026-01-02T03:09:30Z",
      "links": [ { "id": "1", "replica": "r-1", "remote": "192.0.2.7:50000", "state": "up", "rtt_ms": 1.24, "streams": 3 },
                 { "id": "2", "replica": "r-1", "remote": "192.0.2.7:50001", "state": "suspect", "rtt_ms": 9.0 } ],
      "routes": [ { "vnet": "prod", "cidr": "10.0.0.0/16" } ],
      "refused_routes": [ { "vnet": "prod", "cidr": "0.0.0.0/0", "reason": "outside the grant" } ] },
    { "connector": "dc2", "health": "down", "since": "2026-01-02T00:10:00Z" } ],
  "origins": [
    { "pool": "web", "origin": "web-1", "vnet": "prod", "address": "10.0.1.10:8080", "health": "healthy", "flows": 5,
      "paths": [ { "link": "1", "connector": "dc1", "health": "healthy", "rtt_ms": 2.1 },
                 { "link": "2", "connector": "dc1", "health": "unhealthy", "reason": "link_lost", "code": "UP-303", "stage": "tunnel",
                   "since": "2026-01-02T03:09:30Z" } ] },
    { "pool": "web", "origin": "web-2", "address": "192.0.2.9:80", "health": "unhealthy", "stage": "connect",
      "reason": "connect_refused", "code": "UP-305", "detail": "192.0.2.9:80: nobody listens at this port of that host",
      "since": "2026-01-01T03:10:00Z", "paths": [ { "health": "unhealthy", "reason": "connect_refused" } ] } ],
  "pools": [ { "pool": "web", "health": "degraded", "healthy_origins": 1, "origins": 2, "since": "2026-01-01T03:10:00Z" } ],
  "load_balancers": [ { "load_balancer": "www", "health": "critical", "since": "2026-01-02T03:07:00Z" } ],
  "listeners": [ { "listener": "www", "address": "0.0.0.0:443", "protocol": "https", "flows": 12, "refused": 2,
                   "bytes_up": 1500, "bytes_down": 2500000,
                   "certificates": [ { "file": "www.pem", "expires": "2026-01-05T00:00:00Z", "state": "ends_soon" } ] } ] }"#;

const ON_A_SCREEN: &str = "\
edge edge-1, version 0.1.0, catalog 7
9 things fail

failing
  WHAT                         STATE      SINCE     CODE    STAGE    WHY
  load balancer www            critical   3 m ago   UP-391  -        no pool se…
  tunnel dc2                   down       3 h ago   UP-217  tunnel   0 links up
  origin web/web-2             unhealthy  24 h ago  UP-305  connect  connect_re…
  tunnel dc1                   degraded   30 s ago  UP-217  tunnel   1 link up
  pool web                     degraded   24 h ago  UP-392  -        1 of 2 ori…
  path web/web-1 dc1 2         unhealthy  30 s ago  UP-303  tunnel   link_lost
  link 2 of dc1                suspect    -         UP-217  tunnel   from 192.0…
  route prod 0.0.0.0/0 of dc1  refused    -         UP-219  route    outside th…
  certificate of www           ends_soon  -         UP-106  -        www.pem en…

listeners
  LISTENER  PROTOCOL  ADDRESS      FLOWS  REFUSED  UP      DOWN    LEADS INTO
  www       https     0.0.0.0:443  12     2        1.5 kB  2.5 MB  -

load balancers
  LOAD BALANCER  HEALTH    SINCE    SERVING POOL
  www            critical  3 m ago  -

pools
  POOL  HEALTH    SINCE     ORIGINS UP  PATHS UP  FLOWS  PROBE
  web   degraded  24 h ago  1 of 2      1 of 3    5      2.1 ms

tunnels
  CONNECTOR  HEALTH    SINCE     REPLICAS  LINKS UP  STREAMS  RTT     ROUTES
  dc1        degraded  30 s ago  1         1 of 2    3        9.0 ms  prod 10.0…
  dc2        down      3 h ago   0         0 of 0    0        -       -
";

const SCREEN: Look = Look { width: 80, lines: 49, colours: false };

fn selected(selection: Selection) -> String {
    text(FAILING.as_bytes(), &selection, SCREEN).unwrap_or_else(|failure| failure.lines().join("\n"))
}

#[test]
fn what_fails_comes_first_with_its_stage_and_since_when() {
    assert_eq!(selected(Selection::default()).lines().collect::<Vec<_>>(), ON_A_SCREEN.lines().collect::<Vec<_>>());
}

#[test]
fn who_sees_all_that_fails_is_told_what_to_do_once_for_each_code() {
    let told = selected(Selection { unhealthy: true, all: true, ..Selection::default() });
    let help: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("help: ")?.get(..6)).collect();
    assert_eq!(help, ["UP-391", "UP-217", "UP-305", "UP-392", "UP-303", "UP-219", "UP-106"], "{told}");
}

#[test]
fn an_edge_that_is_well_says_so() {
    let well = r#"{ "edge": "edge-1", "version": "0.1.0", "catalog_version": 1, "pools": [ { "pool": "web", "health": "healthy" } ] }"#;
    let text = text(well.as_bytes(), &Selection::default(), SCREEN).expect("an edge's");
    assert!(text.starts_with("edge edge-1, version 0.1.0, catalog 1\nnothing fails\n\nlisteners: none\n"), "{text}");
}

#[test]
fn a_large_edge_fits_one_screen() {
    let origin = |at: usize| {
        let health = if at.is_multiple_of(3) { "unhealthy" } else { "healthy" };
        let path =
            format!(r#"{{ "link": "7", "connector": "dc1", "health": "{health}", "reason": "connect_timeout" }}"#);
        let paths = vec![path; 8].join(",");
        format!(
            r#"{{ "pool": "p{}", "origin": "o{at}", "address": "10.0.0.1:80", "health": "{health}", "paths": [{paths}] }}"#,
            at / 10
        )
    };
    let list = |one: &dyn Fn(usize) -> String, count: usize| (0..count).map(one).collect::<Vec<_>>().join(",");
    let health = |at: usize| if at == 77 { "critical" } else { "degraded" };
    let pool = |at: usize| {
        let health = health(at);
        format!(r#"{{ "pool": "p{at}", "health": "{health}", "healthy_origins": 6, "origins": 10 }}"#)
    };
    let listener = |at: usize| format!(r#"{{ "listener": "l{at}", "address": "0.0.0.0:{at}", "protocol": "tcp" }}"#);
    let balancer = |at: usize| format!(r#"{{ "load_balancer": "b{at}", "health": "{}" }}"#, health(at));
    let tunnel = |at: usize| format!(r#"{{ "connector": "dc{at}", "health": "healthy" }}"#);
    let answer = format!(
        r#"{{ "edge": "e", "origins": [{}], "pools": [{}], "listeners": [{}], "load_balancers": [{}], "tunnels": [{}] }}"#,
        list(&origin, 1_000),
        list(&pool, 100),
        list(&listener, 100),
        list(&balancer, 100),
        list(&tunnel, 8),
    );
    for selection in [Selection::default(), Selection { unhealthy: true, ..Selection::default() }] {
        let text = text(answer.as_bytes(), &selection, SCREEN).expect("an edge's");
        assert!(text.lines().count() < 50, "{} lines:\n{text}", text.lines().count());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let first = text.lines().nth(5).unwrap_or_default();
        assert!(first.starts_with("  load balancer b77"), "the worst comes first: {text}");
        assert!(text.contains(" origins, "), "the rest is counted: {text}");
        if !selection.unhealthy {
            assert!(text.contains("\n  p77   critical"), "a table that is cut begins with the worst: {text}");
        }
    }
    let all = Selection { unhealthy: true, all: true, ..Selection::default() };
    let text = text(answer.as_bytes(), &all, SCREEN).expect("an edge's");
    assert_eq!(text.lines().filter(|line| line.starts_with("  origin ")).count(), 334);
}

#[test]
fn one_pool_or_connector_is_told_alone() {
    let name = |name: &str| Some(name.to_owned());
    let of_pool = selected(Selection { pool: name("web"), ..Selection::default() });
    for part in ["\norigins\n", "web-1", "web-2", "link 2 of dc1", "\ntunnels\n"] {
        assert!(of_pool.contains(part), "{part}: {of_pool}");
    }
    assert!(!of_pool.contains("www") && !of_pool.contains("dc2"), "{of_pool}");
    let of_connector = selected(Selection { connector: name("dc1"), ..Selection::default() });
    for part in ["\nlinks\n", "192.0.2.7:50001", "path web/web-1 dc1 2"] {
        assert!(of_connector.contains(part), "{part}: {of_connector}");
    }
    assert!(!of_connector.contains("web-2") && !of_connector.contains("dc2"), "{of_connector}");
    let in_full = selected(Selection { connector: name("dc1"), all: true, ..Selection::default() });
    assert!(in_full.contains("\npaths\n") && !in_full.contains("none"), "{in_full}");
    let wrong = selected(Selection { pool: name("wep"), ..Selection::default() });
    assert!(wrong.contains("there is no pool \"wep\"; there are: web"), "{wrong}");
    let wrong = selected(Selection { connector: name("dc3"), ..Selection::default() });
    assert!(wrong.contains("there is no connector \"dc3\"; there are: dc1, dc2"), "{wrong}");
}

#[test]
fn words_of_health_are_coloured_and_the_columns_stay() {
    let look = Look { colours: true, ..SCREEN };
    let coloured = overview::text(&status(FAILING), &Selection::default(), look);
    assert!(coloured.contains("\x1b[31mcritical\x1b[0m") && coloured.contains("\x1b[33mdegraded\x1b[0m"), "{coloured}");
    let bare =
        ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"].iter().fold(coloured, |text, code| text.replace(code, ""));
    assert_eq!(bare, selected(Selection::default()));
}

#[test]
fn a_connector_says_which_edges_it_lacks_and_since_when() {
    let answer = r#"{ "connector": "dc1", "replica": "r-1", "version": "0.1.0", "certificate_expires": "2026-01-03T00:00:00Z",
      "now": "2026-01-02T03:10:00Z", "flows": 5, "edges": [
        { "address": "a:7843", "edge": "edge-1", "routes": [ { "vnet": "prod", "cidr": "10.0.0.0/16" } ],
          "links": [ { "slot": 0, "state": "up", "rtt_ms": 1.0 }, { "slot": 1, "state": "up", "rtt_ms": 2.0 } ] },
        { "address": "b:7843", "links": [
          { "slot": 0, "state": "dialling", "state_since": "2026-01-02T03:08:00Z", "reason": "no answer" },
          { "slot": 1, "state": "dialling", "state_since": "2026-01-02T03:09:00Z" } ] } ] }"#;
    let right = "\
connector dc1, replica r-1, version 0.1.0, 5 flows, certificate until 2026-01-03T00:00:00Z
1 thing fails

failing
  WHAT         STATE  SINCE    CODE    STAGE  WHY
  edge b:7843  down   1 m ago  UP-217  -      0 of 2 links up: no answer

edges
  ADDRESS  EDGE    LINKS UP  RTT     ROUTES
  a:7843   edge-1  2 of 2    2.0 ms  prod 10.0.0.0/16
  b:7843   -       0 of 2    -       -
";
    assert_eq!(text(answer.as_bytes(), &Selection::default(), SCREEN).ok().as_deref(), Some(right));
    let named = Selection { pool: Some("web".to_owned()), ..Selection::default() };
    assert!(text(answer.as_bytes(), &named, SCREEN).is_err(), "it knows no pools");
}

#[test]
fn what_is_drawn_again_takes_each_line_in_place() {
    assert_eq!(drawn_over("a\nb\nc\n", 2), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J");
}

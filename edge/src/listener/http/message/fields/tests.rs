use super::*;
use crate::listener::http::message::authority::Authority;
use crate::listener::http::message::path::UrlPath;

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::try_from(*name).expect("a name"), HeaderValue::try_from(*value).expect("a value"));
    }
    map
}

fn asked() -> Asked {
    Asked {
        host: Authority::parse("a.example"),
        path: UrlPath { sent: "/".to_owned(), ruled: vec!["/".to_owned()] },
        query: None,
        expects_continue: false,
        upgrade: Vec::new(),
        switch: None,
        grpc: false,
        timeout: None,
        last_hop: false,
    }
}

fn networks(list: &[&str]) -> Vec<IpNetwork> {
    list.iter().map(|n| n.parse().expect("a network")).collect()
}

fn sent(fields: &[(&str, &str)], trusted: &[&str]) -> HeaderMap {
    let trusted = networks(trusted);
    let peer = Peer {
        certificate: None,
        address: "192.0.2.1".parse().expect("an address"),
        tls: false,
        trusted: &trusted,
        via: true,
        underscores: Underscores::Keep,
    };
    request(&map(fields), Version::HTTP_11, &asked(), &peer)
}

fn text<'a>(map: &'a HeaderMap, name: &str) -> Option<&'a str> {
    map.get(name).and_then(|v| v.to_str().ok())
}

#[test]
fn hop_by_hop_fields_end_here() {
    let fields: Vec<(&str, &str)> = HOP_BY_HOP.iter().map(|name| (*name, "x")).collect();
    let sent = sent(&[&fields[..], &[("accept", "y")]].concat(), &[]);
    for name in HOP_BY_HOP {
        assert!(!sent.contains_key(name), "{name}");
    }
    assert_eq!(text(&sent, "accept"), Some("y"));
}

#[test]
fn fields_that_connection_names_end_here() {
    let sent = sent(
        &[("connection", "close, X-One"), ("connection", "x-two"), ("x-one", "1"), ("x-two", "2"), ("x-three", "3")],
        &[],
    );
    assert!(!sent.contains_key("x-one") && !sent.contains_key("x-two"));
    assert_eq!(text(&sent, "x-three"), Some("3"));
}

#[test]
fn our_own_fields_cannot_be_nominated_away() {
    let sent = sent(
        &[("connection", "x-forwarded-for, host, via, forwarded, cookie"), ("host", "b"), ("cookie", "c")],
        &["192.0.2.0/24"],
    );
    assert_eq!(text(&sent, "x-forwarded-for"), Some("192.0.2.1"));
    assert_eq!(text(&sent, "host"), Some("a.example"));
    assert_eq!(text(&sent, "via"), Some("1.1 underpass"));
    assert!(sent.contains_key("forwarded") && !sent.contains_key("cookie"));
}

#[test]
fn te_keeps_only_trailers() {
    assert_eq!(text(&sent(&[("te", "gzip, trailers;q=1")], &[]), "te"), None);
    assert_eq!(text(&sent(&[("te", "gzip, trailers")], &[]), "te"), Some("trailers"));
}

#[test]
fn forwarded_fields_of_strangers_are_replaced() {
    let story = [
        ("x-forwarded-for", "1.1.1.1"),
        ("forwarded", "for=1.1.1.1"),
        ("x-real-ip", "1.1.1.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-anything", "evil"),
    ];
    let sent = sent(&story, &["10.0.0.0/8"]);
    assert_eq!(text(&sent, "x-forwarded-for"), Some("192.0.2.1"));
    assert_eq!(text(&sent, "forwarded"), Some("for=192.0.2.1;proto=http;host=\"a.example\""));
    assert_eq!(text(&sent, "x-real-ip"), Some("192.0.2.1"));
    assert_eq!(text(&sent, "x-forwarded-proto"), Some("http"));
    assert_eq!(text(&sent, "x-forwarded-host"), Some("a.example"));
    assert!(!sent.contains_key("x-forwarded-prefix") && !sent.contains_key("x-forwarded-anything"));
}

#[test]
fn forwarded_fields_of_trusted_proxies_are_continued() {
    let story = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "https")];
    let sent = sent(&story, &["192.0.2.0/24"]);
    assert_eq!(text(&sent, "x-forwarded-for"), Some("1.1.1.1, 10.0.0.1, 192.0.2.1"));
    assert_eq!(text(&sent, "x-forwarded-proto"), Some("https"));
}

#[test]
fn the_client_is_the_last_that_is_no_trusted_proxy() {
    let trusted = networks(&["192.0.2.0/24", "10.0.0.0/8"]);
    let client = |peer: &str, list: &str| {
        let peer = Peer {
            certificate: None,
            address: peer.parse().expect("an address"),
            tls: false,
            trusted: &trusted,
            via: true,
            underscores: Underscores::Keep,
        };
        peer.client(&map(&[("x-forwarded-for", list)])).to_string()
    };
    assert_eq!(client("192.0.2.1", "6.6.6.6, 1.1.1.1, 10.0.0.1"), "1.1.1.1");
    assert_eq!(client("192.0.2.1", "10.0.0.2, 10.0.0.1"), "10.0.0.2");
    assert_eq!(client("192.0.2.1", "1.1.1.1, garbage"), "192.0.2.1");
    assert_eq!(client("192.0.2.1", "[fd00::1]:80"), "fd00::1");
    assert_eq!(client("8.8.8.8", "1.1.1.1"), "8.8.8.8");
}

#[test]
fn cookie_crumbs_are_joined_and_nothing_else_is() {
    let sent = sent(&[("cookie", "a=1"), ("cookie", "b=2"), ("x", "1"), ("x", "2")], &[]);
    assert_eq!(sent.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    assert_eq!(sent.get_all("x").iter().count(), 2);
}

#[test]
fn names_with_underscores_are_dropped() {
    assert!(!sent(&[("x_forwarded_for", "1.1.1.1")], &[]).contains_key("x_forwarded_for"));
}

#[test]
fn max_forwards_counts_down() {
    assert_eq!(text(&sent(&[("max-forwards", "3")], &[]), "max-forwards"), Some("2"));
}

#[test]
fn via_is_appended_with_the_version_of_the_message() {
    let sent = sent(&[("via", "1.1 other")], &[]);
    assert_eq!(sent.get_all("via").iter().collect::<Vec<_>>(), ["1.1 other", "1.1 underpass"]);
}

#[test]
fn an_answer_keeps_its_length_and_loses_its_hop() {
    let out = response(
        StatusCode::OK,
        &map(&[("content-length", "5"), ("connection", "x-a"), ("x-a", "1"), ("keep-alive", "5"), ("trailer", "x-t")]),
    );
    assert_eq!(text(&out, "content-length"), Some("5"));
    assert_eq!(text(&out, "trailer"), Some("x-t"));
    assert_eq!(out.len(), 2);
    for (status, keeps) in [(103, false), (204, false), (205, true), (304, true)] {
        let status = StatusCode::from_u16(status).expect("a status");
        let out = response(status, &map(&[("content-length", "5")]));
        assert_eq!(out.contains_key("content-length"), keeps, "{status}");
    }
}

#[test]
fn trailers_neither_frame_nor_route_nor_authenticate() {
    let out = trailers(&map(&[
        ("x-sum", "1"),
        ("content-length", "5"),
        ("host", "b"),
        ("authorization", "x"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-anything", "1.1.1.1"),
        ("keep-alive", "5"),
        ("x_sum", "1"),
        ("content_length", "5"),
        ("x_forwarded_for", "1.1.1.1"),
        ("cache-control", "public"),
    ]));
    assert_eq!(out.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-sum", "x_sum"]);
}

#[test]
fn names_with_an_underscore_are_carried_unless_they_pass_for_the_edges_own() {
    let fields = [
        ("x_request_id", "1"),
        ("x_forwarded_for", "6.6.6.6"),
        ("X_Real-IP", "6.6.6.6"),
        ("content_length", "5"),
        ("transfer_encoding", "chunked"),
        ("max_forwards", "0"),
    ];
    let sent = |underscores| {
        let trusted = networks(&["192.0.2.0/24"]);
        let address = "192.0.2.1".parse().expect("an address");
        let peer = Peer { address, tls: false, certificate: None, trusted: &trusted, via: true, underscores };
        let sent = request(&map(&fields), Version::HTTP_11, &asked(), &peer);
        sent.keys().map(ToString::to_string).filter(|name| name.contains('_')).collect::<Vec<_>>()
    };
    assert_eq!(sent(Underscores::Keep), ["x_request_id"]);
    assert_eq!(sent(Underscores::Drop), Vec::<String>::new());
}

#[test]
fn what_a_rule_sets_or_removes_nobody_spells_past_it() {
    let edits = FieldEdits {
        remove: vec![HeaderName::from_static("x-debug")],
        set: vec![(HeaderName::from_static("x-user-id"), HeaderValue::from_static("nobody"))],
    };
    let mut head =
        map(&[("x-debug", "1"), ("x_debug", "1"), ("x_user-id", "root"), ("x-user-id", "root"), ("x_y", "1")]);
    edit_request(&mut head, &edits);
    let mut all: Vec<_> = head.iter().map(|(n, v)| (n.as_str(), v.to_str().expect("text"))).collect();
    all.sort_unstable();
    assert_eq!(all, [("x-user-id", "nobody"), ("x_y", "1")]);
}

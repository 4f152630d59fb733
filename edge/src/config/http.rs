//! What only HTTP listeners know: `[[listener.rule]]`, whom to believe, how requests go on, and how patient to be
//! with clients.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use config::{Table, Value};
use ipnetwork::IpNetwork;
use protocol::id::{Host, Name};

use super::{
    fields,
    load_balancers::LoadBalancers,
    words::{PATHS, SWITCH, UNDERSCORES},
};
use crate::model::{Affinity, HttpSettings, ListenProtocol, LoadBalancer, Paths, Rule};

/// Keys that only HTTP listeners have.
const KEYS: [&str; 9] = [
    "rule",
    "trusted_proxies",
    "paths",
    "via",
    "reasons",
    "client_timeout",
    "upload_pace",
    "underscores_in_headers",
    "upgrade",
];
const CLIENT_TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);
/// Bytes a second: a pace above this would refuse clients of an ordinary line.
const UPLOAD_PACE_MAX: u64 = 1_000_000;
/// Most protocols of a listener.
const PROTOCOLS_MAX: usize = 16;

/// Notes a listener whose clients cannot keep the cookie of its load balancer.
pub(super) fn check_affinity(t: &Table<'_>, protocol: Option<ListenProtocol>, balancer: Option<&LoadBalancer>) {
    let cookie = balancer.is_some_and(|lb| matches!(lb.session_affinity, Affinity::Cookie { .. }));
    if cookie && matches!(protocol, Some(ListenProtocol::Tcp | ListenProtocol::Udp)) {
        let right = "use \"source\", or a listener with `protocol` \"http\" or \"https\"";
        t.lacking(t.place(), format!("this listener's load balancer has session affinity of type \"cookie\": {right}"));
    }
}

/// Settings of an HTTP listener; for others, a mistake for each that is there.
pub(super) fn read(t: &Table<'_>, load_balancers: &LoadBalancers, protocol: Option<ListenProtocol>) -> HttpSettings {
    if matches!(protocol, Some(ListenProtocol::Tcp | ListenProtocol::Udp)) {
        for key in KEYS {
            t.refuse(key, "is for listeners with `protocol` \"http\" or \"https\"");
        }
        return HttpSettings::default();
    }
    let rules = t.tables("rule", |r| rule(r, load_balancers)).into_iter().flatten().collect();
    let trusted_proxies = t.or("trusted_proxies", Vec::new(), |v| {
        let networks: Vec<IpNetwork> = v.items()?.iter().filter_map(|item| item.network().map(|at| at.value)).collect();
        Some(networks)
    });
    let plain = HttpSettings::default();
    HttpSettings {
        rules,
        trusted_proxies,
        paths: t.or("paths", Paths::AsSent, |v| v.word(&PATHS)),
        via: t.or("via", false, |v| v.word(&SWITCH)),
        hides_reasons: !t.or("reasons", true, |v| v.word(&SWITCH)),
        client_timeout: t
            .or("client_timeout", plain.client_timeout, |v| v.duration(CLIENT_TIMEOUT_RANGE).map(|at| at.value)),
        upload_pace: t.or("upload_pace", plain.upload_pace, |v| v.integer(0..=UPLOAD_PACE_MAX)),
        underscores: t.or("underscores_in_headers", plain.underscores, |v| v.word(&UNDERSCORES)),
        upgrade: t.or("upgrade", plain.upgrade, |v| protocols(&v)),
    }
}

/// Protocols as `Upgrade` spells them.
fn protocols(v: &Value<'_>) -> Option<Vec<String>> {
    let items = v.items()?;
    if items.len() > PROTOCOLS_MAX {
        v.wrong(format_args!("must have at most {PROTOCOLS_MAX} protocols, found {}", items.len()));
    }
    Some(items.iter().filter_map(|item| item.read("a protocol", protocol).map(|at| at.value)).collect())
}

fn protocol(text: &str) -> Result<String, &'static str> {
    let token =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._+".contains(&b));
    let lower = text.to_ascii_lowercase();
    let (name, version) = lower.split_once('/').map_or((&lower[..], None), |(name, version)| (name, Some(version)));
    if ["h2c", "h2", "http", "tls"].contains(&name) {
        return Err("HTTP and TLS end at the edge; a protocol is such as \"websocket\" or \"tcp\"");
    }
    if token(name) && version.is_none_or(token) {
        return Ok(lower);
    }
    Err("a protocol is NAME or NAME/VERSION, such as \"websocket\" or \"spdy/3.1\"")
}

fn rule(r: &Table<'_>, load_balancers: &LoadBalancers) -> Option<Rule> {
    let host = r.optional("host").map(|v| v.read("a host name", host));
    let path = r.optional("path").map(|v| v.read("a path", path));
    if host.is_none() && path.is_none() {
        r.lacking(
            r.place(),
            "a rule has a `host`, a `path` or both: one that takes everything is the listener's own `load_balancer`",
        );
    }
    let balancer = r.required("load_balancer", "the name of a load balancer").and_then(|v| v.parsed::<Name>());
    let load_balancer = balancer.and_then(|n| load_balancers.known(r, n));
    let (request, response) = (fields::edits(r, "request_headers"), fields::edits(r, "response_headers"));
    let (host, path) = (given(host)?, given(path)?);
    Some(Rule { host, path, load_balancer: load_balancer?, request, response: Arc::new(response) })
}

/// Absent is right; wrong is not.
fn given<T>(value: Option<Option<config::At<T>>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(read) => Some(Some(read?.value)),
    }
}

fn host(text: &str) -> Result<String, &'static str> {
    const RIGHT: &str = "a rule's host is a name or address without port, or \"*.\" and a name";
    let plain = text.strip_prefix("*.").unwrap_or(text);
    let bracketed = plain.starts_with('[') && plain.ends_with(']') && plain == text;
    if bracketed || Host::name(plain).is_ok() { Ok(text.to_ascii_lowercase()) } else { Err(RIGHT) }
}

fn path(text: &str) -> Result<String, &'static str> {
    let good = text.starts_with('/')
        && !text.contains("//")
        && !text.split('/').any(|part| part == "." || part == "..")
        && text.bytes().all(|b| matches!(b, 0x21..=0x7e) && !matches!(b, b'%' | b'?' | b'#' | b'\\' | b';'));
    if good {
        Ok(text.to_owned())
    } else {
        Err("a rule's path begins with \"/\" and has no escapes, no dot segments, no parameters and no query")
    }
}

//! What only HTTP listeners know: `[[listener.rule]]`, `trusted_proxies`, `certificates` and how requests go on.

use std::path::Path;

use config::{Table, beside};
use ipnetwork::IpNetwork;
use protocol::id::{Host, Name};

use super::{
    load_balancers::LoadBalancers,
    words::{PATHS, SWITCH},
};
use crate::model::{Affinity, CertificateFiles, HttpSettings, ListenProtocol, LoadBalancer, Paths, Rule};

/// Notes a listener whose clients cannot keep the cookie of its load balancer.
pub(super) fn check_affinity(t: &Table<'_>, protocol: Option<ListenProtocol>, balancer: Option<&LoadBalancer>) {
    let cookie = balancer.is_some_and(|lb| matches!(lb.session_affinity, Affinity::Cookie { .. }));
    if cookie && matches!(protocol, Some(ListenProtocol::Tcp | ListenProtocol::Udp)) {
        let right = "use \"source\", or a listener with `protocol` \"http\" or \"https\"";
        t.lacking(t.place(), format!("this listener's load balancer has session affinity of type \"cookie\": {right}"));
    }
}

/// Settings of an HTTP listener; for others, a mistake for each that is there.
pub(super) fn read(
    t: &Table<'_>,
    load_balancers: &LoadBalancers,
    protocol: Option<ListenProtocol>,
    path: &Path,
) -> HttpSettings {
    if matches!(protocol, Some(ListenProtocol::Tcp | ListenProtocol::Udp)) {
        for key in ["rule", "trusted_proxies", "certificates", "paths", "via", "reasons"] {
            t.refuse(key, "is for listeners with `protocol` \"http\" or \"https\"");
        }
        return HttpSettings::default();
    }
    let rules = t.tables("rule", |r| rule(r, load_balancers)).into_iter().flatten().collect();
    let trusted_proxies = t.or("trusted_proxies", Vec::new(), |v| {
        let networks: Vec<IpNetwork> = v.items()?.iter().filter_map(|item| item.network().map(|at| at.value)).collect();
        Some(networks)
    });
    HttpSettings {
        rules,
        trusted_proxies,
        certificates: certificates(t, protocol, path),
        paths: t.or("paths", Paths::AsSent, |v| v.word(&PATHS)),
        via: t.or("via", false, |v| v.word(&SWITCH)),
        hides_reasons: !t.or("reasons", true, |v| v.word(&SWITCH)),
    }
}

fn certificates(t: &Table<'_>, protocol: Option<ListenProtocol>, path: &Path) -> Vec<CertificateFiles> {
    if protocol == Some(ListenProtocol::Http) {
        t.refuse("certificates", "is for listeners with `protocol` \"https\"");
        return Vec::new();
    }
    let all = t.tables("certificates", |c| {
        let file = |key, what: &str| c.required(key, what).and_then(|v| v.string()).map(|at| beside(path, at.value));
        let certificate = file("certificate", "the PEM file of the server's certificate and its chain");
        let key = file("key", "the PEM file of its key");
        Some(CertificateFiles { certificate: certificate?, key: key? })
    });
    if protocol.is_some() && all.is_empty() {
        let right = "such as [{ certificate = \"www.pem\", key = \"www.key\" }]";
        t.lacking(t.place(), format!("`certificates` is missing in `listener`: what the server shows, {right}"));
    }
    all.into_iter().flatten().collect()
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
    let load_balancer = balancer.and_then(|n| load_balancers.find(r, &n));
    let (host, path) = (given(host)?, given(path)?);
    Some(Rule { host, path, load_balancer: load_balancer? })
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

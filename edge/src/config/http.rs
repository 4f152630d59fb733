//! What only HTTP listeners know: `[[listener.rule]]` and `trusted_proxies`.

use config::Table;
use ipnetwork::IpNetwork;
use protocol::id::{Host, Name};

use super::load_balancers::LoadBalancers;
use crate::model::{HttpSettings, ListenProtocol, Rule};

/// Settings of an HTTP listener; for others, a mistake for each that is there.
pub(super) fn read(t: &Table<'_>, load_balancers: &LoadBalancers, protocol: Option<ListenProtocol>) -> HttpSettings {
    if protocol == Some(ListenProtocol::Tcp) {
        t.refuse("rule", "is for listeners with `protocol` \"http\"");
        t.refuse("trusted_proxies", "is for listeners with `protocol` \"http\"");
        return HttpSettings::default();
    }
    let rules = t.tables("rule", |r| rule(r, load_balancers)).into_iter().flatten().collect();
    let trusted_proxies = t.or("trusted_proxies", Vec::new(), |v| {
        let networks: Vec<IpNetwork> = v.items()?.iter().filter_map(|item| item.network().map(|at| at.value)).collect();
        Some(networks)
    });
    HttpSettings { rules, trusted_proxies, certificates: Vec::new() }
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
        && text.bytes().all(|b| matches!(b, 0x21..=0x7e) && !matches!(b, b'%' | b'?' | b'#' | b'\\'));
    if good {
        Ok(text.to_owned())
    } else {
        Err("a rule's path begins with \"/\" and has no escapes, no dot segments and no query")
    }
}

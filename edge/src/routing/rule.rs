//! Host and path rules of listeners: the first that matches says which load balancer takes a flow.

use protocol::id::Name;

use crate::model::{FlowKey, Leads, Listener, Rule};

/// The load balancer for a flow: that of the first rule that matches, else the listener's own. None if its flows go where they
/// were for.
#[must_use]
pub fn load_balancer<'a>(listener: &'a Listener, flow: &FlowKey<'_>) -> Option<&'a Name> {
    let own = match &listener.leads {
        Leads::LoadBalancer(name) => Some(name),
        Leads::Destination { .. } => None,
    };
    rule(listener, flow.host.unwrap_or(""), flow.paths).map(|rule| &rule.load_balancer).or(own)
}

/// The first rule that matches.
#[must_use]
pub fn rule<'a>(listener: &'a Listener, host: &str, paths: &[String]) -> Option<&'a Rule> {
    listener.http.rules.iter().find(|rule| matches(rule, host, paths))
}

fn matches(rule: &Rule, host: &str, paths: &[String]) -> bool {
    rule.host.as_deref().is_none_or(|wanted| is_host(wanted, host))
        && rule.path.as_deref().is_none_or(|prefix| paths.iter().any(|path| is_under(prefix, path)))
}

/// `*.example.com` stands for every name below it. A name with a dot behind it is the same one, and servers take it so.
fn is_host(wanted: &str, host: &str) -> bool {
    let undotted = |name| str::strip_suffix(name, ".").unwrap_or(name);
    let (wanted, host) = (undotted(wanted), undotted(host));
    match wanted.strip_prefix('*') {
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => host == wanted,
    }
}

/// Whole segments only: `/v1` takes `/v1` and `/v1/x`, not `/v10`.
pub(crate) fn is_under(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_match_exactly_or_below_a_star() {
        assert!(is_host("a.example", "a.example") && !is_host("a.example", "b.a.example"));
        assert!(is_host("*.example", "a.example") && is_host("*.example", "b.a.example"));
        assert!(!is_host("*.example", ".example") && !is_host("*.example", "example"));
        assert!(
            is_host("a.example", "a.example.")
                && is_host("*.example", "a.example.")
                && !is_host("*.example", "example.")
        );
    }

    #[test]
    fn paths_match_by_whole_segments() {
        assert!(is_under("/", "/x") && is_under("/v1/", "/v1/x") && is_under("/v1", "/v1") && is_under("/v1", "/v1/x"));
        assert!(!is_under("/v1", "/v10") && !is_under("/v1/", "/v1"));
    }
}

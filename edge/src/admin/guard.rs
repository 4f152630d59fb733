//! Who may ask: the Host header must name this endpoint, writes need the admin token, and so do reads where configured.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};

use super::{Admin, problem};
use crate::model::AdminConfig;

pub(super) async fn guard(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    // A page on another site can make a browser send requests here, but not with our name in the Host header.
    if !host_is_ours(headers, request.uri().host(), &admin.config) {
        return problem(
            StatusCode::FORBIDDEN,
            "the Host header names another host: use an address, localhost or admin.hosts",
        );
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    // Probes of an orchestrator carry no token; they learn nothing but alive and ready.
    let is_probe = matches!(request.uri().path(), "/livez" | "/readyz");
    let needs_token = !is_read || (admin.config.authenticate_reads && !is_probe);
    if needs_token && !bearer(headers).is_some_and(|t| admin.token.matches(t)) {
        return problem(StatusCode::UNAUTHORIZED, "the admin token is needed: state_dir/admin.token, as a bearer");
    }
    next.run(request).await
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn host_is_ours(headers: &HeaderMap, uri_host: Option<&str>, config: &AdminConfig) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        (None, _) => uri_host,
        (Some(_), Some(_)) => None,
    };
    let Some(host) = host else { return false };
    let name = without_port(host);
    name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
        || config.hosts.iter().any(|h| h.eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if !name.ends_with(':')
                && port.bytes().all(|b| b.is_ascii_digit())
                && (name.ends_with(']') || !name.contains(':')) =>
        {
            name
        }
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(host: &str) -> bool {
        let config = AdminConfig {
            listen: ([127, 0, 0, 1], 7842).into(),
            authenticate_reads: false,
            hosts: vec!["edge.example.com".to_owned()],
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().expect("a header value"));
        host_is_ours(&headers, None, &config)
    }

    #[test]
    fn addresses_localhost_and_configured_names_may_ask() {
        for host in ["127.0.0.1:7842", "127.0.0.1", "localhost:1", "[::1]:7842", "[::1]", "Edge.example.com:80"] {
            assert!(asks(host), "{host}");
        }
    }

    #[test]
    fn other_names_may_not() {
        for host in
            ["evil.example", "127.0.0.1.evil.example:7842", "localhost.evil.example", "", "edge.example.com.evil"]
        {
            assert!(!asks(host), "{host}");
        }
    }
}

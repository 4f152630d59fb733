//! Who may ask: the Host header must name this endpoint, writes need the admin token, and so do reads where configured.

use std::net::IpAddr;

use api::code::Code;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Version, header},
    middleware::Next,
    response::Response,
};

use super::{Admin, problem};
use crate::model::AdminConfig;

pub(super) async fn guard(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    // A page on another site can make a browser send requests here, but not with our name in the Host header.
    if !host_is_ours(&request, &admin.config) {
        return problem(
            StatusCode::FORBIDDEN,
            Code::HostRefused,
            "the Host header names another host: use an address, localhost or admin.hosts",
        );
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    // Probes of an orchestrator carry no token; they learn nothing but alive and ready.
    let is_probe = matches!(request.uri().path(), "/livez" | "/readyz");
    let needs_token = !is_read || (admin.config.authenticate_reads && !is_probe);
    if needs_token && !bearer(headers).is_some_and(|t| admin.token.matches(t)) {
        return problem(
            StatusCode::UNAUTHORIZED,
            Code::AdminToken,
            "the admin token is needed: state_dir/admin.token, as a bearer",
        );
    }
    next.run(request).await
}

/// The token presented; the scheme's case is the client's affair (RFC 9110 section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
}

fn host_is_ours(request: &Request, config: &AdminConfig) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        (None, _) => request.uri().host(),
        (Some(_), Some(_)) => None,
    };
    let Some(host) = host else {
        // Version 1.0 has no such field, and no browser speaks it; the checks of load balancers do.
        return request.version() == Version::HTTP_10 && !request.headers().contains_key(header::HOST);
    };
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

    fn asks(version: Version, hosts: &[&str]) -> bool {
        let config = AdminConfig {
            listen: ([127, 0, 0, 1], 7842).into(),
            authenticate_reads: false,
            hosts: vec!["edge.example.com".to_owned()],
            reveal_id: false,
        };
        let request =
            hosts.iter().fold(Request::builder().version(version), |request, host| request.header(header::HOST, *host));
        host_is_ours(&request.body(axum::body::Body::empty()).expect("a request"), &config)
    }

    #[test]
    fn addresses_localhost_and_configured_names_may_ask() {
        for host in ["127.0.0.1:7842", "127.0.0.1", "localhost:1", "[::1]:7842", "[::1]", "Edge.example.com:80"] {
            assert!(asks(Version::HTTP_11, &[host]), "{host}");
        }
    }

    #[test]
    fn other_names_may_not() {
        for host in
            ["evil.example", "127.0.0.1.evil.example:7842", "localhost.evil.example", "", "edge.example.com.evil"]
        {
            assert!(!asks(Version::HTTP_11, &[host]), "{host}");
            assert!(!asks(Version::HTTP_10, &[host]), "{host}");
        }
    }

    #[test]
    fn only_version_1_0_may_name_no_host() {
        assert!(asks(Version::HTTP_10, &[]));
        assert!(!asks(Version::HTTP_11, &[]));
        assert!(!asks(Version::HTTP_10, &["localhost", "localhost"]));
    }

    #[test]
    fn a_bearer_is_one_in_any_case() {
        let mut headers = HeaderMap::new();
        for (value, token) in
            [("Bearer a", Some("a")), ("bearer  a", Some("a")), ("BEARER a", Some("a")), ("Basic a", None), ("a", None)]
        {
            headers.insert(header::AUTHORIZATION, value.parse().expect("a value"));
            assert_eq!(bearer(&headers), token, "{value}");
        }
    }
}

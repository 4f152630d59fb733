//! What a parsed request asks for, and whether it may be carried at all: target forms, host against authority, methods,
//! the fields of HTTP/2. Pure. Framing of HTTP/1 has been judged before, on the raw bytes.

use std::time::Duration;

use h2::ext::Protocol;
use http::{HeaderMap, Method, Request, Version, header, request::Parts};
use hyper::body::Body;

use super::{
    authority::Authority,
    fault::Fault,
    grammar, grpc,
    head::FIELDS_MAX,
    path::{self, UrlPath},
    protocols,
};
use crate::model::Paths;

/// A request that may be carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Whom it is for.
    pub(crate) host: Option<Authority>,
    /// The path, or `*`.
    pub(crate) path: UrlPath,
    /// Behind the question mark.
    pub(crate) query: Option<String>,
    /// It waits for `100 Continue` before its body.
    pub(crate) expects_continue: bool,
    /// The protocols it asks for by `Upgrade`.
    pub(crate) upgrade: Vec<String>,
    /// It asks to speak another protocol from here on, in this way.
    pub(crate) switch: Option<Handshake>,
    /// It is a gRPC call.
    pub(crate) grpc: bool,
    /// How long the call may take.
    pub(crate) timeout: Option<Duration>,
    /// It is to be answered here: a hop count of its own ran out.
    pub(crate) last_hop: bool,
}

/// How a client asks to speak another protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// WebSocket, by `Upgrade` of HTTP/1.1 (RFC 6455).
    Upgrade,
    /// WebSocket, by extended CONNECT of HTTP/2 (RFC 8441).
    Connect,
    /// Any other, by `Upgrade` of HTTP/1.1.
    Other,
}

/// How a listener reads requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// The port that its scheme means.
    pub(crate) default_port: u16,
    /// How paths go on.
    pub(crate) paths: Paths,
}

/// As `Upgrade` and `:protocol` spell it.
const WEBSOCKET: &str = "websocket";

/// [`check`] of a whole request.
pub(crate) fn check_request<B>(request: &Request<B>, reading: Reading) -> Result<Asked, Fault> {
    let mut head = Request::new(());
    head.method_mut().clone_from(request.method());
    head.uri_mut().clone_from(request.uri());
    *head.version_mut() = request.version();
    head.headers_mut().clone_from(request.headers());
    if let Some(protocol) = request.extensions().get::<Protocol>() {
        head.extensions_mut().insert(protocol.clone());
    }
    check(&head.into_parts().0, reading)
}

/// Reads and checks a request.
pub(crate) fn check(parts: &Parts, reading: Reading) -> Result<Asked, Fault> {
    let is_h2 = parts.version == Version::HTTP_2;
    if is_h2 {
        check_h2_fields(&parts.headers)?;
    }
    let switch = extended_connect(parts)?;
    let host = host(parts, is_h2, reading.default_port)?;
    let asterisk = parts.uri.path() == "*";
    if asterisk && parts.method != Method::OPTIONS {
        return Err(Fault::TARGET);
    }
    let path = if asterisk { UrlPath::asterisk() } else { UrlPath::read(parts.uri.path(), reading.paths)? };
    let query = parts.uri.query().map(path::query);
    if query.as_ref().is_some_and(|q| !q.bytes().all(grammar::is_target)) {
        return Err(Fault::TARGET);
    }
    let grpc = grpc::is_call(&parts.headers);
    Ok(Asked {
        host,
        path,
        query,
        expects_continue: expects_continue(parts)?,
        upgrade: protocols::asked(&parts.headers, parts.version),
        switch,
        grpc,
        timeout: if grpc { grpc::timeout(&parts.headers)? } else { None },
        last_hop: parts.method == Method::OPTIONS && hops_left(&parts.headers) == Some(0),
    })
}

/// Whether CONNECT asks for WebSocket. Tunnels to anything else are not served.
fn extended_connect(parts: &Parts) -> Result<Option<Handshake>, Fault> {
    if parts.method == Method::TRACE {
        return Err(Fault::METHOD);
    }
    if parts.method != Method::CONNECT {
        return Ok(None);
    }
    let protocol = parts.extensions.get::<Protocol>().ok_or(Fault::METHOD)?;
    let known = protocol.as_str().eq_ignore_ascii_case("websocket");
    known.then_some(Some(Handshake::Connect)).ok_or(Fault::PROTOCOL)
}

impl Asked {
    /// Settles on the first protocol asked for that is `carried`.
    ///
    /// # Errors
    /// None of them is, or a WebSocket's opening is none.
    pub(crate) fn choose<B: Body>(mut self, carried: &[String], request: &Request<B>) -> Result<Self, Fault> {
        let is_carried = |asked: &str| carried.iter().any(|protocol| protocol.eq_ignore_ascii_case(asked));
        if self.switch == Some(Handshake::Connect) && !is_carried(WEBSOCKET) {
            return Err(Fault::PROTOCOL);
        }
        if self.upgrade.is_empty() {
            return Ok(self);
        }
        let chosen = self.upgrade.iter().position(|asked| is_carried(asked)).ok_or(Fault::PROTOCOL)?;
        let chosen = self.upgrade.swap_remove(chosen);
        let websocket = chosen.eq_ignore_ascii_case(WEBSOCKET);
        self.upgrade = vec![chosen];
        if websocket && !(request.method() == Method::GET && request.body().is_end_stream()) {
            return Err(Fault::WEBSOCKET);
        }
        self.switch = Some(if websocket { Handshake::Upgrade } else { Handshake::Other });
        Ok(self)
    }
}

fn host(parts: &Parts, is_h2: bool, default_port: u16) -> Result<Option<Authority>, Fault> {
    let read = |text: &str| Authority::parse(text).ok_or(Fault::HOST);
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let field = hosts.next().map(|v| v.to_str().map_err(|_| Fault::HOST).and_then(read)).transpose()?;
    if hosts.next().is_some() {
        return Err(Fault::HOST);
    }
    if !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
        return Err(Fault::TARGET);
    }
    let target = parts.uri.authority().map(|a| read(a.as_str())).transpose()?;
    match (target, field) {
        // HTTP/2 sends one of them or two that agree; in HTTP/1 an absolute target replaces the field.
        (Some(target), Some(field)) if is_h2 && !target.agrees(&field, default_port) => Err(Fault::HOST),
        (Some(target), _) => Ok(Some(target)),
        (None, None) if is_h2 => Err(Fault::HOST),
        (None, field) => Ok(field),
    }
}

/// What an HTTP/2 library may let pass and HTTP/1 would read another way.
fn check_h2_fields(headers: &HeaderMap) -> Result<(), Fault> {
    if headers.len() > FIELDS_MAX {
        return Err(Fault::TOO_MANY_FIELDS);
    }
    let forbidden = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings"];
    if forbidden.iter().any(|name| headers.contains_key(*name)) {
        return Err(Fault::FIELD_NAME);
    }
    if headers.get_all(header::TE).iter().any(|te| te != "trailers") {
        return Err(Fault::FIELD_VALUE);
    }
    let blank = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    if headers.values().any(|v| blank(v.as_bytes().first()) || blank(v.as_bytes().last())) {
        return Err(Fault::FIELD_VALUE);
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if lengths.next().is_some_and(|l| grammar::length(l.as_bytes()).is_none()) || lengths.next().is_some() {
        return Err(Fault::LENGTH);
    }
    Ok(())
}

fn expects_continue(parts: &Parts) -> Result<bool, Fault> {
    let mut expects = parts.headers.get_all(header::EXPECT).iter();
    match (expects.next(), expects.next()) {
        (None, _) => Ok(false),
        // A 1.0 client does not know interim answers: its expectation is ignored (RFC 9110 section 10.1.1).
        (Some(one), None) if one.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Ok(parts.version != Version::HTTP_10)
        }
        _ => Err(Fault::EXPECTATION),
    }
}

/// True if the method may be sent again although its first sending may have done its work.
pub(crate) fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE].contains(method)
}

/// How many hops the request may still take, if it says so.
pub(crate) fn hops_left(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::MAX_FORWARDS).and_then(|hops| grammar::length(hops.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const READING: Reading = Reading { default_port: 80, paths: Paths::AsSent };

    fn asked(version: Version, method: &str, uri: &str, fields: &[(&str, &str)]) -> Result<Asked, Fault> {
        let request = Request::builder().version(version).method(method).uri(uri);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        check(&request.body(()).expect("parsed by hyper").into_parts().0, READING)
    }

    fn fault(version: Version, method: &str, uri: &str, fields: &[(&str, &str)]) -> Option<Fault> {
        asked(version, method, uri, fields).err()
    }

    const V1: Version = Version::HTTP_11;
    const V2: Version = Version::HTTP_2;

    #[test]
    fn an_absolute_target_replaces_the_host_field() {
        let asked = asked(V1, "GET", "http://b:81/x/../y?q=/../", &[("host", "a")]).expect("good");
        assert_eq!(asked.host, Authority::parse("b:81"));
        assert_eq!((asked.path.sent.as_str(), asked.query.as_deref()), ("/y", Some("q=/../")));
        assert_eq!(fault(V1, "GET", "ftp://b/", &[("host", "a")]), Some(Fault::TARGET));
        assert_eq!(fault(V1, "GET", "http://u@b/", &[("host", "a")]), Some(Fault::HOST));
    }

    #[test]
    fn asterisk_is_only_for_options() {
        assert_eq!(fault(V1, "GET", "*", &[("host", "a")]), Some(Fault::TARGET));
        assert_eq!(asked(V1, "OPTIONS", "*", &[("host", "a")]).expect("good").path.sent, "*");
    }

    #[test]
    fn connect_and_trace_are_off() {
        assert_eq!(fault(V2, "CONNECT", "a:1", &[]), Some(Fault::METHOD));
        assert_eq!(fault(V1, "TRACE", "/", &[("host", "a")]), Some(Fault::METHOD));
    }

    #[test]
    fn options_with_no_hop_left_is_answered_here() {
        let hops = |n| asked(V1, "OPTIONS", "/", &[("host", "a"), ("max-forwards", n)]).expect("good").last_hop;
        assert!(hops("0") && hops("00") && !hops("1") && !hops("+0") && !hops("none"));
    }

    #[test]
    fn authority_and_host_agree() {
        assert_eq!(fault(V2, "GET", "http://a/", &[("host", "a")]), None);
        assert_eq!(fault(V2, "GET", "http://a/", &[("host", "A:80")]), None);
        assert_eq!(fault(V2, "GET", "http://a/", &[("host", "b")]), Some(Fault::HOST));
        assert_eq!(fault(V2, "GET", "http://a/", &[("host", "a"), ("host", "a")]), Some(Fault::HOST));
        assert_eq!(fault(V2, "GET", "/", &[]), Some(Fault::HOST));
        assert_eq!(fault(V2, "GET", "/", &[("host", "a")]), None);
    }

    #[test]
    fn http_2_fields_that_http_1_reads_another_way_are_refused() {
        for (name, value, expected) in [
            ("connection", "close", Fault::FIELD_NAME),
            ("transfer-encoding", "chunked", Fault::FIELD_NAME),
            ("upgrade", "websocket", Fault::FIELD_NAME),
            ("te", "gzip", Fault::FIELD_VALUE),
            ("x", " leading", Fault::FIELD_VALUE),
            ("x", "trailing\t", Fault::FIELD_VALUE),
            ("content-length", "+1", Fault::LENGTH),
        ] {
            assert_eq!(fault(V2, "POST", "http://a/", &[(name, value)]), Some(expected), "{name}: {value}");
        }
        let twice = [("content-length", "1"), ("content-length", "1")];
        assert_eq!(fault(V2, "POST", "http://a/", &twice), Some(Fault::LENGTH));
        assert_eq!(fault(V2, "POST", "http://a/", &[("te", "trailers")]), None);
        let many: Vec<(&str, &str)> = (0..=FIELDS_MAX).map(|_| ("x", "y")).collect();
        assert_eq!(fault(V2, "GET", "http://a/", &many), Some(Fault::TOO_MANY_FIELDS));
    }

    #[test]
    fn an_unknown_expectation_fails() {
        let with = |value| asked(V1, "POST", "/", &[("host", "a"), ("expect", value)]).map(|a| a.expects_continue);
        assert_eq!(with("100-Continue"), Ok(true));
        assert_eq!(with("200-maybe"), Err(Fault::EXPECTATION));
        let old = asked(Version::HTTP_10, "POST", "/", &[("expect", "100-continue")]);
        assert!(!old.expect("good").expects_continue);
    }

    #[test]
    fn the_first_protocol_that_is_carried_is_upgraded_to() {
        let carried = ["websocket".to_owned(), "tcp".to_owned()];
        let with = |version, method: &str, protocol| {
            let fields = [("host", "a"), ("connection", "Upgrade"), ("upgrade", protocol)];
            let asked = asked(version, method, "/", &fields).expect("good");
            let request = Request::builder().method(method).body(String::new()).expect("a request");
            asked.choose(&carried, &request).map(|asked| (asked.switch, asked.upgrade))
        };
        let chosen = |handshake, protocol: &str| Ok((Some(handshake), vec![protocol.to_owned()]));
        assert_eq!(with(V1, "GET", "WebSocket"), chosen(Handshake::Upgrade, "WebSocket"));
        assert_eq!(with(V1, "POST", "spdy/3.1, TCP"), chosen(Handshake::Other, "TCP"));
        assert_eq!(with(V1, "GET", "h2c"), Ok((None, Vec::new())));
        assert_eq!(with(Version::HTTP_10, "GET", "websocket"), Ok((None, Vec::new())));
        assert_eq!(with(V1, "GET", "spdy/3.1"), Err(Fault::PROTOCOL));
        assert_eq!(with(V1, "POST", "websocket"), Err(Fault::WEBSOCKET));
    }

    #[test]
    fn only_websocket_is_connected_to() {
        let with = |protocol: &'static str| {
            let request = Request::connect("https://a/chat").version(V2).extension(Protocol::from_static(protocol));
            check_request(&request.body(()).expect("parsed by hyper"), READING)
                .map(|asked| (asked.switch, asked.path.sent))
        };
        assert_eq!(with("websocket"), Ok((Some(Handshake::Connect), "/chat".to_owned())));
        assert_eq!(with("WebSocket"), Ok((Some(Handshake::Connect), "/chat".to_owned())));
        assert_eq!(with("connect-udp"), Err(Fault::PROTOCOL));
    }
}

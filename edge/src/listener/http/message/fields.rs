//! Fields that end at this hop, and those that say where a message came from. Pure: the message that goes on is written
//! anew, never passed through.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use ipnetwork::IpNetwork;

use super::{
    authority::Authority,
    grammar::has_token,
    request::{Asked, hops_left},
};
use crate::model::{FieldEdits, HttpSettings, Underscores};

/// What the edge calls itself in Via: no host name of anybody's.
const PSEUDONYM: &str = "underpass";

/// Fields of one hop only, whether or not Connection names them.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "proxy-authorization",
    "proxy-authenticate",
    "content-length",
];

/// Fields that may not stand in a trailer, beside this hop's own and a proxy's story: they route, authenticate, ask for
/// something, or say how the body is to be read, and all of that has been decided before a trailer comes
/// (RFC 9110 section 6.5.1).
const NOT_IN_TRAILERS: [&str; 22] = [
    "host",
    "trailer",
    "via",
    "authorization",
    "www-authenticate",
    "cookie",
    "set-cookie",
    "content-encoding",
    "content-type",
    "content-range",
    "expect",
    "max-forwards",
    "cache-control",
    "pragma",
    "age",
    "expires",
    "date",
    "location",
    "retry-after",
    "vary",
    "warning",
    "range",
];

/// True for a field in which proxies say where a request came from, or what its client has shown. Believed from trusted proxies only.
fn is_story(name: &str) -> bool {
    ["forwarded", "x-real-ip", "client-cert", "client-cert-chain"].contains(&name) || name.starts_with("x-forwarded-")
}

/// Some servers read an underscore in a name as a dash. True for a name that they would take for one in which the edge
/// itself speaks, or which ends here.
fn is_disguised(name: &str) -> bool {
    let dashed = || name.replace('_', "-");
    name.contains('_') && (is_story(&dashed()) || HOP_BY_HOP.contains(&&dashed()[..]) || dashed() == "max-forwards")
}

/// Who sent a request, over what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer<'a> {
    /// The address that connects.
    pub(crate) address: IpAddr,
    /// It came over TLS.
    pub(crate) tls: bool,
    /// What its client has shown in its handshake (RFC 9440).
    pub(crate) certificate: Option<&'a HeaderValue>,
    /// Whose story is believed.
    pub(crate) trusted: &'a [IpNetwork],
    /// This hop names itself.
    pub(crate) via: bool,
    /// What becomes of names with an underscore.
    pub(crate) underscores: Underscores,
}

impl<'a> Peer<'a> {
    /// A peer of a listener with these settings.
    pub(crate) fn new(address: IpAddr, tls: bool, settings: &'a HttpSettings) -> Self {
        let HttpSettings { trusted_proxies: trusted, via, underscores, .. } = settings;
        Self { address, tls, certificate: None, trusted, via: *via, underscores: *underscores }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// The client: of those the story names, the last that is no trusted proxy.
    pub(crate) fn client(&self, headers: &HeaderMap) -> IpAddr {
        if !self.trusts(self.address) {
            return self.address;
        }
        let named = headers.get_all("x-forwarded-for").iter().flat_map(|v| v.as_bytes().split(|b| *b == b','));
        let mut client = self.address;
        for entry in named.collect::<Vec<_>>().into_iter().rev() {
            // Behind an entry that cannot be read nothing is certain.
            let Some(address) = std::str::from_utf8(entry).ok().and_then(address) else { break };
            client = address;
            if !self.trusts(address) {
                break;
            }
        }
        client
    }
}

/// An address as X-Forwarded-For spells it, a port allowed.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let plain = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|a| a.ip());
    plain.or_else(with_port).map(|ip| ip.to_canonical())
}

/// The fields of the request to the origin.
pub(crate) fn request(headers: &HeaderMap, version: Version, asked: &Asked, peer: &Peer<'_>) -> HeaderMap {
    let believed = peer.trusts(peer.address);
    let drops = peer.underscores == Underscores::Drop;
    let mut out = carried(headers, |name| {
        let told = is_story(name) && !believed;
        let ambiguous = is_disguised(name) || drops && name.contains('_');
        told || ambiguous || ["host", "expect", "cookie"].contains(&name)
    });
    cookies(headers, &mut out);
    if has_token(headers, &header::TE, "trailers") {
        out.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(host) = asked.host.as_ref().and_then(|h| HeaderValue::from_str(&h.spell()).ok()) {
        out.insert(header::HOST, host);
    }
    if asked.expects_continue {
        out.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
    }
    if let Some(hops) = hops_left(&out) {
        out.insert(header::MAX_FORWARDS, HeaderValue::from(hops.saturating_sub(1)));
    }
    tell_story(&mut out, asked, peer);
    if let Some(certificate) = peer.certificate {
        out.insert("client-cert", certificate.clone());
        // It would belong to another one.
        out.remove("client-cert-chain");
    }
    if peer.via {
        let via = format!("{} {PSEUDONYM}", protocol(version));
        out.append(header::VIA, HeaderValue::from_str(&via).expect("a version and a word are visible characters"));
    }
    out
}

/// The fields of the answer to the client, or of an interim one. One that can have no body has no length either
/// (RFC 9110 section 8.6), and a client of HTTP/2 would take one for a mistake.
pub(crate) fn response(status: StatusCode, headers: &HeaderMap) -> HeaderMap {
    let mut out = carried(headers, |_| false);
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        return out;
    }
    for length in headers.get_all(header::CONTENT_LENGTH) {
        out.insert(header::CONTENT_LENGTH, length.clone());
    }
    out
}

/// Trailers without what may not stand there.
pub(crate) fn trailers(headers: &HeaderMap) -> HeaderMap {
    let forbidden = |name: &str| NOT_IN_TRAILERS.contains(&name) || is_story(name) || HOP_BY_HOP.contains(&name);
    carried(headers, |name| forbidden(&name.replace('_', "-")))
}

/// Makes a rule's changes.
pub(crate) fn edit(headers: &mut HeaderMap, edits: &FieldEdits) {
    for name in &edits.remove {
        headers.remove(name);
    }
    for (name, value) in &edits.set {
        headers.insert(name.clone(), value.clone());
    }
}

/// Makes a rule's changes in what goes to an origin, where nobody is to get round them by another spelling of the name.
pub(crate) fn edit_request(headers: &mut HeaderMap, edits: &FieldEdits) {
    let meant = || edits.remove.iter().chain(edits.set.iter().map(|(name, _)| name));
    let same = |name: &HeaderName| meant().any(|meant| meant.as_str() == name.as_str().replace('_', "-"));
    let disguised: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().contains('_') && same(name)).cloned().collect();
    for name in disguised {
        headers.remove(name);
    }
    edit(headers, edits);
}

/// Everything but this hop's own fields, those Connection names, and those left out.
fn carried(headers: &HeaderMap, left_out: impl Fn(&str) -> bool) -> HeaderMap {
    let nominated: Vec<&[u8]> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    let ends_here = |name: &HeaderName| {
        let text = name.as_str();
        let named = nominated.iter().any(|n| n.eq_ignore_ascii_case(text.as_bytes()));
        named || HOP_BY_HOP.contains(&text) || left_out(text)
    };
    let kept = headers.iter().filter(|(name, _)| !ends_here(name));
    let mut out = HeaderMap::with_capacity(headers.len() + 6);
    for (name, value) in kept {
        out.append(name.clone(), value.clone());
    }
    out
}

/// HTTP/2 may split a cookie into crumbs; HTTP/1 knows one line.
fn cookies(headers: &HeaderMap, out: &mut HeaderMap) {
    if has_token(headers, &header::CONNECTION, "cookie") {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let (false, Ok(whole)) = (crumbs.is_empty(), HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))) {
        out.insert(header::COOKIE, whole);
    }
}

fn tell_story(out: &mut HeaderMap, asked: &Asked, peer: &Peer<'_>) {
    let client = peer.address;
    let scheme = if peer.tls { "https" } else { "http" };
    let host = asked.host.as_ref().map(Authority::spell);
    let quoted = if client.is_ipv6() { format!("\"[{client}]\"") } else { client.to_string() };
    let of_host = host.as_ref().map(|h| format!(";host=\"{h}\"")).unwrap_or_default();
    let mut add = |name: &'static str, text: String| {
        let Ok(mut value) = HeaderValue::from_str(&text) else { return };
        let name = HeaderName::from_static(name);
        let told: Vec<&[u8]> = out.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
        if !told.is_empty() {
            let whole = [&told.join(&b", "[..])[..], text.as_bytes()].join(&b", "[..]);
            value = HeaderValue::from_bytes(&whole).unwrap_or(value);
        }
        out.insert(name, value);
    };
    add("x-forwarded-for", client.to_string());
    add("forwarded", format!("for={quoted};proto={scheme}{of_host}"));
    // A trusted proxy knows better than this hop what the client asked for.
    let mut once = |name: &'static str, text: &str| {
        if let (false, Ok(value)) = (out.contains_key(name), HeaderValue::from_str(text)) {
            out.insert(HeaderName::from_static(name), value);
        }
    };
    once("x-forwarded-proto", scheme);
    once("x-real-ip", &client.to_string());
    if let Some(host) = host {
        once("x-forwarded-host", &host);
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

#[cfg(test)]
mod tests;

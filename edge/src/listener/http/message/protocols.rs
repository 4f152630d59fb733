//! Which other protocols a request asks for by `Upgrade` (RFC 9110 section 7.8). Pure, and the same for a head that is still
//! bytes and one that was parsed, so that both hold back what follows or neither.

use http::{HeaderMap, Version, header};

use super::grammar;

/// HTTP itself and TLS in other shapes. A server may go on as it is (RFC 9110 section 7.8), and clients that offer these,
/// as Java's does with every first request, count on that.
const NOT_TAKEN: [&str; 4] = ["h2c", "h2", "http", "tls"];

/// What these values of `Upgrade` ask for and is not merely on offer, in the client's order and spelling.
pub(crate) fn named<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> impl Iterator<Item = String> {
    let members = values.into_iter().flat_map(|value| value.split(|b| *b == b','));
    members.filter_map(|member| {
        let protocol = std::str::from_utf8(member.trim_ascii()).ok()?;
        let name = protocol.split('/').next().unwrap_or_default();
        let taken = !NOT_TAKEN.iter().any(|other| other.eq_ignore_ascii_case(name));
        (!name.is_empty() && taken).then(|| protocol.to_owned())
    })
}

/// What a parsed request asks for. HTTP/1.0 knows no change of protocol, and HTTP/2 another way.
pub(crate) fn asked(headers: &HeaderMap, version: Version) -> Vec<String> {
    if version != Version::HTTP_11 || !grammar::has_token(headers, &header::CONNECTION, "upgrade") {
        return Vec::new();
    }
    named(headers.get_all(header::UPGRADE).iter().map(http::HeaderValue::as_bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Vec<String> {
        named(values.iter().map(|value| value.as_bytes())).collect()
    }

    #[test]
    fn other_protocols_are_asked_for_and_more_http_is_only_offered() {
        assert_eq!(of(&["WebSocket"]), ["WebSocket"]);
        assert_eq!(of(&["h2c", "TLS/1.2, SPDY/3.1 ,, tcp"]), ["SPDY/3.1", "tcp"]);
        assert_eq!(of(&["h2c", "HTTP/2.0", ""]), Vec::<String>::new());
    }

    #[test]
    fn connection_must_name_the_upgrade() {
        let mut headers = HeaderMap::new();
        headers.insert(header::UPGRADE, "tcp".parse().expect("a value"));
        assert!(asked(&headers, Version::HTTP_11).is_empty());
        headers.insert(header::CONNECTION, "x, Upgrade".parse().expect("a value"));
        assert_eq!(asked(&headers, Version::HTTP_11), ["tcp"]);
        assert!(asked(&headers, Version::HTTP_10).is_empty());
    }
}

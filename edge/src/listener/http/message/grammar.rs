//! Words of the grammar that all of HTTP is spelt in (RFC 9110 section 5.6, RFC 3986). Pure.

use http::{HeaderMap, HeaderName};

/// Digits and nothing else, below 2^63.
pub(crate) fn length(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().filter(|_| digits)?.parse::<u64>().ok()?;
    (number <= i64::MAX as u64).then_some(number)
}

/// A character of a token (RFC 9110 section 5.6.2).
pub(crate) fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// A character of a target as clients send it. A fragment never is.
pub(crate) fn is_target(b: u8) -> bool {
    matches!(b, 0x21..=0x7e | 0x80..) && b != b'#'
}

/// Whether one of the comma-separated members of a field is this word.
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let mut members = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    members.any(|member| member.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

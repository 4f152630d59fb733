//! Host and port as Host and `:authority` carry them. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A host, in lower case, and the port if one is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    /// The name or address, without brackets' content changed, in lower case.
    pub(crate) host: String,
    /// The port.
    pub(crate) port: Option<u16>,
}

impl Authority {
    /// Reads `HOST` or `HOST:PORT`; an empty port is none (RFC 3986 section 3.2.3). No user, no empty host.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inside, rest) = rest.split_once(']')?;
                inside.parse::<Ipv6Addr>().ok()?;
                (&text[..inside.len() + 2], rest)
            }
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            None => return None,
            Some("") => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
        };
        if host.is_empty() || !(host.starts_with('[') || is_name(host)) {
            return None;
        }
        Some(Self { host: host.to_ascii_lowercase(), port })
    }

    /// True if both mean the same server: names without regard to case, a missing port as the scheme's own.
    pub(crate) fn agrees(&self, other: &Self, default_port: u16) -> bool {
        self.host == other.host && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }

    /// As a Host field spells it.
    pub(crate) fn spell(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }
}

fn is_name(host: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    // An empty label is no name's, and servers differ over what is left without it.
    let labelled = !host.contains("..") && !host.starts_with('.');
    host.len() <= 255 && labelled && host.bytes().all(allowed) && (!numeric || host.parse::<Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_strictly() {
        let spelt = |text: &str| Authority::parse(text).map(|a| a.spell());
        for good in
            ["example.com", "example.com.", "example.com:80", "1.2.3.4:8080", "[::1]:80", "[fd00::1]", "a_b-c.d"]
        {
            assert_eq!(spelt(good).as_deref(), Some(good));
        }
        assert_eq!(spelt("EXAMPLE.com").as_deref(), Some("example.com"));
        assert_eq!((spelt("a:").as_deref(), spelt("[::1]:").as_deref()), (Some("a"), Some("[::1]")), "an empty port");
        for bad in [
            "", ":80", ":", "a::", "[::1]::", "a:b", "a:+1", "a:65536", "u@a", "a b", "a/b", "[::1", "[x]", "[::1]x",
            "a,b", "1.2.3", "a..", "a..b", ".a",
        ] {
            assert_eq!(spelt(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_missing_port_is_the_schemes_own() {
        let at = |text| Authority::parse(text).expect("good");
        assert!(at("a").agrees(&at("A:80"), 80));
        assert!(!at("a").agrees(&at("a:81"), 80));
        assert!(!at("a").agrees(&at("b"), 80));
    }
}

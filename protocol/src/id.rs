//! Names and numbers of things, parsed once at the border and never wrong after.

use std::{fmt, net::IpAddr, str::FromStr};

use crate::limits::HOST_NAME_MAX;

/// A name as users write it: `[a-z0-9][a-z0-9-]{0,62}`. Connectors, replicas, VNets and every configured object have one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Why a text is no [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("names are 1 to 63 of a-z, 0-9 and '-', and do not begin with '-'")]
pub struct BadName;

impl Name {
    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let fits = (1..=63).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-');
        if fits { Ok(Self(text.to_owned())) } else { Err(BadName) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Number of a link, unique within one run of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "l{}", self.0)
    }
}

/// The host part of a target: an address, or a name that the connector resolves inside its network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An address of the VNet.
    Ip(IpAddr),
    /// A DNS name, at most [`HOST_NAME_MAX`] bytes of letters, digits, `-`, `_` and `.`.
    Name(String),
}

/// Where a stream is to lead: a host and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Address or name.
    pub host: Host,
    /// TCP or UDP port, never 0.
    pub port: u16,
}

/// Why a text is no [`Target`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a target is HOST:PORT with an IP address (IPv6 in brackets) or a DNS name, and a port from 1 to 65535")]
pub struct BadTarget;

impl Host {
    /// Checks a DNS name's form.
    ///
    /// # Errors
    /// [`BadTarget`] if it is empty, too long, has a character that no host name has, or looks like an IPv4 address.
    pub fn name(text: &str) -> Result<Self, BadTarget> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let fits =
            (1..=HOST_NAME_MAX).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with(['.', '-']);
        // Digits and dots alone are an address, or a mistyped one, never a name.
        let fits = fits && !text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if fits { Ok(Self::Name(text.to_owned())) } else { Err(BadTarget) }
    }
}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let (host, port) = text.rsplit_once(':').ok_or(BadTarget)?;
        let port = port.parse().ok().filter(|p| *p != 0 && !port.starts_with('+')).ok_or(BadTarget)?;
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match bracketed {
            Some(v6) => Host::Ip(IpAddr::V6(v6.parse().map_err(|_| BadTarget)?)),
            None => match host.parse() {
                Ok(v4) => Host::Ip(IpAddr::V4(v4)),
                Err(_) => Host::name(host)?,
            },
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(ip @ IpAddr::V4(_)) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_alphabet() {
        for good in ["a", "0", "dc1", "a-b", "web-1", &"x".repeat(63)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a_b", "a.b", "ä", "a b", &"x".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn targets_parse_and_print_alike() {
        for good in ["10.0.1.10:8080", "[fd00::1]:53", "db.internal:5432", "a_b.c:1"] {
            assert_eq!(good.parse::<Target>().map(|t| t.to_string()).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "10.0.0.1",
            "10.0.0.1:0",
            "10.0.0:80",
            "10.0.0.256:80",
            "a:65536",
            "a:+1",
            ":80",
            "fd00::1:53",
            "a b:1",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}

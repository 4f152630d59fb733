//! Why a connection did not come about: one closed set of causes for both sides, and words without the noise of libraries.
//!
//! It judges what TLS says, whatever carries it, and knows neither edge nor connector.

use std::fmt;

use crate::control;

/// Why a handshake failed, or broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Nothing came back.
    Silence,
    /// The other side wants no connection now.
    Refused,
    /// The other side's certificate is not accepted here.
    TheirCertificate,
    /// Our certificate is not accepted there.
    OurCertificate,
    /// No version, protocol or cipher in common, or packets that make no sense.
    Protocol,
    /// It was closed, or given up, before it was done.
    Ended,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 6] =
        [Self::Silence, Self::Refused, Self::TheirCertificate, Self::OurCertificate, Self::Protocol, Self::Ended];

    /// The word for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Refused => "refused",
            Self::TheirCertificate => "their_certificate",
            Self::OurCertificate => "our_certificate",
            Self::Protocol => "protocol",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the TLS library begins what a verifier of ours says.
const VERIFIER: &str = "other error: ";
/// What libraries put before the words that matter.
const NOISE: [&str; 3] = [VERIFIER, "invalid peer certificate: ", "TLS error: "];

/// Alerts about certificates are 42 to 46, 48, 49, 51 and 116 (RFC 8446 section 6.2); what a verifier of ours says comes as 40.
pub(crate) fn is_about_certificates(alert: Option<u8>, reason: &str) -> bool {
    match alert {
        Some(42..=46 | 48 | 49 | 51 | 116) => true,
        Some(40) => reason.starts_with(VERIFIER),
        Some(_) | None => false,
    }
}

/// What broke a handshake, in words on one line; none if there is neither a reason nor an alert.
pub(crate) fn words(alert: Option<u8>, reason: &str) -> Option<String> {
    let mut reason = reason.trim();
    while let Some(rest) = NOISE.iter().find_map(|noise| reason.strip_prefix(noise)) {
        reason = rest;
    }
    if !reason.is_empty() {
        return Some(control::cut(reason));
    }
    Some(match alert? {
        42 | 46 => "the certificate is not accepted".to_owned(),
        44 => "the certificate was revoked".to_owned(),
        45 => "the certificate is not valid at this time".to_owned(),
        48 => "the certificate was issued by another CA than the one trusted there".to_owned(),
        116 => "a certificate is needed".to_owned(),
        120 => "no protocol in common (ALPN)".to_owned(),
        number => format!("TLS failed (alert {number})"),
    })
}

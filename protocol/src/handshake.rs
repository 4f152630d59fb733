//! Why a connection did not come about: one closed set of causes for both sides, and words without the noise of libraries.
//!
//! It judges errors of the QUIC library, and knows neither edge nor connector.

use std::fmt;

use quinn::{ConnectionError, TransportErrorCode};

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

    /// The cause of this error.
    #[must_use]
    pub fn of(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::TimedOut => Self::Silence,
            ConnectionError::TransportError(error) if is_about_certificates(error.code, &error.reason) => {
                Self::TheirCertificate
            }
            ConnectionError::ConnectionClosed(close) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
                Self::Refused
            }
            ConnectionError::ConnectionClosed(close)
                if is_about_certificates(close.error_code, &String::from_utf8_lossy(&close.reason)) =>
            {
                Self::OurCertificate
            }
            ConnectionError::TransportError(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::VersionMismatch => Self::Protocol,
            ConnectionError::ApplicationClosed(_)
            | ConnectionError::Reset
            | ConnectionError::LocallyClosed
            | ConnectionError::CidsExhausted => Self::Ended,
        }
    }

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

/// The TLS alert in a transport error code (RFC 9001 section 4.8).
fn alert(code: TransportErrorCode) -> Option<u8> {
    u8::try_from(u64::from(code).checked_sub(0x100)?).ok()
}

/// How the TLS library begins what a verifier of ours says.
const VERIFIER: &str = "other error: ";
/// What libraries put before the words that matter.
const NOISE: [&str; 3] = [VERIFIER, "invalid peer certificate: ", "TLS error: "];

/// Alerts about certificates are 42 to 46, 48, 49, 51 and 116 (RFC 8446 section 6.2); what a verifier of ours says comes as 40.
fn is_about_certificates(code: TransportErrorCode, reason: &str) -> bool {
    match alert(code) {
        Some(42..=46 | 48 | 49 | 51 | 116) => true,
        Some(40) => reason.starts_with(VERIFIER),
        Some(_) | None => false,
    }
}

/// A transport error in words on one line.
pub(crate) fn words(code: TransportErrorCode, reason: &str) -> String {
    let mut reason = reason.trim();
    while let Some(rest) = NOISE.iter().find_map(|noise| reason.strip_prefix(noise)) {
        reason = rest;
    }
    if !reason.is_empty() {
        return control::cut(reason);
    }
    match alert(code) {
        Some(42 | 46) => "the certificate is not accepted".to_owned(),
        Some(44) => "the certificate was revoked".to_owned(),
        Some(45) => "the certificate is not valid at this time".to_owned(),
        Some(48) => "the certificate was issued by another CA than the one trusted there".to_owned(),
        Some(116) => "a certificate is needed".to_owned(),
        Some(120) => "no protocol in common (ALPN)".to_owned(),
        Some(number) => format!("TLS failed (alert {number})"),
        None => code.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use quinn::ConnectionClose;
    use quinn_proto::TransportError;

    use super::*;
    use crate::wire::ending;

    fn ours(code: TransportErrorCode, reason: &str) -> ConnectionError {
        TransportError { code, frame: None, reason: reason.to_owned() }.into()
    }

    fn theirs(error_code: TransportErrorCode, reason: &str) -> ConnectionError {
        let reason = reason.as_bytes().to_vec().into();
        ConnectionError::ConnectionClosed(ConnectionClose { error_code, frame_type: None, reason })
    }

    #[test]
    fn causes_are_told_apart_and_said_without_noise() {
        let tls = TransportErrorCode::crypto;
        for (error, cause, text) in [
            (
                ours(tls(40), "other error: the certificate expired 2 h ago"),
                Cause::TheirCertificate,
                "the certificate expired 2 h ago",
            ),
            (
                theirs(tls(40), "other error: it is another CA's"),
                Cause::OurCertificate,
                "closed by the peer: it is another CA's",
            ),
            (ours(tls(48), "invalid peer certificate: UnknownIssuer"), Cause::TheirCertificate, "UnknownIssuer"),
            (
                theirs(tls(48), ""),
                Cause::OurCertificate,
                "closed by the peer: the certificate was issued by another CA",
            ),
            (ours(tls(40), "peer is incompatible: NoCipherSuitesInCommon"), Cause::Protocol, "peer is incompatible"),
            (theirs(tls(120), ""), Cause::Protocol, "closed by the peer: no protocol in common (ALPN)"),
            (theirs(TransportErrorCode::CONNECTION_REFUSED, ""), Cause::Refused, "closed by the peer: "),
            (ConnectionError::TimedOut, Cause::Silence, "timed out"),
            (ConnectionError::Reset, Cause::Ended, "reset by peer"),
            (ConnectionError::VersionMismatch, Cause::Protocol, "supported version"),
        ] {
            assert_eq!(Cause::of(&error), cause, "{error:?}");
            let said = ending(&error);
            assert!(said.contains(text) && !said.contains("error"), "{said}");
        }
    }

    #[test]
    fn a_stranger_s_words_stay_on_one_line() {
        let said = ending(&theirs(TransportErrorCode::crypto(40), "other error: a\nb\x1b[2J"));
        assert!(!said.contains(char::is_control), "{said}");
    }
}

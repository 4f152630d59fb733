//! How a connection of QUIC ended, or why it did not come about, and what that means to us.

use std::fmt;

use quinn::{ConnectionError, TransportErrorCode};

use crate::{
    control,
    error::CloseCode,
    handshake::{Cause, is_about_certificates, words},
    link::{self, LostOver},
};

/// What the library says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::link) struct Lost(ConnectionError);

impl From<ConnectionError> for link::Lost {
    fn from(error: ConnectionError) -> Self {
        Self(LostOver::Quic(Lost(error)))
    }
}

impl Lost {
    pub(in crate::link) fn cause(&self) -> Cause {
        match &self.0 {
            ConnectionError::TimedOut => Cause::Silence,
            ConnectionError::TransportError(error) if is_about_certificates(alert(error.code), &error.reason) => {
                Cause::TheirCertificate
            }
            ConnectionError::ConnectionClosed(close) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
                Cause::Refused
            }
            ConnectionError::ConnectionClosed(close)
                if is_about_certificates(alert(close.error_code), &String::from_utf8_lossy(&close.reason)) =>
            {
                Cause::OurCertificate
            }
            ConnectionError::TransportError(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::VersionMismatch => Cause::Protocol,
            ConnectionError::ApplicationClosed(_)
            | ConnectionError::Reset
            | ConnectionError::LocallyClosed
            | ConnectionError::CidsExhausted => Cause::Ended,
        }
    }

    pub(in crate::link) fn verdict(&self) -> Option<&str> {
        match &self.0 {
            ConnectionError::TransportError(error) => Some(&error.reason),
            ConnectionError::ApplicationClosed(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::VersionMismatch
            | ConnectionError::TimedOut
            | ConnectionError::Reset
            | ConnectionError::LocallyClosed
            | ConnectionError::CidsExhausted => None,
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "only what a peer or the library words itself is worded anew"
        )]
        match &self.0 {
            ConnectionError::ApplicationClosed(close) => {
                let number = close.error_code.into_inner();
                let code = CloseCode::from_wire(number).map_or_else(|| number.to_string(), |c| c.to_string());
                write!(f, "closed by the peer ({code}): {}", control::cut(&String::from_utf8_lossy(&close.reason)))
            }
            ConnectionError::ConnectionClosed(close) => {
                let reason = String::from_utf8_lossy(&close.reason);
                write!(f, "closed by the peer: {}", said(close.error_code, &reason))
            }
            ConnectionError::TransportError(error) => f.write_str(&said(error.code, &error.reason)),
            other => f.write_str(&control::cut(&other.to_string())),
        }
    }
}

/// The TLS alert in a transport error code (RFC 9001 section 4.8).
fn alert(code: TransportErrorCode) -> Option<u8> {
    u8::try_from(u64::from(code).checked_sub(0x100)?).ok()
}

/// A transport error in words on one line.
fn said(code: TransportErrorCode, reason: &str) -> String {
    words(alert(code), reason).unwrap_or_else(|| code.to_string())
}

#[cfg(test)]
mod tests {
    use quinn::ConnectionClose;
    use quinn_proto::TransportError;

    use super::*;

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
            let lost = link::Lost::from(error);
            assert_eq!(lost.cause(), cause, "{lost:?}");
            let said = lost.to_string();
            assert!(said.contains(text) && !said.contains("error"), "{said}");
        }
    }

    #[test]
    fn a_stranger_s_words_stay_on_one_line() {
        let said = link::Lost::from(theirs(TransportErrorCode::crypto(40), "other error: a\nb\x1b[2J")).to_string();
        assert!(!said.contains(char::is_control), "{said}");
    }
}

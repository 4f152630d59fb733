//! Why something failed at an origin: a reason for programs, a detail for people.

use std::{error::Error, fmt::Write, time::Duration};

use certs::verify::Span;
use protocol::error::Reason;
use rustls::CertificateError;

use super::Failure;

/// A reason with its detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// One of a closed set.
    pub reason: Reason,
    /// What was met, in words.
    pub detail: String,
}

impl Why {
    /// This reason, with these words.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// The link is suspect.
    #[must_use]
    pub fn suspect() -> Self {
        Self::new(Reason::LinkLost, "the link leaves packets unanswered")
    }

    /// Word of an origin's host, or of the network before it, that a payload of UDP has come to nobody.
    #[must_use]
    pub fn nobody_listens() -> Self {
        Self::new(Reason::ConnectRefused, "its host says that nobody listens there (ICMP)")
    }
}

impl From<Failure> for Why {
    fn from(failure: Failure) -> Self {
        let unanswered = |reason| {
            if reason == Reason::LinkLost {
                "the link died, or left packets unanswered, before the connector had replied"
            } else if reason == Reason::ConnectTimeout {
                "the connector has not replied in time"
            } else {
                "the connector cut the stream before it had replied"
            }
        };
        match failure {
            Failure::Refused(reason, text) => Self::new(reason, text),
            Failure::Unanswered(reason) => Self::new(reason, unanswered(reason)),
            Failure::ClientGone => Self::new(Reason::ConnectionReset, "the client is gone"),
        }
    }
}

/// An error and what is behind it, which libraries leave out.
pub(crate) fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(behind) = source {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {behind}");
        source = behind.source();
    }
    text
}

/// What is wrong with an origin's certificate.
pub(super) fn certificate(error: &CertificateError) -> String {
    let apart = |later: u64, sooner: u64| Span(Duration::from_secs(later.saturating_sub(sooner)));
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library's errors are many; only some need other words")]
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            format!("its certificate expired {} ago", apart(time.as_secs(), not_after.as_secs()))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("its certificate begins {} from now", apart(not_before.as_secs(), time.as_secs()))
        }
        CertificateError::UnknownIssuer => "its certificate was issued by nobody who is believed here".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented = if presented.is_empty() { "nobody".to_owned() } else { presented.join(", ") };
            format!("its certificate is for {presented}, not for {}", expected.to_str())
        }
        other => format!("its certificate is not accepted: {other}"),
    }
}

/// True if an origin spoke before it was asked, by the error of the connection or of a request that has not left. hyper has no
/// other name for that.
pub(crate) fn is_unasked(error: &hyper::Error) -> bool {
    whole(error).contains("unexpected message")
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::UnixTime;

    use super::*;

    #[test]
    fn certificates_are_told_with_what_was_met() {
        let at = |days: u64| UnixTime::since_unix_epoch(Duration::from_secs(days * 86_400));
        let expired = CertificateError::ExpiredContext { time: at(20_670), not_after: at(20_000) };
        assert_eq!(certificate(&expired), "its certificate expired 22 months ago");
        let early = CertificateError::NotValidYetContext { time: at(20_000), not_before: at(20_003) };
        assert_eq!(certificate(&early), "its certificate begins 3 days from now");
        let presented = vec!["a.test".to_owned(), "b.test".to_owned()];
        let expected = "c.test".try_into().expect("a name");
        let other = CertificateError::NotValidForNameContext { expected, presented };
        assert_eq!(certificate(&other), "its certificate is for a.test, b.test, not for c.test");
    }

    #[test]
    fn every_failure_has_words() {
        for failure in [
            Failure::Refused(Reason::DnsFailed, "cannot resolve a: no answer".to_owned()),
            Failure::Unanswered(Reason::LinkLost),
            Failure::Unanswered(Reason::ConnectTimeout),
            Failure::Unanswered(Reason::ConnectionReset),
            Failure::ClientGone,
        ] {
            assert!(!Why::from(failure.clone()).detail.is_empty(), "{failure:?}");
        }
    }
}

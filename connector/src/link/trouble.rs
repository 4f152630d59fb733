//! What keeps a slot without a link: in words, and under which code it is looked up. Pure.

use api::code::Code;
use protocol::{
    control::{Refusal, RefusalCode},
    handshake::Cause,
};

use super::{DialError, EnrolError};

/// Why there is no link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Of what kind it is.
    pub code: Code,
    /// In words.
    pub text: String,
}

impl DialError {
    /// The code of a dial that failed so.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Resolve(_) => Code::EdgeName,
            Self::Handshake { source, .. } => match source.cause() {
                Cause::Silence => Code::EdgeSilent,
                Cause::Refused => Code::EdgeBusy,
                Cause::TheirCertificate => Code::EdgeUntrusted,
                Cause::OurCertificate => Code::ConnectorUntrusted,
                Cause::Protocol | Cause::Ended => Code::HandshakeFailed,
            },
            Self::Address { .. } => Code::HandshakeFailed,
            Self::TimedOut(_) => Code::EdgeSilent,
        }
    }
}

impl EnrolError {
    /// The code of an enrolment or a renewal that failed so.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(refusal) => of_refusal(refusal),
            Self::Dial(error) => error.code(),
            Self::Wire(_) | Self::TimedOut => Code::HandshakeFailed,
            Self::State(_) => Code::NotRenewed,
        }
    }
}

/// The code of what an edge says no to.
pub(super) fn of_refusal(refusal: &Refusal) -> Code {
    match refusal.code() {
        RefusalCode::Version => Code::PeerVersion,
        RefusalCode::NoGrant => Code::NoGrant,
        RefusalCode::Revoked => Code::Revoked,
        RefusalCode::TokenUnknown => Code::TokenUnknown,
        RefusalCode::TokenUsed => Code::TokenUsed,
        RefusalCode::TokenExpired => Code::TokenExpired,
        RefusalCode::CertificateExpired => Code::CertificateExpired,
        RefusalCode::BadRequest => Code::BadRequest,
        RefusalCode::Unavailable => Code::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_refusal_is_its_number_behind_200() {
        for number in 1..=9 {
            let code = RefusalCode::from_wire(number);
            assert_eq!(of_refusal(&Refusal::new(code, "no")).as_str(), format!("UP-{}", 200 + number), "{code}");
        }
    }
}

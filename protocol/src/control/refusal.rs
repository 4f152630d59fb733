//! Why a registration, enrolment or renewal was refused: a code for programs, a sentence for people.

use std::fmt;

use wincode::{SchemaRead, SchemaWrite};

use super::cut;

/// Why a registration, enrolment or renewal was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum RefusalCode {
    /// No common version.
    Version = 1,
    /// The edge grants this name nothing.
    NoGrant = 2,
    /// The name was revoked after the certificate or token was issued.
    Revoked = 3,
    /// The token is unknown here, or its secret is wrong.
    TokenUnknown = 4,
    /// The token was used by another key.
    TokenUsed = 5,
    /// The token's time is over.
    TokenExpired = 6,
    /// The certificate's time is over.
    CertificateExpired = 7,
    /// The request could not be understood.
    BadRequest = 8,
    /// The edge cannot do it now (a full disk, a bound reached); try again.
    Unavailable = 9,
}

impl RefusalCode {
    /// The code with this number; what is unknown counts as `Unavailable`, so that a connector keeps trying.
    #[must_use]
    pub fn from_wire(number: u16) -> Self {
        match number {
            1 => Self::Version,
            2 => Self::NoGrant,
            3 => Self::Revoked,
            4 => Self::TokenUnknown,
            5 => Self::TokenUsed,
            6 => Self::TokenExpired,
            7 => Self::CertificateExpired,
            8 => Self::BadRequest,
            _ => Self::Unavailable,
        }
    }

    /// True if it stays so until somebody does something about it.
    #[must_use]
    pub fn is_lasting(self) -> bool {
        match self {
            Self::Version
            | Self::NoGrant
            | Self::Revoked
            | Self::TokenUnknown
            | Self::TokenUsed
            | Self::TokenExpired
            | Self::BadRequest => true,
            // A certificate is renewed by whoever hears this.
            Self::CertificateExpired | Self::Unavailable => false,
        }
    }

    /// The word for logs and status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::NoGrant => "no_grant",
            Self::Revoked => "revoked",
            Self::TokenUnknown => "token_unknown",
            Self::TokenUsed => "token_used",
            Self::TokenExpired => "token_expired",
            Self::CertificateExpired => "certificate_expired",
            Self::BadRequest => "bad_request",
            Self::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal: a code for programs, a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, SchemaRead, SchemaWrite, thiserror::Error)]
#[error("{}: {text}", self.code())]
pub struct Refusal {
    pub(super) code: u16,
    /// What is wrong and what would be right. At most [`TEXT_MAX`](crate::limits::TEXT_MAX) bytes.
    pub text: String,
}

impl Refusal {
    /// A refusal with this code and explanation; a longer text is cut at [`TEXT_MAX`](crate::limits::TEXT_MAX).
    #[must_use]
    pub fn new(code: RefusalCode, text: &str) -> Self {
        Self { code: code as u16, text: cut(text) }
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> RefusalCode {
        RefusalCode::from_wire(self.code)
    }
}

//! How a connection ended, or why it did not come about: what it means to us, in words, and for programs.
//!
//! It is made wherever a stream meets the end of its link, so it keeps what it is made of and words it only when asked.

use std::{error::Error, fmt};

use super::transport::quic;
use crate::handshake::Cause;

/// How a connection ended, or why it did not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost(pub(super) LostOver);

/// What carried it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LostOver {
    Quic(quic::Lost),
}

impl Lost {
    /// What it was, if it was before the handshake was done.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match &self.0 {
            LostOver::Quic(lost) => lost.cause(),
        }
    }

    /// What this side held against the other while they shook hands, as whoever judged said it.
    #[must_use]
    pub fn verdict(&self) -> Option<&str> {
        match &self.0 {
            LostOver::Quic(lost) => lost.verdict(),
        }
    }
}

/// In words on one line: those that a peer closes with are a stranger's.
impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            LostOver::Quic(lost) => lost.fmt(f),
        }
    }
}

impl Error for Lost {}

//! How one attempt at an origin failed, which decides whether there may be another. Pure.

use protocol::error::Reason;

use super::fault::Fault;

/// How one attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// Nothing of it has left: it goes elsewhere, whatever it is.
    Unsent(Reason),
    /// It has left, at least in part.
    Sent(Reason),
    /// It is over.
    Final(Fault),
}

impl Failed {
    /// By hyper's error, once the request was on its way.
    pub(super) fn of(error: &hyper::Error) -> Self {
        if error.is_parse() || error.is_parse_status() {
            return Self::Final(Fault::ORIGIN_INVALID);
        }
        Self::Sent(Reason::ConnectionReset)
    }
}

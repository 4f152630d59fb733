//! How one attempt at an origin failed, and whether there may be another. Pure.

use hyper::Error;
use protocol::error::Reason;

use crate::listener::http::message::fault::Fault;
use crate::{
    balancer::retry::{Again, Delivered, Left},
    offramp::is_unasked,
};

/// How one attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// Nothing of it has left.
    Unsent(Reason),
    /// The origin was ending the connection already, and says that it did not look at it (GOAWAY; RFC 9113 section 8.7).
    Overtaken(Reason),
    /// The origin has no room for it, and says that it did not look at it (REFUSED_STREAM; RFC 9113 section 8.7).
    Declined(Reason),
    /// It has left, at least in part, and its connection broke. Nobody knows what came of it.
    Broken(Reason),
    /// It has left, and there will be no answer. Nobody knows what came of it.
    Sent(Reason),
    /// It is over.
    Final(Fault),
}

impl Failed {
    /// By hyper's error, once the request was on its way, and by why its connection has broken if it has.
    pub(crate) fn of(error: &Error, broken: Reason) -> Self {
        const REASON: Reason = Reason::ConnectionReset;
        if error.is_parse() || error.is_parse_status() {
            return Self::Final(Fault::ORIGIN_INVALID);
        }
        let http2 = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
        let Some(http2) = http2 else { return Self::Broken(broken) };
        match http2.reason() {
            // Only streams that the origin's last word leaves out fail by it.
            Some(_) if http2.is_go_away() && http2.is_remote() => Self::Overtaken(REASON),
            Some(h2::Reason::REFUSED_STREAM) if http2.is_reset() && http2.is_remote() => Self::Declined(REASON),
            // What the origin sent contradicts itself.
            Some(_) if http2.is_library() => Self::Sent(Reason::HttpInvalid),
            Some(_) if http2.is_reset() => Self::Sent(REASON),
            Some(_) | None => Self::Broken(broken),
        }
    }

    /// The reason of a request that has not left, by why its connection has broken if it has.
    pub(crate) fn unsent(error: &Error, broken: Reason) -> Reason {
        if is_unasked(error) { Reason::HttpInvalid } else { broken }
    }

    /// Why, and what it has delivered.
    ///
    /// # Errors
    /// What the client is told, if that was the last attempt whatever else there is.
    pub(crate) fn delivered(self) -> Result<(Reason, Delivered), Fault> {
        match self {
            Self::Unsent(reason) => Ok((reason, Delivered::Nothing)),
            Self::Overtaken(reason) | Self::Declined(reason) => Ok((reason, Delivered::Unread)),
            Self::Broken(reason) | Self::Sent(reason) => Ok((reason, Delivered::Something)),
            Self::Final(fault) => Err(fault),
        }
    }

    /// Whether to try the same origin once more, over another connection. One that had been used before (`reused`) the
    /// origin may have closed meanwhile, which says nothing about the origin.
    pub(crate) fn again(self, left: Left, reused: bool) -> Again {
        match (self, left) {
            (Self::Final(_) | Self::Sent(_), _) | (_, Left::Nothing) => Again::No,
            (Self::Overtaken(_), Left::Whole | Left::Repeatable) => Again::Free,
            (Self::Declined(_), Left::Whole | Left::Repeatable) => Again::Paid,
            (Self::Unsent(_), Left::Whole | Left::Repeatable) if reused => Again::Free,
            (Self::Broken(_), Left::Repeatable) if reused => Again::Paid,
            (Self::Unsent(_) | Self::Broken(_), Left::Whole | Left::Repeatable) => Again::No,
        }
    }

    /// What the client is told if that was the last attempt.
    pub(crate) fn fault(self) -> Fault {
        self.delivered().map_or_else(|fault| fault, |(reason, _)| Fault::lost(reason))
    }
}

/// The code with which an HTTP/2 origin has ended an answer, if that is why it broke off.
pub(crate) fn origins_code(error: &(dyn std::error::Error + 'static)) -> Option<h2::Reason> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(reason) = error.downcast_ref::<h2::Error>().and_then(h2::Error::reason) {
            return Some(reason);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancer::retry;

    const REASON: Reason = Reason::ConnectionReset;

    fn elsewhere(failed: Failed, left: Left) -> Again {
        failed.delivered().map_or(Again::No, |(_, delivered)| retry::again(delivered, left, 0))
    }

    #[test]
    fn what_may_have_been_done_is_never_done_twice_unless_that_is_the_same() {
        for failed in [Failed::Broken(REASON), Failed::Sent(REASON)] {
            assert_eq!((failed.again(Left::Whole, true), elsewhere(failed, Left::Whole)), (Again::No, Again::No));
            assert_eq!(elsewhere(failed, Left::Repeatable), Again::Paid);
        }
        assert_eq!(Failed::Broken(REASON).again(Left::Repeatable, true), Again::Paid);
        assert_eq!(Failed::Broken(REASON).again(Left::Repeatable, false), Again::No, "the origin has broken it");
        assert_eq!(Failed::Sent(REASON).again(Left::Repeatable, true), Again::No, "that was the origin's answer");
    }

    #[test]
    fn what_the_origin_did_not_look_at_goes_again_whatever_it_is() {
        for left in [Left::Whole, Left::Repeatable] {
            assert_eq!(Failed::Unsent(REASON).again(left, true), Again::Free);
            assert_eq!(Failed::Unsent(REASON).again(left, false), Again::No, "nor will the next be");
            assert_eq!(elsewhere(Failed::Unsent(REASON), left), Again::Free);
            for reused in [true, false] {
                assert_eq!(Failed::Overtaken(REASON).again(left, reused), Again::Free);
                assert_eq!(Failed::Declined(REASON).again(left, reused), Again::Paid, "it has no room");
            }
            assert_eq!(elsewhere(Failed::Declined(REASON), left), Again::Paid);
        }
    }

    #[test]
    fn what_is_gone_or_over_stays_so() {
        let all = [Failed::Unsent, Failed::Overtaken, Failed::Declined, Failed::Broken, Failed::Sent];
        for failed in all.map(|failed| failed(REASON)) {
            assert_eq!((failed.again(Left::Nothing, true), elsewhere(failed, Left::Nothing)), (Again::No, Again::No));
        }
        let over = Failed::Final(Fault::ORIGIN_TIMEOUT);
        assert_eq!((over.again(Left::Repeatable, true), elsewhere(over, Left::Repeatable)), (Again::No, Again::No));
    }
}

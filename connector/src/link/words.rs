//! What supervisors tell of links, in words.

use api::code::Code;
use protocol::{control::RefusedRoute, limits::REGISTER_WAIT};
use tracing::warn;

use super::{Trouble, registered::LinkEnd};

/// Claims that an edge did not accept.
pub(super) fn tell_refused(refused: &[RefusedRoute]) {
    for RefusedRoute { route, reason } in refused {
        warn!(vnet = route.vnet, cidr = route.cidr, reason, code = %Code::RouteRefused, "the edge refused a route");
    }
}

/// Why a link was lost; `None` if it was left on purpose.
pub(super) fn explain(end: &LinkEnd) -> Option<String> {
    match end {
        LinkEnd::Drained => None,
        LinkEnd::Dead(death) => Some(death.as_str().to_owned()),
        LinkEnd::Closed(lost) => Some(lost.to_string()),
        LinkEnd::Broken(error) => Some(format!("the edge broke the protocol: {error}")),
        LinkEnd::Unjudged => Some(format!("the edge did not answer other claims within {} s", REGISTER_WAIT.as_secs())),
        LinkEnd::Panicked => Some("the connector failed on this link".to_owned()),
    }
}

/// What a slot says of a link that was lost.
pub(super) fn lost(text: String) -> Trouble {
    Trouble { code: Code::LinkLost, text }
}

/// A failure's words without their numbers: what time it is, and how long ago something was, is no news.
pub(super) fn gist(failure: &str) -> String {
    failure.chars().filter(|c| !c.is_ascii_digit()).collect()
}

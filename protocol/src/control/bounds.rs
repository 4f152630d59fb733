//! What a decoded message may hold at most. A peer that goes beyond is broken or hostile, so the link is closed; names that
//! are merely wrong are refused in words by those who read them.

use super::{
    Claims, Enrol, Enrolled, Goodbye, Hello, Judged, Refusal, RefusedRoute, Renew, Renewed, RouteClaim, Successor,
    Welcome, Windows,
};
use crate::{
    limits::{CLAIM_TEXT_MAX, CONTROL_BODY_MAX, DER_MAX, LINKS_MAX, ROUTES_MAX, TEXT_MAX, WINDOWS_MAX},
    version,
};

/// Something with bounds.
pub(super) trait Bounded {
    /// The bound that is broken, if any.
    fn broken(&self) -> Option<&'static str>;
}

/// The first broken bound of a list.
fn first<const N: usize>(checks: [(bool, &'static str); N]) -> Option<&'static str> {
    checks.into_iter().find(|(keeps, _)| !keeps).map(|(_, what)| what)
}

fn is_text(text: &str) -> bool {
    text.len() <= TEXT_MAX && !text.chars().any(char::is_control)
}

fn are_claims<'a>(claims: impl ExactSizeIterator<Item = &'a RouteClaim>) -> bool {
    let fits = |text: &str| text.len() <= CLAIM_TEXT_MAX && is_text(text);
    claims.len() <= ROUTES_MAX && { claims }.all(|claim| fits(&claim.vnet) && fits(&claim.cidr))
}

fn are_reasons(refused: &[RefusedRoute]) -> bool {
    refused.iter().all(|r| is_text(&r.reason))
}

const TEXT: &str = "a text has at most 256 bytes and no control character";
const CLAIMS: &str = "there are at most 512 routes, each of two texts of at most 64 bytes";
const LINKS: &str = "a replica keeps 1 to 64 links";
const DER: &str = "a request or certificate has at most 16,384 bytes";

impl Bounded for Hello {
    fn broken(&self) -> Option<&'static str> {
        first([
            (is_text(&self.software), TEXT),
            ((1..=LINKS_MAX).contains(&self.links), LINKS),
            (u32::from(self.slot) < 2 * u32::from(self.links), "a slot is below twice the number of links"),
            (are_claims(self.routes.iter()), CLAIMS),
        ])
    }
}

impl Bounded for Welcome {
    fn broken(&self) -> Option<&'static str> {
        first([
            (version::negotiate(self.version, self.version).is_some(), "the chosen version was not offered"),
            (is_text(&self.edge), TEXT),
            (are_claims(self.accepted.iter()), CLAIMS),
            (are_claims(self.refused.iter().map(|r| &r.route)), CLAIMS),
            (are_reasons(&self.refused), TEXT),
        ])
    }
}

impl Bounded for Claims {
    fn broken(&self) -> Option<&'static str> {
        first([((1..=LINKS_MAX).contains(&self.links), LINKS), (are_claims(self.routes.iter()), CLAIMS)])
    }
}

impl Bounded for Judged {
    fn broken(&self) -> Option<&'static str> {
        first([
            (are_claims(self.accepted.iter()), CLAIMS),
            (are_claims(self.refused.iter().map(|r| &r.route)), CLAIMS),
            (are_reasons(&self.refused), TEXT),
        ])
    }
}

impl Bounded for Refusal {
    fn broken(&self) -> Option<&'static str> {
        first([(is_text(&self.text), TEXT)])
    }
}

impl Bounded for Successor {
    fn broken(&self) -> Option<&'static str> {
        None
    }
}

impl Bounded for Goodbye {
    fn broken(&self) -> Option<&'static str> {
        None
    }
}

impl Bounded for Renew {
    fn broken(&self) -> Option<&'static str> {
        first([(self.csr.len() <= DER_MAX, DER)])
    }
}

impl Bounded for Renewed {
    fn broken(&self) -> Option<&'static str> {
        first([(self.certificate.len() <= DER_MAX, DER)])
    }
}

impl Bounded for Windows {
    fn broken(&self) -> Option<&'static str> {
        first([(self.windows.len() <= WINDOWS_MAX, "a message tells of at most 1,024 windows")])
    }
}

impl Bounded for Enrol {
    fn broken(&self) -> Option<&'static str> {
        first([(is_text(&self.replica), TEXT), (self.csr.len() <= DER_MAX, DER)])
    }
}

impl Bounded for Enrolled {
    fn broken(&self) -> Option<&'static str> {
        let fits = self.certificate.len() <= DER_MAX && self.ca.len() <= DER_MAX;
        first([(is_text(&self.connector), TEXT), (fits, DER)])
    }
}

impl Welcome {
    /// The same without the last refused claims, if all together are too long for a frame. The edge's log and status still
    /// have every one.
    #[must_use]
    pub fn fitting(mut self) -> Self {
        fit((2 + 8 + self.edge.len() + 8, &self.accepted), &mut self.refused);
        self
    }
}

impl Judged {
    /// The same without the last refused claims, as of [`Welcome::fitting`].
    #[must_use]
    pub fn fitting(mut self) -> Self {
        fit((0, &self.accepted), &mut self.refused);
        self
    }
}

/// Leaves out the last refused claims that do not fit a frame behind what is accepted and `before` bytes.
fn fit((before, accepted): (usize, &[RouteClaim]), refused: &mut Vec<RefusedRoute>) {
    // As bincode has it: each text and list has its length before it, in eight bytes.
    let claim = |c: &RouteClaim| 16 + c.vnet.len() + c.cidr.len();
    let accepted: usize = accepted.iter().map(claim).sum();
    let mut room = CONTROL_BODY_MAX.saturating_sub(before + 8 + accepted + 8);
    let mut kept = 0;
    for one in &*refused {
        let length = claim(&one.route) + 8 + one.reason.len();
        let Some(left) = room.checked_sub(length) else { break };
        room = left;
        kept += 1;
    }
    refused.truncate(kept);
}

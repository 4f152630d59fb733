//! What is broken, when, whom that excuses, and what is promised of it.

use std::time::Duration;

use crate::sample::{Network, Sample};

/// Everything is as before within this of the end of what was wrong.
pub const RECOVERY: Duration = Duration::from_secs(2);
/// What a killed process carried is told so within this, where its host lives on and can say that it is gone.
pub const GONE_TOLD: Duration = Duration::from_millis(500);
/// A dead link's paths are out of rotation within this.
pub const LINK_LEAVES: Duration = Duration::from_secs(1);

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Whom it excuses, and what is promised all the same.
    pub bounds: Bounds,
    /// When.
    pub times: Times,
}

/// Who has no path left while something is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// Nobody.
    Nobody,
    /// Clients of this edge.
    Edge(usize),
    /// Everything that goes to this network.
    Network(Network),
}

impl Gone {
    /// Whether a sample is one of those.
    #[must_use]
    pub fn has(self, sample: &Sample) -> bool {
        match self {
            Self::Nobody => false,
            Self::Edge(edge) => sample.edge == edge,
            Self::Network(network) => sample.network == network,
        }
    }
}

/// Which flows may break with what is broken. What may be done twice never may: it is done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cuts {
    /// None.
    Nothing,
    /// Those that were on this part, or may have been: what was opened until it broke.
    On(Part),
    /// Any that began before the broken part had left: nobody tells who was on it.
    Whatever,
}

/// A part that carries flows of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The network.
    pub network: Network,
    /// Which part of it.
    pub which: Which,
}

/// A part of a network, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// A connector's replica.
    Connector(&'static str),
    /// An origin.
    Origin(&'static str),
}

impl Part {
    /// Whether a sample may have been on it. A connection that nobody had answered yet may have been on any part.
    #[must_use]
    pub fn may_carry(self, sample: &Sample) -> bool {
        let is_on = sample.placed.as_ref().is_none_or(|placed| match self.which {
            Which::Connector(name) => placed.via == name,
            Which::Origin(name) => placed.origin == name,
        });
        sample.network == self.network && is_on
    }
}

/// Whom a fault excuses, and what is promised of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Who has no path left.
    pub gone: Gone,
    /// Which flows may be cut.
    pub cuts: Cuts,
    /// From when on nothing new meets the broken part; none if the part stays in rotation, as a slow link does.
    pub leaves: Option<Duration>,
    /// How soon whatever is cut is told so; none if that is for the one who waits to find out.
    pub told: Option<Duration>,
    /// Whether it all is as before within [`RECOVERY`] of the end of what was wrong.
    pub recovers: bool,
}

/// When what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Before it was broken.
    pub at: Duration,
    /// After it was broken: what was opened until then may have been on its way when it broke.
    pub struck: Duration,
    /// When it was begun to be put right; none: not yet, or nobody waits for that.
    pub healed: Option<Duration>,
    /// When every edge found everything healthy again; none if that never was, or nobody asks.
    pub whole: Option<Duration>,
}

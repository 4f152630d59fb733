//! What a decision weighs, step by step, for whoever asks why.

use crate::health::view::{BalancerView, OriginView, PathView, PoolView};

/// Whoever looks on while a flow is placed.
pub(super) trait Witness<'v> {
    /// Something was weighed. What it is costs nothing where nobody looks on.
    fn note(&mut self, step: impl FnOnce() -> Step<'v>);
}

/// Nobody looks on, as with most flows.
#[derive(Debug)]
pub(super) struct Nobody;

impl<'v> Witness<'v> for Nobody {
    fn note(&mut self, _step: impl FnOnce() -> Step<'v>) {}
}

/// All that was weighed, in order: what was chosen is what was not passed over.
#[derive(Debug, Default)]
pub struct Trace<'v>(pub Vec<Step<'v>>);

impl<'v> Witness<'v> for Trace<'v> {
    fn note(&mut self, step: impl FnOnce() -> Step<'v>) {
        self.0.push(step());
    }
}

/// One thing that was weighed.
#[derive(Debug, Clone, Copy)]
pub struct Step<'v> {
    /// What.
    pub what: Weighed<'v>,
    /// Why it was passed over; absent: it was chosen.
    pub passed: Option<PassedOver>,
}

/// What is weighed.
#[derive(Debug, Clone, Copy)]
pub enum Weighed<'v> {
    /// The origin that the client is bound to, and its pool.
    Bound(&'v PoolView, &'v OriginView),
    /// The load balancer, which takes nothing new.
    Balancer(&'v BalancerView),
    /// A pool of the load balancer.
    Pool(&'v PoolView),
    /// The pool that serves when no other can.
    Fallback(&'v PoolView),
    /// A pool whose origins were ill when they were last heard of, and may be well by now.
    Hope(&'v PoolView),
    /// An origin of the pool that was chosen, and what it weighs now.
    Origin(&'v OriginView, f64),
    /// A path to the origin that was chosen.
    Path(&'v PathView),
}

/// Why something was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PassedOver {
    /// The flow has been there in vain.
    Tried,
    /// Its link leaves packets unanswered, or takes nothing new.
    Suspect,
    /// Its probes fail.
    Unhealthy,
    /// Others are known to be better.
    BetterKnown,
    /// Nothing of it may take the flow.
    NoPath,
    /// It takes nothing new, by hand or by the file.
    Draining,
    /// Its weight is 0.
    WeightZero,
    /// Too few of its origins are well.
    Critical,
    /// It could serve as well: the steering chose another.
    Steered,
}

impl PassedOver {
    /// The word for whoever asked.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tried => "tried",
            Self::Suspect => "suspect",
            Self::Unhealthy => "unhealthy",
            Self::BetterKnown => "better_known",
            Self::NoPath => "no_path",
            Self::Draining => "draining",
            Self::WeightZero => "weight_0",
            Self::Critical => "critical",
            Self::Steered => "steered",
        }
    }

    /// What could serve as well was passed over by the steering, unless it was chosen.
    pub(super) fn unless(is_chosen: bool) -> Option<Self> {
        (!is_chosen).then_some(Self::Steered)
    }
}

//! The attempts of a flow of any kind: placed, tried there, and placed again while nothing can be delivered twice that may not be.

use std::time::Instant;

use protocol::error::Reason;

use super::{
    placing::{Place, Search},
    story::Story,
};
use crate::balancer::{
    NoPlace,
    retry::{self, Delivered, Left},
};

/// A kind of flow, at its attempts.
pub(in crate::listener) trait Attempt {
    /// What comes of one that goes well.
    type Opened;
    /// How the flow ends if none does.
    type Over;

    /// Tries a place.
    async fn at(&mut self, place: &Place) -> Result<Self::Opened, Missed<Self::Over>>;

    /// Completes if nobody waits for a place any more. Dropping it loses nothing.
    async fn is_left(&mut self) -> Self::Over {
        std::future::pending().await
    }

    /// What is told of the flow.
    fn story(&mut self) -> &mut Story;

    /// How it ends if there is no place for it. The reason that an attempt has failed for comes first.
    fn no_place(&mut self, no: &NoPlace, last: Option<Reason>) -> Self::Over;

    /// How it ends if it may not be tried again.
    fn not_again(&mut self, missed: &Miss) -> Self::Over;
}

/// How an attempt failed.
#[derive(Debug)]
pub(in crate::listener) enum Missed<O> {
    /// Something may go better elsewhere.
    Here(Miss),
    /// The flow is over, whatever else there is.
    Over(O),
}

/// What failed at a place.
#[derive(Debug, Clone, Copy)]
pub(in crate::listener) struct Miss {
    /// Why.
    pub(in crate::listener) reason: Reason,
    /// What that has delivered.
    pub(in crate::listener) delivered: Delivered,
    /// What is left of the flow.
    pub(in crate::listener) left: Left,
    /// It is held against the path's health: the origin has not accepted.
    pub(in crate::listener) is_told: bool,
}

/// Tries places, the given one first, until one takes the flow.
pub(in crate::listener) async fn make<A: Attempt>(
    search: &mut Search<'_>,
    mut given: Option<Place>,
    attempt: &mut A,
) -> Result<(Place, A::Opened), A::Over> {
    loop {
        let place = match given.take() {
            Some(place) => place,
            None => {
                let found = tokio::select! {
                    biased;
                    found = search.find() => found,
                    over = attempt.is_left() => return Err(over),
                };
                attempt.story().waited(search.waited());
                found.map_err(|no| {
                    attempt.story().no_place(&no, search.take_weighed());
                    attempt.no_place(&no, search.last())
                })?
            }
        };
        if attempt.story().attempts() == 0 {
            place.budget.pay_in();
        }
        attempt.story().tried(&place);
        let miss = match attempt.at(&place).await {
            Ok(opened) => return Ok((place, opened)),
            Err(Missed::Here(miss)) => miss,
            Err(Missed::Over(over)) => return Err(over),
        };
        attempt.story().missed(miss.reason);
        if miss.is_told {
            search.failed(&place, miss.reason);
        } else {
            search.avoid(&place, miss.reason);
        }
        let again = retry::again(miss.delivered, miss.left, attempt.story().deliveries);
        if !place.budget.allows(again, Instant::now()) {
            return Err(attempt.not_again(&miss));
        }
    }
}

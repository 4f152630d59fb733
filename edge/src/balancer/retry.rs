//! Whether a flow whose attempt has failed may be placed again, and what that costs. Pure, and the same for every protocol.

/// Most times that a flow is sent without anybody knowing what came of it. One that is the death of whoever gets it does not
/// go round all origins.
pub const DELIVERIES_MAX: u32 = 3;

/// What a failed attempt has delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// Nothing, or nothing that matters if it comes twice.
    Nothing,
    /// Something, and the origin says that it did not look at it: it has had work with it.
    Unread,
    /// Something, and nobody knows what came of it.
    Something,
}

/// What is left of a flow after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// All of it, and it may be delivered twice.
    Repeatable,
    /// All of it.
    Whole,
    /// A part of it is gone.
    Nothing,
}

/// Whether a flow may be tried once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// No.
    No,
    /// Nothing of it has cost an origin anything.
    Free,
    /// From the retry budget of its load balancer.
    Paid,
}

/// Whether a flow may be placed again that was delivered so often with nobody knowing what came of it.
#[must_use]
pub fn again(delivered: Delivered, left: Left, deliveries: u32) -> Again {
    match (delivered, left) {
        (_, Left::Nothing) => Again::No,
        _ if deliveries >= DELIVERIES_MAX => Again::No,
        (Delivered::Nothing, Left::Whole | Left::Repeatable) => Again::Free,
        (Delivered::Unread, Left::Whole | Left::Repeatable) | (Delivered::Something, Left::Repeatable) => Again::Paid,
        (Delivered::Something, Left::Whole) => Again::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_twice_that_may_not_be() {
        for deliveries in 0..2 * DELIVERIES_MAX {
            assert_eq!(again(Delivered::Something, Left::Whole, deliveries), Again::No);
            for delivered in [Delivered::Nothing, Delivered::Unread, Delivered::Something] {
                assert_eq!(again(delivered, Left::Nothing, deliveries), Again::No, "{delivered:?}");
            }
        }
    }

    #[test]
    fn what_costs_an_origin_is_paid_for_and_has_an_end() {
        assert_eq!(again(Delivered::Nothing, Left::Whole, 0), Again::Free);
        assert_eq!(again(Delivered::Unread, Left::Whole, 0), Again::Paid);
        assert_eq!(again(Delivered::Something, Left::Repeatable, DELIVERIES_MAX - 1), Again::Paid);
        assert_eq!(again(Delivered::Something, Left::Repeatable, DELIVERIES_MAX), Again::No);
    }
}

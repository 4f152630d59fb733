//! Places flows: affinity, then a pool, then an origin, then a path.
//!
//! Pure: callers bring the view of the moment, the time and the dice. It never calls a tunnel, and what it remembers (who
//! is bound where, whose turn it is) it may lose without harm.

mod affinity;
mod eligible;
mod place;
mod rotation;
mod steering;
mod tried;

pub use affinity::BINDINGS_MAX;
pub use place::{Ask, Balancer, Near, NoPlace, Placed, PlacedBy};
pub use tried::{TRIES_MAX, Tried};

#[cfg(test)]
mod tests;

//! Places flows: affinity, then a pool, then an origin, then a path.
//!
//! Callers bring the view of the moment, the time and the dice. It never calls a tunnel.

mod acting;
mod affinity;
mod decide;
mod eligible;
mod memory;
mod place;
mod rotation;
mod steering;
mod tried;

pub use acting::Balancer;
pub use affinity::BINDINGS_MAX;
pub use place::{Ask, Near, NoPlace, Placed, PlacedBy};
pub use tried::{TRIES_MAX, Tried};

#[cfg(test)]
mod tests;

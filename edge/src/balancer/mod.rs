//! Places flows: route, affinity, then a pool, then an origin, then a path; and says whether one that failed may be placed again.
//!
//! Callers bring the view of the moment, the time and the dice. It never calls a tunnel.

mod acting;
mod affinity;
mod budget;
pub mod cookie;
mod decide;
mod eligible;
mod hashed;
mod memory;
mod place;
pub mod retry;
mod rotation;
mod steering;
mod trace;
mod tried;
mod weight;

pub use acting::Balancer;
pub use affinity::BINDINGS_MAX;
pub use budget::Budget;
pub use cookie::Sealer;
pub use decide::route;
pub use place::{Ask, Near, NoPlace, Placed, PlacedBy};
pub use trace::{PassedOver, Step, Trace, Weighed};
pub use tried::{TRIES_MAX, Tried};

#[cfg(test)]
mod tests;

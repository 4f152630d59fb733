//! Which links lead to an address of a VNet, and which routes a connector may claim.
//!
//! Pure: it keeps no connection and watches nothing. Whoever owns the links builds a new table when they change.

mod grant;
mod rule;
mod table;

pub use grant::{OutsideGrant, check_grant, permit};
#[cfg(test)]
pub(crate) use rule::is_under;
pub use rule::{load_balancer, rule};
pub use table::RouteTable;

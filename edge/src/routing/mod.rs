//! Which links lead to an address of a VNet, and which routes a connector may claim.
//!
//! Pure: it keeps no connection and watches nothing. Whoever owns the links builds a new table when they change.

mod grant;
mod table;

pub use grant::{OutsideGrant, check_grant, permit};
pub use table::RouteTable;

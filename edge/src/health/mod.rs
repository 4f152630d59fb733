//! What is known of paths, origins, pools and load balancers: when to probe, what a result means, and the published view.
//!
//! The deciding half is pure: callers bring the time, the results and the dice. Nothing here places a flow.

mod board;
mod code;
mod destination;
mod detail;
mod index;
mod key;
mod paths;
mod probe;
mod report;
mod rollup;
mod schedule;
mod state;
mod told;
pub mod view;

pub use board::{Board, BoardHandles, BoardParts};
pub use code::code_of;
pub use destination::{DESTINATION, Destination, Surroundings};
pub use key::{BalancerKey, OriginKey, PathKey};
pub use report::{Report, Reports};
pub use rollup::{At, PathAt, Sources};
pub use schedule::{FIRST_SPREAD, PROBES_PER_SECOND_MAX, Ran, first_wait, next_start, stretch, stretched};
pub use state::{Outcome, PathReport, PathState, Standing, Transition};

//! Public addresses: accepts what clients send and carries it to where the balancer places it.
//!
//! Rooms, each using only those before it: `proof, sources, scarce, flows, recent` ← `guests` ← `shared, state` ← `flow`, what is the same for every
//! protocol ← `tcp, udp, http` beside each other ← `accept` ← `table` ←
//! `certificates`.

mod accept;
mod certificates;
mod explain;
mod flow;
mod flows;
mod guests;
mod http;
mod proof;
mod recent;
mod scarce;
mod shared;
mod sources;
mod state;
mod table;
mod tcp;
mod trace;
mod udp;

pub use flows::{Flows, Left};
pub use http::Http;
#[doc(hidden)]
pub use http::fuzzing;
pub use recent::Recent;
pub use scarce::Scarce;
pub use shared::Shared;
pub use sources::Sources;
pub use state::ListenerState;
pub use table::{Listeners, ListenersError, Untraced};

//! Public addresses: accepts what clients send and carries it to where the balancer places it.

mod accept;
mod announced;
mod attempts;
mod bucket;
mod cause;
mod flow;
mod http;
mod placing;
mod scarce;
mod shared;
mod state;
mod story;
mod table;
mod udp;

pub use http::Http;
#[doc(hidden)]
pub use http::fuzzing;
pub use scarce::Scarce;
pub use shared::Shared;
pub use state::ListenerState;
pub use table::{Listeners, ListenersError};
pub use udp::Sources;

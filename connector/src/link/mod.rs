//! Links to edges: one supervisor per edge and slot dials, keeps and replaces them.

mod allowance;
mod backoff;
mod dial;
mod renewal;
mod session;
mod slot;
mod status;
mod supervisor;

pub use backoff::Backoff;
pub use dial::{DialError, Dialler, EnrolError, enrol};
pub use renewal::Renewal;
pub use status::{About, EdgeLinks, LinkStatus, Links};
pub use supervisor::{Supervisor, supervise};

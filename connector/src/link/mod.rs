//! Links to edges: one supervisor per edge and slot dials, keeps and replaces them.

mod allowance;
mod backoff;
mod book;
mod connect;
mod dial;
mod hedge;
mod registered;
mod renewal;
mod slot;
pub(crate) mod status;
mod supervisor;
mod trouble;
mod words;

pub use backoff::Backoff;
pub use book::AddressBook;
pub use dial::{DialError, Dialler, EnrolError, enrol};
pub use renewal::{Renewal, tell_clock};
pub use slot::Turn;
pub use status::{About, EdgeLinks, LinkStatus, Links};
pub use supervisor::{Supervisor, supervise};
pub use trouble::Trouble;

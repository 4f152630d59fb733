//! What TLS goes by on both sides of the edge, read from files: certificates that clients are shown, and authorities that are
//! believed at origins.
//!
//! It opens nothing. Reading blocks: callers see to it that this holds nobody up.

mod certificate;
mod client;
mod server;

pub use certificate::{Certificate, Term};
pub use client::{ClientTls, ClientTlsTable};
pub use server::{ServerTls, Shaken, Shown};

use std::io;

use protocol::id::Name;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authorities of a pool's origins.
    #[error("pool {pool}: {source}")]
    Pool {
        /// Whose.
        pool: Name,
        /// What is wrong, with the file in the text.
        source: io::Error,
    },
    /// A certificate of a listener, or its key.
    #[error("listener {listener}: {source}")]
    Listener {
        /// Whose.
        listener: Name,
        /// What is wrong, with the file in the text.
        source: io::Error,
    },
}

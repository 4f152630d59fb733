//! A place, as logs and explanations name it.

use std::net::SocketAddr;

use api::explain::Attempt;

use crate::health::DESTINATION;

/// A place, as logs name it.
#[derive(Debug, Clone)]
pub(in crate::listener) struct Told {
    /// Its pool.
    pub(in crate::listener) pool: String,
    /// Its origin.
    pub(in crate::listener) origin: String,
    /// Its link; absent if the way is direct.
    pub(in crate::listener) link: Option<String>,
    /// Whose link it is.
    pub(in crate::listener) connector: Option<String>,
}

impl Told {
    /// As it is told of an attempt.
    pub(in crate::listener) fn attempt(&self) -> Attempt {
        let Self { pool, origin, link, connector } = self.clone();
        Attempt { pool, origin, link, connector, ..Attempt::default() }
    }

    /// Where a flow was for, before anything leads there.
    pub(in crate::listener) fn of_destination(address: SocketAddr) -> Self {
        Self { pool: DESTINATION.to_owned(), origin: address.to_string(), link: None, connector: None }
    }
}

//! Origins: small ones, each with one habit, and real servers.
//!
//! Small ones are the rig's, on addresses that are theirs as soon as they are free.

pub mod frames;
pub mod habits;
pub mod recorder;
pub mod servers;
pub mod web;

use std::{
    io,
    net::SocketAddr,
    ops::{Deref, DerefMut},
};

pub use rig::origin::{Connection, Ending, reset};

use super::wait;

/// A small origin.
#[derive(Debug)]
pub struct Origin(rig::origin::Origin);

impl Origin {
    /// Starts an origin with this habit; with port 0, on any.
    #[must_use]
    pub fn start(
        address: SocketAddr,
        habit: impl Fn(&Connection) -> io::Result<Ending> + Send + Sync + 'static,
    ) -> Self {
        let mut origin = Self(rig::origin::Origin::idle(address, habit));
        origin.resume();
        origin
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Listens (again).
    ///
    /// # Panics
    /// If the address is taken.
    pub fn resume(&mut self) {
        wait::soon("the origin's address to be free", || self.0.resume().ok());
    }
}

impl Deref for Origin {
    type Target = rig::origin::Origin;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Origin {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

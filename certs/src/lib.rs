//! Identity: the fleet's CA, join tokens, short-lived certificates, their rotation and revocation, and the TLS
//! configurations of the tunnel.
//!
//! It opens no socket, spawns no task and asks no clock: callers bring `now` and act on the answers. What it keeps lives
//! in files of a `state_dir`; reading and writing them blocks (briefly, under file locks), so an async caller does it on a
//! blocking thread.

pub mod ca;
pub mod csr;
pub mod digest;
pub mod edge;
pub mod endpoint;
pub mod enrol;
mod files;
#[cfg(test)]
mod fleet;
pub mod identity;
mod issued;
mod peer;
mod pem;
mod provider;
pub mod revocation;
pub mod rotation;
pub mod secret;
pub mod tls;
pub mod token;
pub mod tokens;
pub mod verify;

pub use files::{FileError, read, write};
pub use issued::EdgeIdentity;

//! Sockets that two processes have at once: handed from one to the other while both serve, and those that whoever started the
//! process had opened for it.
//!
//! A listening TCP socket needs no more than that: each connection is accepted by either. Of a UDP socket one process reads, the newer
//! one, and passes on what belongs to the other. What the processes say to each other beside that is their own business.

pub(crate) mod bound;
mod channel;
mod relay;
pub(crate) mod sharing;
mod sockets;

pub use channel::{Channel, Door, FILES_MAX, MESSAGE_MAX};
pub use sharing::{Generation, Passing};
pub use sockets::{Handed, Shares, SocketKind, Sockets};

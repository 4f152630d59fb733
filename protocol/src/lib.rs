//! The wire between a connector and an edge: names, limits, frames, stream headers, and the splice that carries bytes.
//!
//! It dials nothing, spawns no task and keeps no clock of its own. `docs/protocol.md` draws every byte.

pub mod codec;
pub mod control;
pub mod datagram;
pub mod error;
pub mod flow_id;
#[cfg(test)]
mod golden;
pub mod handshake;
pub mod id;
pub mod inflow;
pub mod limiter;
pub mod limits;
pub mod link;
pub mod liveness;
#[cfg(test)]
mod pair;
pub mod proxy;
pub mod session;
pub mod sparing;
pub mod splice;
pub mod stream;
pub mod switch;
pub mod version;
pub mod windows;
pub mod wire;

//! A network in memory: hosts, TCP connections and UDP sockets without the operating system, and the faults a test asks
//! for.
//!
//! One [`MemoryNetwork`] is one space of addresses. A [`MemoryHost`] is a [`crate::Network`] and lives in one space or in
//! several, as a host with several interfaces does; spaces may hold the same addresses and never mix. Nothing takes time
//! here but what a cut holds back. It is always compiled: a feature would build every crate above it twice, and a release
//! that never makes a network in memory pays one predicted branch a call.

mod connection;
mod datagram;
mod host;
mod listener;
mod network;
mod ports;
mod queue;
mod stream;
mod udp;
mod waiters;

pub use datagram::Dropped;
pub use host::MemoryHost;
pub use network::MemoryNetwork;
pub(crate) use stream::Stream;

#[cfg(test)]
mod tests;

//! The one seam to the network and to the cores: sockets that flows run over, the network they come from, and the worker
//! threads that carry them. And what keeps a process's tasks alive, and tells it of files that changed.
//!
//! Edge and connector reach listeners, dials and QUIC's UDP socket only through [`Network`], so that the real code can run
//! over a network in memory. It knows nothing of tunnels.

pub mod datagrams;
pub mod drill;
pub mod endpoint;
pub mod exposition;
mod file_watch;
mod files;
pub mod handover;
mod info;
pub mod memory;
pub mod network;
pub mod ping;
pub mod progress;
mod quic;
pub mod race;
pub mod resolve;
pub mod socket;
pub mod towards;
pub mod unreachable;
mod unread;
pub mod vital;
pub mod workers;

pub use datagrams::{Batch, Datagrams, Front, Peer};
pub use file_watch::FileWatch;
pub use handover::Sockets;
pub use network::{Listener, Network, Os};
pub use ping::PingError;
pub use race::Racer;
pub use resolve::Resolver;
pub use socket::{Parked, Socket};
pub use towards::Towards;
pub use unreachable::Unreachables;
pub use vital::Vital;
pub use workers::Workers;

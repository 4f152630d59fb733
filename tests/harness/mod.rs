//! The harness: worlds of real processes on loopback addresses of their own, and clients that look at what came through.
//!
//! It panics with what it waited for and prints every process's log when a test fails. It holds no expectations about the
//! product beyond its outside: commands, files, endpoints.

pub mod address;
pub mod connector;
pub mod datagrams;
pub mod disk;
pub mod edge;
pub mod false_edge;
pub mod forger;
pub mod frames;
pub mod http;
pub mod load;
pub mod origin;
pub mod process;
pub mod relay;
pub mod rogue;
pub mod service;
pub mod wait;
pub mod world;

pub use connector::{Connector, ConnectorFile};
pub use edge::{Edge, EdgeFile};
pub use false_edge::FalseEdge;
pub use origin::Origin;
pub use process::{Process, Ran};
pub use rig::client;
pub use rogue::Rogue;
pub use service::Service;
pub use world::{Vnet, World};

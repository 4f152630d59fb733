//! Links over QUIC. Here, and nowhere else but in the network below it, the library has a name.
//!
//! Everything is the library's own call with our words for its errors: no box, no copy, no task is added to it.

mod acks;
mod connection;
mod lost;
mod settings;
mod stream;

pub use self::settings::{allow_large_packets, link_transport};
pub(in crate::link) use self::{
    connection::Connection,
    lost::Lost,
    stream::{RecvStream, SendStream},
};

//! Links over QUIC. Here, and nowhere else but in the network below it, the library has a name.
//!
//! Everything is the library's own call with our words for its errors: no box, no copy, no task is added to it.

mod acks;
mod connection;
mod endpoint;
mod generation;
mod lost;
mod settings;
mod stream;

pub(in crate::link) use self::{
    connection::Connection,
    endpoint::{Credentials, Endpoint, Handshake, Incoming, Outbound, Undialled},
    lost::Lost,
    stream::{RecvStream, SendStream},
};
pub use self::{
    endpoint::{Listening, listen, outbound},
    generation::generation_of,
    settings::{client_crypto, link_transport, server_crypto},
};

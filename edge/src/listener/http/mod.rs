//! HTTP listeners: the edge ends the client's HTTP, judges and routes every request, and speaks HTTP to origins itself.
//!
//! hyper parses and frames; what it would let pass and a server behind might read another way is refused before it sees
//! it. Nothing is ever passed through: every message is written anew. Deciding is pure (`head`, `chunks`, `frames`,
//! `meter`, `request`, `fields`, `path`, `answer`, `protocols`, `websocket`, `budget`, `failed`, `patience`); acting is
//! `serve`, `http2`, `stream`, `forward`, `reply`, `guard`, `watched`, `drain`, `upstream`, `idle`, `upgrade`.

mod accepted;
mod affinity;
mod answer;
mod authority;
mod body;
mod budget;
mod chunks;
mod client;
mod connection;
mod copied;
mod deadline;
mod drain;
mod duplex;
mod early;
mod failed;
mod fault;
mod fields;
mod forward;
mod frames;
#[doc(hidden)]
pub mod fuzzing;
mod grammar;
mod grpc;
mod guard;
mod head;
mod http2;
mod idle;
mod interim;
pub(super) mod kept;
mod meter;
mod outgoing;
mod owed;
mod pace;
mod path;
mod patience;
mod place;
mod protocols;
mod received;
mod record;
mod reply;
mod request;
mod rest;
mod serve;
mod stall;
mod stream;
mod switch;
mod talk;
mod upgrade;
mod upstream;
mod watched;
mod websocket;

pub(super) use accepted::{Accepted, serve};
pub use affinity::Sealer;
pub use kept::Http;

//! HTTP listeners: the edge ends the client's HTTP, judges and routes every request, and speaks HTTP to origins itself.
//!
//! hyper parses and frames; what it would let pass and a server behind might read another way is refused before it sees
//! it. Nothing is ever passed through: every message is written anew.
//!
//! Rooms, each using only those before it: `message` ← `origin` ← `client` ← `kept, connection` ← `carry` ← `serve` ← `accepted`,
//! with `imagined`, which uses `message` alone, and `traced` behind `carry`.

mod accepted;
mod carry;
mod client;
mod connection;
#[doc(hidden)]
pub mod fuzzing;
mod imagined;
pub(super) mod kept;
mod message;
mod origin;
mod serve;
mod traced;

pub(super) use accepted::{Accepted, serve};
pub(super) use imagined::{Imagined, Words, imagine};
pub use kept::Http;
pub(super) use traced::{Asked, Traced};

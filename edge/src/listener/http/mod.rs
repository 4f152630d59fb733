//! HTTP listeners: the edge ends the client's HTTP, judges and routes every request, and speaks HTTP to origins itself.
//!
//! hyper parses and frames; what it would let pass and a server behind might read another way is refused before it sees
//! it. Nothing is ever passed through: every message is written anew.
//!
//! Rooms, each using only those before it: `message` ← `origin` ← `client` ← `kept, connection` ← `carry` ← `serve` ← `accepted`.

mod accepted;
mod carry;
mod client;
mod connection;
#[doc(hidden)]
pub mod fuzzing;
pub(super) mod kept;
mod message;
mod origin;
mod serve;

pub(super) use accepted::{Accepted, serve};
pub use kept::Http;

/// A host as requests name it, as rules read it.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn read_host(host: &str) -> Result<String, String> {
    let read = message::authority::Authority::parse(host);
    read.map(|authority| authority.host).ok_or_else(|| format!("`host` {host:?} is no HOST or HOST:PORT"))
}

/// A path as requests ask for it, in every reading that rules go by.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn read_path(path: &str, paths: crate::model::Paths) -> Result<Vec<String>, String> {
    let read = message::path::UrlPath::read(path, paths);
    read.map(|path| path.ruled).map_err(|fault| format!("`path` {path:?} would be refused: {}", fault.code))
}

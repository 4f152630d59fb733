//! What an admin endpoint says to a plain request.

use std::{net::SocketAddr, time::Duration};

pub use rig::client::http::Answer;

/// Longest wait for a whole answer.
const PATIENCE: Duration = Duration::from_secs(7);

/// Sends a request and reads the answer, or `None` if the server cannot be reached or talks nonsense.
#[must_use]
pub fn ask(at: SocketAddr, method: &str, path: &str, headers: &str) -> Option<Answer> {
    rig::client::http::ask(at, PATIENCE, (method, path, headers)).ok()
}

/// A plain GET.
#[must_use]
pub fn get(at: SocketAddr, path: &str) -> Option<Answer> {
    ask(at, "GET", path, "")
}

//! How far a flow comes now: the answer of an edge that has sent one on its way to see.

use serde::{Deserialize, Serialize};

use crate::explain::Place;

/// Where an edge traces; it is asked as it is asked to explain, by a [`Question`](crate::explain::Question).
pub const TRACE: &str = "/api/v1/trace";

/// A flow that was sent on its way to see how far it comes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trace {
    /// Its id, as the access log and the connector's log have it.
    pub flow: String,
    /// The listener.
    pub listener: String,
    /// It came through.
    pub through: bool,
    /// Where it went last; none if there was no place for it.
    pub place: Option<Place>,
    /// The status that its origin answered, if HTTP was spoken.
    pub status: Option<u16>,
    /// What it went through, in order. The one where it stopped has failed; those of places that were tried in vain have, too.
    pub stages: Vec<Stage>,
    /// The stage at which it stopped.
    pub stopped_at: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// What was met, in words.
    pub detail: Option<String>,
    /// What to do about it.
    pub advice: Option<String>,
    /// How long all of it took, milliseconds.
    pub total_ms: f64,
}

/// A stage of a flow's way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stage {
    /// `accept`, `request`, `place`, `open`, `resolve`, `permit`, `dial`, `tls`, `first_byte`.
    pub stage: String,
    /// At which place, counted from 1; 0 before there is one.
    pub attempt: u32,
    /// How long it took, milliseconds; none if nothing was measured.
    pub took_ms: Option<f64>,
    /// It is where this attempt came to its end.
    pub failed: bool,
    /// What was met, in words.
    pub note: Option<String>,
}

//! Drains: what is emptied, and what is left of it.

use serde::{Deserialize, Serialize};

/// Where an edge tells what is drained, drains, and fills again.
pub const DRAINS: &str = "/api/v1/drains";

/// What is asked about, or to be drained or filled again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Asked {
    /// `connector`, `origin`, `pool`, `load_balancer` or `listener`.
    pub kind: String,
    /// Its name: of one replica CONNECTOR/REPLICA, of an origin POOL/ORIGIN.
    pub name: String,
    /// Who asks, by what they say of themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// For so many milliseconds it is watched how fast what is left carries. What is gone meanwhile is told as empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_ms: Option<u64>,
}

/// Why something takes nothing new.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Drain {
    /// `api`: somebody has asked for it. `file`: the settings say so, and only there it can be undone.
    pub by: String,
    /// Who has asked, by what they said of themselves.
    pub who: Option<String>,
    /// Since when, RFC 3339.
    pub since: String,
}

/// One thing that is drained.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Drained {
    /// What it is.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Why.
    #[serde(flatten)]
    pub drain: Drain,
}

/// All that is drained.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Drains {
    /// One after the other.
    pub drains: Vec<Drained>,
}

/// What has come of asking to drain something, or to fill it again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Done {
    /// What it is.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// It was not so before.
    pub changed: bool,
    /// Why it takes nothing new now; none: it does.
    pub drain: Option<Drain>,
    /// It is not in the settings any more, so that it takes nothing new anyway.
    pub removed: bool,
    /// What is wrong all the same; absent if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Of what kind that is, as [`Code`](crate::code::Code) has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// What is left of something.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// What it is.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Why it takes nothing new; none: it does, unless it is removed.
    pub drain: Option<Drain>,
    /// It is not in the settings any more.
    pub removed: bool,
    /// Flows that are open there; of a listener its connections.
    pub flows: usize,
    /// How long the oldest has been there, seconds; none if there is none.
    pub oldest_s: Option<f64>,
    /// What these flows have carried there so far, both ways.
    pub bytes: u64,
    /// How fast they carry, if that was to be watched.
    pub bytes_per_second: Option<f64>,
    /// A process that was replaced by the one that answers has not ended: its flows, which may be there too, are not counted.
    #[serde(default)]
    pub older: bool,
}

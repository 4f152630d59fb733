//! What crosses the admin endpoint of an edge or a connector, as types: who serves it writes them, who asks reads them, and
//! neither can mean another field than the other.
//!
//! Field names are an interface. Reading is lenient, since the two may be of different versions: what an older one does not say
//! is absent or empty, what a newer one says beyond this is passed over, and a word nobody knew yet is kept as it came.

pub mod code;
pub mod connector;
pub mod drain;
pub mod edge;
pub mod explain;
pub mod reload;
pub mod trace;
pub mod words;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use code::Code;

/// Where an edge or a connector tells everything.
pub const STATUS: &str = "/api/v1/status";

/// The status of whoever was asked. Only a connector tells of `edges`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Status {
    /// A connector's.
    Connector(Box<connector::Status>),
    /// An edge's.
    Edge(Box<edge::Status>),
}

/// What a connector reaches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Route {
    /// The address space.
    pub vnet: String,
    /// The network in it.
    pub cidr: String,
}

/// A claimed route that the edge did not accept. What is claimed may be no CIDR at all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct RefusedRoute {
    /// The address space, as claimed.
    pub vnet: String,
    /// The network in it, as claimed.
    pub cidr: String,
    /// Why not, in words.
    pub reason: Option<String>,
}

/// A connector was revoked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Its name.
    #[serde(default)]
    pub connector: String,
    /// Links of it that were closed.
    pub links_closed: usize,
    /// What is wrong all the same; absent if nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Of what kind that is, as [`Code`] has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Why something asked for was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// In words, for the one who asked.
    pub error: String,
    /// Of what kind it is, as [`Code`] has it; an older version does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Problem {
    /// A problem of this kind, with what to do about it.
    #[must_use]
    pub fn new(code: Code, error: String) -> Self {
        Self { error, code: Some(code.to_string()), help: Some(code.remedy().to_owned()) }
    }
}

/// A duration as it is told: milliseconds, with three decimals.
#[must_use]
pub fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests;

//! What came of reading settings again: the answer to whoever asked for it, and what status says of the last time.

use serde::{Deserialize, Serialize};

/// Where settings are read again. `?dry_run=true` only says what would change.
pub const RELOAD: &str = "/api/v1/reload";

/// How a reload went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reload {
    /// When it was over, RFC 3339.
    pub at: Option<String>,
    /// Whether what was read is in force now. It is not after a dry run.
    pub applied: bool,
    /// Whether it was only asked what would change.
    pub dry_run: bool,
    /// Of the catalog in force now; counts reloads, from 1.
    pub catalog_version: u64,
    /// Every object of the settings before and of those that were read. Empty if they could not be used.
    pub changes: Vec<Change>,
    /// Settings that differ from those in force and change only with a restart.
    pub restart: Vec<String>,
    /// Why what was read cannot be used, each with its place; empty if it can.
    pub mistakes: Vec<String>,
}

/// What becomes of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    /// What it is, in the word of the settings: `connector`, `monitor`, `pool`, `load_balancer`, `listener`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `added`, `removed`, `changed` or `unchanged`.
    pub fate: String,
    /// What differs, if it has changed, in the words of the settings. If nothing does, what it names has changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
}

/// The last reload, as status tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct LastReload {
    /// When it was over, RFC 3339.
    pub at: Option<String>,
    /// Whether what was read is in force.
    pub applied: bool,
    /// Settings that differ from those in force and change only with a restart.
    pub restart: Vec<String>,
    /// Why what was read is not in force, each with its place.
    pub mistakes: Vec<String>,
}

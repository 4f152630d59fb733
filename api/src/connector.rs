//! Of a connector.

use serde::{Deserialize, Serialize};

use crate::{RefusedRoute, Route, words::LinkState};

/// Everything a connector tells of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ConnectorStatus"))]
pub struct Status {
    /// Its name; none before it has joined.
    #[serde(default)]
    pub connector: Option<String>,
    /// Which of the processes of that name; none before it has joined.
    #[serde(default)]
    pub replica: Option<String>,
    /// Its release.
    #[serde(default)]
    pub version: String,
    /// When its certificate ends, RFC 3339; none before it has joined.
    #[serde(default)]
    pub certificate_expires: Option<String>,
    /// When this was told, RFC 3339, by the clock that all its times go by.
    #[serde(default)]
    pub now: Option<String>,
    /// Flows it carries now.
    #[serde(default)]
    pub flows: u64,
    /// What came of the last reload; none before there was one.
    #[serde(default)]
    pub reload: Option<Reload>,
    /// Those it keeps links to. Never absent: by it a connector is known from an edge.
    pub edges: Vec<Edge>,
}

/// How a reload of a connector's settings ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ConnectorReload"))]
#[serde(default)]
pub struct Reload {
    /// When, RFC 3339.
    pub at: String,
    /// Whether they are in force.
    pub applied: bool,
    /// What is wrong with them, one mistake each.
    pub mistakes: Vec<String>,
    /// Keys that have changed and count only with a restart.
    pub restart: Vec<String>,
}

/// One edge, as a connector sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ConnectorEdge"))]
#[serde(default)]
pub struct Edge {
    /// As the settings name it, HOST:PORT.
    pub address: String,
    /// As it calls itself; none before a link has registered.
    pub edge: Option<String>,
    /// Every slot, whether up or not.
    pub links: Vec<Link>,
    /// What it accepted.
    pub routes: Vec<Route>,
    /// What it did not.
    pub refused_routes: Vec<RefusedRoute>,
}

/// One link, as a connector sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ConnectorLink"))]
#[serde(default)]
pub struct Link {
    /// Which of those to this edge.
    pub slot: u16,
    /// Whether it carries.
    pub state: LinkState,
    /// Where it leads, as IP:PORT; none while it is dialled.
    pub remote: Option<String>,
    /// Round trip, milliseconds; none while it is dialled.
    pub rtt_ms: Option<f64>,
    /// When it registered, RFC 3339.
    pub since: Option<String>,
    /// Since when its state is that, RFC 3339; of one that is not up: since it last was, or is dialled.
    pub state_since: Option<String>,
    /// Why it is not up, in words.
    pub reason: Option<String>,
    /// The code of that, which `docs/errors.md` has more about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

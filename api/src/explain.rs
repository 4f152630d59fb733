//! Where a flow would go, and why: the answer of an edge that is asked to explain a decision.

use serde::{Deserialize, Serialize};

/// Where an edge explains.
pub const EXPLAIN: &str = "/api/v1/explain";

/// A flow that might come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Question {
    /// The listener that it would come to.
    pub listener: String,
    /// Its client's IP address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Where it would be for, as IP:PORT; only of a listener that leads each flow there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// The host it would ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path it would ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The id of a flow that has been here; then nothing else is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// What it would send as Cookie field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// Other fields it would send, each as `NAME: VALUE`, one a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<String>,
    /// The server name its client would ask for in the TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
}

/// A decision, with all that was weighed for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Explanation {
    /// The listener.
    pub listener: String,
    /// Which of its rules matched, counted from 1; none: the listener's own load balancer takes it.
    pub rule: Option<usize>,
    /// The load balancer; none if the listener leads each flow where it was for.
    pub load_balancer: Option<String>,
    /// The VNet in which it does.
    pub vnet: Option<String>,
    /// The file of the certificate that its client would be shown, if the question says for which name.
    pub certificate: Option<String>,
    /// The pool that it would go to; this and what follows is absent if there is no place for it.
    pub pool: Option<String>,
    /// The origin in it.
    pub origin: Option<String>,
    /// The link there; none if there is no tunnel.
    pub link: Option<String>,
    /// Whose link it is.
    pub connector: Option<String>,
    /// What led there: `affinity`, `steering` or `fallback`.
    pub by: Option<String>,
    /// What was weighed, in order.
    pub considered: Vec<Considered>,
    /// Why there is no place for it.
    pub reason: Option<String>,
    /// What was met, in words.
    pub detail: Option<String>,
    /// Where it would be tried after that, if each time the path were at fault.
    pub next: Vec<Place>,
}

/// Where a flow goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// The pool.
    pub pool: String,
    /// The origin in it.
    pub origin: String,
    /// The link there; none if there is no tunnel.
    pub link: Option<String>,
    /// Whose link it is.
    pub connector: Option<String>,
    /// What led there: `affinity`, `steering` or `fallback`.
    pub by: String,
}

/// One thing that was weighed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Considered {
    /// `bound` (the origin that the client is bound to), `pool`, `fallback` (the pool that serves when no other can), `hope`
    /// (a pool that was ill when last heard of), `origin` or `path`.
    pub what: String,
    /// Its name; of a path its link, or `direct`.
    pub name: String,
    /// As probes found it.
    pub health: String,
    /// Why not healthy.
    pub reason: Option<String>,
    /// Of an origin: its weight.
    pub weight: Option<f64>,
    /// Of an origin that could be chosen: which part of new flows it gets by its weight, 0 to 1.
    pub share: Option<f64>,
    /// Flows it has now; of a path, streams of its link.
    pub load: Option<usize>,
    /// Why it was passed over; none: it was chosen.
    pub passed_over: Option<String>,
}

/// The flows of an id that did not go well at once, the newest first. The requests of one trace have its id together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flows {
    /// The id.
    pub flow: String,
    /// They; never none.
    pub flows: Vec<Flow>,
}

/// What became of a flow that was refused, tried again, kept waiting or slow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flow {
    /// Its id.
    pub flow: String,
    /// Why it is remembered: `refused`, `retried`, `waited`, `slow`, `failed`.
    pub because: Vec<String>,
    /// `flow` (TCP), `session` (UDP) or `request` (HTTP).
    pub kind: String,
    /// When it was over, RFC 3339.
    pub ended_at: String,
    /// The listener.
    pub listener: String,
    /// Its client, as IP:PORT.
    pub source: String,
    /// Of a request: how it asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Of a request: whom it was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Of a request: the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Of a request: the status that the client was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Where it was tried, in order.
    pub attempts: Vec<Attempt>,
    /// How long it waited for a place, milliseconds.
    pub waited_ms: Option<f64>,
    /// How long its origin took to accept, milliseconds.
    pub connect_ms: Option<f64>,
    /// How long the head of its answer took, milliseconds.
    pub first_byte_ms: Option<f64>,
    /// How long all of it took, milliseconds.
    pub duration_ms: f64,
    /// How it ended, as the access log says.
    pub ended: String,
    /// Why, if there is a reason.
    pub reason: Option<String>,
    /// What was met, in words.
    pub detail: Option<String>,
    /// Of one that no place was found for: what was weighed when it was given up. Kept of the newest alone, and at most 32 steps.
    pub considered: Vec<Considered>,
}

/// One place at which a flow was tried.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// The pool.
    pub pool: String,
    /// The origin in it.
    pub origin: String,
    /// The link there; none if there is no tunnel.
    pub link: Option<String>,
    /// Whose link it is.
    pub connector: Option<String>,
    /// When it failed, milliseconds after the flow had come; none: it took the flow.
    pub failed_after_ms: Option<f64>,
    /// Why it failed.
    pub reason: Option<String>,
    /// What was met, in words.
    pub detail: Option<String>,
}

//! `connector list` and `connector revoke NAME`, asked of a running edge.

use serde::Deserialize;

use super::status::Report;
use crate::{
    admin::AdminEndpoint,
    args::{AdminArgs, Common, Revoke},
    failure::Failure,
    lifecycle, output,
};

/// What an edge says of a revocation.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Revoked {
    links_closed: Option<u64>,
}

pub(super) fn list(common: &Common, args: &AdminArgs) -> Result<(), Failure> {
    let edge = AdminEndpoint::find(common, args)?;
    let report = lifecycle::runtime()?.block_on(Report::ask(&edge))?;
    output::print(&report.connectors())
}

pub(super) fn revoke(common: &Common, Revoke { name, force, admin }: &Revoke) -> Result<(), Failure> {
    let edge = AdminEndpoint::find(common, admin)?;
    let query = if *force { "?force=true" } else { "" };
    let answer = lifecycle::runtime()?.block_on(edge.post(&format!("/api/v1/connectors/{name}/revoke{query}")))?;
    let revoked: Revoked = serde_json::from_slice(&answer).unwrap_or_default();
    let closed = match revoked.links_closed {
        Some(1) => "1 link closed".to_owned(),
        Some(links) => format!("{links} links closed"),
        None => "its links are closed".to_owned(),
    };
    output::print(&format!(
        "connector {name} is revoked at this edge: {closed}, its certificates and open join tokens are void\n"
    ))
}

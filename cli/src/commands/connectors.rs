//! `connector list` and `connector revoke NAME`, asked of a running edge.

use api::Revoked;

use super::status;
use crate::{
    admin::AdminEndpoint,
    args::{AdminArgs, Common, Revoke},
    failure::Failure,
    lifecycle, output,
};

pub(super) fn list(common: &Common, args: &AdminArgs) -> Result<(), Failure> {
    let edge = AdminEndpoint::find(common, args)?;
    let status = lifecycle::runtime()?.block_on(status::of_edge(&edge))?;
    output::print(&status::edge::connectors(&status))
}

pub(super) fn revoke(common: &Common, Revoke { name, force, admin }: &Revoke) -> Result<(), Failure> {
    let edge = AdminEndpoint::find(common, admin)?;
    let query = if *force { "?force=true" } else { "" };
    let answer = lifecycle::runtime()?.block_on(edge.post(&format!("/api/v1/connectors/{name}/revoke{query}")))?;
    // It is done, whatever else is said.
    let revoked: Option<Revoked> = serde_json::from_slice(&answer).ok();
    let closed = match revoked.map(|revoked| revoked.links_closed) {
        Some(1) => "1 link closed".to_owned(),
        Some(links) => format!("{links} links closed"),
        None => "its links are closed".to_owned(),
    };
    output::print(&format!(
        "connector {name} is revoked at this edge: {closed}, its certificates and open join tokens are void\n"
    ))
}

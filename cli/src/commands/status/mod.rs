//! `status`: what a running edge or connector says of itself, as tables for people or as its own JSON.

mod connector;
pub(super) mod edge;

use std::time::Duration;

use api::Status;

use crate::{
    admin::AdminEndpoint,
    args::{Common, StatusArgs},
    failure::Failure,
    lifecycle, output,
};

/// From one answer to the next of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Clears a terminal: cursor home, then everything below it.
const CLEAR: &str = "\x1b[H\x1b[J";

pub(super) fn run(common: &Common, flags: &StatusArgs) -> Result<(), Failure> {
    let endpoint = AdminEndpoint::find_either(common, &flags.admin)?;
    lifecycle::runtime()?.block_on(async {
        if !flags.watch {
            return output::print(&answer(&endpoint, flags.json).await?);
        }
        let mut text = answer(&endpoint, flags.json).await?;
        loop {
            let clear = if output::is_terminal() { CLEAR } else { "" };
            if !output::print_on(&format!("{clear}{text}"))? {
                return Ok(());
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
            // It may be back the next time.
            text = answer(&endpoint, flags.json).await.unwrap_or_else(|failure| failure.lines().join("\n") + "\n");
        }
    })
}

async fn answer(endpoint: &AdminEndpoint, json: bool) -> Result<String, Failure> {
    let body = endpoint.get(api::STATUS).await?;
    if !json {
        return Ok(match understood(&body)? {
            Status::Connector(status) => connector::tables(&status),
            Status::Edge(status) => edge::tables(&status),
        });
    }
    let mut text = String::from_utf8_lossy(&body).into_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// What an edge says of itself.
pub(super) async fn of_edge(endpoint: &AdminEndpoint) -> Result<api::edge::Status, Failure> {
    match understood(&endpoint.get(api::STATUS).await?)? {
        Status::Edge(status) => Ok(*status),
        Status::Connector(_) => Err(Failure::Failed(
            "this is a connector's endpoint: an edge knows its connectors; `underpass status` shows this one"
                .to_owned(),
        )),
    }
}

fn understood(body: &[u8]) -> Result<Status, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::Failed(format!("the status cannot be understood: {error}")))
}

#[cfg(test)]
mod tests;

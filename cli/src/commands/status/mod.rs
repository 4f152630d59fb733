//! `status`: what a running edge or connector says of itself, as tables for people or as its own JSON.

mod connector;
mod report;
mod table;
mod tables;

use std::time::Duration;

use connector::ConnectorReport;
pub(super) use report::Report;
use serde::Deserialize;

use crate::{
    admin::AdminEndpoint,
    args::{Common, StatusArgs},
    failure::Failure,
    lifecycle, output,
};

/// From one answer to the next of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Where an edge tells everything.
const PATH: &str = "/api/v1/status";
/// Clears a terminal: cursor home, then everything below it.
const CLEAR: &str = "\x1b[H\x1b[J";

pub(super) fn run(common: &Common, flags: &StatusArgs) -> Result<(), Failure> {
    let edge = AdminEndpoint::find_either(common, &flags.admin)?;
    lifecycle::runtime()?.block_on(async {
        if !flags.watch {
            return output::print(&answer(&edge, flags.json).await?);
        }
        let mut text = answer(&edge, flags.json).await?;
        loop {
            let clear = if output::is_terminal() { CLEAR } else { "" };
            if !output::print_on(&format!("{clear}{text}"))? {
                return Ok(());
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
            // It may be back the next time.
            text = answer(&edge, flags.json).await.unwrap_or_else(|failure| failure.lines().join("\n") + "\n");
        }
    })
}

async fn answer(edge: &AdminEndpoint, json: bool) -> Result<String, Failure> {
    let body = edge.get(PATH).await?;
    if !json {
        let either: Either = serde_json::from_slice(&body).map_err(not_understood)?;
        return Ok(match either {
            Either::Connector(connector) => connector.tables(),
            Either::Edge(edge) => edge.tables(),
        });
    }
    let mut text = String::from_utf8_lossy(&body).into_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

impl Report {
    /// Asks an edge.
    pub(in crate::commands) async fn ask(edge: &AdminEndpoint) -> Result<Self, Failure> {
        let body = edge.get(PATH).await?;
        match serde_json::from_slice(&body).map_err(not_understood)? {
            Either::Edge(report) => Ok(*report),
            Either::Connector(_) => Err(Failure::Failed(
                "this is a connector's endpoint: an edge knows its connectors; `underpass status` shows this one"
                    .to_owned(),
            )),
        }
    }
}

fn not_understood(error: serde_json::Error) -> Failure {
    Failure::Failed(format!("the status cannot be understood: {error}"))
}

/// Whoever was asked.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Either {
    Connector(Box<ConnectorReport>),
    Edge(Box<Report>),
}

#[cfg(test)]
mod tests;

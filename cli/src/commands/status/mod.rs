//! `status`: what a running edge or connector says of itself, as tables for people or as its own JSON.

mod connector;
pub(super) mod edge;
mod failing;
mod overview;
mod select;

use std::time::Duration;

use api::{Status, code::Code};

use self::{edge::Empty, select::Selection};
use super::look::Look;
use crate::{
    admin::AdminEndpoint,
    args::{Common, StatusArgs},
    failure::Failure,
    lifecycle, output,
};

/// From one answer to the next of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Clears a terminal.
const CLEAR: &str = "\x1b[H\x1b[J";

pub(super) fn run(common: &Common, flags: &StatusArgs) -> Result<(), Failure> {
    let StatusArgs { admin, json, watch, all, unhealthy, pool, connector } = flags;
    let selection = Selection { pool: pool.clone(), connector: connector.clone(), unhealthy: *unhealthy, all: *all };
    if *json && (selection.is_named() || *unhealthy) {
        let right = "jq and its like choose among what it says";
        return Err(Failure::Usage(format!("--json prints the whole answer as it is, without a choice: {right}")));
    }
    let endpoint = AdminEndpoint::find_either(common, admin)?;
    lifecycle::runtime()?.block_on(async {
        let answer = async || {
            let body = endpoint.get(api::STATUS).await?;
            if *json { Ok(raw(&body)) } else { text(&body, &selection, Look::here(*watch)) }
        };
        if !watch {
            return output::print(&answer().await?);
        }
        let mut text = answer().await?;
        if output::is_terminal() && !output::print_on(CLEAR)? {
            return Ok(());
        }
        loop {
            let drawn = if output::is_terminal() { drawn_over(&text, Look::here(true).lines) } else { text };
            if !output::print_on(&drawn)? {
                return Ok(());
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
            // It may be back the next time.
            text = answer().await.unwrap_or_else(|failure: Failure| failure.lines().join("\n") + "\n");
        }
    })
}

/// As people read it.
fn text(body: &[u8], selection: &Selection, look: Look) -> Result<String, Failure> {
    match understood(body)? {
        Status::Connector(_) if selection.is_named() => {
            let words =
                "a connector knows no pools and no connectors: ask the edge, or leave out --pool and --connector";
            Err(Failure::Usage(words.to_owned()))
        }
        Status::Connector(status) if selection.all && !selection.unhealthy => Ok(connector::tables(&status)),
        Status::Connector(status) => Ok(connector::overview(&status, selection, look)),
        Status::Edge(status) => {
            let status = selection.of(*status)?;
            let empty = if selection.is_named() { Empty::LeftOut } else { Empty::Shown };
            let in_full = selection.all && !selection.unhealthy;
            Ok(if in_full { edge::tables(&status, empty) } else { overview::text(&status, selection, look) })
        }
    }
}

/// A text over the one before it: each line takes its place and no more than that changes, so nothing flickers. What has no
/// room is left out, since a terminal that scrolls would show the rest of it twice.
fn drawn_over(text: &str, lines: usize) -> String {
    const HOME: &str = "\x1b[H";
    const REST_OF_LINE: &str = "\x1b[K";
    const REST_OF_SCREEN: &str = "\x1b[J";
    let lines = text.lines().take(lines.max(1)).map(|line| format!("{line}{REST_OF_LINE}\r\n"));
    [HOME.to_owned()].into_iter().chain(lines).chain([REST_OF_SCREEN.to_owned()]).collect()
}

/// As it came.
fn raw(body: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(body).into_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
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
    serde_json::from_slice(body).map_err(|error| {
        Failure::Failed(format!("the status cannot be understood: {error}")).coded(Code::StrangeAnswer)
    })
}

#[cfg(test)]
mod tests;

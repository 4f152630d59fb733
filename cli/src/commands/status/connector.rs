//! A connector's status as people read it.

use api::{
    code::Code,
    connector::{Reload, Status},
    words::LinkState,
};

use super::{
    edge::{milliseconds, route},
    failing, overview,
    select::Selection,
};
use crate::commands::{look::Look, table::Table};

/// Lines that are no rows of what fails: the head, the summary, and the table's own.
const FRAME: usize = 6;

/// What fails, then the edges; or what fails alone.
pub(super) fn overview(status: &Status, selection: &Selection, look: Look) -> String {
    let failing = failing::of_connector(status);
    let unapplied = status.reload.as_ref().and_then(reload).unwrap_or_default();
    let mut text = head(status) + &unapplied + &overview::summary(&failing);
    if !failing.is_empty() {
        // Edges are 64 at most, and what fails of them is said of each in one line.
        let room = if selection.all { usize::MAX } else { (look.lines / 2).saturating_sub(FRAME).max(1) };
        let rest = (room, "--unhealthy --all shows each");
        text.push('\n');
        text.push_str(&failing::table(&failing, status.now.as_deref(), rest).drawn(look));
        if selection.unhealthy && selection.all {
            text.push_str(&format!("\n{}", failing::help(&failing)));
        }
    }
    if !selection.unhealthy {
        text.push('\n');
        text.push_str(&edges(status).drawn(look));
    }
    text
}

/// A row for everything.
pub(super) fn tables(status: &Status) -> String {
    let tables = [Some(edges(status)), Some(links(status)), refused(status)];
    let rest = tables.into_iter().flatten().map(|table| table.text());
    let above = [Some(head(status)), status.reload.as_ref().and_then(reload)];
    above.into_iter().flatten().chain(rest).collect::<Vec<_>>().join("\n")
}

fn head(status: &Status) -> String {
    let (version, flows) = (&status.version, status.flows);
    match (&status.connector, &status.certificate_expires) {
        (Some(name), Some(expires)) => {
            let replica = status.replica.as_deref().unwrap_or("-");
            format!(
                "connector {name}, replica {replica}, version {version}, {flows} flows, certificate until {expires}\n"
            )
        }
        (_, _) => format!("connector, version {version}: not enrolled yet\n"),
    }
}

/// What its file says and is not in force; absent if there is nothing.
fn reload(Reload { at, applied, mistakes, restart }: &Reload) -> Option<String> {
    if !applied {
        return Some(format!(
            "not in force ({}), as it was read at {at}:\n{}\n",
            Code::ReloadRefused,
            mistakes.join("\n")
        ));
    }
    let keys = restart.join(", ");
    (!restart.is_empty())
        .then(|| format!("changed in its file, and in force with a restart ({}): {keys}\n", Code::NeedsRestart))
}

fn edges(status: &Status) -> Table {
    let mut table = Table::new("edges", &["ADDRESS", "EDGE", "LINKS UP", "RTT", "ROUTES"]);
    for edge in &status.edges {
        let up = edge.links.iter().filter(|link| link.state == LinkState::Up).count();
        let routes: Vec<String> = edge.routes.iter().map(route).collect();
        table.row([
            edge.address.clone(),
            edge.edge.clone().unwrap_or_default(),
            format!("{up} of {}", edge.links.len()),
            overview::median(edge.links.iter().filter_map(|link| link.rtt_ms)).map(milliseconds).unwrap_or_default(),
            routes.join(", "),
        ]);
    }
    table
}

fn links(status: &Status) -> Table {
    let mut table = Table::new("links", &["ADDRESS", "SLOT", "STATE", "REMOTE", "RTT", "SINCE", "REASON"]);
    for edge in &status.edges {
        for link in &edge.links {
            table.row([
                edge.address.clone(),
                link.slot.to_string(),
                link.state.to_string(),
                link.remote.clone().unwrap_or_default(),
                link.rtt_ms.map(milliseconds).unwrap_or_default(),
                link.since.clone().unwrap_or_default(),
                link.reason.clone().unwrap_or_default(),
            ]);
        }
    }
    table
}

/// Absent if there is none: most have none.
fn refused(status: &Status) -> Option<Table> {
    let mut table = Table::new("refused routes", &["ADDRESS", "VNET", "CIDR", "REASON"]);
    for edge in &status.edges {
        for refused in &edge.refused_routes {
            let reason = refused.reason.clone().unwrap_or_default();
            table.row([edge.address.clone(), refused.vnet.clone(), refused.cidr.clone(), reason]);
        }
    }
    status.edges.iter().any(|edge| !edge.refused_routes.is_empty()).then_some(table)
}

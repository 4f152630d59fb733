//! A connector's status: as it crosses the admin endpoint, and as people read it.

use serde::Deserialize;

use super::{
    report::Route,
    table::Table,
    tables::{milliseconds, route},
};

/// All of it. Only a connector tells of `edges`.
#[derive(Debug, Deserialize)]
pub(super) struct ConnectorReport {
    edges: Vec<Edge>,
    #[serde(default)]
    connector: Option<String>,
    #[serde(default)]
    replica: Option<String>,
    #[serde(default)]
    version: String,
    #[serde(default)]
    certificate_expires: Option<String>,
    #[serde(default)]
    flows: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Edge {
    address: String,
    edge: Option<String>,
    links: Vec<Link>,
    routes: Vec<Route>,
    refused_routes: Vec<Route>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Link {
    slot: u64,
    state: String,
    remote: Option<String>,
    rtt_ms: Option<f64>,
    since: Option<String>,
    reason: Option<String>,
}

impl ConnectorReport {
    /// Everything.
    pub(super) fn tables(&self) -> String {
        let tables = [Some(self.edges()), Some(self.links()), self.refused()];
        let rest = tables.into_iter().flatten().map(|table| table.text());
        [self.head()].into_iter().chain(rest).collect::<Vec<_>>().join("\n")
    }

    fn head(&self) -> String {
        let (version, flows) = (&self.version, self.flows);
        match (&self.connector, &self.certificate_expires) {
            (Some(name), Some(expires)) => {
                let replica = self.replica.as_deref().unwrap_or("-");
                format!(
                    "connector {name}, replica {replica}, version {version}, {flows} flows, certificate until {expires}\n"
                )
            }
            (_, _) => format!("connector, version {version}: not enrolled yet\n"),
        }
    }

    fn edges(&self) -> Table {
        let mut table = Table::new("edges", &["ADDRESS", "EDGE", "LINKS UP", "ROUTES"]);
        for edge in &self.edges {
            let up = edge.links.iter().filter(|link| link.state == "up").count();
            let routes: Vec<String> = edge.routes.iter().map(route).collect();
            table.row([
                edge.address.clone(),
                edge.edge.clone().unwrap_or_default(),
                format!("{up} of {}", edge.links.len()),
                routes.join(", "),
            ]);
        }
        table
    }

    fn links(&self) -> Table {
        let mut table = Table::new("links", &["ADDRESS", "SLOT", "STATE", "REMOTE", "RTT", "SINCE", "REASON"]);
        for edge in &self.edges {
            for link in &edge.links {
                table.row([
                    edge.address.clone(),
                    link.slot.to_string(),
                    link.state.clone(),
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
    fn refused(&self) -> Option<Table> {
        let mut table = Table::new("refused routes", &["ADDRESS", "VNET", "CIDR", "REASON"]);
        for edge in &self.edges {
            for refused in &edge.refused_routes {
                let reason = refused.reason.clone().unwrap_or_default();
                table.row([edge.address.clone(), refused.vnet.clone(), refused.cidr.clone(), reason]);
            }
        }
        self.edges.iter().any(|edge| !edge.refused_routes.is_empty()).then_some(table)
    }
}

//! An edge's status as people read it: one table a kind of thing.

use super::{
    report::{Path, Report, Route},
    table::Table,
};

impl Report {
    /// Everything.
    pub(in crate::commands) fn tables(&self) -> String {
        let tables = [
            self.listeners(),
            self.load_balancers(),
            self.pools(),
            self.origins(),
            self.paths(),
            self.tunnels(),
            self.links(),
            self.refused_routes(),
        ];
        let mut head = format!("edge {}, version {}, catalog {}\n", self.edge, self.version, self.catalog_version);
        for why in &self.unready {
            head.push_str("not ready: ");
            head.extend(why.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }));
            head.push('\n');
        }
        let rest: Vec<String> = tables.into_iter().flatten().map(|table| table.text()).collect();
        [head].into_iter().chain(rest).collect::<Vec<_>>().join("\n")
    }

    /// Connectors and their links.
    pub(in crate::commands) fn connectors(&self) -> String {
        let tables = [self.tunnels(), self.links(), self.refused_routes()];
        tables.into_iter().flatten().map(|table| table.text()).collect::<Vec<_>>().join("\n")
    }

    fn listeners(&self) -> Option<Table> {
        let mut table = Table::new("listeners", &["LISTENER", "PROTOCOL", "ADDRESS", "FLOWS"]);
        for listener in &self.listeners {
            let flows = listener.flows.to_string();
            table.row([listener.listener.clone(), listener.protocol.clone(), listener.address.clone(), flows]);
        }
        Some(table)
    }

    fn load_balancers(&self) -> Option<Table> {
        let mut table = Table::new("load balancers", &["LOAD BALANCER", "HEALTH", "SERVING POOL"]);
        for balancer in &self.load_balancers {
            let serving = balancer.serving_pool.clone().unwrap_or_default();
            table.row([balancer.load_balancer.clone(), balancer.health.clone(), serving]);
        }
        Some(table)
    }

    fn pools(&self) -> Option<Table> {
        let mut table = Table::new("pools", &["POOL", "HEALTH", "HEALTHY ORIGINS"]);
        for pool in &self.pools {
            let share = format!("{} of {}", pool.healthy_origins, pool.origins);
            table.row([pool.pool.clone(), pool.health.clone(), share]);
        }
        Some(table)
    }

    fn origins(&self) -> Option<Table> {
        let mut table =
            Table::new("origins", &["POOL", "ORIGIN", "VNET", "ADDRESS", "HEALTH", "PATHS", "FLOWS", "REASON"]);
        for origin in &self.origins {
            let healthy = origin.paths.iter().filter(|path| path.health == "healthy").count();
            table.row([
                origin.pool.clone(),
                origin.origin.clone(),
                origin.vnet.clone().unwrap_or_else(|| "direct".to_owned()),
                origin.address.clone(),
                origin.health.clone(),
                format!("{healthy} of {}", origin.paths.len()),
                origin.flows.to_string(),
                why(origin.reason.as_deref(), origin.detail.as_deref()),
            ]);
        }
        Some(table)
    }

    fn paths(&self) -> Option<Table> {
        const TITLES: [&str; 8] = ["POOL", "ORIGIN", "VIA", "HEALTH", "PROBE", "STAGES", "REASON", "CHECKED"];
        let mut table = Table::new("paths", &TITLES);
        for origin in &self.origins {
            for path in &origin.paths {
                table.row([
                    origin.pool.clone(),
                    origin.origin.clone(),
                    via(path),
                    path.health.clone(),
                    path.rtt_ms.map(milliseconds).unwrap_or_default(),
                    stages(path),
                    why(path.reason.as_deref(), path.detail.as_deref()),
                    path.checked_at.clone().unwrap_or_default(),
                ]);
            }
        }
        Some(table)
    }

    fn tunnels(&self) -> Option<Table> {
        let mut table = Table::new("tunnels", &["CONNECTOR", "HEALTH", "LINKS", "ROUTES"]);
        for tunnel in &self.tunnels {
            let routes: Vec<String> = tunnel.routes.iter().map(route).collect();
            let links = tunnel.links.len().to_string();
            table.row([tunnel.connector.clone(), tunnel.health.clone(), links, routes.join(", ")]);
        }
        Some(table)
    }

    fn links(&self) -> Option<Table> {
        const TITLES: [&str; 8] = ["LINK", "CONNECTOR", "REPLICA", "REMOTE", "STATE", "RTT", "STREAMS", "SINCE"];
        let mut table = Table::new("links", &TITLES);
        for tunnel in &self.tunnels {
            for link in &tunnel.links {
                table.row([
                    link.id.clone(),
                    tunnel.connector.clone(),
                    link.replica.clone(),
                    link.remote.clone(),
                    link.state.clone().unwrap_or_else(|| "up".to_owned()),
                    link.rtt_ms.map(milliseconds).unwrap_or_default(),
                    link.streams.to_string(),
                    link.since.clone().unwrap_or_default(),
                ]);
            }
        }
        Some(table)
    }

    /// Absent if there is none: most have none.
    fn refused_routes(&self) -> Option<Table> {
        let mut table = Table::new("refused routes", &["CONNECTOR", "VNET", "CIDR", "REASON"]);
        for tunnel in &self.tunnels {
            for refused in &tunnel.refused_routes {
                let reason = refused.reason.clone().unwrap_or_default();
                table.row([tunnel.connector.clone(), refused.vnet.clone(), refused.cidr.clone(), reason]);
            }
        }
        self.tunnels.iter().any(|tunnel| !tunnel.refused_routes.is_empty()).then_some(table)
    }
}

pub(super) fn route(route: &Route) -> String {
    format!("{} {}", route.vnet, route.cidr)
}

fn via(path: &Path) -> String {
    match (&path.connector, &path.link) {
        (Some(connector), Some(link)) => format!("{connector} {link}"),
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => "direct".to_owned(),
    }
}

/// A reason with what was met.
fn why(reason: Option<&str>, detail: Option<&str>) -> String {
    match (reason, detail) {
        (Some(reason), Some(detail)) => format!("{reason}: {detail}"),
        (Some(reason), None) => reason.to_owned(),
        (None, _) => String::new(),
    }
}

fn stages(path: &Path) -> String {
    let known = path.stages_ms.iter().filter_map(|(stage, time)| Some((stage, (*time)?)));
    known.map(|(stage, time)| format!("{stage} {}", milliseconds(time))).collect::<Vec<_>>().join(", ")
}

pub(super) fn milliseconds(time: f64) -> String {
    format!("{time:.1} ms")
}

//! An edge's status as people read it: one table a kind of thing.

use std::collections::BTreeMap;

use api::{
    Route,
    code::Code,
    drain::Drain,
    edge::{Link, Path, Status},
    reload::LastReload,
    words::{Health, LinkState},
};

use crate::commands::table::Table;

/// A row for everything; without the tables that have none, if asked for.
pub(super) fn tables(status: &Status, empty: Empty) -> String {
    let tables = [
        listeners(status),
        load_balancers(status),
        pools(status),
        origins(status),
        paths(status),
        tunnels(status),
        links(status),
        refused_routes(status),
        drains(status),
    ];
    let tables = tables.into_iter().flatten().filter(|table| empty == Empty::Shown || !table.is_empty());
    let rest: Vec<String> = tables.map(|table| table.text()).collect();
    [head(status)].into_iter().chain(rest).collect::<Vec<_>>().join("\n")
}

/// What becomes of tables without rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    /// They say that there is none.
    Shown,
    /// They were not asked for.
    LeftOut,
}

/// Whose status it is, and why that is not ready.
pub(super) fn head(status: &Status) -> String {
    let mut head = format!("edge {}, version {}, catalog {}\n", status.edge, status.version, status.catalog_version);
    for why in &status.unready {
        head.push_str("not ready: ");
        head.extend(why.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }));
        head.push('\n');
    }
    head += &status.reload.iter().flat_map(reload).collect::<String>();
    head
}

/// What there is to say of the last reload: nothing, if all that was read is in force.
fn reload(reload: &LastReload) -> Vec<String> {
    let at = reload.at.clone().unwrap_or_default();
    let mistakes =
        reload.mistakes.iter().map(|mistake| format!("reload at {at} refused ({}): {mistake}\n", Code::ReloadRefused));
    let restart = reload
        .restart
        .iter()
        .map(|key| format!("{key} differs since {at}, and changes only with a restart ({})\n", Code::NeedsRestart));
    mistakes.chain(restart).collect()
}

/// Connectors and their links.
pub(in crate::commands) fn connectors(status: &Status) -> String {
    let tables = [tunnels(status), links(status), refused_routes(status)];
    tables.into_iter().flatten().map(|table| table.text()).collect::<Vec<_>>().join("\n")
}

fn listeners(status: &Status) -> Option<Table> {
    let mut table = Table::new("listeners", &["LISTENER", "PROTOCOL", "ADDRESS", "VNET", "FLOWS"]);
    for listener in &status.listeners {
        table.row([
            listener.listener.clone(),
            listener.protocol.to_string(),
            listener.address.clone(),
            listener.vnet.clone().unwrap_or_default(),
            listener.flows.to_string(),
        ]);
    }
    Some(table)
}

fn load_balancers(status: &Status) -> Option<Table> {
    let mut table = Table::new("load balancers", &["LOAD BALANCER", "HEALTH", "SERVING POOL"]);
    for balancer in &status.load_balancers {
        let serving = balancer.serving_pool.clone().unwrap_or_default();
        table.row([balancer.load_balancer.clone(), balancer.health.to_string(), serving]);
    }
    Some(table)
}

fn pools(status: &Status) -> Option<Table> {
    let mut table = Table::new("pools", &["POOL", "HEALTH", "HEALTHY ORIGINS"]);
    for pool in &status.pools {
        let share = format!("{} of {}", pool.healthy_origins, pool.origins);
        table.row([pool.pool.clone(), pool.health.to_string(), share]);
    }
    Some(table)
}

fn origins(status: &Status) -> Option<Table> {
    let mut table = Table::new("origins", &["POOL", "ORIGIN", "VNET", "ADDRESS", "HEALTH", "PATHS", "FLOWS", "REASON"]);
    for origin in &status.origins {
        let healthy = origin.paths.iter().filter(|path| path.health == Health::Healthy).count();
        table.row([
            origin.pool.clone(),
            origin.origin.clone(),
            origin.vnet.clone().unwrap_or_else(|| "direct".to_owned()),
            origin.address.clone(),
            origin.health.to_string(),
            format!("{healthy} of {}", origin.paths.len()),
            origin.flows.to_string(),
            why(origin.reason.as_deref(), origin.detail.as_deref()),
        ]);
    }
    Some(table)
}

fn paths(status: &Status) -> Option<Table> {
    const TITLES: [&str; 8] = ["POOL", "ORIGIN", "VIA", "HEALTH", "PROBE", "STAGES", "REASON", "CHECKED"];
    let mut table = Table::new("paths", &TITLES);
    for origin in &status.origins {
        for path in &origin.paths {
            table.row([
                origin.pool.clone(),
                origin.origin.clone(),
                via(path),
                path.health.to_string(),
                path.rtt_ms.map(milliseconds).unwrap_or_default(),
                stages(path),
                why(path.reason.as_deref(), path.detail.as_deref()),
                path.checked_at.clone().unwrap_or_default(),
            ]);
        }
    }
    Some(table)
}

fn tunnels(status: &Status) -> Option<Table> {
    let mut table = Table::new("tunnels", &["CONNECTOR", "HEALTH", "LINKS", "ROUTES"]);
    for tunnel in &status.tunnels {
        let routes: Vec<String> = tunnel.routes.iter().map(route).collect();
        let links = tunnel.links.len().to_string();
        table.row([tunnel.connector.clone(), tunnel.health.to_string(), links, routes.join(", ")]);
    }
    Some(table)
}

fn links(status: &Status) -> Option<Table> {
    const TITLES: [&str; 8] = ["LINK", "CONNECTOR", "REPLICA", "REMOTE", "STATE", "RTT", "STREAMS", "SINCE"];
    let mut table = Table::new("links", &TITLES);
    for tunnel in &status.tunnels {
        for link in &tunnel.links {
            table.row([
                link.id.clone(),
                tunnel.connector.clone(),
                link.replica.clone(),
                link.remote.clone(),
                link.state.as_ref().unwrap_or(&LinkState::Up).to_string(),
                link.rtt_ms.map(milliseconds).unwrap_or_default(),
                link.streams.to_string(),
                link.since.clone().unwrap_or_default(),
            ]);
        }
    }
    Some(table)
}

/// Absent if there is none: most have none.
fn refused_routes(status: &Status) -> Option<Table> {
    let mut table = Table::new("refused routes", &["CONNECTOR", "VNET", "CIDR", "REASON"]);
    for tunnel in &status.tunnels {
        for refused in &tunnel.refused_routes {
            let reason = refused.reason.clone().unwrap_or_default();
            table.row([tunnel.connector.clone(), refused.vnet.clone(), refused.cidr.clone(), reason]);
        }
    }
    status.tunnels.iter().any(|tunnel| !tunnel.refused_routes.is_empty()).then_some(table)
}

/// Absent if there is none: it is for a while.
pub(super) fn drains(status: &Status) -> Option<Table> {
    let all = drained(status);
    let mut table = Table::new("drained: they take nothing new", &["WHAT", "NAME", "BY", "WHO", "SINCE"]);
    for (what, name, drain) in &all {
        let who = drain.who.clone().unwrap_or_default();
        table.row([(*what).to_owned(), name.clone(), drain.by.clone(), who, drain.since.clone()]);
    }
    (!all.is_empty()).then_some(table)
}

/// What is drained, of every kind.
fn drained(status: &Status) -> Vec<(&'static str, String, &Drain)> {
    let listeners = status.listeners.iter().map(|l| ("listener", l.listener.clone(), l.drain.as_ref()));
    let balancers =
        status.load_balancers.iter().map(|lb| ("load balancer", lb.load_balancer.clone(), lb.drain.as_ref()));
    let pools = status.pools.iter().map(|pool| ("pool", pool.pool.clone(), pool.drain.as_ref()));
    let origins = status.origins.iter().map(|o| ("origin", format!("{}/{}", o.pool, o.origin), o.drain.as_ref()));
    let tunnels = status.tunnels.iter().map(|tunnel| ("connector", tunnel.connector.clone(), tunnel.drain.as_ref()));
    let replicas = status.tunnels.iter().flat_map(|tunnel| {
        let of = |link: &Link| format!("{}/{}", tunnel.connector, link.replica);
        let all = tunnel.links.iter().map(|link| (of(link), link.drain.as_ref()));
        // Each link of a replica tells of it.
        all.collect::<BTreeMap<_, _>>().into_iter().map(|(name, drain)| ("connector", name, drain))
    });
    let all = listeners.chain(balancers).chain(pools).chain(origins).chain(tunnels).chain(replicas);
    all.filter_map(|(what, name, drain)| Some((what, name, drain?))).collect()
}

pub(super) fn route(route: &Route) -> String {
    format!("{} {}", route.vnet, route.cidr)
}

pub(super) fn via(path: &Path) -> String {
    match (&path.connector, &path.link) {
        (Some(connector), Some(link)) => format!("{connector} {link}"),
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => "direct".to_owned(),
    }
}

/// A reason with what was met.
pub(super) fn why(reason: Option<&str>, detail: Option<&str>) -> String {
    match (reason, detail) {
        (Some(reason), Some(detail)) => format!("{reason}: {detail}"),
        (Some(reason), None) => reason.to_owned(),
        (None, _) => String::new(),
    }
}

fn stages(path: &Path) -> String {
    path.stages_ms.known().map(|(stage, time)| format!("{stage} {}", milliseconds(time))).collect::<Vec<_>>().join(", ")
}

pub(super) fn milliseconds(time: f64) -> String {
    format!("{time:.1} ms")
}

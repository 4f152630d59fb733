//! What fails, the worst first: where, since when, at which stage of the way, and why. Pure.

use api::{
    code::Code,
    connector,
    edge::{Link, Origin, Status},
    reload::LastReload,
    words::{Health, LinkState, PoolHealth, TunnelHealth},
};

use super::edge::{via, why};
use crate::commands::{age, table::Table};

/// One thing that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failing {
    /// What kind of thing it is, for who counts them.
    kind: &'static str,
    /// Lost, or only less than it should be.
    grade: Grade,
    name: String,
    state: String,
    since: Option<String>,
    /// What it is looked up under, as far as whoever told of it says.
    code: Option<String>,
    stage: Option<String>,
    why: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    Lost,
    Less,
}

/// Everything of an edge that fails. What is caused by something comes behind it.
pub(super) fn of_edge(status: &Status) -> Vec<Failing> {
    let mut all: Vec<_> = [load_balancers(status), tunnels(status), pools(status), origins(status), rest(status)]
        .into_iter()
        .flatten()
        .collect();
    // Stable: among those as bad as each other, in that order.
    all.sort_by_key(|failing| failing.grade);
    all
}

/// Everything of a connector that fails.
pub(super) fn of_connector(status: &connector::Status) -> Vec<Failing> {
    let mut all = Vec::new();
    for edge in &status.edges {
        let up = edge.links.iter().filter(|link| link.state == LinkState::Up).count();
        if up < edge.links.len() {
            let lost = edge.links.iter().filter(|link| link.state != LinkState::Up);
            let reason = lost.clone().find_map(|link| link.reason.clone());
            let code = lost.clone().find_map(|link| link.code.clone());
            let mut reasons = vec![format!("{up} of {} links up", edge.links.len())];
            reasons.extend(reason);
            all.push(Failing {
                kind: "edge",
                grade: if up == 0 { Grade::Lost } else { Grade::Less },
                name: format!("edge {}", edge.address),
                state: if up == 0 { "down" } else { "degraded" }.to_owned(),
                since: lost.filter_map(|link| link.state_since.clone()).max(),
                code: code.or_else(|| coded(Code::LinkLost)),
                stage: None,
                why: reasons.join(": "),
            });
        }
        all.extend(edge.refused_routes.iter().map(|route| refused(&edge.address, route)));
    }
    all.sort_by_key(|failing| failing.grade);
    all
}

/// As a table of so many rows; the rest is counted, and `rest` says how it is had.
pub(super) fn table(all: &[Failing], now: Option<&str>, (rows, rest): (usize, &str)) -> Table {
    let mut table = Table::new("failing", &["WHAT", "STATE", "SINCE", "CODE", "STAGE", "WHY"]);
    for Failing { name, state, since, code, stage, why, .. } in all.iter().take(rows) {
        let (code, stage) = (code.clone().unwrap_or_default(), stage.clone().unwrap_or_default());
        table.row([name.clone(), state.clone(), ago(since.as_deref(), now), code, stage, why.clone()]);
    }
    let left = all.get(rows..).unwrap_or_default();
    if !left.is_empty() {
        table.note(format!("and {}: {rest}", counted(left)));
    }
    table
}

/// What to do about each code among them, a line each, in the order in which they come. Of a code of a newer version nothing is
/// known.
pub(super) fn help(all: &[Failing]) -> String {
    let mut codes: Vec<Code> = Vec::new();
    for code in all.iter().filter_map(|failing| Code::of(failing.code.as_deref()?)) {
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    codes.iter().map(|code| code.help() + "\n").collect()
}

/// How long something has been so.
pub(super) fn ago(since: Option<&str>, now: Option<&str>) -> String {
    let age = since.and_then(|since| age::between(since, now?));
    age.map(|age| format!("{age} ago")).unwrap_or_default()
}

/// How many of each kind there are.
fn counted(all: &[Failing]) -> String {
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for Failing { kind, .. } in all {
        match kinds.iter_mut().find(|(known, _)| known == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    let said = |(kind, count): &(&str, usize)| format!("{count} {kind}{}", if *count == 1 { "" } else { "s" });
    kinds.iter().map(said).collect::<Vec<_>>().join(", ")
}

fn load_balancers(status: &Status) -> Vec<Failing> {
    let failing = status.load_balancers.iter().filter_map(|balancer| {
        let serving = balancer.serving_pool.as_ref();
        let why = serving.map_or_else(|| "no pool serves".to_owned(), |pool| format!("pool {pool} serves"));
        Some(Failing {
            kind: "load balancer",
            grade: of_pool(&balancer.health)?,
            name: format!("load balancer {}", balancer.load_balancer),
            state: balancer.health.to_string(),
            since: balancer.since.clone(),
            code: code_of_pool(&balancer.health),
            stage: None,
            why,
        })
    });
    failing.collect()
}

fn pools(status: &Status) -> Vec<Failing> {
    let failing = status.pools.iter().filter_map(|pool| {
        Some(Failing {
            kind: "pool",
            grade: of_pool(&pool.health)?,
            name: format!("pool {}", pool.pool),
            state: pool.health.to_string(),
            since: pool.since.clone(),
            code: code_of_pool(&pool.health),
            stage: None,
            why: format!("{} of {} origins healthy", pool.healthy_origins, pool.origins),
        })
    });
    failing.collect()
}

fn of_pool(health: &PoolHealth) -> Option<Grade> {
    match health {
        PoolHealth::Critical => Some(Grade::Lost),
        PoolHealth::Degraded => Some(Grade::Less),
        PoolHealth::Healthy | PoolHealth::Unknown | PoolHealth::Other(_) => None,
    }
}

fn code_of_pool(health: &PoolHealth) -> Option<String> {
    match health {
        PoolHealth::Critical => coded(Code::NothingServes),
        PoolHealth::Degraded => coded(Code::ServesLess),
        PoolHealth::Healthy | PoolHealth::Unknown | PoolHealth::Other(_) => None,
    }
}

fn coded(code: Code) -> Option<String> {
    Some(code.to_string())
}

fn tunnels(status: &Status) -> Vec<Failing> {
    let failing = status.tunnels.iter().filter_map(|tunnel| {
        let (grade, code) = match tunnel.health {
            TunnelHealth::Down => (Grade::Lost, Code::LinkLost),
            TunnelHealth::Degraded => (Grade::Less, Code::LinkLost),
            TunnelHealth::Inactive => (Grade::Less, Code::NeverJoined),
            TunnelHealth::Healthy | TunnelHealth::Other(_) => return None,
        };
        let up = tunnel.links.iter().filter(|link| is_up(link.state.as_ref())).count();
        let why = match (&tunnel.health, up) {
            (TunnelHealth::Inactive, _) => "no link since this edge has started".to_owned(),
            (_, 1) => "1 link up".to_owned(),
            (_, up) => format!("{up} links up"),
        };
        Some(Failing {
            kind: "tunnel",
            grade,
            name: format!("tunnel {}", tunnel.connector),
            state: tunnel.health.to_string(),
            since: tunnel.since.clone(),
            code: coded(code),
            stage: Some("tunnel".to_owned()),
            why,
        })
    });
    failing.collect()
}

/// Origins that fail, and paths that fail of others.
fn origins(status: &Status) -> Vec<Failing> {
    let mut all = Vec::new();
    for origin in &status.origins {
        if origin.health == Health::Unhealthy {
            all.push(Failing {
                kind: "origin",
                grade: Grade::Lost,
                name: format!("origin {}/{}", origin.pool, origin.origin),
                state: origin.health.to_string(),
                since: origin.since.clone(),
                code: origin.code.clone(),
                stage: origin.stage.clone(),
                why: why(origin.reason.as_deref(), origin.detail.as_deref()),
            });
        } else {
            all.extend(paths(origin));
        }
    }
    all
}

fn paths(origin: &Origin) -> impl Iterator<Item = Failing> {
    origin.paths.iter().filter(|path| path.health == Health::Unhealthy).map(|path| Failing {
        kind: "path",
        grade: Grade::Less,
        name: format!("path {}/{} {}", origin.pool, origin.origin, via(path)),
        state: path.health.to_string(),
        since: path.since.clone(),
        code: path.code.clone(),
        stage: path.stage.clone(),
        why: why(path.reason.as_deref(), path.detail.as_deref()),
    })
}

/// Links that do not carry, claims that were refused, certificates that end.
fn rest(status: &Status) -> Vec<Failing> {
    let mut all: Vec<Failing> = status.reload.iter().filter_map(unapplied).collect();
    for tunnel in &status.tunnels {
        // What is drained by hand is told elsewhere, and fails in nothing.
        let is_drained = |link: &&Link| tunnel.drain.is_some() || link.drain.is_some();
        for link in tunnel.links.iter().filter(|link| !is_up(link.state.as_ref()) && !is_drained(link)) {
            all.push(Failing {
                kind: "link",
                grade: Grade::Less,
                name: format!("link {} of {}", link.id, tunnel.connector),
                state: link.state.as_ref().map(ToString::to_string).unwrap_or_default(),
                since: None,
                code: coded(Code::LinkLost),
                stage: Some("tunnel".to_owned()),
                why: format!("from {}", link.remote),
            });
        }
        all.extend(tunnel.refused_routes.iter().map(|route| refused(&tunnel.connector, route)));
    }
    for listener in &status.listeners {
        for certificate in listener.certificates.iter().filter(|certificate| certificate.state != "good") {
            all.push(Failing {
                kind: "certificate",
                grade: if certificate.state == "ends_soon" { Grade::Less } else { Grade::Lost },
                name: format!("certificate of {}", listener.listener),
                state: certificate.state.clone(),
                since: None,
                code: coded(Code::CertificateEnds),
                stage: None,
                why: format!("{} ends at {}", certificate.file, certificate.expires),
            });
        }
    }
    all
}

/// What was written and is not in force. The lines above the table say all that is wrong with it.
fn unapplied(reload: &LastReload) -> Option<Failing> {
    let mistake = reload.mistakes.first()?;
    Some(Failing {
        kind: "reload",
        grade: Grade::Less,
        name: "settings".to_owned(),
        state: "refused".to_owned(),
        since: reload.at.clone(),
        code: coded(Code::ReloadRefused),
        stage: None,
        why: mistake.clone(),
    })
}

fn refused(whose: &str, route: &api::RefusedRoute) -> Failing {
    Failing {
        kind: "route",
        grade: Grade::Less,
        name: format!("route {} {} of {whose}", route.vnet, route.cidr),
        state: "refused".to_owned(),
        since: None,
        code: coded(Code::RouteRefused),
        stage: Some("route".to_owned()),
        why: route.reason.clone().unwrap_or_default(),
    }
}

/// An edge of the first releases does not say.
fn is_up(state: Option<&LinkState>) -> bool {
    state.is_none_or(|state| *state == LinkState::Up)
}

//! An edge's status on one screen: what fails in full, what is well by pool and connector, and the rest as numbers. Pure.

use api::{
    edge::{Origin, Pool, Status, Tunnel},
    words::{Health, LinkState},
};

use super::{
    edge::{drains, head, milliseconds, route, why},
    failing::{self, Failing, ago},
    select::Selection,
};
use crate::commands::{look::Look, table::Table};

/// Lines of a table that are no rows: the empty one before it, its heading, its titles, its note.
const FRAME: usize = 4;
/// Rows that every table has, if it has as many.
const ROWS_MIN: usize = 1;

/// A table that may be cut: its rows, the worst first, each with its state.
struct Section {
    heading: &'static str,
    titles: &'static [&'static str],
    rows: Vec<(String, Vec<String>)>,
}

/// All that was asked for, as far as there is room.
pub(super) fn text(status: &Status, selection: &Selection, look: Look) -> String {
    let (failing, now) = (failing::of_edge(status), status.now.as_deref());
    let mut text = head(status);
    text.push_str(&summary(&failing));
    let rest = "--unhealthy --all shows each";
    if selection.unhealthy {
        let room = if selection.all { usize::MAX } else { look.lines.saturating_sub(text.lines().count() + FRAME) };
        if !failing.is_empty() {
            text.push('\n');
            text.push_str(&failing::table(&failing, now, (room, rest)).drawn(look));
            if selection.all {
                text.push_str(&format!("\n{}", failing::help(&failing)));
            }
        }
        return text;
    }
    let sections: Vec<_> = sections(status, selection)
        .into_iter()
        .filter(|section| !section.rows.is_empty() || !selection.is_named())
        .collect();
    let frames = FRAME * (sections.len() + 1) + text.lines().count();
    let wants: Vec<_> = [failing.len()].into_iter().chain(sections.iter().map(|section| section.rows.len())).collect();
    let rooms = shared(&wants, look.lines.saturating_sub(frames));
    if !failing.is_empty() {
        text.push('\n');
        text.push_str(&failing::table(&failing, now, (rooms[0], rest)).drawn(look));
    }
    if let Some(drains) = drains(status) {
        text.push('\n');
        text.push_str(&drains.drawn(look));
    }
    for (section, room) in sections.iter().zip(&rooms[1..]) {
        text.push('\n');
        text.push_str(&section.table(*room).drawn(look));
    }
    text
}

/// One line for who reads no further.
pub(super) fn summary(failing: &[Failing]) -> String {
    match failing.len() {
        0 => "nothing fails\n".to_owned(),
        1 => "1 thing fails\n".to_owned(),
        some => format!("{some} things fail\n"),
    }
}

/// Shares lines among those who want so many: each gets what it wants or as much as any other.
fn shared(wants: &[usize], lines: usize) -> Vec<usize> {
    let mut got: Vec<usize> = wants.iter().map(|want| (*want).min(ROWS_MIN)).collect();
    let mut left = lines.saturating_sub(got.iter().sum());
    while left > 0 {
        let hungry: Vec<_> = (0..wants.len()).filter(|at| got[*at] < wants[*at]).collect();
        if hungry.is_empty() {
            break;
        }
        for at in hungry.into_iter().take(left) {
            got[at] += 1;
            left -= 1;
        }
    }
    got
}

impl Section {
    /// So many of its rows, and how many of what are left out.
    fn table(&self, room: usize) -> Table {
        let mut table = Table::new(self.heading, self.titles);
        let mut order: Vec<_> = self.rows.iter().collect();
        // Only what is cut is sorted: whoever sees all of it finds it in the order of the settings.
        if order.len() > room {
            order.sort_by_key(|(state, _)| rank(state));
        }
        order.iter().take(room).for_each(|(_, cells)| table.cells(cells.clone()));
        let left = order.get(room..).unwrap_or_default();
        if !left.is_empty() {
            let states: Vec<_> = left.iter().map(|(state, _)| &state[..]).collect();
            table.note(format!("and {} more{}: --all shows each", left.len(), counted(&states)));
        }
        table
    }
}

/// How many are in which state, the states in their order there.
fn counted(states: &[&str]) -> String {
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for state in states.iter().filter(|state| !state.is_empty()) {
        match kinds.iter_mut().find(|(known, _)| known == state) {
            Some((_, count)) => *count += 1,
            None => kinds.push((state, 1)),
        }
    }
    let said: Vec<_> = kinds.iter().map(|(state, count)| format!("{count} {state}")).collect();
    if said.is_empty() { String::new() } else { format!(", {}", said.join(", ")) }
}

/// What is worst comes first.
fn rank(state: &str) -> usize {
    const WORST_FIRST: [&str; 8] =
        ["critical", "down", "unhealthy", "dead", "degraded", "suspect", "inactive", "draining"];
    WORST_FIRST.iter().position(|word| *word == state).unwrap_or(WORST_FIRST.len())
}

fn sections(status: &Status, selection: &Selection) -> Vec<Section> {
    let mut sections = vec![listeners(status), load_balancers(status), pools(status)];
    if selection.pool.is_some() {
        sections.push(origins(status));
    }
    sections.push(tunnels(status));
    if selection.connector.is_some() {
        sections.push(links(status));
    }
    sections
}

fn listeners(status: &Status) -> Section {
    let rows = status.listeners.iter().map(|listener| {
        let flows = listener.flows.to_string();
        let leads = listener.vnet.as_ref().map(|vnet| format!("VNet {vnet}")).unwrap_or_default();
        let (name, protocol) = (listener.listener.clone(), listener.protocol.to_string());
        let (up, down) = (bytes(listener.bytes_up), bytes(listener.bytes_down));
        (
            String::new(),
            vec![name, protocol, listener.address.clone(), flows, listener.refused.to_string(), up, down, leads],
        )
    });
    let titles = &["LISTENER", "PROTOCOL", "ADDRESS", "FLOWS", "REFUSED", "UP", "DOWN", "LEADS INTO"];
    Section { heading: "listeners", titles, rows: rows.collect() }
}

fn load_balancers(status: &Status) -> Section {
    let rows = status.load_balancers.iter().map(|balancer| {
        let (state, since) = (balancer.health.to_string(), ago(balancer.since.as_deref(), status.now.as_deref()));
        let serving = balancer.serving_pool.clone().unwrap_or_default();
        (state.clone(), vec![balancer.load_balancer.clone(), state, since, serving])
    });
    let titles = &["LOAD BALANCER", "HEALTH", "SINCE", "SERVING POOL"];
    Section { heading: "load balancers", titles, rows: rows.collect() }
}

fn pools(status: &Status) -> Section {
    let mut of_pool: std::collections::HashMap<&str, Vec<&Origin>> = std::collections::HashMap::new();
    for origin in &status.origins {
        of_pool.entry(&origin.pool).or_default().push(origin);
    }
    let row = |pool: &Pool| {
        let origins = of_pool.get(&pool.pool[..]).map(Vec::as_slice).unwrap_or_default();
        let paths = || origins.iter().flat_map(|origin| &origin.paths);
        let healthy = paths().filter(|path| path.health == Health::Healthy).count();
        let flows: usize = origins.iter().map(|origin| origin.flows).sum();
        let state = pool.health.to_string();
        let cells = vec![
            pool.pool.clone(),
            state.clone(),
            ago(pool.since.as_deref(), status.now.as_deref()),
            format!("{} of {}", pool.healthy_origins, pool.origins),
            format!("{healthy} of {}", paths().count()),
            flows.to_string(),
            median(paths().filter_map(|path| path.rtt_ms)).map(milliseconds).unwrap_or_default(),
        ];
        (state, cells)
    };
    let titles = &["POOL", "HEALTH", "SINCE", "ORIGINS UP", "PATHS UP", "FLOWS", "PROBE"];
    Section { heading: "pools", titles, rows: status.pools.iter().map(row).collect() }
}

fn origins(status: &Status) -> Section {
    let row = |origin: &Origin| {
        let healthy = origin.paths.iter().filter(|path| path.health == Health::Healthy).count();
        let state = origin.health.to_string();
        let cells = vec![
            origin.origin.clone(),
            origin.address.clone(),
            state.clone(),
            ago(origin.since.as_deref(), status.now.as_deref()),
            format!("{healthy} of {}", origin.paths.len()),
            origin.flows.to_string(),
            why(origin.reason.as_deref(), origin.detail.as_deref()),
        ];
        (state, cells)
    };
    let titles = &["ORIGIN", "ADDRESS", "HEALTH", "SINCE", "PATHS UP", "FLOWS", "REASON"];
    Section { heading: "origins", titles, rows: status.origins.iter().map(row).collect() }
}

fn tunnels(status: &Status) -> Section {
    let row = |tunnel: &Tunnel| {
        let links = &tunnel.links;
        let up = links.iter().filter(|link| link.state.as_ref().is_none_or(|state| *state == LinkState::Up)).count();
        let replicas: std::collections::BTreeSet<_> = links.iter().map(|link| &link.replica).collect();
        let routes: Vec<_> = tunnel.routes.iter().map(route).collect();
        let state = tunnel.health.to_string();
        let cells = vec![
            tunnel.connector.clone(),
            state.clone(),
            ago(tunnel.since.as_deref(), status.now.as_deref()),
            replicas.len().to_string(),
            format!("{up} of {}", links.len()),
            links.iter().map(|link| link.streams).sum::<usize>().to_string(),
            median(links.iter().filter_map(|link| link.rtt_ms)).map(milliseconds).unwrap_or_default(),
            routes.join(", "),
        ];
        (state, cells)
    };
    let titles = &["CONNECTOR", "HEALTH", "SINCE", "REPLICAS", "LINKS UP", "STREAMS", "RTT", "ROUTES"];
    Section { heading: "tunnels", titles, rows: status.tunnels.iter().map(row).collect() }
}

fn links(status: &Status) -> Section {
    let links = status.tunnels.iter().flat_map(|tunnel| &tunnel.links);
    let rows = links.map(|link| {
        let state = link.state.as_ref().unwrap_or(&LinkState::Up).to_string();
        let cells = vec![
            link.id.clone(),
            link.replica.clone(),
            state.clone(),
            ago(link.since.as_deref(), status.now.as_deref()),
            link.rtt_ms.map(milliseconds).unwrap_or_default(),
            link.streams.to_string(),
            link.remote.clone(),
        ];
        (state, cells)
    });
    let titles = &["LINK", "REPLICA", "STATE", "CAME", "RTT", "STREAMS", "REMOTE"];
    Section { heading: "links", titles, rows: rows.collect() }
}

/// The one in the middle.
pub(super) fn median(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

/// Bytes in the unit that makes the number short.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut number = bytes as f64 / 1_000.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap_or(&"kB");
    while number >= 999.95
        && let Some(next) = units.next()
    {
        (number, unit) = (number / 1_000.0, next);
    }
    format!("{number:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_to_those_who_want_them() {
        assert_eq!(shared(&[1_000, 2, 1, 8], 20), [9, 2, 1, 8]);
        assert_eq!(shared(&[1_000, 1_000], 20), [10, 10]);
        assert_eq!(shared(&[2, 0], 20), [2, 0]);
        assert_eq!(shared(&[5, 5], 0), [1, 1], "something is always shown");
    }

    #[test]
    fn bytes_have_short_numbers() {
        let said = [0, 999, 1_000, 1_234_567, 999_960, u64::MAX].map(bytes);
        assert_eq!(said, ["0 B", "999 B", "1.0 kB", "1.2 MB", "1.0 MB", "18446.7 PB"]);
    }

    #[test]
    fn the_median_is_one_of_them() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([].into_iter()), None);
    }
}

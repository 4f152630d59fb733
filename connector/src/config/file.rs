//! The connector file: its keys, and the checks that need a place in it.

use std::{collections::BTreeSet, path::Path};

use config::{At, Seen, Table, beside, hint};
use ipnetwork::IpNetwork;
use protocol::{
    id::{Name, Target},
    limits::ROUTES_MAX,
};

use super::{
    ADMIN_LISTEN, AllowEntry, Config, EDGES_MAX, LINKS_PER_EDGE, LINKS_PER_EDGE_MAX, Map, RELOADS, Reload, STATE_DIR,
    WITHDRAWN, WORKERS_MAX, Withdrawn,
    routes::{is_claimed, overlap},
    workers_default,
};

const NETWORK: &str = "a network such as \"10.0.0.0/16\"";

/// Routes that were read, mistaken ones left out.
struct Routes {
    good: Vec<(Name, IpNetwork)>,
    complete: bool,
}

pub(super) fn config_of(root: &Table<'_>, path: &Path) -> Option<Config> {
    let name = root.optional("name").and_then(|v| v.parsed::<Name>()).map(|at| at.value);
    let edges = edges(root);
    let state_dir = root.or("state_dir", beside(path, STATE_DIR), |v| Some(beside(path, v.string()?.value)));
    let token_file = root.optional("token_file").and_then(|v| v.string()).map(|at| beside(path, at.value));
    let links_per_edge = root.or("links_per_edge", LINKS_PER_EDGE, |v| v.integer(1..=LINKS_PER_EDGE_MAX as u64));
    let routes = routes(root);
    let maps = maps(root, &routes);
    let allow = root.table("allow", allow).map(Option::unwrap_or_default);
    let admin = root.table("admin", |t| t.or("listen", ADMIN_LISTEN, |v| v.listen_address().map(|at| at.value)));
    let workers = root.or("workers", workers_default(), |v| v.integer(1..=WORKERS_MAX as u64));
    let withdrawn = root.or("withdrawn", Withdrawn::default(), |v| v.word(&WITHDRAWN));
    let reload = root.or("reload", Reload::default(), |v| v.word(&RELOADS));
    Some(Config {
        name,
        edges,
        state_dir,
        token_file,
        links_per_edge,
        routes: routes.good,
        maps: maps?,
        allow,
        admin_listen: admin.unwrap_or(ADMIN_LISTEN),
        workers,
        withdrawn,
        reload,
    })
}

fn edges(root: &Table<'_>) -> Vec<Target> {
    let Some(value) = root.optional("edges") else { return Vec::new() };
    let Some(items) = value.items() else { return Vec::new() };
    if items.is_empty() {
        value.wrong("must name at least one; leave it out to dial the edges of the join token");
    }
    if items.len() > EDGES_MAX {
        value.wrong(format_args!("names {} edges, at most {EDGES_MAX} are dialled", items.len()));
    }
    let mut seen = Seen::default();
    let mut edges = Vec::with_capacity(items.len());
    for At { place, value } in items.iter().filter_map(|item| item.parsed::<Target>()) {
        if seen.insert(place, value.clone()).is_some() {
            root.wrong(place, format!("`edges` names \"{value}\" twice"));
        }
        edges.push(value);
    }
    edges
}

fn routes(root: &Table<'_>) -> Routes {
    let mut seen = Seen::default();
    let routes = root.tables("route", |t| {
        let vnet = t.required("vnet", "the VNet of the route").and_then(|v| v.parsed::<Name>());
        let cidr = t.required("cidr", NETWORK).and_then(|v| v.network());
        let (vnet, At { place, value: cidr }) = (vnet?.value, cidr?);
        if let Some(first) = seen.insert(place, (vnet.clone(), cidr)) {
            let first = t.words(first);
            t.wrong(place, format!("`cidr` {cidr} of vnet \"{vnet}\" is there twice, first in {first}"));
        }
        Some((t.place(), (vnet, cidr)))
    });
    let complete = routes.iter().all(Option::is_some);
    if let Some((place, _)) = routes.iter().flatten().nth(ROUTES_MAX) {
        root.wrong(*place, format!("a connector claims at most {ROUTES_MAX} routes"));
    }
    Routes { good: routes.into_iter().flatten().map(|(_, route)| route).collect(), complete }
}

fn maps(root: &Table<'_>, routes: &Routes) -> Option<Vec<Map>> {
    let mut earlier: Vec<(Map, usize)> = Vec::new();
    let maps = root.tables("map", |t| {
        let vnet = t.required("vnet", "the VNet whose addresses are translated").and_then(|v| v.parsed::<Name>());
        let from = t.required("from", NETWORK).and_then(|v| v.network());
        let to = t.required("to", "where it really is, a network of the same size").and_then(|v| v.network());
        if let (Some(from), Some(to)) = (from, to)
            && let Some(mismatch) = Map::mismatch(from.value, to.value)
        {
            t.wrong(to.place, format!("`to` {mismatch}"));
        }
        let (vnet, from) = (vnet?, from?);
        check_claimed(t, routes, &vnet, from);
        let map = Map { vnet: vnet.value, from: from.value, to: to?.value };
        let other = earlier.iter().find(|(other, _)| other.vnet == map.vnet && overlap(other.from, map.from));
        if let Some((other, place)) = other {
            let there = t.words(*place);
            t.wrong(from.place, format!("`from` {} overlaps {} of {there}", map.from, other.from));
        }
        earlier.push((map.clone(), from.place));
        Some(map)
    });
    maps.into_iter().collect()
}

fn check_claimed(t: &Table<'_>, routes: &Routes, vnet: &At<Name>, from: At<IpNetwork>) {
    if !routes.complete || is_claimed(&routes.good, &vnet.value, from.value) {
        return;
    }
    let name = &vnet.value;
    let of_vnet: Vec<String> = routes.good.iter().filter(|(v, _)| v == name).map(|(_, c)| c.to_string()).collect();
    if of_vnet.is_empty() {
        let known: BTreeSet<&str> = routes.good.iter().map(|(v, _)| v.as_str()).collect();
        t.lacking(vnet.place, format!("no route is in vnet \"{name}\"{}", hint(name.as_str(), known)));
    } else {
        let routes = of_vnet.join(", ");
        t.lacking(from.place, format!("`from` {} is inside no route of vnet \"{name}\": {routes}", from.value));
    }
}

fn allow(t: &Table<'_>) -> Option<Vec<AllowEntry>> {
    let targets = t.required("targets", "what may be dialled, such as [\"10.0.0.0/16:*\"]")?;
    let mut seen = Seen::default();
    let mut entries = Vec::new();
    for At { place, value } in targets.items()?.iter().filter_map(|item| item.parsed::<AllowEntry>()) {
        if seen.insert(place, value).is_some() {
            t.wrong(place, format!("`targets` names \"{value}\" twice"));
        }
        entries.push(value);
    }
    Some(entries)
}

//! `[[connector]]`: who may connect, and what it may claim.

use std::collections::BTreeSet;

use config::{At, Named, Seen, Table, hint};
use ipnetwork::IpNetwork;
use protocol::id::{Host, Name, Target};

use crate::model::{Grant, Route};

const ROUTES: &str = "what it may claim, such as [{ vnet = \"prod\", cidr = \"10.0.0.0/16\" }]";
const REPLICAS_MAX: u64 = 1_000;

/// All grants.
#[derive(Debug)]
pub(super) struct Grants {
    named: Named<Name, Grant>,
    /// Of every grant, those with a mistake included, so that one mistake is not told twice.
    routes: Vec<Route>,
}

pub(super) fn read(root: &Table<'_>) -> Grants {
    let mut all = Vec::new();
    let named = Named::read(root, "connector", "connector", |t, name: Option<&Name>| {
        let replicas = t.or("replicas", 1, |v| v.integer(1..=REPLICAS_MAX));
        let drain = t.or("drain", false, |v| v.boolean());
        let routes = routes(t);
        all.extend(routes.iter().flatten().cloned());
        let routes = routes.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Grant { connector: name?.clone(), replicas, routes, drain })
    });
    Grants { named, routes: all }
}

fn routes(t: &Table<'_>) -> Vec<Option<Route>> {
    let mut seen = Seen::default();
    let routes = t.tables("routes", |r| {
        let vnet = r.required("vnet", "the VNet of the route").and_then(|v| v.parsed::<Name>());
        let cidr = r.required("cidr", "a network such as \"10.0.0.0/16\"").and_then(|v| v.network());
        let (At { value: vnet, .. }, At { place, value: cidr }) = (vnet?, cidr?);
        let route = Route { vnet, cidr };
        if let Some(first) = seen.insert(place, route.clone()) {
            let first = r.words(first);
            r.wrong(place, format!("`cidr` {cidr} of vnet \"{}\" is granted twice, first in {first}", route.vnet));
        }
        Some(route)
    });
    if !t.has("routes") {
        t.lacking(t.place(), format!("`routes` is missing in `connector`: {ROUTES}"));
    } else if t.optional("routes").and_then(|v| v.items()).is_some_and(|items| items.is_empty()) {
        t.lacking(t.place(), format!("`routes` must not be empty in `connector`: {ROUTES}"));
    }
    routes
}

impl Grants {
    pub(super) fn all(self) -> Option<Vec<Grant>> {
        self.named.all()
    }

    /// Notes an origin in a VNet that no connector may ever serve.
    pub(super) fn check(&self, t: &Table<'_>, vnet: &At<Name>, address: Option<&At<Target>>) {
        let granted: Vec<IpNetwork> = self.routes.iter().filter(|r| r.vnet == vnet.value).map(|r| r.cidr).collect();
        if granted.is_empty() {
            let known: BTreeSet<&str> = self.routes.iter().map(|r| r.vnet.as_str()).collect();
            let hint = hint(vnet.value.as_str(), known);
            t.lacking(vnet.place, format!("no connector is granted vnet \"{}\"{hint}", vnet.value));
            return;
        }
        let Some(At { place, value: Target { host: Host::Ip(ip), .. } }) = address else { return };
        if !granted.iter().any(|cidr| cidr.contains(*ip)) {
            let list = granted.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
            let list = list.into_iter().collect::<Vec<_>>().join(", ");
            t.lacking(*place, format!("`address` {ip} is outside every grant of vnet \"{}\": {list}", vnet.value));
        }
    }
}

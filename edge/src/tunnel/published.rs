//! What everyone else reads of the table of links, and how a view of it is made from the one before: only what a change has
//! touched is made anew.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

use protocol::{
    control::{Claims, RefusedRoute},
    id::{LinkId, Name},
};

use super::link::Link;
use crate::{
    model::{Grant, Route},
    routing::RouteTable,
    store::Snapshot,
};

/// Health of a connector's tunnel at this edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TunnelHealth {
    /// Every expected link is up.
    Healthy,
    /// Some are.
    Degraded,
    /// None is; one was.
    Down,
    /// None ever was.
    Inactive,
}

/// All links of one connector.
#[derive(Debug)]
pub struct TunnelView {
    /// The connector.
    pub connector: Name,
    /// Up against expected links.
    pub health: TunnelHealth,
    /// Some link of it does not leave.
    pub is_open: bool,
    /// Since when that is so, or is not.
    pub since: Instant,
    /// Since when its health is what it is.
    pub health_since: Instant,
    /// Live links, oldest first.
    pub links: Vec<Arc<Link>>,
    /// What they serve together.
    pub routes: BTreeSet<Route>,
    /// What they claim and may not have.
    pub refused: Vec<RefusedRoute>,
}

/// Everything about links, whole.
#[derive(Debug, Default)]
pub struct LinksView {
    /// By number.
    pub links: Arc<HashMap<LinkId, Arc<Link>>>,
    /// Which links reach which addresses.
    pub routes: RouteTable,
    /// One for every granted connector, and every other that has a link; by name.
    pub tunnels: Vec<Arc<TunnelView>>,
}

impl LinksView {
    /// The tunnel of a connector.
    #[must_use]
    pub fn tunnel(&self, connector: &Name) -> Option<&TunnelView> {
        let at = self.tunnels.binary_search_by(|tunnel| tunnel.connector.cmp(connector)).ok()?;
        Some(&self.tunnels[at])
    }
}

/// A link, and what its claims came to under the grants in force: judged once, since there is a view for every change.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) link: Arc<Link>,
    pub(super) claims: Arc<Claims>,
    pub(super) accepted: Vec<Route>,
    pub(super) refused: Vec<RefusedRoute>,
}

/// What has changed since the last view.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// A link came or went.
    links: bool,
    connectors: BTreeSet<Name>,
    vnets: BTreeSet<Name>,
}

impl Changes {
    /// A link came, went, or takes nothing new any more.
    pub(super) fn link(&mut self, entry: &Entry) {
        self.links = true;
        self.state(&entry.link);
        self.vnets.extend(entry.accepted.iter().map(|route| route.vnet.clone()));
    }

    /// A link answers, or does not.
    pub(super) fn state(&mut self, link: &Link) {
        self.connectors.insert(link.connector.clone());
    }

    /// A grant came or went.
    pub(super) fn grant(&mut self, grant: &Grant) {
        self.connectors.insert(grant.connector.clone());
        self.vnets.extend(grant.routes.iter().map(|route| route.vnet.clone()));
    }

    pub(super) fn connectors(&self) -> impl Iterator<Item = &Name> {
        self.connectors.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.links && self.connectors.is_empty() && self.vnets.is_empty()
    }
}

/// A moment of the table, and what of it the last view does not show.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) changes: Changes,
    pub(super) links: BTreeMap<LinkId, Arc<Entry>>,
    /// What the links were judged by.
    pub(super) snapshot: Arc<Snapshot>,
    /// Of the connectors that have changed, those that have had a link.
    pub(super) ever_up: BTreeSet<Name>,
}

impl Moment {
    /// The view of this moment.
    pub(super) fn view(&self, before: &LinksView, now: Instant) -> LinksView {
        let all = || self.links.iter().map(|(id, entry)| (*id, entry.link.clone())).collect();
        LinksView {
            links: if self.changes.links { Arc::new(all()) } else { before.links.clone() },
            routes: self.changes.vnets.iter().fold(before.routes.clone(), |table, vnet| self.route(table, vnet)),
            tunnels: self.tunnels(before, now),
        }
    }

    fn route(&self, table: RouteTable, vnet: &Name) -> RouteTable {
        let of_vnet = |route: &&Route| route.vnet == *vnet;
        // Nothing new goes over a link that leaves, probes neither: the connector waits for it to be empty.
        let placeable = self.links.values().filter(|entry| !entry.link.is_draining());
        let live = placeable.flat_map(|entry| entry.accepted.iter().filter(of_vnet).map(|r| (r.cidr, entry.link.id)));
        // What is granted and not claimed now leads nowhere, but is known: its tunnel is down.
        let absent = self.snapshot.catalog.grants.iter().flat_map(|g| g.routes.iter().filter(of_vnet).map(|r| r.cidr));
        table.with(vnet, live, absent)
    }

    fn tunnels(&self, before: &LinksView, now: Instant) -> Vec<Arc<TunnelView>> {
        let stays = |tunnel: &&Arc<TunnelView>| !self.changes.connectors.contains(&tunnel.connector);
        let mut tunnels: Vec<_> = before.tunnels.iter().filter(stays).cloned().collect();
        let mut links: BTreeMap<&Name, Vec<&Entry>> = BTreeMap::new();
        for entry in self.links.values().filter(|entry| self.changes.connectors.contains(&entry.link.connector)) {
            links.entry(&entry.link.connector).or_default().push(entry);
        }
        for connector in &self.changes.connectors {
            let grant = self.snapshot.catalog.grants.iter().find(|g| g.connector == *connector);
            let links = links.remove(connector).unwrap_or_default();
            if grant.is_some() || !links.is_empty() {
                let mut tunnel = self.tunnel((connector, grant), &links, now);
                if let Some(before) = before.tunnel(connector) {
                    tunnel.since = if before.is_open == tunnel.is_open { before.since } else { now };
                    tunnel.health_since = if before.health == tunnel.health { before.health_since } else { now };
                }
                tunnels.push(Arc::new(tunnel));
            }
        }
        tunnels.sort_by(|one, other| one.connector.cmp(&other.connector));
        tunnels
    }

    /// The tunnel of a connector with this grant, as if it had changed now.
    fn tunnel(&self, (connector, grant): (&Name, Option<&Grant>), entries: &[&Entry], now: Instant) -> TunnelView {
        let links: Vec<_> = entries.iter().map(|entry| entry.link.clone()).collect();
        let mut refused: Vec<RefusedRoute> = Vec::new();
        for claim in entries.iter().flat_map(|entry| &entry.refused) {
            if !refused.contains(claim) {
                refused.push(claim.clone());
            }
        }
        TunnelView {
            connector: connector.clone(),
            health: health(entries, grant.map_or(1, |g| g.replicas), self.ever_up.contains(connector)),
            is_open: links.iter().any(|link| !link.is_draining()),
            since: now,
            health_since: now,
            links,
            routes: entries.iter().flat_map(|entry| entry.accepted.iter().cloned()).collect(),
            refused,
        }
    }
}

fn health(entries: &[&Entry], replicas: usize, ever_up: bool) -> TunnelHealth {
    let up = entries.iter().filter(|entry| entry.link.is_up()).count();
    let mut by_replica: BTreeMap<&Name, usize> = BTreeMap::new();
    // One that leaves has heard of no change since, and says nothing of what its replica keeps, unless there is no other.
    let (leaving, staying): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().copied().partition(|entry| entry.link.is_draining());
    for entry in leaving.into_iter().chain(staying) {
        by_replica.insert(&entry.link.replica, usize::from(entry.claims.links));
    }
    // A replica that is missing altogether counts as one link, since nobody knows how many it would keep.
    let expected = by_replica.values().sum::<usize>() + replicas.saturating_sub(by_replica.len());
    match up {
        0 if ever_up => TunnelHealth::Down,
        0 => TunnelHealth::Inactive,
        up if up >= expected => TunnelHealth::Healthy,
        _ => TunnelHealth::Degraded,
    }
}

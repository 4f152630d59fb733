//! The table of links: who is here, who supersedes whom, and the view of it that everyone else reads.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use net::{Vital, drill};
use protocol::{
    control::{RefusedRoute, RouteClaim},
    error::CloseCode,
    id::{LinkId, Name},
};
use tokio::sync::watch;

use super::link::{Link, Registration};
use crate::{
    model::{Grant, Route},
    routing::{self, RouteTable},
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
    pub links: HashMap<LinkId, Arc<Link>>,
    /// Which links reach which addresses.
    pub routes: RouteTable,
    /// One for every granted connector, and every other that has a link.
    pub tunnels: Vec<TunnelView>,
}

/// Owner of the table.
#[derive(Debug)]
pub struct Registry {
    inner: Mutex<Inner>,
    view: watch::Sender<Arc<LinksView>>,
    vital: Vital,
}

/// The table under its lock. Whoever panics with it in hand may leave it half changed, and the view with it: nobody can
/// begin that anew, since the links themselves are in it.
struct Held<'a> {
    inner: MutexGuard<'a, Inner>,
    vital: &'a Vital,
}

impl Deref for Held<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.inner
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.vital.lose("the table of links");
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    links: BTreeMap<LinkId, Entry>,
    grants: Vec<Grant>,
    ever_up: BTreeSet<Name>,
    last_id: u64,
}

/// A link, and what its claims came to under the grants in force: judged once, since there is a view for every change.
#[derive(Debug)]
struct Entry {
    link: Arc<Link>,
    accepted: Vec<Route>,
    refused: Vec<RefusedRoute>,
}

impl Entry {
    fn judged(link: Arc<Link>, grants: &[Grant]) -> Self {
        let (accepted, refused) = judge(grants, &link.connector, &link.claims);
        Self { link, accepted, refused }
    }
}

impl Registry {
    /// An empty table that grants nothing.
    #[must_use]
    pub fn new(vital: Vital) -> Self {
        Self { inner: Mutex::default(), view: watch::Sender::default(), vital }
    }

    /// The current view, and word of every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<LinksView>> {
        self.view.subscribe()
    }

    /// True while a connector of this name may be here.
    #[must_use]
    pub fn is_granted(&self, connector: &Name) -> bool {
        self.lock().grants.iter().any(|g| g.connector == *connector)
    }

    /// What of these claims the connector may have, and what not.
    #[must_use]
    pub fn judge(&self, connector: &Name, claims: &[RouteClaim]) -> (Vec<Route>, Vec<RefusedRoute>) {
        judge(&self.lock().grants, connector, claims)
    }

    /// Adds a link; an older one of the same replica and slot is superseded at once.
    pub(super) fn register(&self, registration: Registration) -> Arc<Link> {
        let mut inner = self.lock();
        inner.last_id += 1;
        let link = Arc::new(Link::new(LinkId(inner.last_id), registration));
        // Another run of the replica is gone for good; within one run, a stand-in has a slot of its own.
        let same = |old: &Link| {
            (&old.connector, &old.replica) == (&link.connector, &link.replica)
                && (old.run != link.run || old.slot == link.slot)
        };
        inner.links.retain(|_, Entry { link: old, .. }| {
            let superseded = same(old);
            if superseded {
                old.close(CloseCode::Superseded, "the replica registered again");
            }
            !superseded
        });
        inner.ever_up.insert(link.connector.clone());
        let entry = Entry::judged(link.clone(), &inner.grants);
        inner.links.insert(link.id, entry);
        self.publish(&inner);
        link
    }

    /// Takes a link out.
    pub(super) fn remove(&self, link: &Link) {
        let mut inner = self.lock();
        if inner.links.remove(&link.id).is_some() {
            self.publish(&inner);
        }
    }

    /// A link's state changed.
    pub(super) fn changed(&self) {
        self.publish(&self.lock());
    }

    /// Puts new grants in force: links of connectors that lost theirs are closed, routes are judged again.
    pub fn grant(&self, grants: Vec<Grant>) {
        let mut inner = self.lock();
        inner.grants = grants;
        let granted: BTreeSet<Name> = inner.grants.iter().map(|g| g.connector.clone()).collect();
        close_where(&mut inner, CloseCode::NoGrant, "this edge grants the connector nothing any more", |link| {
            !granted.contains(&link.connector)
        });
        let Inner { links, grants, .. } = &mut *inner;
        for entry in links.values_mut() {
            *entry = Entry::judged(entry.link.clone(), grants);
        }
        self.publish(&inner);
    }

    /// Closes every link of a connector; says how many there were.
    pub fn close_all_of(&self, connector: &Name, code: CloseCode, words: &str) -> usize {
        let mut inner = self.lock();
        let closed = close_where(&mut inner, code, words, |link| link.connector == *connector);
        self.publish(&inner);
        closed
    }

    fn publish(&self, inner: &Inner) {
        drill::point("registry");
        self.view.send_replace(Arc::new(view(inner)));
    }

    fn lock(&self) -> Held<'_> {
        Held { inner: self.inner.lock().unwrap_or_else(PoisonError::into_inner), vital: &self.vital }
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(Vital::default())
    }
}

fn close_where(inner: &mut Inner, code: CloseCode, words: &str, which: impl Fn(&Link) -> bool) -> usize {
    let before = inner.links.len();
    inner.links.retain(|_, Entry { link, .. }| {
        let close = which(link);
        if close {
            link.close(code, words);
        }
        !close
    });
    before - inner.links.len()
}

fn judge(grants: &[Grant], connector: &Name, claims: &[RouteClaim]) -> (Vec<Route>, Vec<RefusedRoute>) {
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    let grant = grants.iter().find(|g| g.connector == *connector);
    for claim in claims {
        match routing::permit(grant, claim) {
            Ok(route) => accepted.push(route),
            Err(reason) => refused.push(RefusedRoute { route: claim.clone(), reason }),
        }
    }
    (accepted, refused)
}

fn view(inner: &Inner) -> LinksView {
    let mut pairs = Vec::new();
    let mut tunnels: BTreeMap<&Name, TunnelView> = BTreeMap::new();
    let granted = inner.grants.iter().map(|g| &g.connector);
    for connector in granted.chain(inner.links.values().map(|entry| &entry.link.connector)) {
        tunnels.entry(connector).or_insert_with(|| TunnelView {
            connector: connector.clone(),
            health: TunnelHealth::Inactive,
            links: Vec::new(),
            routes: BTreeSet::new(),
            refused: Vec::new(),
        });
    }
    for Entry { link, accepted, refused } in inner.links.values() {
        let tunnel = tunnels.get_mut(&link.connector).expect("every link's connector was entered above");
        tunnel.links.push(link.clone());
        for claim in refused {
            if !tunnel.refused.contains(claim) {
                tunnel.refused.push(claim.clone());
            }
        }
        for route in accepted {
            tunnel.routes.insert(route.clone());
            // Nothing new goes over a link that leaves, probes neither: the connector waits for it to be empty.
            if !link.is_draining() {
                pairs.push((route.clone(), link.id));
            }
        }
    }
    for tunnel in tunnels.values_mut() {
        let replicas = inner.grants.iter().find(|g| g.connector == tunnel.connector).map_or(1, |g| g.replicas);
        tunnel.health = tunnel_health(&tunnel.links, replicas, inner.ever_up.contains(&tunnel.connector));
    }
    // What is granted and not claimed now leads nowhere, but is known: its tunnel is down.
    let absent = inner.grants.iter().flat_map(|g| g.routes.iter().cloned());
    LinksView {
        links: inner.links.iter().map(|(id, entry)| (*id, entry.link.clone())).collect(),
        routes: RouteTable::build(pairs, absent),
        tunnels: tunnels.into_values().collect(),
    }
}

fn tunnel_health(links: &[Arc<Link>], replicas: usize, ever_up: bool) -> TunnelHealth {
    let up = links.iter().filter(|l| l.load.is_placeable()).count();
    let mut by_replica: BTreeMap<&Name, usize> = BTreeMap::new();
    for link in links {
        by_replica.insert(&link.replica, usize::from(link.links));
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

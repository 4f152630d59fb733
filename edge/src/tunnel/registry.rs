//! The table of links: who is here, and who supersedes whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use net::{Vital, drill};
use protocol::{
    control::{Claims, RefusedRoute},
    error::CloseCode,
    id::{LinkId, Name},
};
use tokio::sync::watch;

use super::{
    link::{Link, Registration},
    published::{Changes, Entry, LinksView, Moment},
};
use crate::{
    model::{Grant, Route},
    routing,
    store::Snapshot,
};

/// Owner of the table. It goes by the grants of the snapshot in force: whoever takes it in hand finds it judged by those.
#[derive(Debug)]
pub struct Registry {
    inner: Mutex<Inner>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Held by whoever makes a view, and never taken while the table is held.
    making: Mutex<()>,
    view: watch::Sender<Arc<LinksView>>,
    vital: Vital,
}

/// The table, or the making of a view, under its lock. Whoever panics with it in hand may leave it half changed, and the view
/// with it: nobody can begin that anew, since the links themselves are in it.
struct Held<'a, T> {
    held: MutexGuard<'a, T>,
    vital: &'a Vital,
}

impl<'a, T> Held<'a, T> {
    fn of(mutex: &'a Mutex<T>, vital: &'a Vital) -> Self {
        Self { held: mutex.lock().unwrap_or_else(PoisonError::into_inner), vital }
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.held
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.held
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.vital.lose("the table of links");
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    links: BTreeMap<LinkId, Arc<Entry>>,
    /// What the links were last judged by.
    judged: Arc<Snapshot>,
    ever_up: BTreeSet<Name>,
    last_id: u64,
    changes: Changes,
}

impl Entry {
    fn judged(link: Arc<Link>, claims: Arc<Claims>, grants: &[Grant]) -> Arc<Self> {
        let (accepted, refused) = judge(grants, &link.connector, &claims);
        Arc::new(Self { link, claims, accepted, refused })
    }
}

impl Registry {
    /// An empty table, under the grants of the snapshot in force.
    #[must_use]
    pub fn new(snapshots: watch::Receiver<Arc<Snapshot>>, vital: Vital) -> Self {
        let (inner, making, view) = (Mutex::default(), Mutex::default(), watch::Sender::default());
        let registry = Self { inner, snapshots, making, view, vital };
        registry.follow();
        registry
    }

    /// The current view, and word of every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<LinksView>> {
        self.view.subscribe()
    }

    /// True while a connector of this name may be here.
    #[must_use]
    pub fn is_granted(&self, connector: &Name) -> bool {
        self.lock().grants().iter().any(|g| g.connector == *connector)
    }

    /// What of a link's claims it may have, and what not. One that is not in the table any more has nothing.
    pub(super) fn judged(&self, link: &Link) -> (Vec<Route>, Vec<RefusedRoute>) {
        let entry = self.lock().links.get(&link.id).cloned();
        entry.map(|entry| (entry.accepted.clone(), entry.refused.clone())).unwrap_or_default()
    }

    /// A link claims this from now on, and nothing that it claimed before: in force when this returns.
    pub(super) fn claim(&self, link: &Link, claims: Claims) {
        self.lock().claim(link.id, claims);
        self.publish();
    }

    /// Adds a link; an older one of the same replica and slot is superseded at once.
    pub(super) fn register(&self, (registration, claims): (Registration, Claims)) -> Arc<Link> {
        let mut inner = self.lock();
        inner.last_id += 1;
        let link = Arc::new(Link::new(LinkId(inner.last_id), registration));
        // Another run of the replica is gone for good; within one run, a stand-in has a slot of its own.
        link.load.set_drained(inner.judged.drains.holds_back(&link.connector, &link.replica));
        let same = |old: &Link| {
            (&old.connector, &old.replica) == (&link.connector, &link.replica)
                && (old.run != link.run || old.slot == link.slot)
        };
        inner.close_where(CloseCode::Superseded, "the replica registered again", same);
        inner.ever_up.insert(link.connector.clone());
        let entry = Entry::judged(link.clone(), Arc::new(claims), inner.grants());
        inner.changes.link(&entry);
        inner.links.insert(link.id, entry);
        drop(inner);
        self.publish();
        link
    }

    /// Takes a link out.
    pub(super) fn remove(&self, link: &Link) {
        let mut inner = self.lock();
        if let Some(entry) = inner.links.remove(&link.id) {
            inner.changes.link(&entry);
        }
        drop(inner);
        self.publish();
    }

    /// Where the other links of a link's own process are.
    pub(super) fn beside(&self, link: &Link) -> Vec<SocketAddr> {
        let inner = self.lock();
        let others = inner.links.values().map(|entry| &entry.link).filter(|other| {
            other.id != link.id
                && other.run == link.run
                && (&other.connector, &other.replica) == (&link.connector, &link.replica)
        });
        others.map(|other| other.remote()).collect()
    }

    /// A link's state changed.
    pub(super) fn changed(&self, link: &Link) {
        self.lock().note(link);
        self.publish();
    }

    /// Links go by the snapshot in force from now on, if nobody has asked for them since it came: those of connectors that lost
    /// their grant are closed, routes are judged again.
    pub fn follow(&self) {
        drop(self.lock());
        self.publish();
    }

    /// Closes every link of a connector; says how many there were.
    pub fn close_all_of(&self, connector: &Name, code: CloseCode, words: &str) -> usize {
        let closed = self.lock().close_where(code, words, |link| link.connector == *connector);
        self.publish();
        closed
    }

    /// Makes a view of what has changed. One is made at a time: who waits meanwhile shares the next, made by the first of
    /// them, and the others find nothing left to do.
    fn publish(&self) {
        let _making = Held::of(&self.making, &self.vital);
        let Some(moment) = self.lock().moment() else { return };
        drill::point("registry");
        let before = self.view.borrow().clone();
        self.view.send_replace(Arc::new(moment.view(&before, Instant::now())));
    }

    /// The table, judged by the snapshot in force. Who finds it judged by the one before judges it, so that no answer mixes the
    /// two.
    fn lock(&self) -> Held<'_, Inner> {
        let mut inner = Held::of(&self.inner, &self.vital);
        let snapshot = self.snapshots.borrow().clone();
        if !Arc::ptr_eq(&snapshot, &inner.judged) {
            inner.judge(snapshot);
        }
        inner
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(watch::Sender::default().subscribe(), Vital::default())
    }
}

impl Inner {
    fn grants(&self) -> &[Grant] {
        &self.judged.catalog.grants
    }

    fn judge(&mut self, snapshot: Arc<Snapshot>) {
        let before = mem::replace(&mut self.judged, snapshot.clone());
        let (old, new) = (&before.catalog.grants, &snapshot.catalog.grants);
        let granted: BTreeSet<&Name> = new.iter().map(|g| &g.connector).collect();
        self.close_where(CloseCode::NoGrant, "this edge grants the connector nothing any more", |link| {
            !granted.contains(&link.connector)
        });
        old.iter().chain(new).for_each(|grant| self.changes.grant(grant));
        for entry in self.links.values_mut() {
            let Link { connector, replica, load, .. } = &*entry.link;
            load.set_drained(snapshot.drains.holds_back(connector, replica));
            self.changes.link(entry);
            *entry = Entry::judged(entry.link.clone(), entry.claims.clone(), new);
            self.changes.link(entry);
        }
    }

    /// Claims that say the same as before are no change.
    fn claim(&mut self, id: LinkId, claims: Claims) {
        let Self { links, judged, changes, .. } = self;
        let Some(entry) = links.get_mut(&id).filter(|entry| *entry.claims != claims) else { return };
        changes.link(entry);
        *entry = Entry::judged(entry.link.clone(), Arc::new(claims), &judged.catalog.grants);
        changes.link(entry);
    }

    fn close_where(&mut self, code: CloseCode, words: &str, which: impl Fn(&Link) -> bool) -> usize {
        let Self { links, changes, .. } = self;
        let before = links.len();
        links.retain(|_, entry| {
            let close = which(&entry.link);
            if close {
                entry.link.close(code, words);
                changes.link(entry);
            }
            !close
        });
        before - links.len()
    }

    /// A link's state changed. One that leaves is no way any more.
    fn note(&mut self, link: &Link) {
        match self.links.get(&link.id) {
            Some(entry) if link.is_draining() => self.changes.link(entry),
            Some(_) => self.changes.state(link),
            None => {}
        }
    }

    /// What there is to be shown, if anything has changed.
    fn moment(&mut self) -> Option<Moment> {
        let changes = mem::take(&mut self.changes);
        if changes.is_empty() {
            return None;
        }
        let ever_up = changes.connectors().filter(|name| self.ever_up.contains(*name)).cloned().collect();
        Some(Moment { changes, links: self.links.clone(), snapshot: self.judged.clone(), ever_up })
    }
}

fn judge(grants: &[Grant], connector: &Name, claims: &Claims) -> (Vec<Route>, Vec<RefusedRoute>) {
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    let grant = grants.iter().find(|g| g.connector == *connector);
    for claim in &claims.routes {
        match routing::permit(grant, claim) {
            Ok(route) => accepted.push(route),
            Err(reason) => refused.push(RefusedRoute { route: claim.clone(), reason }),
        }
    }
    (accepted, refused)
}

#[cfg(test)]
mod tests;

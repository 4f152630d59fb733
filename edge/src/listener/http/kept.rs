//! What HTTP listeners keep from one connection to the next.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use protocol::id::LinkId;
use tokio::sync::watch;

use crate::{
    health::OriginKey, listener::http::origin::idle::Idle, model::LoadBalancer, store::Snapshot, tunnel::LinksView,
};

/// How often idle connections to origins are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What HTTP listeners keep: a part for every worker, so that none waits for another.
#[derive(Debug)]
pub struct Http {
    workers: Vec<Arc<Worker>>,
    next: AtomicUsize,
}

/// The part of one worker.
#[derive(Debug, Default)]
pub(in crate::listener) struct Worker {
    /// Connections to origins.
    pub(in crate::listener::http) idle: Arc<Idle>,
}

impl Http {
    /// One part for each of so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { workers: std::iter::repeat_with(Arc::default).take(workers.max(1)).collect(), next: AtomicUsize::new(0) }
    }

    /// Looks through idle connections now and then, when something is drained, and when a link leaves, since its connector waits
    /// for them; for as long as anybody holds this.
    pub async fn sweep(
        this: Weak<Self>,
        (mut snapshots, mut links): (watch::Receiver<Arc<Snapshot>>, watch::Receiver<Arc<LinksView>>),
    ) {
        let (mut ticks, mut leaving) = (tokio::time::interval(SWEEP_EVERY), BTreeSet::new());
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = snapshots.changed() => {}
                Ok(()) = links.changed() => {
                    let now = leaving_of(&links.borrow_and_update());
                    let is_news = now.difference(&leaving).next().is_some();
                    leaving = now;
                    if !is_news {
                        continue;
                    }
                }
            }
            let Some(this) = this.upgrade() else { return };
            let (now, snapshot) = (Instant::now(), snapshots.borrow_and_update().clone());
            let barred = barred(&snapshot, now);
            for worker in &this.workers {
                worker.idle.bar(barred.clone());
                worker.idle.sweep(now);
            }
        }
    }

    /// Closes every connection to an origin that nobody uses: files are used up.
    pub(in crate::listener) fn let_go_of_idle(&self) {
        self.workers.iter().for_each(|worker| worker.idle.clear());
    }

    /// What is kept on a worker.
    pub(in crate::listener) fn worker(&self, number: usize) -> Arc<Worker> {
        self.workers[number].clone()
    }

    /// The worker for the next connection.
    pub(in crate::listener) fn next_worker(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len()
    }
}

/// Where nothing is kept: everything that is there is drained, and for longer than clients stay that are bound to it.
fn barred(snapshot: &Snapshot, now: Instant) -> HashSet<OriginKey> {
    let (mut barred, mut used) = (HashSet::new(), HashSet::new());
    if snapshot.drains.is_empty() {
        return barred;
    }
    for pool in &snapshot.catalog.pools {
        let uses = |lb: &&Arc<LoadBalancer>| lb.pools.iter().chain(&lb.fallback_pool).any(|name| *name == pool.name);
        let stays = snapshot.catalog.load_balancers.iter().filter(uses).map(|lb| lb.session_affinity.drain_duration());
        let stay = stays.max().unwrap_or_default();
        for origin in &pool.origins {
            let begun = snapshot.drains.origin(&pool.name, &origin.name);
            let side = if begun.is_some_and(|begun| now >= begun + stay) { &mut barred } else { &mut used };
            side.insert(OriginKey::of(origin));
        }
    }
    barred.retain(|key| !used.contains(key));
    barred
}

/// The links that take nothing new, since their connector has said that it leaves.
fn leaving_of(view: &LinksView) -> BTreeSet<LinkId> {
    view.links.values().filter(|link| link.is_draining()).map(|link| link.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Drain, Drains, Subject};

    #[test]
    fn nothing_is_kept_where_all_is_drained_and_nobody_stays() {
        let origin =
            |name: &str, port: u16| format!("[[pool.origin]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\n");
        let text = format!(
            "name = \"e\"\n[tunnel]\nlisten = \"127.0.0.1:1\"\n[[pool]]\nname = \"web\"\n{}{}[[pool]]\nname = \"api\"\n{}\
             [[load_balancer]]\nname = \"lb\"\npools = [\"web\"]\n\
             session_affinity = {{ type = \"source\", drain_duration = \"10s\" }}\n",
            origin("a", 80),
            origin("b", 81),
            origin("b", 81)
        );
        let catalog = crate::config::parse(&text, "e.toml".as_ref()).unwrap_or_else(|e| panic!("{e}")).catalog;
        let snapshot = Snapshot::read(catalog, &Snapshot::default()).expect("it names no file");
        let begun = Instant::now();
        let drain = Drain { who: None, since: std::time::SystemTime::now(), begun };
        let pool = |name| Subject::read("pool", name).expect("right");
        let drained = snapshot.draining(Drains::default().with(pool("web"), drain.clone()));
        let a = OriginKey::of(&snapshot.catalog.pools[0].origins[0]);
        assert!(barred(&snapshot, begun).is_empty() && barred(&drained, begun).is_empty());
        let later = begun + Duration::from_secs(10);
        assert_eq!(barred(&drained, later), HashSet::from([a]), "the other is a server of another pool, too");
        let both = drained.draining(drained.drains.with(pool("api"), drain));
        assert_eq!(barred(&both, later).len(), 2);
    }
}

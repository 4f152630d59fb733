//! The paths that are probed: one state and one probe task each, kept in step with catalog and links.
//!
//! It notes which origins a change touches; the board publishes them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use net::{Network, Vital};
use protocol::{error::Reason, id::LinkId};
use tokio::{sync::mpsc, task::AbortHandle};

use super::{
    detail::Detail,
    index::Index,
    key::{OriginAt, OriginKey, PathKey},
    probe::{Finished, Prober, Task},
    report::Report,
    rollup::{At, PathAt},
    schedule,
    state::{Outcome, PathReport, PathState, Standing, Transition},
    told::{Told, Which},
};
use crate::{
    model::{Catalog, Drains, Monitor, Origin, Via},
    offramp::{Offramp, Way},
    tunnel::LinksView,
};

/// What paths come of.
#[derive(Debug, Clone, Default)]
pub(super) struct Now {
    /// The catalog in force.
    pub(super) catalog: Arc<Catalog>,
    /// What takes nothing new.
    pub(super) drains: Arc<Drains>,
    /// The links there are.
    pub(super) links: Arc<LinksView>,
}

/// What probes run with.
#[derive(Debug, Clone)]
pub(super) struct Probing {
    pub(super) offramp: Offramp,
    /// What direct paths lead over.
    pub(super) network: Arc<dyn Network>,
    pub(super) vital: Vital,
    pub(super) results: mpsc::Sender<Finished>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Paths {
    probing: Probing,
    index: Index,
    watched: HashMap<PathKey, Watched>,
    /// What was found of origins that no path leads to now, if they were ill.
    absent: HashMap<OriginAt, Reason>,
    /// Whether new flows may be placed on a link, as last seen.
    up: HashMap<LinkId, bool>,
    /// By how much the intervals of a link's paths are stretched.
    stretch: HashMap<Via, f64>,
    touched: BTreeSet<At>,
    next_task: u64,
    /// What the log has of their changes.
    pub(super) told: Told,
}

/// One monitored path.
#[derive(Debug)]
struct Watched {
    state: PathState,
    detail: Detail,
    monitor: Arc<Monitor>,
    origin: Arc<Origin>,
    way: Way,
    interval: Arc<AtomicU64>,
    /// Told to its probes.
    anew: Arc<AtomicBool>,
    out: bool,
    /// When its health has last changed.
    since: Instant,
    task: u64,
    probing: AbortHandle,
}

impl Watched {
    fn named<'a>(&'a self, key: &'a PathKey) -> Which<'a> {
        Which { key, origin: &self.origin.name, connector: self.way.connector(), detail: &self.detail }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.probing.abort();
    }
}

impl Paths {
    /// None yet.
    pub(super) fn new(probing: Probing) -> Self {
        Self {
            probing,
            index: Index::default(),
            watched: HashMap::new(),
            absent: HashMap::new(),
            up: HashMap::new(),
            stretch: HashMap::new(),
            touched: BTreeSet::new(),
            told: Told::default(),
            next_task: 0,
        }
    }

    /// Forgets all it knows, and begins anew.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.probing.clone());
    }

    /// What direct paths lead over.
    pub(super) fn network(&self) -> &Arc<dyn Network> {
        &self.probing.network
    }

    /// True if the view does not show all of it.
    pub(super) fn are_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// The origins that something has changed of since the last call.
    pub(super) fn take_touched(&mut self) -> BTreeSet<At> {
        std::mem::take(&mut self.touched)
    }

    /// Another catalog is in force. Paths that it has too go on; links are those of before.
    pub(super) fn catalog_changed(&mut self, now: &Now) {
        self.index = Index::of(&now.catalog);
        self.stretch.clear();
        let all = self.index.all();
        self.find_ways(now, all);
        let index = &self.index;
        let is_watched =
            |key: &PathKey, at: &At| index.ways(*at).contains(&key.via) && now.catalog.pools[at.pool].monitor.is_some();
        self.watched.retain(|key, _| index.at(&key.origin()).iter().any(|at| is_watched(key, at)));
        self.absent.retain(|key, _| !index.at(key).is_empty());
    }

    /// Links or their routes have changed: only what that touches is looked at.
    pub(super) fn links_changed(&mut self, now: &Now, before: &LinksView) {
        let up: HashMap<_, _> = now.links.links.iter().map(|(id, link)| (*id, link.load.is_placeable())).collect();
        let has_turned = |id: &LinkId, up: bool| self.up.get(id).is_some_and(|before| *before != up);
        let turned: Vec<_> = up.iter().filter(|(id, up)| has_turned(id, **up)).map(|(id, _)| Via::Link(*id)).collect();
        self.up = up;
        let behind = self.index.behind(now.links.routes.differing(&before.routes));
        self.find_ways(now, behind);
        for via in turned {
            for at in self.index.over(via).collect::<Vec<_>>() {
                self.touched.insert(at);
                if let Some(key) = Self::monitored(now, at, via) {
                    self.check_link(&key);
                }
            }
        }
    }

    /// True if the probe's path is still there, and has not begun anew since.
    pub(super) fn await_it(&self, finished: &Finished) -> bool {
        self.watched.get(&finished.key).is_some_and(|path| path.task == finished.id)
    }

    /// Takes in the result of a probe that is awaited; true if a path's health has changed.
    pub(super) fn take_in(&mut self, finished: &Finished) -> bool {
        let Some(path) = self.watched.get_mut(&finished.key) else { return false };
        if let (Outcome::Failure(reason, _), Some(detail)) = (finished.outcome, &finished.detail) {
            path.detail.met(reason, detail);
        }
        let change = path.state.observe(finished.started, finished.outcome, &path.monitor);
        self.noted(&finished.key, change)
    }

    /// Takes in how live traffic fared; true if a path's health has changed.
    pub(super) fn take_report(&mut self, report: &Report) -> bool {
        let Some(path) = self.watched.get_mut(&report.path) else { return false };
        let change = path.state.passive(Instant::now(), report.connect, &path.monitor);
        if let (Some(_), Err(last)) = (change, report.connect) {
            let failed = path.monitor.passive_failures;
            path.detail
                .met(Reason::PassiveFailures, &format!("{failed} live connects in a row failed, the last: {last}"));
        }
        change.is_some() && self.noted(&report.path, change)
    }

    /// What the view shows of a path.
    pub(super) fn report(&self, catalog: &Catalog, at: PathAt) -> Option<PathReport> {
        let pool = &catalog.pools[at.pool];
        let origin = OriginKey::of(&pool.origins[at.origin]);
        let path = self.watched.get(&PathKey { pool: pool.name.clone(), origin, via: at.via })?;
        let interval = Duration::from_millis(path.interval.load(Ordering::Relaxed));
        let report = path.state.report(interval, path.since);
        Some(PathReport { detail: path.detail.of(report.reason), ..report })
    }

    fn noted(&mut self, key: &PathKey, change: Option<Transition>) -> bool {
        let Some(path) = self.watched.get_mut(key) else { return false };
        let now = Instant::now();
        path.anew.store(path.state.awaits_connect(), Ordering::Relaxed);
        path.since = change.map_or(path.since, |_| now);
        self.told.tell(now, &path.named(key), change);
        self.touched.extend(self.index.at(&key.origin()));
        change.is_some()
    }

    /// Looks up the ways to these origins, and watches those that are new.
    fn find_ways(&mut self, now: &Now, origins: Vec<At>) {
        let mut moved = Vec::new();
        let mut ways = BTreeSet::new();
        for at in origins {
            let change = self.index.put(at, ways_to(now, at));
            ways.extend(change.gone.iter().chain(&change.new).copied());
            moved.push((at, change));
        }
        ways.into_iter().for_each(|via| self.stretch(now, via));
        for (at, change) in moved {
            // Without a way, why there is none may have changed.
            if !(change.gone.is_empty() && change.new.is_empty()) || self.index.ways(at).is_empty() {
                self.touched.insert(at);
                self.sync(now, at, &change.gone);
            }
        }
    }

    /// Keeps the probes of a link's paths within its cap.
    fn stretch(&mut self, now: &Now, via: Via) {
        // Direct paths share no link; each origin is its own affair.
        if via == Via::Direct {
            return;
        }
        let monitor = |at: At| now.catalog.pools[at.pool].monitor.as_ref();
        let factor = schedule::stretch(self.index.over(via).filter_map(monitor).map(|monitor| monitor.interval));
        let before = self.stretch.insert(via, factor).unwrap_or(1.0);
        if self.index.count(via) == 0 {
            self.stretch.remove(&via);
        }
        if before == factor {
            return;
        }
        for at in self.index.over(via) {
            let path = Self::monitored(now, at, via).and_then(|key| self.watched.get(&key));
            if let Some(path) = path {
                path.interval.store(millis(schedule::stretched(path.monitor.interval, factor)), Ordering::Relaxed);
                self.touched.insert(at);
            }
        }
    }

    /// Watches every way to an origin, and no other.
    fn sync(&mut self, now: &Now, at: At, gone: &[Via]) {
        let pool = &now.catalog.pools[at.pool];
        let Some(monitor) = &pool.monitor else { return };
        let origin = &pool.origins[at.origin];
        let key = |via| PathKey { pool: pool.name.clone(), origin: OriginKey::of(origin), via };
        let ways = self.index.ways(at).to_vec();
        let name = (pool.name.clone(), OriginKey::of(origin));
        let found = ways.iter().chain(gone).filter_map(|via| self.watched.get(&key(*via))?.state.standing());
        let found = found.reduce(Standing::together);
        let supposed = found.or_else(|| self.absent.get(&name).copied().map(Standing::Ill));
        for via in gone {
            self.watched.remove(&key(*via));
        }
        for via in &ways {
            self.watch(now, key(*via), (monitor, origin), supposed);
        }
        // That an origin was well says little after an absence; that it was ill keeps its first path from looking usable.
        match supposed {
            Some(Standing::Ill(reason)) if ways.is_empty() => self.absent.insert(name, reason),
            Some(_) | None => self.absent.remove(&name),
        };
    }

    fn watch(
        &mut self,
        now: &Now,
        key: PathKey,
        (monitor, origin): (&Arc<Monitor>, &Arc<Origin>),
        supposed: Option<Standing>,
    ) {
        let factor = self.stretch.get(&key.via).copied().unwrap_or(1.0);
        let interval = millis(schedule::stretched(monitor.interval, factor));
        let before = self.watched.get_mut(&key);
        let supposed = before.as_ref().map_or(supposed, |path| path.state.standing());
        if let Some(path) = before
            && path.monitor == *monitor
            && path.origin.proxy_protocol == origin.proxy_protocol
        {
            path.interval.store(interval, Ordering::Relaxed);
            path.origin = origin.clone();
            return self.check_link(&key);
        }
        let Some(way) = self.way(now, key.via) else { return };
        let (up, since) = (self.is_up(key.via), Instant::now());
        let mut path = Watched {
            state: PathState::supposing(supposed),
            detail: Detail::default(),
            monitor: monitor.clone(),
            origin: origin.clone(),
            way,
            interval: Arc::new(AtomicU64::new(interval)),
            anew: Arc::default(),
            out: !up,
            since,
            task: 0,
            probing: tokio::spawn(async {}).abort_handle(),
        };
        if !up {
            path.state.link_lost(since);
        }
        self.probe(&key, &mut path);
        self.watched.insert(key, path);
    }

    /// Takes a path out whose link does not answer, or looks at it again at once.
    fn check_link(&mut self, key: &PathKey) {
        let up = self.is_up(key.via);
        let Some(mut path) = self.watched.remove(key) else { return };
        if up == path.out {
            path.out = !up;
            let now = Instant::now();
            let change = if up { path.state.link_back(now) } else { path.state.link_lost(now) };
            path.since = change.map_or(path.since, |_| now);
            self.told.tell(now, &path.named(key), change);
            if up {
                // One good probe re-admits it, so it comes at once.
                self.probe(key, &mut path);
            }
        }
        self.watched.insert(key.clone(), path);
    }

    /// Starts the path's probe task anew.
    fn probe(&mut self, key: &PathKey, path: &mut Watched) {
        path.probing.abort();
        self.next_task += 1;
        path.task = self.next_task;
        let siblings = self.index.count(key.via);
        let task = Task {
            id: self.next_task,
            key: key.clone(),
            origin: path.origin.clone(),
            way: path.way.clone(),
            monitor: path.monitor.clone(),
            interval: path.interval.clone(),
            anew: path.anew.clone(),
            first_wait: schedule::first_wait(siblings, path.monitor.interval, &mut rand::rng()),
            results: self.probing.results.clone(),
        };
        let offramp = self.probing.offramp.clone();
        let probing = move || Prober::new(offramp.clone()).run(task.clone());
        path.probing = tokio::spawn(self.probing.vital.clone().keep("a probe", probing)).abort_handle();
    }

    /// What leads this way, if that is there.
    fn way(&self, now: &Now, via: Via) -> Option<Way> {
        match via {
            Via::Direct => Some(Way::Direct(self.probing.network.clone())),
            Via::Link(id) => now.links.links.get(&id).cloned().map(Way::Link),
        }
    }

    fn is_up(&self, via: Via) -> bool {
        match via {
            Via::Direct => true,
            Via::Link(id) => self.up.get(&id).copied().unwrap_or(false),
        }
    }

    /// The key of a path, if it is probed.
    fn monitored(now: &Now, at: At, via: Via) -> Option<PathKey> {
        let pool = &now.catalog.pools[at.pool];
        pool.monitor.as_ref()?;
        Some(PathKey { pool: pool.name.clone(), origin: OriginKey::of(&pool.origins[at.origin]), via })
    }
}

fn ways_to(now: &Now, at: At) -> Vec<Via> {
    let origin = &now.catalog.pools[at.pool].origins[at.origin];
    let Some(vnet) = &origin.vnet else { return vec![Via::Direct] };
    let links = now.links.routes.links_to(vnet, &origin.address.host).unwrap_or_default();
    // A link may be gone a moment before its routes are.
    links.iter().filter(|id| now.links.links.contains_key(id)).map(|id| Via::Link(*id)).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

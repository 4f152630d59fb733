//! Owner of all path states: keeps one probe task for every monitored path, takes in what probes and live traffic report,
//! and publishes the view.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use net::{Vital, drill, vital::Lasting};
use protocol::{
    error::Reason,
    id::{LinkId, Name},
};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time,
};
use tracing::{info, warn};

use super::{
    key::OriginKey,
    probe::{self, Prober, Task},
    rollup::{LinkFacts, PathAt, Sources},
    schedule,
    state::{Outcome, PathState, Standing, Transition},
    view::{Health, HealthView},
};
use crate::{
    metrics::Metrics,
    model::{Catalog, Monitor, Origin, Via},
    offramp::Offramp,
    tunnel::LinksView,
};

/// Results and reports that wait to be taken in.
const INBOX_MAX: usize = 4_096;
/// New probe times are published at most this often; a change of health at once.
const QUIET_PUBLISH: Duration = Duration::from_millis(200);

/// A board that failed has worked well with what it knows if it ran so long.
const TRUSTED: Duration = Duration::from_secs(10);

/// Names a monitored path over reloads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathKey {
    /// The pool.
    pub pool: Name,
    /// The origin, by where it is.
    pub origin: OriginKey,
    /// Which way.
    pub via: Via,
}

impl PathKey {
    fn origin(&self) -> OriginAt {
        (self.pool.clone(), self.origin)
    }
}

/// Names an origin of a pool over reloads.
type OriginAt = (Name, OriginKey);

/// How live traffic fared on a path.
#[derive(Debug, Clone)]
pub struct Report {
    /// The path.
    pub path: PathKey,
    /// Whether the origin accepted.
    pub connect: Result<(), Reason>,
}

/// Where live traffic reports to. Never waits: a report that finds the inbox full is dropped, since many like it are there.
#[derive(Debug, Clone)]
pub struct Reports(mpsc::Sender<Report>);

impl Reports {
    /// Tells how a connect went.
    pub fn tell(&self, report: Report) {
        // Full: the board will see enough others to decide. Closed: the edge is ending.
        let _ = self.0.try_send(report);
    }
}

/// What the board is made of.
#[derive(Debug)]
pub struct BoardParts {
    /// The catalog in force.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// The links there are.
    pub links: watch::Receiver<Arc<LinksView>>,
    /// How probes reach origins.
    pub offramp: Offramp,
    /// What is counted.
    pub metrics: Metrics,
    /// How its tasks fare.
    pub vital: Vital,
}

/// The owner.
#[derive(Debug)]
pub struct Board {
    parts: BoardParts,
    paths: HashMap<PathKey, Path>,
    /// What was found of origins that no path leads to now.
    absent: HashMap<OriginAt, Standing>,
    view: watch::Sender<Arc<HealthView>>,
    results: (mpsc::Sender<probe::Finished>, mpsc::Receiver<probe::Finished>),
    reports: mpsc::Receiver<Report>,
    next_task: u64,
    begun: Option<Instant>,
}

/// One monitored path.
#[derive(Debug)]
struct Path {
    state: PathState,
    monitor: Arc<Monitor>,
    origin: Arc<Origin>,
    connector: Option<Name>,
    interval: Arc<AtomicU64>,
    /// Told to its probes.
    anew: Arc<AtomicBool>,
    out: bool,
    task: u64,
    probing: AbortHandle,
}

impl Drop for Path {
    fn drop(&mut self) {
        self.probing.abort();
    }
}

/// Handles of a board that is about to run.
#[derive(Debug, Clone)]
pub struct BoardHandles {
    /// The view, and word of every change.
    pub view: watch::Receiver<Arc<HealthView>>,
    /// Where live traffic reports.
    pub reports: Reports,
}

impl Board {
    /// A board that knows nothing yet.
    #[must_use]
    pub fn new(parts: BoardParts) -> (Self, BoardHandles) {
        let (told, reports) = mpsc::channel(INBOX_MAX);
        let (view, seen) = watch::channel(Arc::default());
        let results = mpsc::channel(INBOX_MAX);
        let (paths, absent) = (HashMap::new(), HashMap::new());
        let board = Self { parts, paths, absent, view, results, reports, next_task: 0, begun: None };
        (board, BoardHandles { view: seen, reports: Reports(told) })
    }
}

impl Lasting for Board {
    /// Runs until the catalog or the links have no owner any more. Begun anew it goes on with what it knows; if that is what
    /// made it fail, from the catalog and the links alone.
    async fn run(&mut self) {
        let now = Instant::now();
        if self.begun.replace(now).is_some_and(|begun| now.saturating_duration_since(begun) < TRUSTED) {
            self.paths.clear();
        }
        let mut dirty = false;
        let mut quiet = time::interval(QUIET_PUBLISH);
        loop {
            self.reconcile();
            // What needs no new set of paths is taken in here.
            loop {
                drill::point("board");
                let changed = tokio::select! {
                    changed = self.parts.catalog.changed() => match changed { Ok(()) => break, Err(_) => return },
                    changed = self.parts.links.changed() => match changed { Ok(()) => break, Err(_) => return },
                    Some(finished) = self.results.1.recv() => { dirty = true; self.take_in(finished) }
                    Some(report) = self.reports.recv() => self.take_report(&report),
                    _ = quiet.tick(), if dirty => { dirty = false; true }
                };
                if changed {
                    self.publish();
                    dirty = false;
                }
            }
        }
    }
}

impl Board {
    /// Brings probe tasks in step with catalog and links, then publishes.
    fn reconcile(&mut self) {
        let (catalog, links) =
            (self.parts.catalog.borrow_and_update().clone(), self.parts.links.borrow_and_update().clone());
        let view = self.build(&catalog, &links);
        let (wanted, known) = (wanted(&view), self.standings());
        self.paths.retain(|key, _| wanted.contains_key(key));
        for (key, want) in wanted {
            let supposed = self.paths.get(&key).map(|path| path.state.standing());
            let supposed = supposed.unwrap_or_else(|| known.get(&key.origin()).copied());
            self.sync(key, want, supposed);
        }
        self.absent = absent(&view, known);
        let view = self.build(&catalog, &links);
        self.view.send_replace(Arc::new(view));
    }

    /// What is known of every origin, over whichever path.
    fn standings(&self) -> HashMap<OriginAt, Standing> {
        let mut known = self.absent.clone();
        for (key, path) in &self.paths {
            if let Some(standing) = path.state.standing() {
                known.entry(key.origin()).and_modify(|other| *other = other.together(standing)).or_insert(standing);
            }
        }
        known
    }

    fn sync(&mut self, key: PathKey, want: Want, supposed: Option<Standing>) {
        let Want { monitor, origin, connector, up, siblings, interval } = want;
        match self.paths.get_mut(&key) {
            Some(path) if path.monitor == monitor && path.origin.proxy_protocol == origin.proxy_protocol => {
                path.interval.store(millis(interval), Ordering::Relaxed);
                path.origin = origin;
                if up == path.out {
                    self.link_changed(&key, up, siblings);
                }
            }
            Some(_) | None => {
                let interval = Arc::new(AtomicU64::new(millis(interval)));
                let mut path = Path {
                    state: PathState::supposing(supposed),
                    monitor,
                    origin,
                    connector,
                    interval,
                    anew: Arc::default(),
                    out: !up,
                    task: 0,
                    probing: tokio::spawn(async {}).abort_handle(),
                };
                if !up {
                    path.state.link_lost(Instant::now());
                }
                self.probe(&key, &mut path, siblings);
                self.paths.insert(key, path);
            }
        }
    }

    fn link_changed(&mut self, key: &PathKey, up: bool, siblings: usize) {
        let Some(mut path) = self.paths.remove(key) else { return };
        path.out = !up;
        let now = Instant::now();
        let change = if up { path.state.link_back(now) } else { path.state.link_lost(now) };
        tell(key, &path, change);
        if up {
            // One good probe re-admits it, so it comes at once.
            self.probe(key, &mut path, siblings);
        }
        self.paths.insert(key.clone(), path);
    }

    /// Starts the path's probe task anew.
    fn probe(&mut self, key: &PathKey, path: &mut Path, siblings: usize) {
        path.probing.abort();
        self.next_task += 1;
        path.task = self.next_task;
        let task = Task {
            id: self.next_task,
            key: key.clone(),
            origin: path.origin.clone(),
            monitor: path.monitor.clone(),
            interval: path.interval.clone(),
            anew: path.anew.clone(),
            first_wait: schedule::first_wait(siblings, path.monitor.interval, &mut rand::rng()),
            results: self.results.0.clone(),
        };
        let offramp = self.parts.offramp.clone();
        let probing = move || Prober::new(offramp.clone()).run(task.clone());
        path.probing = tokio::spawn(self.parts.vital.clone().keep("a probe", probing)).abort_handle();
    }

    fn take_in(&mut self, finished: probe::Finished) -> bool {
        let Some(path) = self.paths.get_mut(&finished.key) else { return false };
        if path.task != finished.id {
            return false;
        }
        let word = match finished.outcome {
            Outcome::Success(_) | Outcome::StillAnswers(_) => "healthy",
            Outcome::Failure(reason, _) => reason.as_str(),
        };
        self.parts.metrics.probe(&finished.key.pool, word);
        let change = path.state.observe(finished.started, finished.outcome, &path.monitor);
        path.anew.store(path.state.awaits_connect(), Ordering::Relaxed);
        tell(&finished.key, path, change);
        change.is_some()
    }

    fn take_report(&mut self, report: &Report) -> bool {
        let Some(path) = self.paths.get_mut(&report.path) else { return false };
        let change = path.state.passive(Instant::now(), report.connect, &path.monitor);
        path.anew.store(path.state.awaits_connect(), Ordering::Relaxed);
        tell(&report.path, path, change);
        change.is_some()
    }

    fn publish(&self) {
        let (catalog, links) = (self.parts.catalog.borrow().clone(), self.parts.links.borrow().clone());
        self.view.send_replace(Arc::new(self.build(&catalog, &links)));
    }

    fn build(&self, catalog: &Arc<Catalog>, links: &LinksView) -> HealthView {
        let link = |id: LinkId| {
            let link = links.links.get(&id)?;
            Some(LinkFacts { connector: link.connector.clone(), load: link.load.clone() })
        };
        let path = |at: PathAt| {
            let pool = &catalog.pools[at.pool];
            let origin = OriginKey::of(&pool.origins[at.origin]);
            let path = self.paths.get(&PathKey { pool: pool.name.clone(), origin, via: at.via })?;
            Some(path.state.report(Duration::from_millis(path.interval.load(Ordering::Relaxed))))
        };
        let previous = self.view.borrow().clone();
        HealthView::build(&Sources { previous: &previous, catalog, routes: &links.routes, link, path })
    }
}

/// What is remembered of origins without a path: that one was ill. The first path back does not make a dead origin look
/// like one that may serve. That one was well says little after an absence.
fn absent(view: &HealthView, known: HashMap<OriginAt, Standing>) -> HashMap<OriginAt, Standing> {
    let lost = view.without_path();
    known.into_iter().filter(|(at, standing)| matches!(standing, Standing::Ill(_)) && lost.contains(at)).collect()
}

/// A path that should be probed.
struct Want {
    monitor: Arc<Monitor>,
    origin: Arc<Origin>,
    connector: Option<Name>,
    up: bool,
    siblings: usize,
    interval: Duration,
}

fn wanted(view: &HealthView) -> HashMap<PathKey, Want> {
    let mut wanted = HashMap::new();
    let mut by_link: HashMap<Via, Vec<Duration>> = HashMap::new();
    for pool in &view.pools {
        let Some(monitor) = &pool.pool.monitor else { continue };
        for origin in &pool.origins {
            for path in &origin.paths {
                let key = PathKey { pool: pool.pool.name.clone(), origin: origin.key, via: path.via };
                let want = Want {
                    monitor: monitor.clone(),
                    origin: origin.origin.clone(),
                    connector: path.connector.clone(),
                    up: path.load.is_placeable(),
                    siblings: 0,
                    interval: monitor.interval,
                };
                if wanted.insert(key, want).is_none() {
                    by_link.entry(path.via).or_default().push(monitor.interval);
                }
            }
        }
    }
    for (key, want) in &mut wanted {
        let intervals = &by_link[&key.via];
        want.siblings = intervals.len();
        // Direct paths share no link; each origin is its own affair.
        if key.via != Via::Direct {
            let factor = schedule::stretch(intervals.iter().copied());
            want.interval = schedule::stretched(want.interval, factor);
        }
    }
    wanted
}

fn tell(key: &PathKey, path: &Path, change: Option<Transition>) {
    let Some(change) = change else { return };
    let (pool, origin, via) = (&key.pool, &path.origin.name, key.via);
    let connector = path.connector.as_ref().map(Name::as_str);
    match change.to {
        Health::Healthy => info!(%pool, %origin, %via, connector, "path is healthy"),
        Health::Unhealthy => {
            let reason = change.reason.map(Reason::as_str);
            warn!(%pool, %origin, %via, connector, reason, "path is unhealthy");
        }
        Health::Unknown => info!(%pool, %origin, %via, connector, "path is unknown"),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

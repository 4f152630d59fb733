//! Takes in what probes and live traffic report of paths, keeps them in step with catalog and links, and publishes the view:
//! each time only what has changed, and once for all that came meanwhile.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use net::{Network, Vital, drill, vital::Lasting};
use protocol::id::LinkId;
use tokio::{
    sync::{mpsc, watch},
    time::{self, MissedTickBehavior},
};

use super::{
    paths::{Now, Paths, Probing},
    probe::Finished,
    report::{Report, Reports},
    rollup::{PathAt, Sources},
    state::{Outcome, PathReport},
    view::HealthView,
};
use crate::{
    metrics::Metrics,
    offramp::Offramp,
    store::Snapshot,
    tunnel::{Link, LinksView},
};

/// Results and reports that wait to be taken in.
const INBOX_MAX: usize = 4_096;
/// New probe times are published at most this often; a change of health at once.
const QUIET_PUBLISH: Duration = Duration::from_millis(200);
/// A board that failed has worked well with what it knows if it ran so long.
const TRUSTED: Duration = Duration::from_secs(10);

/// What the board is made of.
#[derive(Debug)]
pub struct BoardParts {
    /// What is in force.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// The links there are.
    pub links: watch::Receiver<Arc<LinksView>>,
    /// How probes reach origins.
    pub offramp: Offramp,
    /// What direct paths lead over.
    pub network: Arc<dyn Network>,
    /// What is counted.
    pub metrics: Metrics,
    /// How its tasks fare.
    pub vital: Vital,
}

/// The owner.
#[derive(Debug)]
pub struct Board {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    links: watch::Receiver<Arc<LinksView>>,
    metrics: Metrics,
    now: Now,
    paths: Paths,
    view: watch::Sender<Arc<HealthView>>,
    results: mpsc::Receiver<Finished>,
    reports: mpsc::Receiver<Report>,
    begun: Option<Instant>,
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
        let BoardParts { snapshots, links, offramp, network, metrics, vital } = parts;
        let (told, reports) = mpsc::channel(INBOX_MAX);
        let (finished, results) = mpsc::channel(INBOX_MAX);
        let (view, seen) = watch::channel(Arc::default());
        let (now, paths) = (Now::default(), Paths::new(Probing { offramp, network, vital, results: finished }));
        let board = Self { snapshots, links, metrics, now, paths, view, results, reports, begun: None };
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
        self.new_links();
        self.new_catalog();
        let mut quiet = time::interval(QUIET_PUBLISH);
        quiet.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            drill::point("board");
            let is_due = tokio::select! {
                changed = self.snapshots.changed() => match changed {
                    Ok(()) => {
                        // Paths are known by links that are; so these come first.
                        self.new_links();
                        self.new_catalog();
                        false
                    }
                    Err(_) => return,
                },
                changed = self.links.changed() => match changed {
                    Ok(()) => {
                        self.new_links();
                        true
                    }
                    Err(_) => return,
                },
                Some(finished) = self.results.recv() => self.take_in(&finished),
                Some(report) = self.reports.recv() => self.paths.take_report(&report),
                _ = quiet.tick(), if self.paths.are_touched() || self.paths.told.owes() => {
                    self.paths.told.tell_rest(Instant::now());
                    self.paths.are_touched()
                }
            };
            // What has come meanwhile shares the view that is made now.
            if self.take_in_waiting() || is_due {
                self.publish();
            }
        }
    }
}

impl Board {
    fn new_links(&mut self) {
        let before = std::mem::replace(&mut self.now.links, self.links.borrow_and_update().clone());
        self.paths.links_changed(&self.now, &before);
    }

    fn new_catalog(&mut self) {
        let snapshot = self.snapshots.borrow_and_update().clone();
        (self.now.catalog, self.now.drains) = (snapshot.catalog.clone(), snapshot.drains.clone());
        self.paths.catalog_changed(&self.now);
        self.paths.take_touched();
        let before = self.view.borrow().clone();
        let view = HealthView::build(&self.sources(&before));
        self.view.send_replace(Arc::new(view));
    }

    /// Takes in what waits; true if a path's health has changed.
    fn take_in_waiting(&mut self) -> bool {
        let mut changed = false;
        for _ in 0..INBOX_MAX {
            let Ok(finished) = self.results.try_recv() else { break };
            changed |= self.take_in(&finished);
        }
        for _ in 0..INBOX_MAX {
            let Ok(report) = self.reports.try_recv() else { break };
            changed |= self.paths.take_report(&report);
        }
        changed
    }

    fn take_in(&mut self, finished: &Finished) -> bool {
        if !self.paths.await_it(finished) {
            return false;
        }
        let word = match finished.outcome {
            Outcome::Success(_) | Outcome::StillAnswers(_) => "healthy",
            Outcome::Failure(reason, _) => reason.as_str(),
        };
        self.metrics.probe(&finished.key.pool, word);
        self.paths.take_in(finished)
    }

    fn publish(&mut self) {
        let touched = self.paths.take_touched();
        if touched.is_empty() {
            return;
        }
        let before = self.view.borrow().clone();
        let view = HealthView::renew(&self.sources(&before), &touched);
        self.view.send_replace(Arc::new(view));
    }

    fn sources<'a>(
        &'a self,
        previous: &'a HealthView,
    ) -> Sources<'a, impl Fn(LinkId) -> Option<Arc<Link>>, impl Fn(PathAt) -> Option<PathReport>> {
        let Now { catalog, drains, links } = &self.now;
        let link = |id: LinkId| links.links.get(&id).cloned();
        let (network, now, path) = (self.paths.network(), Instant::now(), |at| self.paths.report(catalog, at));
        Sources { previous, catalog, drains, routes: &links.routes, link, network, now, path }
    }
}

#[cfg(test)]
mod tests;

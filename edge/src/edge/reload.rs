//! A reload: settings read again, all that can fail tried first, and then put in force as one.

use std::{
    panic::resume_unwind,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use config::{Mistake, Mistakes};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::{EdgeError, Findings, rooms::Rooms};
use crate::{
    model::{Config, Drains},
    store::{Outcome, Plan, Snapshot},
};

impl Rooms {
    /// Puts a catalog in force, first all that can fail, files and addresses, then what cannot; and says what has changed.
    pub(super) async fn put_in_force(&self, config: &Config) -> Result<Plan, EdgeError> {
        let _changing = self.store.change().await;
        let drains = self.store.current().drains.clone();
        let (plan, read) = self.read(config).await;
        let snapshot = Arc::new(read?);
        let prepared = self.listeners.prepare(&snapshot).await?;
        // Flows of new listeners wait for the first view that knows their pools.
        self.listeners.commit(prepared);
        self.store.commit(snapshot.clone());
        self.tunnel.registry.follow();
        self.told(config, (&plan, &snapshot), &drains).await;
        Ok(plan)
    }

    /// Has everybody else go by the snapshot in force.
    pub(super) async fn told(&self, config: &Config, (plan, snapshot): (&Plan, &Snapshot), drains: &Drains) {
        let catalog = &snapshot.catalog;
        self.metrics.know(catalog);
        self.drains.follow(drains, &snapshot.drains).await;
        self.metrics.in_force(seconds(SystemTime::now()));
        let (added, removed, changed) = (plan.added(), plan.removed(), plan.changed());
        info!(version = catalog.version, %added, %removed, %changed, "catalog in force");
        self.reloading.follow(config, snapshot);
    }

    /// What a catalog changes, and all of its files, read where that holds nobody up.
    pub(super) async fn read(&self, config: &Config) -> (Plan, Result<Snapshot, EdgeError>) {
        let (catalog, before) = (config.catalog.clone(), self.store.current());
        let read = move || (before.plan(&catalog), Snapshot::read(catalog, &before).map_err(EdgeError::from));
        spawn_blocking(read).await.unwrap_or_else(|failed| resume_unwind(failed.into_panic()))
    }

    /// Reads the settings again, and puts their catalog in force unless only what would change is asked; a reload is over when
    /// flows are placed by it.
    pub(super) async fn reload(&self, running: &Config, dry_run: bool) -> Arc<Outcome> {
        let mut outcome = Outcome {
            at: UNIX_EPOCH,
            dry_run,
            version: 0,
            plan: Plan::default(),
            restart: Vec::new(),
            mistakes: Vec::new(),
        };
        match self.next(running, dry_run, &mut outcome).await {
            Ok(plan) => outcome.plan = plan,
            Err(mistakes) => outcome.mistakes = mistakes,
        }
        outcome.at = SystemTime::now();
        outcome.version = self.store.current().catalog.version;
        let outcome = Arc::new(outcome);
        if !dry_run {
            self.tell(&outcome);
            self.reloading.last.send_replace(Some(outcome.clone()));
        }
        outcome
    }

    async fn next(&self, running: &Config, dry_run: bool, outcome: &mut Outcome) -> Result<Plan, Vec<String>> {
        let settings = self.reloading.settings.clone();
        let next = spawn_blocking(move || settings.current()).await;
        let next = next.unwrap_or_else(|failed| resume_unwind(failed.into_panic())).map_err(|all| lines(&all))?;
        outcome.restart = fixed(running, &next);
        if dry_run {
            let (plan, read) = self.read(&next).await;
            return match read {
                Ok(_) => Ok(plan),
                Err(error) => Err(self.wrong(next, error).await),
            };
        }
        match self.put_in_force(&next).await {
            Ok(plan) => {
                self.seen().await;
                Ok(plan)
            }
            Err(error) => Err(self.wrong(next, error).await),
        }
    }

    /// Waits until flows are placed by the snapshot in force. The board, which makes the view, lives as long as the edge.
    async fn seen(&self) {
        let version = self.store.current().catalog.version;
        let _ = self.view.clone().wait_for(|view| view.catalog.version >= version).await;
    }

    /// Everything that is wrong with settings that failed with this error, as a check of them says it.
    async fn wrong(&self, next: Config, error: EdgeError) -> Vec<String> {
        let base = self.reloading.settings.store.base().to_owned();
        let found = spawn_blocking(move || Findings::of(&next, SystemTime::now()).mistakes(&next.catalog.spec, &base));
        let found = found.await.unwrap_or_else(|failed| resume_unwind(failed.into_panic()));
        if found.is_empty() { vec![error.to_string()] } else { lines(&Mistakes { list: found }) }
    }

    fn tell(&self, outcome: &Outcome) {
        for key in &outcome.restart {
            warn!(key, "this setting changes only with a restart");
        }
        self.metrics.reload(outcome.is_applied());
        if !outcome.is_applied() {
            outcome.mistakes.iter().for_each(|mistake| error!("{mistake}"));
            error!("reload refused: the configuration before stays in force");
        }
    }
}

/// The settings that differ and change only with a restart. What join tokens tell is read by those who make them.
fn fixed(running: &Config, next: &Config) -> Vec<&'static str> {
    let fixed = [
        ("name", running.name == next.name),
        ("state_dir", running.state_dir == next.state_dir),
        ("tunnel.listen", running.tunnel.listen == next.tunnel.listen),
        ("ca", running.ca == next.ca),
        ("affinity_key", running.affinity_key == next.affinity_key),
        ("admin", running.admin == next.admin),
        ("workers", running.workers == next.workers),
    ];
    fixed.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
}

fn lines(mistakes: &Mistakes) -> Vec<String> {
    mistakes.list.iter().map(Mistake::to_string).collect()
}

/// Since 1970.
fn seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

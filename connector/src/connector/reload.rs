//! Reloads: the settings are read again when somebody asks, and when their file has changed; what differs is put in force.

use std::{mem, net::SocketAddr, panic::resume_unwind, path::PathBuf, pin::pin, sync::Arc, time::SystemTime};

use net::{FileWatch, vital::Lasting};
use protocol::id::Target;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{keepers::Keepers, resolved, ruling};
use crate::{
    config::{Config, Difference, Reload, Settings},
    reloads::{Outcome, Reloads},
};

/// Who reads settings again.
pub(super) struct Reloader {
    pub(super) settings: Settings,
    /// Who asks for it, and waits for its end.
    pub(super) asked: mpsc::Receiver<oneshot::Sender<()>>,
    /// The edges of the join token.
    pub(super) of_token: Vec<Target>,
    /// The connector's own address.
    pub(super) listening: SocketAddr,
    pub(super) reloads: Arc<Reloads>,
    pub(super) stop: CancellationToken,
    pub(super) keepers: Keepers,
    /// Somebody has asked before there was anything to change.
    pub(super) is_due: bool,
    /// What it runs by.
    pub(super) in_force: Config,
    /// What the last look found. Without being asked, the same is not told twice.
    pub(super) seen: Result<Config, Vec<String>>,
}

/// What a look needs, and brings back.
struct Looked {
    watch: FileWatch,
    found: Result<Config, Vec<String>>,
}

/// Lets a connector join. Whoever asks for a reload meanwhile does not wait for that: it is due afterwards.
pub(super) async fn put_off<T>(
    asked: &mut mpsc::Receiver<oneshot::Sender<()>>,
    joining: impl Future<Output = T>,
) -> (T, bool) {
    let (mut joining, mut is_due) = (pin!(joining), false);
    loop {
        tokio::select! {
            joined = &mut joining => return (joined, is_due),
            Some(by) = asked.recv() => {
                info!("the settings are read again once the connector has joined");
                is_due = true;
                // Who asked may be gone.
                let _ = by.send(());
            }
        }
    }
}

impl Lasting for Reloader {
    async fn run(&mut self) {
        let mut watch = FileWatch::default();
        let mut asked: Option<oneshot::Sender<()>> = None;
        loop {
            let watched = self.watched();
            let is_asked = mem::take(&mut self.is_due) || asked.is_some();
            if is_asked || watched.is_some() {
                let Some(looked) = self.look(watch).await else { return };
                watch = looked.watch;
                self.judge(looked.found, is_asked);
            }
            if let Some(asked) = asked.take() {
                // Who asked may be gone.
                let _ = asked.send(());
            }
            if self.watched() != watched {
                // The settings say otherwise now.
                continue;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                Some(by) = self.asked.recv() => asked = Some(by),
                () = watch.changed(), if watched.is_some() => {}
            }
        }
    }
}

impl Reloader {
    /// The file to be watched, if one is.
    fn watched(&self) -> Option<PathBuf> {
        match self.in_force.reload {
            Reload::Watch => self.settings.file.clone().filter(|_| self.settings.is_lasting()),
            Reload::Signal => None,
        }
    }

    /// Reads the settings where that holds nobody up; `None` if it is to end meanwhile.
    async fn look(&self, mut watch: FileWatch) -> Option<Looked> {
        let (settings, in_force, watched) = (self.settings.clone(), self.in_force.clone(), self.watched());
        let look = move || {
            // Watched before it is read: so nothing is missed.
            watch.watch(&watched.into_iter().collect::<Vec<_>>());
            Looked { watch, found: settings.again(&in_force).map_err(|wrong| wrong.lines()) }
        };
        tokio::select! {
            looked = spawn_blocking(look) => Some(looked.unwrap_or_else(|failed| resume_unwind(failed.into_panic()))),
            () = self.stop.cancelled() => None,
        }
    }

    fn judge(&mut self, found: Result<Config, Vec<String>>, is_asked: bool) {
        let found = found.and_then(|config| resolved(config, &self.of_token).map_err(|wrong| vec![wrong]));
        if !is_asked && found == self.seen {
            return;
        }
        let (mistakes, restart) =
            match found.as_ref().map_err(Clone::clone).and_then(|config| self.put_in_force(config)) {
                Ok(restart) => (Vec::new(), restart),
                Err(mistakes) => (mistakes, Vec::new()),
            };
        self.seen = found;
        let metrics = &self.keepers.base.service.metrics;
        if mistakes.is_empty() {
            metrics.reloaded();
        } else {
            mistakes.iter().for_each(|mistake| error!("{mistake}"));
            error!("reload refused: the settings before stay in force");
            metrics.reload_refused();
        }
        self.reloads.note(Outcome { at: SystemTime::now(), mistakes, restart });
    }

    /// First all that can fail, then what cannot; gives the keys that need a restart.
    fn put_in_force(&mut self, config: &Config) -> Result<Vec<&'static str>, Vec<String>> {
        let difference = Difference::between(&self.in_force, config);
        let prepared =
            self.keepers.prepare(config).map_err(|error| vec![format!("no socket to dial from: {error}")])?;
        for key in &difference.restart {
            warn!(key, "this setting changes only with a restart");
        }
        let (old, new) = (self.in_force.clone(), config.clone());
        self.in_force = Config {
            name: old.name,
            state_dir: old.state_dir,
            token_file: old.token_file,
            admin_listen: old.admin_listen,
            workers: old.workers,
            ..new
        };
        let base = &self.keepers.base;
        base.service.rulings.replace(ruling(&self.in_force, (self.listening, base.grace)));
        self.keepers.commit(prepared);
        if !difference.changes.is_empty() {
            config.doubts().iter().for_each(|doubt| warn!("{}", doubt.text));
        }
        info!(changes = %difference, "settings are in force");
        Ok(difference.restart)
    }
}

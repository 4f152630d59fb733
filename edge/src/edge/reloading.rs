//! What reloads go by: where settings are, who is told of a reload, and which files ask for one when they change.

use std::{path::PathBuf, sync::Arc};

use config::{LogFilter, Spec};
use net::Vital;
use tokio::sync::watch;

use super::watching;
use crate::{
    config::Settings,
    model::{Config, ReloadOn},
    store::{Outcome, Reloads, Snapshot, Store},
};

/// What reloads go by, and who is told of them.
pub(super) struct Reloading {
    pub(super) settings: Settings,
    pub(super) reloads: Reloads,
    /// How the last one went.
    pub(super) last: watch::Sender<Option<Arc<Outcome>>>,
    /// Files that are read again when they have changed.
    watched: watch::Sender<Vec<PathBuf>>,
    log_level: watch::Sender<Option<LogFilter>>,
}

impl Reloading {
    pub(super) fn new(settings: Settings, reloads: Reloads, log_level: watch::Sender<Option<LogFilter>>) -> Self {
        Self { settings, reloads, last: watch::Sender::default(), watched: watch::Sender::default(), log_level }
    }

    /// Asks for a reload whenever the settings have changed in their files.
    pub(super) fn watch(&self, store: &Store, vital: &Vital) {
        let (snapshots, settings) = (store.subscribe(), self.settings.clone());
        let (files, reloads) = (self.watched.subscribe(), self.reloads.clone());
        let watch = move || {
            let snapshots = snapshots.clone();
            let is_in_force = move |spec: &Spec| *snapshots.borrow().catalog.spec == *spec;
            watching::watch((settings.clone(), is_in_force), files.clone(), reloads.clone())
        };
        tokio::spawn(vital.clone().keep("the watch over settings", watch));
    }

    /// Goes by other settings from now on.
    pub(super) fn follow(&self, config: &Config, snapshot: &Snapshot) {
        let named = snapshot.files().chain(self.settings.store.files());
        self.watched.send_replace(match config.reload {
            ReloadOn::Change => named.cloned().collect(),
            ReloadOn::Signal => Vec::new(),
        });
        self.log_level.send_replace(config.log_level.clone());
    }
}

//! Where an edge's settings are kept, and what its command line says otherwise.

use std::{
    iter,
    path::{Path, PathBuf},
};

use config::{FileKind, Mistakes, Spec};
use protocol::id::Name;

use super::{Contact, check, contact};
use crate::model::Config;

/// What an edge's settings are read from, at its start and at each reload.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where they are kept.
    pub store: CatalogStore,
    /// What is laid over them.
    pub over: Overrides,
}

/// Where settings are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogStore {
    /// A file of TOML.
    File(PathBuf),
}

/// Settings of the edge itself that are given otherwise. Nothing of the catalog is among them.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The edge's name.
    pub name: Option<Name>,
    /// Where state is kept.
    pub state_dir: Option<PathBuf>,
    /// Threads that carry flows, 1 to [`super::WORKERS_MAX`].
    pub workers: Option<usize>,
}

impl Settings {
    /// The settings as they are now, checked. This blocks. Of those that are a connector's, that is all that is said.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn current(&self) -> Result<Config, Mistakes> {
        let spec = self.store.spec()?;
        if spec.kind() == Some(FileKind::Connector) {
            return Err(spec.of_nobody("a connector's file: it is for `underpass connector`".to_owned()));
        }
        let config = check(&spec, self.store.base())?;
        let Overrides { name, state_dir, workers } = self.over.clone();
        Ok(Config {
            name: name.unwrap_or(config.name),
            state_dir: state_dir.unwrap_or(config.state_dir),
            workers: workers.unwrap_or(config.workers),
            ..config
        })
    }
}

impl Settings {
    /// Where the edge of these settings is asked. If only other things are wrong with them, it may run with those before. This
    /// blocks.
    ///
    /// # Errors
    /// Every mistake in them, if that cannot be told.
    pub fn contact(&self) -> Result<Contact, Mistakes> {
        self.current().map(|config| Contact { admin: config.admin.listen, state_dir: config.state_dir }).or_else(
            |mistakes| {
                let spec = self.store.spec()?;
                let contact = contact(&spec, self.store.base()).filter(|_| spec.kind() != Some(FileKind::Connector));
                let contact = contact.ok_or(mistakes)?;
                let state_dir = self.over.state_dir.clone().unwrap_or(contact.state_dir);
                Ok(Contact { state_dir, ..contact })
            },
        )
    }
}

impl CatalogStore {
    /// What is kept there now, not checked. This blocks.
    ///
    /// # Errors
    /// What kept it from being read at all.
    pub fn spec(&self) -> Result<Spec, Mistakes> {
        match self {
            Self::File(file) => Spec::read(file),
        }
    }

    /// The files that it is kept in.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        match self {
            Self::File(file) => iter::once(file),
        }
    }

    /// The file at whose directory relative paths begin.
    #[must_use]
    pub fn base(&self) -> &Path {
        match self {
            Self::File(file) => file,
        }
    }
}

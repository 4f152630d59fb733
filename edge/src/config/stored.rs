//! Where an edge's settings are kept.

use std::path::{Path, PathBuf};

use config::{Mistakes, Spec};

/// Where an edge's settings are kept, and asked for at its start and at each reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogStore {
    /// A file of TOML.
    File(PathBuf),
}

impl CatalogStore {
    /// The settings that are kept there now, not checked. This blocks.
    ///
    /// # Errors
    /// What kept them from being read at all.
    pub fn spec(&self) -> Result<Spec, Mistakes> {
        match self {
            Self::File(file) => Spec::read(file),
        }
    }

    /// The file at whose directory relative paths in them begin.
    #[must_use]
    pub fn base(&self) -> &Path {
        match self {
            Self::File(file) => file,
        }
    }
}

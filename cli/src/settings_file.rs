//! A settings file of an edge or of a connector, for commands that take either.

use std::path::Path;

use config::{FileKind, Mistakes, Spec};

/// What is said of a file that could be anybody's.
const WHOSE: &str =
    "not clearly an edge's or a connector's file: an edge's has [tunnel], a connector's has `edges` or [[route]]";

/// A file's settings, checked.
#[derive(Debug)]
pub(crate) enum Settings {
    Edge(Box<edge::model::Config>),
    Connector(Box<connector::config::Config>),
}

/// Whether a file is a connector's. Whatever else is wrong with it is found by who reads it.
pub(crate) fn is_connectors(file: &Path) -> Result<bool, Mistakes> {
    Ok(Spec::read(file)?.kind() == Some(FileKind::Connector))
}

impl Settings {
    /// Reads a file, whosever it is.
    pub(crate) fn read(file: &Path) -> Result<Self, Mistakes> {
        Self::of(&Spec::read(file)?, file)
    }

    /// The settings of a spec that came from `file`.
    pub(crate) fn of(spec: &Spec, file: &Path) -> Result<Self, Mistakes> {
        match spec.kind() {
            Some(FileKind::Edge) => edge::config::check(spec, file).map(|config| Self::Edge(Box::new(config))),
            Some(FileKind::Connector) => {
                connector::config::check(spec, file).map(|config| Self::Connector(Box::new(config)))
            }
            None => Err(spec.of_nobody(WHOSE.to_owned())),
        }
    }

    /// The program that the file is for.
    pub(crate) fn whose(&self) -> &'static str {
        match self {
            Self::Edge(_) => "edge",
            Self::Connector(_) => "connector",
        }
    }
}

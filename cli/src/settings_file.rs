//! A settings file of an edge or of a connector, for commands that take either.

use std::path::Path;

use config::{FileKind, Mistakes};

/// What is said of a file that could be anybody's.
const WHOSE: &str =
    "not clearly an edge's or a connector's file: an edge's has [tunnel], a connector's has `edges` or [[route]]";

/// A file's settings, checked.
#[derive(Debug)]
pub(crate) enum Settings {
    Edge(edge::model::Config),
    Connector(connector::config::Config),
}

/// An edge's file. Of one that is a connector's, that is all that is said.
pub(crate) fn read_edges(file: &Path) -> Result<edge::model::Config, Mistakes> {
    let text = config::read(file)?;
    if config::kind(&text) == Some(FileKind::Connector) {
        return Err(config::of_nobody(&text, file, "a connector's file: it is for `underpass connector`".to_owned()));
    }
    edge::config::parse(&text, file)
}

/// A connector's file. Of one that is an edge's, that is all that is said.
pub(crate) fn read_connectors(file: &Path) -> Result<connector::config::Config, Mistakes> {
    let text = config::read(file)?;
    if config::kind(&text) == Some(FileKind::Edge) {
        return Err(config::of_nobody(&text, file, "an edge's file: it is for `underpass edge`".to_owned()));
    }
    connector::config::parse(&text, file)
}

/// Whether a file is a connector's. Whatever else is wrong with it is found by who reads it.
pub(crate) fn is_connectors(file: &Path) -> Result<bool, Mistakes> {
    Ok(config::kind(&config::read(file)?) == Some(FileKind::Connector))
}

impl Settings {
    /// Reads a file, whosever it is.
    pub(crate) fn read(file: &Path) -> Result<Self, Mistakes> {
        Self::parse(&config::read(file)?, file)
    }

    /// The settings in a text; errors name `file`.
    pub(crate) fn parse(text: &str, file: &Path) -> Result<Self, Mistakes> {
        match config::kind(text) {
            Some(FileKind::Edge) => edge::config::parse(text, file).map(Self::Edge),
            Some(FileKind::Connector) => connector::config::parse(text, file).map(Self::Connector),
            None => Err(config::of_nobody(text, file, WHOSE.to_owned())),
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

//! The edge's file, as every command that needs it reads it: the same settings laid over it, whichever command it is.

use std::path::Path;

use edge::model::Config;

use crate::{args::EdgeOverrides, failure::Failure, settings_file};

/// The edge's settings.
pub(crate) fn read(file: Option<&Path>, over: &EdgeOverrides) -> Result<Config, Failure> {
    let Some(file) = file else {
        return Err(Failure::Usage("the edge's file is missing: give -c edge.toml".to_owned()));
    };
    let mut config = settings_file::read_edges(file)?;
    if let Some(dir) = &over.state_dir {
        config.state_dir.clone_from(dir);
    }
    Ok(config)
}

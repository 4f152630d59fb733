//! The edge's file, as every command that needs it reads it: the same settings laid over it, whichever command it is.

use std::path::Path;

use edge::{
    config::{CatalogStore, Contact, Overrides, Settings},
    model::Config,
};

use crate::{args::EdgeOverrides, failure::Failure};

/// Where the edge's settings are read from.
pub(crate) fn settings(file: Option<&Path>, over: &EdgeOverrides) -> Result<Settings, Failure> {
    let Some(file) = file else {
        return Err(Failure::Usage("the edge's file is missing: give -c edge.toml".to_owned()));
    };
    let over = Overrides { state_dir: over.state_dir.clone(), ..Overrides::default() };
    Ok(Settings { store: CatalogStore::File(file.to_owned()), over })
}

/// Where the edge of this file is asked, whatever else is wrong in the file.
pub(crate) fn contact(file: &Path, over: &EdgeOverrides) -> Result<Contact, Failure> {
    Ok(settings(Some(file), over)?.contact()?)
}

/// The edge's settings.
pub(crate) fn read(file: Option<&Path>, over: &EdgeOverrides) -> Result<Config, Failure> {
    Ok(settings(file, over)?.current()?)
}

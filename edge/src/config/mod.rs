//! From an edge's settings, a [`Spec`], to a checked [`Config`]: every key, every bound, every reference, every mistake at once.
//!
//! It decides nothing at run time and opens nothing but where settings are kept: whether an address can be bound or a
//! certificate be read is found out by those who need them.

mod admission;
mod endpoints;
mod fields;
mod grants;
mod http;
mod leads;
mod listener_tls;
mod listeners;
mod load_balancers;
mod monitors;
mod origin_tls;
mod pools;
mod proxies;
mod steering;
mod stored;
mod words;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use config::{LogFilter, Mistakes, Spec, Survey, Table, beside};
use protocol::id::Name;
pub use stored::{CatalogStore, Overrides, Settings};

use self::words::RELOAD_ON;
use crate::model::{Catalog, Config, ReloadOn};

/// Where state is kept unless the file says otherwise.
pub const STATE_DIR: &str = "/var/lib/underpass";
/// Most worker threads.
pub const WORKERS_MAX: usize = 64;

/// The configuration that a spec says, whatever it was written in; relative paths in it begin at this file's directory. Its
/// catalog has version 0: numbering is the store's.
///
/// # Errors
/// Every mistake in it.
pub fn check(spec: &Spec, file: &Path) -> Result<Config, Mistakes> {
    let mut config = spec.check(|root| config_of(root, file))?;
    config.catalog.spec = Arc::new(spec.clone());
    Ok(config)
}

/// What the checks ask of settings, and the mistakes that they find.
#[must_use]
pub fn survey(spec: &Spec, file: &Path) -> (Survey, Option<Mistakes>) {
    spec.survey(|root| config_of(root, file))
}

/// Where a running edge is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Its admin endpoint.
    pub admin: SocketAddr,
    /// Where it keeps its state, the admin token with it.
    pub state_dir: PathBuf,
}

/// Where the edge of these settings is asked, whatever else is wrong with them.
fn contact(spec: &Spec, file: &Path) -> Option<Contact> {
    spec.glance(|root| {
        let (admin, _) = endpoints::admin(root).taken?;
        Some(Contact { admin, state_dir: state_dir(root, file) })
    })
}

/// The configuration in a text that came from this file.
///
/// # Errors
/// Every mistake in the text.
pub fn parse(text: &str, file: &Path) -> Result<Config, Mistakes> {
    check(&Spec::of_toml(text, file), file)
}

/// Worker threads unless the file says otherwise: one a core.
#[must_use]
pub fn workers_default() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).clamp(1, WORKERS_MAX)
}

fn config_of(root: &Table<'_>, path: &Path) -> Option<Config> {
    let name = root.required("name", "the name of this edge, such as \"edge-1\"").and_then(|v| v.parsed::<Name>());
    let state_dir = state_dir(root, path);
    let workers = root.or("workers", workers_default(), |v| v.integer(1..=WORKERS_MAX as u64));
    let affinity_key = root.optional("affinity_key").and_then(|v| v.string()).map(|at| beside(path, at.value));
    let log_level = root.optional("log_level").and_then(|v| v.parsed::<LogFilter>()).map(|at| at.value);
    let reload = root.or("reload", ReloadOn::Change, |v| v.word(&RELOAD_ON));
    let (tunnel, ca) = endpoints::tunnel(root, path);
    let admin = endpoints::admin(root);
    let sites = Sites { tunnel: tunnel.as_ref().map(|t| t.listen), path };
    let catalog = catalog(root, &admin, sites);
    Some(Config {
        name: name?.value,
        state_dir,
        tunnel: tunnel?,
        ca,
        affinity_key,
        admin: admin.config,
        workers,
        log_level,
        reload,
        catalog: catalog?,
    })
}

fn state_dir(root: &Table<'_>, path: &Path) -> PathBuf {
    root.or("state_dir", beside(path, STATE_DIR), |v| Some(beside(path, v.string()?.value)))
}

/// What listeners must know besides: where connectors dial in, and where the file is.
#[derive(Debug, Clone, Copy)]
struct Sites<'a> {
    tunnel: Option<SocketAddr>,
    path: &'a Path,
}

fn catalog(root: &Table<'_>, admin: &endpoints::Admin, sites: Sites<'_>) -> Option<Catalog> {
    let grants = grants::read(root);
    let monitors = monitors::read(root, sites.path);
    let pools = pools::read(root, &monitors, &grants, sites.path);
    let load_balancers = load_balancers::read(root, &pools);
    let listeners = listeners::read(root, (&grants, &load_balancers, &pools), admin, sites);
    Some(Catalog {
        version: 0,
        spec: Arc::default(),
        grants: grants.all()?,
        monitors: monitors.all()?.into_iter().map(|configured| configured.monitor).collect(),
        pools: pools.all()?,
        load_balancers: load_balancers.all()?,
        listeners: listeners.all()?,
    })
}

#[cfg(test)]
mod tests;

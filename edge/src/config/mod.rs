//! From an edge's settings, a [`Spec`], to a checked [`Config`]: every key, every bound, every reference, every mistake at once.
//!
//! It decides nothing at run time and opens nothing but where settings are kept: whether an address can be bound or a
//! certificate be read is found out by those who need them.

mod endpoints;
mod fields;
mod grants;
mod http;
mod leads;
mod listeners;
mod load_balancers;
mod monitors;
mod origin_tls;
mod pools;
mod proxies;
mod stored;
mod words;

use std::{net::SocketAddr, path::Path, sync::Arc};

use config::{Mistakes, Spec, Table, beside};
use protocol::id::Name;
pub use stored::{CatalogStore, Overrides, Settings};

use crate::model::{Catalog, Config};

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
    let state_dir = root.or("state_dir", beside(path, STATE_DIR), |v| Some(beside(path, v.string()?.value)));
    let workers = root.or("workers", workers_default(), |v| v.integer(1..=WORKERS_MAX as u64));
    let affinity_key = root.optional("affinity_key").and_then(|v| v.string()).map(|at| beside(path, at.value));
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
        catalog: catalog?,
    })
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

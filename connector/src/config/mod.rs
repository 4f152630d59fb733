//! From a connector file, from flags, or from both to one checked [`Config`].
//!
//! It decides nothing at run time and opens nothing but the file itself. The join token never passes through here: only
//! the path of the file that holds it does.

mod allow;
mod difference;
mod doubts;
mod file;
mod flags;
mod routes;
mod settings;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use config::{Mistakes, Spec, Survey, Words};
use ipnetwork::IpNetwork;
use protocol::id::{Name, Target};

pub use allow::{AllowEntry, BadAllowEntry, NO_PORT, Ports};
pub use difference::Difference;
pub use doubts::Doubt;
pub use flags::{FlagMistakes, RawFlags};
pub use routes::Map;
pub use settings::{Settings, Wrong};

/// Where state is kept unless settings say otherwise.
pub const STATE_DIR: &str = "/var/lib/underpass-connector";
/// Where the admin endpoint listens unless settings say otherwise.
pub const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7841);
/// Links to each edge unless settings say otherwise.
pub const LINKS_PER_EDGE: usize = 2;
/// Most links to each edge.
pub const LINKS_PER_EDGE_MAX: usize = 16;
/// Most edges.
pub const EDGES_MAX: usize = 64;
/// Most worker threads.
pub const WORKERS_MAX: usize = 64;

/// A connector's settings, checked: no field can be wrong any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Its name; absent: the one in its join token or its certificate.
    pub name: Option<Name>,
    /// Edges to dial; empty: those in its join token.
    pub edges: Vec<Target>,
    /// Its identity.
    pub state_dir: PathBuf,
    /// A file that holds the join token.
    pub token_file: Option<PathBuf>,
    /// Links kept to each edge.
    pub links_per_edge: usize,
    /// What it claims; no entry twice, at most `protocol::limits::ROUTES_MAX`.
    pub routes: Vec<(Name, IpNetwork)>,
    /// Translations before dialling; `from`s of a VNet do not overlap, and each lies inside a route of its VNet.
    pub maps: Vec<Map>,
    /// What it may dial at most; absent: its routes, translated.
    pub allow: Option<Vec<AllowEntry>>,
    /// Where its own admin endpoint listens.
    pub admin_listen: SocketAddr,
    /// Threads that carry flows.
    pub workers: usize,
    /// What becomes of open flows that are not permitted any more.
    pub withdrawn: Withdrawn,
    /// When the file is read again.
    pub reload: Reload,
}

/// What becomes of open flows that a reload permits no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Withdrawn {
    /// They go on to their end.
    #[default]
    Finish,
    /// They are cut after the grace period.
    Cut,
}

/// When a connector reads its file again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reload {
    /// When it has changed, and at a signal.
    #[default]
    Watch,
    /// At a signal alone.
    Signal,
}

const WITHDRAWN: Words<Withdrawn> =
    Words { now: &[("finish", Withdrawn::Finish), ("cut", Withdrawn::Cut)], later: &[] };

const RELOADS: Words<Reload> = Words { now: &[("watch", Reload::Watch), ("signal", Reload::Signal)], later: &[] };

impl fmt::Display for Withdrawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(said(&WITHDRAWN, *self))
    }
}

impl fmt::Display for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(said(&RELOADS, *self))
    }
}

/// The word for a value.
fn said<T: PartialEq>(words: &Words<T>, value: T) -> &'static str {
    words.now.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: None,
            edges: Vec::new(),
            state_dir: STATE_DIR.into(),
            token_file: None,
            links_per_edge: LINKS_PER_EDGE,
            routes: Vec::new(),
            maps: Vec::new(),
            allow: None,
            admin_listen: ADMIN_LISTEN,
            workers: workers_default(),
            withdrawn: Withdrawn::default(),
            reload: Reload::default(),
        }
    }
}

/// The settings of a spec; relative paths in it begin at this file's directory.
///
/// # Errors
/// Every mistake in them.
pub fn check(spec: &Spec, file: &Path) -> Result<Config, Mistakes> {
    spec.check(|root| file::config_of(root, file))
}

/// What the checks ask of settings, and the mistakes that they find.
#[must_use]
pub fn survey(spec: &Spec, file: &Path) -> (Survey, Option<Mistakes>) {
    spec.survey(|root| file::config_of(root, file))
}

/// The settings in a text that came from this file.
///
/// # Errors
/// Every mistake in the text.
pub fn parse(text: &str, file: &Path) -> Result<Config, Mistakes> {
    check(&Spec::of_toml(text, file), file)
}

/// Worker threads unless settings say otherwise: one a core.
#[must_use]
pub fn workers_default() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).clamp(1, WORKERS_MAX)
}

#[cfg(test)]
mod tests;

//! Whose file it is, for a command that is given either.

use crate::{near::nearest, spec::Spec};

const EDGE: [&str; 6] = ["tunnel", "connector", "monitor", "pool", "load_balancer", "listener"];
const CONNECTOR: [&str; 6] = ["edges", "route", "map", "allow", "token_file", "links_per_edge"];

/// Which program a file configures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// `underpass edge`.
    Edge,
    /// `underpass connector`.
    Connector,
}

impl Spec {
    /// Whose settings these are, by the keys only one of the two knows, misspelt ones included; `None` if they do not say.
    #[must_use]
    pub fn kind(&self) -> Option<FileKind> {
        let near = |key: &str| nearest(key, EDGE.into_iter().chain(CONNECTOR));
        let balance: i32 = self
            .keys()
            .map(|key| match near(key) {
                Some(word) if EDGE.contains(&word) => 1,
                Some(_) => -1,
                None => 0,
            })
            .sum();
        match balance {
            0 => None,
            1.. => Some(FileKind::Edge),
            _ => Some(FileKind::Connector),
        }
    }
}

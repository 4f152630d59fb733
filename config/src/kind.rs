//! Whose file it is, for a command that is given either.

use toml::de::DeTable;

use crate::near::nearest;

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

/// Whose file a text is, by the keys only one of the two knows, misspelt ones included; `None` if they do not say.
#[must_use]
pub fn kind(text: &str) -> Option<FileKind> {
    let (tree, _) = DeTable::parse_recoverable(text);
    let keys = tree.get_ref().keys();
    let balance: i32 = keys
        .map(|key| {
            let near = nearest(key.get_ref(), EDGE.into_iter().chain(CONNECTOR));
            match near {
                Some(word) if EDGE.contains(&word) => 1,
                Some(_) => -1,
                None => 0,
            }
        })
        .sum();
    match balance {
        0 => None,
        1.. => Some(FileKind::Edge),
        _ => Some(FileKind::Connector),
    }
}

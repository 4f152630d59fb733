//! Paths inside a configuration file.

use std::path::{Path, PathBuf};

/// A path as a file means it: a relative one begins at the file's directory.
#[must_use]
pub fn beside(file: &Path, path: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(path)
}

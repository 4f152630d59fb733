//! The file that a child's output is appended to.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Most that is read for the last lines.
const TAIL_BYTES: u64 = 128 * 1024;

/// A log, whether it is there already or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log(PathBuf);

impl Log {
    /// The log in this file.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Its file, to write at its end.
    ///
    /// # Errors
    /// The kernel's.
    pub fn append(&self) -> io::Result<File> {
        File::options().create(true).append(true).open(&self.0)
    }

    /// Everything in it; what was printed last may not be there yet, because lines are written together. Nothing, if it is not
    /// there.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.0).unwrap_or_default()).into_owned()
    }

    /// The first line that holds all of `parts`.
    #[must_use]
    pub fn find(&self, parts: &[&str]) -> Option<String> {
        self.text().lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
    }

    /// The last lines, for people.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let text = self.end().unwrap_or_else(|error| format!("(its log cannot be read: {error})"));
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    fn end(&self) -> io::Result<String> {
        let mut file = File::open(&self.0)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

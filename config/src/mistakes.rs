//! What is wrong with a file, all of it, in the order of the file.

use std::{fmt, path::PathBuf};

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong and what would be right: lower case, no full stop.
    pub message: String,
}

/// Everything that is wrong with a file. Prints one `FILE:LINE:COLUMN: message` a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// The file as it was named.
    pub file: PathBuf,
    /// Sorted by place; never empty.
    pub list: Vec<Mistake>,
}

impl Mistakes {
    /// A file that is wrong as a whole.
    #[must_use]
    pub fn of_file(file: PathBuf, message: String) -> Self {
        Self { file, list: vec![Mistake { line: 1, column: 1, message }] }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Mistake { line, column, message }) in self.list.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{}:{line}:{column}: {message}", self.file.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

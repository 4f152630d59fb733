//! What is wrong with settings, all of it, in their own order.

use std::{fmt, path::Path};

/// Where something is in what was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a text, both from 1.
    Text {
        /// The line.
        line: usize,
        /// In characters.
        column: usize,
    },
    /// In an object, as a JSON pointer; empty: all of it.
    Object(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { line, column } => write!(f, "{line}:{column}"),
            Self::Object(pointer) => f.write_str(pointer),
        }
    }
}

/// One thing that is wrong, and where. Prints `FILE:LINE:COLUMN: message`, or `OBJECT#POINTER: message`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// What was read: a file as it was named, or whose object it is.
    pub source: String,
    /// Where in it.
    pub place: Place,
    /// What is wrong and what would be right: lower case, no full stop.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, place, message } = self;
        let between = match place {
            Place::Text { .. } => ':',
            Place::Object(_) => '#',
        };
        write!(f, "{source}{between}{place}: {message}")
    }
}

/// Everything that is wrong with settings. Prints one mistake a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// Sorted by place; never empty.
    pub list: Vec<Mistake>,
}

impl Mistakes {
    /// A file that is wrong as a whole.
    #[must_use]
    pub fn of_file(file: &Path, message: String) -> Self {
        let place = Place::Text { line: 1, column: 1 };
        Self { list: vec![Mistake { source: file.display().to_string(), place, message }] }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.list.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

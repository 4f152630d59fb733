//! Where settings are read from: at the start, and again at each reload.

use std::path::{Path, PathBuf};

use config::{FileKind, Mistakes, Spec};

use super::{Config, Difference, FlagMistakes, RawFlags, check};

/// A file, or the defaults, and the flags that are laid over it, the same each time.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The file; absent: the defaults.
    pub file: Option<PathBuf>,
    /// What is laid over it.
    pub over: RawFlags,
}

/// What is wrong with settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// With the file.
    #[error(transparent)]
    File(#[from] Mistakes),
    /// With the flags, or with the file under them.
    #[error(transparent)]
    Flags(#[from] FlagMistakes),
}

impl Settings {
    /// What they say now.
    ///
    /// # Errors
    /// Every mistake in the file; if it has none, every mistake in the flags. Of a file that is an edge's, that is all that is said.
    pub fn current(&self) -> Result<Config, Wrong> {
        let below = match &self.file {
            None => Config::default(),
            Some(file) => {
                let spec = Spec::read(file)?;
                if spec.kind() == Some(FileKind::Edge) {
                    return Err(spec.of_nobody("an edge's file: it is for `underpass edge`".to_owned()).into());
                }
                check(&spec, file)?
            }
        };
        Ok(self.over.clone().merge(below)?)
    }

    /// Whether they can be read more than once: a pipe is empty by then.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        let is_pipe = |file: &PathBuf| file.metadata().is_ok_and(|metadata| !metadata.is_file());
        !self.file.as_ref().is_some_and(is_pipe)
    }

    /// What they say by now, where these are in force.
    ///
    /// # Errors
    /// As [`Settings::current`]; if they cannot be read again; and if the file has been emptied: whoever writes it is about to.
    pub fn again(&self, in_force: &Config) -> Result<Config, Wrong> {
        let wrong = |file: &Path, text: &str| Err(Mistakes::of_file(file, text.to_owned()).into());
        match &self.file {
            Some(file) if !self.is_lasting() => wrong(file, "is no regular file, so it cannot be read again"),
            Some(file) => {
                let current = self.current()?;
                let is_empty = Spec::read(file)? == Spec::default();
                if is_empty && !Difference::between(in_force, &current).is_empty() {
                    return wrong(file, "is empty");
                }
                Ok(current)
            }
            None => self.current(),
        }
    }
}

impl Wrong {
    /// One line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::File(mistakes) => mistakes.list.iter().map(ToString::to_string).collect(),
            Self::Flags(mistakes) => mistakes.0.clone(),
        }
    }
}

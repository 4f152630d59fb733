//! Why a command failed, in words for its user and as an exit code for scripts.

use std::process::ExitCode;

use certs::ca::CaError;
use config::Mistakes;

/// Why a command failed. Each line of its text is one mistake.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It was right to try, and did not work: exit code 1.
    #[error("{0}")]
    Failed(String),
    /// The command line, or an environment variable that stands for a flag, is wrong: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The settings are wrong as a whole: exit code 3.
    #[error("{0}")]
    Settings(String),
    /// A file is wrong in these places: exit code 3.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
    /// The settings of something that runs are wrong in these places, as it says: exit code 3.
    #[error("{}", .0.join("\n"))]
    Misconfigured(Vec<String>),
    /// A token, key or certificate is not accepted: exit code 4.
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    /// What failed while running, said by its error.
    pub(crate) fn failed(error: impl ToString) -> Self {
        Self::Failed(error.to_string())
    }

    /// The number that scripts see.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed(_) => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
            Self::Settings(_) | Self::Mistakes(_) | Self::Misconfigured(_) => ExitCode::from(3),
            Self::Refused(_) => ExitCode::from(4),
        }
    }

    /// What people read: the places of a file stand alone, so that editors find them; all else says that it is an error.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = self.to_string();
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        match self {
            Self::Mistakes(_) | Self::Misconfigured(_) => lines.map(str::to_owned).collect(),
            Self::Failed(_) | Self::Settings(_) | Self::Refused(_) => {
                lines.map(|line| format!("error: {line}")).collect()
            }
            Self::Usage(_) => {
                let hint = "for more information, try '--help'".to_owned();
                lines.map(|line| format!("error: {line}")).chain([hint]).collect()
            }
        }
    }
}

impl From<CaError> for Failure {
    /// A CA named by wrong files is a wrong setting; one that cannot be read or used is what went wrong.
    fn from(error: CaError) -> Self {
        match error {
            CaError::File(_) | CaError::Issue(_) | CaError::NotBegun { .. } => Self::failed(error),
            CaError::Certificate { .. } | CaError::Key { .. } | CaError::Mismatch { .. } | CaError::KeyLost { .. } => {
                Self::Settings(error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_has_a_line_and_places_stand_alone() {
        let two = Failure::Settings("one\ntwo".to_owned());
        assert_eq!(two.lines(), ["error: one", "error: two"]);
        let placed = Failure::from(Mistakes::of_file("a.toml".as_ref(), "cannot be read".to_owned()));
        assert_eq!(placed.lines(), ["a.toml:1:1: cannot be read"]);
        let usage = Failure::Usage("no".to_owned());
        assert_eq!(usage.lines(), ["error: no", "for more information, try '--help'"]);
    }
}

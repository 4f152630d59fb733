//! Why a command failed, in words for its user and as an exit code for scripts.

use std::process::ExitCode;

use api::{Problem, code::Code};
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
    /// One of these, of which it is known what to do about it.
    #[error("{1}")]
    Coded(Code, Box<Self>),
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
            Self::Coded(_, failure) => failure.exit_code(),
        }
    }

    /// The same, as something that is looked up under this code.
    pub(crate) fn coded(self, code: Code) -> Self {
        Self::Coded(code, Box::new(self))
    }

    /// What it is looked up under.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Failed(_) => Code::NotRunning,
            Self::Usage(_) => Code::CommandLine,
            Self::Settings(_) => Code::Unfitting,
            Self::Mistakes(_) | Self::Misconfigured(_) => Code::Settings,
            Self::Refused(_) => Code::TokenRefused,
            Self::Coded(code, _) => *code,
        }
    }

    /// Whether asking again helps nothing.
    pub(crate) fn lasts(&self) -> bool {
        match self {
            Self::Failed(_) | Self::Usage(_) | Self::Mistakes(_) | Self::Misconfigured(_) => false,
            Self::Settings(_) | Self::Refused(_) => true,
            Self::Coded(_, failure) => failure.lasts(),
        }
    }

    /// What programs read.
    pub(crate) fn problem(&self) -> Problem {
        Problem::new(self.code(), self.to_string())
    }

    /// What people read: what is wrong, and in the last line what to do about it, with the code that says more.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.wrong().into_iter().chain([self.code().help()]).collect()
    }

    /// What is wrong: the places of a file stand alone, so that editors find them; all else says that it is an error.
    pub(crate) fn wrong(&self) -> Vec<String> {
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
            Self::Coded(_, failure) => failure.wrong(),
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
        assert_eq!(two.wrong(), ["error: one", "error: two"]);
        let placed = Failure::from(Mistakes::of_file("a.toml".as_ref(), "cannot be read".to_owned()));
        assert_eq!(placed.wrong(), ["a.toml:1:1: cannot be read"]);
        let usage = Failure::Usage("no".to_owned());
        assert_eq!(usage.wrong(), ["error: no", "for more information, try '--help'"]);
    }

    #[test]
    fn the_last_line_says_what_to_do() {
        let failure = Failure::Refused("no".to_owned()).coded(Code::AdminToken);
        let help = format!("help: UP-402: {}", Code::AdminToken.remedy());
        assert_eq!(failure.lines(), ["error: no".to_owned(), help]);
        assert_eq!((failure.exit_code(), failure.lasts()), (ExitCode::from(4), true));
        assert_eq!(failure.problem().code.as_deref(), Some("UP-402"));
    }
}

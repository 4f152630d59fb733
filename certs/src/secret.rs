//! Values that must not be printed. It hides them from Debug and, for those that outlive a process, keeps them in
//! files of mode 0600. Whoever exposes one answers for it.

use std::{fmt, io, path::Path};

use data_encoding::HEXLOWER;

use crate::{FileError, files};

/// Length of a secret in a file, in bytes.
const LENGTH_MIN: usize = 32;
const LENGTH_MAX: u64 = 1024;

/// A value whose Debug is three stars and which has no Display.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Hides a value.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself.
    #[must_use]
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `N` bytes from the operating system's generator.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system's generator is seeded once the system is up");
    bytes
}

impl Secret<String> {
    /// The secret in a file that somebody else has made.
    ///
    /// # Errors
    /// If it cannot be read, or is shorter than a secret can be.
    pub fn in_file(path: &Path) -> Result<Self, FileError> {
        let text = String::from_utf8(files::read(path, LENGTH_MAX)?).unwrap_or_default();
        files::warn_if_open(path);
        if text.trim().len() < LENGTH_MIN {
            let wrong = io::Error::other(format!("a secret is text of {LENGTH_MIN} to {LENGTH_MAX} bytes"));
            return Err(FileError::of("use", path)(wrong));
        }
        Ok(Self::new(text.trim().to_owned()))
    }

    /// The secret in the file, made if there is no file or it is empty: 32 random bytes in hexadecimal digits.
    ///
    /// # Errors
    /// If the file can be neither read nor written, or somebody has put something into it that is too short for a secret.
    pub fn kept_in(path: &Path) -> Result<Self, FileError> {
        let kept = files::read_if_there(path, LENGTH_MAX)?.and_then(|bytes| String::from_utf8(bytes).ok());
        if kept.is_some_and(|text| !text.trim().is_empty()) {
            return Self::in_file(path);
        }
        let text = HEXLOWER.encode(&random::<32>());
        files::write(path, text.as_bytes())?;
        Ok(Self::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_somebody_elses_making_is_long_and_there() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("key");
        assert!(Secret::in_file(&file).is_err(), "no file");
        std::fs::write(&file, "short\n").expect("writable");
        let error = Secret::in_file(&file).expect_err("too short").to_string();
        assert!(error.ends_with("a secret is text of 32 to 1024 bytes") && !error.contains("short"), "{error}");
        std::fs::write(&file, format!("{}\n", "k".repeat(32))).expect("writable");
        assert_eq!(*Secret::in_file(&file).expect("good").expose(), "k".repeat(32));
    }

    #[test]
    fn a_kept_secret_is_made_once_and_a_weak_one_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("key");
        let made = Secret::kept_in(&file).expect("made");
        assert_eq!(Secret::kept_in(&file).expect("kept"), made);
        std::fs::write(&file, "\n").expect("writable");
        assert_ne!(Secret::kept_in(&file).expect("made anew"), made);
        std::fs::write(&file, "hunter2\n").expect("writable");
        let error = Secret::kept_in(&file).expect_err("weak").to_string();
        assert!(error.contains("32 to 1024 bytes") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_secret_prints_as_stars() {
        assert_eq!(format!("{:?} {:#?}", Secret::new("hunter2"), Secret::new([7_u8; 2])), "*** ***");
    }
}

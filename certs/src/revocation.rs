//! Revocations: per connector name, the moment before which everything issued to it is void. Kept in one file of the
//! `state_dir`, written whole, read again when another process has changed it.
//!
//! It closes no link: who revokes does.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, SystemTime},
};

use protocol::id::Name;
use serde::{Deserialize, Serialize};

use crate::{
    files::{self, FileError},
    rotation::{LIFE, RENEWABLE_FOR},
};

/// Most names that may be revoked at a time.
pub const REVOCATIONS_MAX: usize = 8192;
const FILE_MAX: u64 = 2 * 1024 * 1024;
/// Whatever was issued this long before now is dead by itself (the longest life is a renewable certificate's; doubled
/// against clocks that were wrong), so an older revocation has nothing left to void.
const KEEP: Duration = Duration::from_secs(2 * (RENEWABLE_FOR.as_secs() + LIFE.as_secs()));

/// The revocations of a `state_dir`. Shared by reference between threads.
#[derive(Debug)]
pub struct Revocations {
    file: PathBuf,
    lock: PathBuf,
    known: Mutex<Known>,
}

/// What the file said when it was last read, and which file that was.
#[derive(Debug, Default)]
struct Known {
    stamp: Option<Stamp>,
    revoked_ms: BTreeMap<Name, u64>,
}

/// Each write makes a new file, so its number changes even within the clock's grain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: (i64, i64),
    length: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    revoked_ms: BTreeMap<String, u64>,
}

/// Why revocations cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not ours or was damaged. Nothing may be admitted while it is unknown who is revoked.
    #[error("{} is damaged ({what}): restore it, or remove it if no connector is revoked", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The bound is reached.
    #[error("{REVOCATIONS_MAX} names are revoked already, no more are allowed at a time")]
    TooMany,
}

impl Revocations {
    /// Opens, and reads, the revocations of a directory, which is made if missing.
    ///
    /// # Errors
    /// [`RevocationError`] if the file is there and cannot be read.
    pub fn open(state_dir: &Path) -> Result<Self, RevocationError> {
        files::make_private_dir(state_dir)?;
        let revocations = Self {
            file: state_dir.join("revocations.json"),
            lock: state_dir.join("revocations.lock"),
            known: Mutex::default(),
        };
        revocations.reload()?;
        Ok(revocations)
    }

    /// Voids everything issued to this name until now, and records that before it returns.
    ///
    /// # Errors
    /// [`RevocationError`]; then nothing is revoked.
    pub fn revoke(&self, name: &Name, now: SystemTime) -> Result<(), RevocationError> {
        let _lock = files::lock(&self.lock)?;
        self.reload()?;
        let mut revoked_ms = self.known().revoked_ms.clone();
        let oldest = unix_ms(now).saturating_sub(u64::try_from(KEEP.as_millis()).unwrap_or(u64::MAX));
        revoked_ms.retain(|_, at| *at >= oldest);
        let at = revoked_ms.entry(name.clone()).or_default();
        // A clock that went back must not shorten a revocation.
        *at = unix_ms(now).max(*at);
        if revoked_ms.len() > REVOCATIONS_MAX {
            return Err(RevocationError::TooMany);
        }
        let stored = Stored { revoked_ms: revoked_ms.into_iter().map(|(n, at)| (n.to_string(), at)).collect() };
        let bytes = serde_json::to_vec_pretty(&stored).expect("a map of texts to numbers always encodes");
        files::write(&self.file, &bytes)?;
        self.reload().map(|_| ())
    }

    /// Whether what was issued to this name at this moment is void. Sees what [`Revocations::reload`] saw last.
    #[must_use]
    pub fn is_void(&self, name: &Name, issued_at: SystemTime) -> bool {
        self.known().revoked_ms.get(name).is_some_and(|at| unix_ms(issued_at) <= *at)
    }

    /// Reads the file again if it is another one than last time; says whether it was. Costs one `stat` if not.
    ///
    /// # Errors
    /// [`RevocationError`]; what was known stays.
    pub fn reload(&self) -> Result<bool, RevocationError> {
        let stamp = Stamp::of(&self.file);
        if stamp.is_some() && self.known().stamp == stamp {
            return Ok(false);
        }
        let stored = match files::read_if_there(&self.file, FILE_MAX)? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|e| self.corrupt(&e.to_string()))?,
            None => Stored::default(),
        };
        let mut revoked_ms = BTreeMap::new();
        for (name, at) in stored.revoked_ms {
            let name = name.parse().map_err(|_| self.corrupt(&format!("{name:?} is no name")))?;
            revoked_ms.insert(name, at);
        }
        let mut known = self.known();
        let changed = known.revoked_ms != revoked_ms;
        // The stamp was taken before the read: a write in between is read again next time.
        *known = Known { stamp, revoked_ms };
        Ok(changed)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().expect("nothing panics while it holds this lock")
    }

    fn corrupt(&self, what: &str) -> RevocationError {
        RevocationError::Corrupt { path: self.file.clone(), what: what.to_owned() }
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let meta = path.metadata().ok()?;
        Some(Self { inode: meta.ino(), modified: (meta.mtime(), meta.mtime_nsec()), length: meta.len() })
    }
}

/// Milliseconds since 1970, the grain in which issues and revocations are compared.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123)
    }

    fn name(text: &str) -> Name {
        text.parse().expect("name")
    }

    #[test]
    fn what_was_issued_until_the_revocation_is_void_and_what_comes_later_is_not() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let revocations = Revocations::open(dir.path()).expect("opened");
        assert!(!revocations.is_void(&name("dc1"), now()));
        revocations.revoke(&name("dc1"), now()).expect("revoked");
        for (issued, void) in [(now() - MS, true), (now(), true), (now() + MS, false)] {
            assert_eq!(revocations.is_void(&name("dc1"), issued), void);
        }
        assert!(!revocations.is_void(&name("dc2"), now() - MS), "others stay");
        let again = Revocations::open(dir.path()).expect("opened again");
        assert!(again.is_void(&name("dc1"), now()), "it is kept");
    }

    #[test]
    fn another_process_sees_a_revocation_after_a_reload() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (one, two) = (Revocations::open(dir.path()).expect("one"), Revocations::open(dir.path()).expect("two"));
        one.revoke(&name("dc1"), now()).expect("revoked");
        assert!(two.reload().expect("reloaded") && two.is_void(&name("dc1"), now()));
        assert!(!two.reload().expect("reloaded"), "nothing new");
        two.revoke(&name("dc2"), now()).expect("revoked");
        assert!(one.reload().expect("reloaded"));
        assert!(one.is_void(&name("dc1"), now()) && one.is_void(&name("dc2"), now()), "no write undoes another");
    }

    #[test]
    fn a_clock_that_went_back_does_not_shorten_a_revocation() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let revocations = Revocations::open(dir.path()).expect("opened");
        revocations.revoke(&name("dc1"), now()).expect("revoked");
        revocations.revoke(&name("dc1"), now() - Duration::from_secs(3600)).expect("revoked");
        assert!(revocations.is_void(&name("dc1"), now()));
    }

    #[test]
    fn revocations_with_nothing_left_to_void_are_dropped() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let revocations = Revocations::open(dir.path()).expect("opened");
        revocations.revoke(&name("old"), now() - KEEP - MS).expect("revoked");
        revocations.revoke(&name("dc1"), now()).expect("revoked");
        let kept: Vec<_> = revocations.known().revoked_ms.keys().cloned().collect();
        assert_eq!(kept, [name("dc1")]);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_what_was_known_stays() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let revocations = Revocations::open(dir.path()).expect("opened");
        revocations.revoke(&name("dc1"), now()).expect("revoked");
        for bad in ["", "{", "{\"revoked_ms\":{\"Not A Name\":1}}", "{\"revoked_ms\":{},\"more\":1}", "[]"] {
            files::write(&dir.path().join("revocations.json"), bad.as_bytes()).expect("written");
            let error = revocations.reload().expect_err(bad).to_string();
            assert!(error.contains("revocations.json is damaged"), "{error}");
            assert!(revocations.is_void(&name("dc1"), now()));
            assert!(Revocations::open(dir.path()).is_err(), "nobody is admitted on a guess");
        }
    }
}

//! Revocations: per connector name, the mark below which every token, and every certificate that goes back to one, is void.
//! Kept in one file of the `state_dir`, written whole, read again when another process has changed it.
//!
//! It closes no link: who revokes does.

mod mark;

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use protocol::id::Name;
use serde::{Deserialize, Serialize};

use self::mark::Mark;
pub(crate) use self::mark::unix_ms;
pub use self::mark::{AuthorityId, Descent, Enrolment, Judgement};
use crate::{
    files::{self, FileError},
    rotation::{LIFE, RENEWABLE_FOR},
};

/// The file's name in `state_dir`.
pub const REVOCATIONS: &str = "revocations.json";

/// Most names that are remembered at a time.
pub const REVOCATIONS_MAX: usize = 8192;
const FILE_MAX: u64 = 2 * 1024 * 1024;
/// A mark is kept while there is room. Without, those go that are older than this: what they void has died by itself (the
/// longest life is a renewable certificate's; doubled against clocks that were wrong) unless another edge renewed it.
const KEEP: Duration = Duration::from_secs(2 * (RENEWABLE_FOR.as_secs() + LIFE.as_secs()));

/// The revocations of a `state_dir`. Shared by reference between threads.
#[derive(Debug)]
pub struct Revocations {
    file: PathBuf,
    lock: PathBuf,
    authority: AuthorityId,
    known: Mutex<Known>,
}

/// What the file said when it was last read, and which file that was.
#[derive(Debug, Default)]
struct Known {
    stamp: Option<Stamp>,
    marks: BTreeMap<Name, Mark>,
    /// What could not be written yet. It holds all the same.
    unwritten: BTreeMap<Name, Mark>,
}

/// Each write makes a new file, so its number changes even within the clock's grain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: (i64, i64),
    length: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    #[serde(default)]
    authority: Option<String>,
    #[serde(default)]
    connectors: Option<BTreeMap<String, Mark>>,
    /// What earlier versions kept: moments.
    #[serde(default, skip_serializing)]
    revoked_ms: Option<BTreeMap<String, u64>>,
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
        let mut revocations = Self {
            file: state_dir.join(REVOCATIONS),
            lock: state_dir.join("revocations.lock"),
            authority: AuthorityId::new(),
            known: Mutex::default(),
        };
        let _lock = files::lock(&revocations.lock)?;
        match revocations.read()?.0 {
            Some(kept) => revocations.authority = kept,
            // The random one will do for this run. What is read is written in today's form.
            None => {
                revocations.reload()?;
                let marks = revocations.known().marks.clone();
                if let Err(error) = revocations.write(&marks) {
                    tracing::warn!(%error, "the edge cannot record who it is among those of its CA");
                }
            }
        }
        revocations.reload()?;
        Ok(revocations)
    }

    /// Who makes tokens here.
    #[must_use]
    pub fn authority(&self) -> AuthorityId {
        self.authority
    }

    /// Voids every token made for this name until now and every certificate that goes back to one, and records that before it
    /// returns.
    ///
    /// # Errors
    /// [`RevocationError`]: it is not recorded. It holds all the same while this process lives, and is recorded once that can
    /// be done.
    pub fn revoke(&self, name: &Name, now: SystemTime) -> Result<(), RevocationError> {
        let lock = files::lock(&self.lock);
        // What another process wrote counts. If it cannot be read nobody is admitted anyhow.
        let read = self.reload().map(|_| ());
        let mark = {
            let mut known = self.known();
            let mark = known.marks.get(name).copied().unwrap_or_default().revoked(unix_ms(now));
            if known.unwritten.len() >= REVOCATIONS_MAX {
                return Err(RevocationError::TooMany);
            }
            known.unwritten.insert(name.clone(), mark);
            known.marks.insert(name.clone(), mark);
            mark
        };
        tracing::debug!(connector = %name, void_below = mark.void_below, "a mark is set");
        let _lock = lock?;
        read?;
        self.settle(unix_ms(now))
    }

    /// What becomes of something of this name and descent. Sees what [`Revocations::reload`] saw last.
    #[must_use]
    pub fn judge(&self, name: &Name, descent: &Descent) -> Judgement {
        let known = self.known();
        known.marks.get(name).map_or(Judgement::Holds, |mark| mark.judge(descent, self.authority))
    }

    /// The number of a token made now for this name.
    #[must_use]
    pub fn next_token(&self, name: &Name) -> u64 {
        self.known().marks.get(name).map_or(0, Mark::next_token)
    }

    /// Notes the number of a token of this name that was met, so that tokens made here from now on are not below it, and the
    /// next revocation above.
    ///
    /// # Errors
    /// [`RevocationError`]: it is not recorded, and known all the same while this process lives.
    pub fn meet(&self, name: &Name, number: u64) -> Result<(), RevocationError> {
        if number <= self.next_token(name) {
            return Ok(());
        }
        let _lock = files::lock(&self.lock)?;
        self.reload()?;
        {
            let mut known = self.known();
            if known.unwritten.len() >= REVOCATIONS_MAX {
                return Err(RevocationError::TooMany);
            }
            let mark = known.marks.get(name).copied().unwrap_or_default();
            let mark = mark.merged(&Mark { seen: number, ..Mark::default() });
            known.unwritten.insert(name.clone(), mark);
            known.marks.insert(name.clone(), mark);
        }
        self.settle(0)
    }

    /// Reads the file again if it is another one than last time; says whether it told anything new. Costs one `stat` if not.
    /// What could not be written before is tried again.
    ///
    /// # Errors
    /// [`RevocationError`]; what was known stays.
    pub fn reload(&self) -> Result<bool, RevocationError> {
        let stamp = Stamp::of(&self.file);
        if stamp.is_some() && self.known().stamp == stamp {
            return Ok(false);
        }
        let (_, read) = self.read()?;
        let mut known = self.known();
        let marks = together(&read, &known.unwritten);
        let changed = known.marks != marks;
        // The stamp was taken before the read: a write in between is read again next time.
        known.stamp = stamp;
        known.marks = marks;
        Ok(changed)
    }

    /// Tries again to write what could not be written.
    ///
    /// # Errors
    /// [`RevocationError`]: it still cannot be.
    pub fn retry(&self) -> Result<(), RevocationError> {
        if self.known().unwritten.is_empty() {
            return Ok(());
        }
        let _lock = files::lock(&self.lock)?;
        self.reload()?;
        self.settle(0)
    }

    /// Writes what is known. The caller holds the lock and has read the file.
    fn settle(&self, now_ms: u64) -> Result<(), RevocationError> {
        let mut marks = self.known().marks.clone();
        if marks.len() > REVOCATIONS_MAX {
            let keep = u64::try_from(KEEP.as_millis()).unwrap_or(u64::MAX);
            let unwritten = self.known().unwritten.clone();
            let oldest = now_ms.saturating_sub(keep);
            marks.retain(|name, mark| mark.revoked_ms >= oldest || unwritten.contains_key(name));
        }
        if marks.len() > REVOCATIONS_MAX {
            return Err(RevocationError::TooMany);
        }
        self.write(&marks)?;
        self.known().unwritten.clear();
        self.reload().map(|_| ())
    }

    fn write(&self, marks: &BTreeMap<Name, Mark>) -> Result<(), FileError> {
        let connectors = marks.iter().map(|(name, mark)| (name.to_string(), *mark)).collect();
        let stored =
            Stored { authority: Some(self.authority.to_string()), connectors: Some(connectors), revoked_ms: None };
        let bytes = serde_json::to_vec_pretty(&stored).expect("a map of texts to numbers always encodes");
        files::write(&self.file, &bytes)
    }

    /// Whose file it is, if it says so, and what it says of each name.
    fn read(&self) -> Result<(Option<AuthorityId>, BTreeMap<Name, Mark>), RevocationError> {
        let Some(bytes) = files::read_if_there(&self.file, FILE_MAX)? else { return Ok((None, BTreeMap::new())) };
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|e| self.corrupt(&e.to_string()))?;
        if stored.connectors.is_none() && stored.revoked_ms.is_none() {
            return Err(self.corrupt("it has no list of connectors"));
        }
        let authority = match &stored.authority {
            Some(text) => Some(AuthorityId::from_hex(text).ok_or_else(|| self.corrupt("its authority is none"))?),
            None => None,
        };
        let old = stored.revoked_ms.into_iter().flatten().map(|(name, at)| (name, Mark::by_time(at)));
        let mut marks: BTreeMap<Name, Mark> = BTreeMap::new();
        for (name, mark) in old.chain(stored.connectors.into_iter().flatten()) {
            let name: Name = name.parse().map_err(|_| self.corrupt(&format!("{name:?} is no name")))?;
            let known = marks.entry(name).or_default();
            *known = known.merged(&mark);
        }
        Ok((authority, marks))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nothing panics while it holds this lock")
    }

    fn corrupt(&self, what: &str) -> RevocationError {
        RevocationError::Corrupt { path: self.file.clone(), what: what.to_owned() }
    }
}

/// What the file says and what it could not be told.
fn together(read: &BTreeMap<Name, Mark>, unwritten: &BTreeMap<Name, Mark>) -> BTreeMap<Name, Mark> {
    let mut marks = read.clone();
    for (name, mark) in unwritten {
        let known = marks.entry(name.clone()).or_default();
        *known = known.merged(mark);
    }
    marks
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let meta = path.metadata().ok()?;
        Some(Self { inode: meta.ino(), modified: (meta.mtime(), meta.mtime_nsec()), length: meta.len() })
    }
}

#[cfg(test)]
mod tests;

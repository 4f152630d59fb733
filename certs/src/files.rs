//! Files of a `state_dir`: private directories, bounded reads, whole-or-nothing writes, locks between processes.
//!
//! It knows paths and bytes, not what they mean.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use tempfile::Builder;

/// What was tried on a file or directory, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    pub(crate) fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, path: path.to_owned(), source }
    }

    /// The kind of the system's error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.source.kind()
    }
}

/// Makes a directory, and what leads to it, for its owner alone. One that is there keeps its mode; if others may change
/// what is in it, that is told.
pub(crate) fn make_private_dir(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(FileError::of("create directory", path))?;
    if mode(path).is_some_and(|mode| mode & 0o022 != 0) {
        let right = "set its mode to 0700";
        tracing::warn!(directory = %path.display(), right, "others than its owner may change what is kept here");
    }
    Ok(())
}

/// The whole file, or an error if it is longer than `max` bytes: what is named may be a device, which has no end.
///
/// # Errors
/// The system's, or that it is too long.
pub fn read(path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            return Err(io::Error::new(ErrorKind::FileTooLarge, format!("longer than {max} bytes")));
        }
        Ok(bytes)
    };
    read().map_err(FileError::of("read", path))
}

/// The whole file, or nothing if there is none.
pub(crate) fn read_if_there(path: &Path, max: u64) -> Result<Option<Vec<u8>>, FileError> {
    match read(path, max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// A secret, whole, or nothing if there is none. If others than its owner may use it, that is told.
pub(crate) fn read_secret_if_there(path: &Path, max: u64) -> Result<Option<Vec<u8>>, FileError> {
    let bytes = read_if_there(path, max)?;
    warn_if_open(path);
    Ok(bytes)
}

/// Tells if others than its owner may read or change a file that holds a secret.
pub(crate) fn warn_if_open(path: &Path) {
    if mode(path).is_some_and(|mode| mode & 0o077 != 0) {
        let right = "set its mode to 0600";
        tracing::warn!(file = %path.display(), right, "others than its owner may use the secret in this file");
    }
}

fn mode(path: &Path) -> Option<u32> {
    path.metadata().ok().map(|meta| meta.mode())
}

/// Writes a file of mode 0600 so that a reader, or the next start after a crash, sees the old content or the new, never a
/// part. On a full disk the old content stays.
///
/// # Errors
/// The system's; then the old content stays.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let fail = || FileError::of("write", path);
    let dir = path.parent().expect("files are written inside a state directory");
    // tempfile makes its files 0600.
    let mut file = Builder::new().prefix(".new-").tempfile_in(dir).map_err(fail())?;
    file.write_all(bytes).and_then(|()| full_disk::check()).map_err(fail())?;
    file.as_file().sync_all().map_err(fail())?;
    file.persist(path).map_err(|e| fail()(e.error))?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(fail())
}

/// Removes a file; that it is gone already is fine.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(FileError::of("remove", path)(e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The files of a directory with this extension, in no order.
pub(crate) fn list(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, FileError> {
    let fail = || FileError::of("list", dir);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail())? {
        let path = entry.map_err(fail())?.path();
        if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Waits for the lock of this name; it is held until the file is dropped.
pub(crate) fn lock(path: &Path) -> Result<File, FileError> {
    let file = lock_file(path)?;
    file.lock().map_err(FileError::of("lock", path))?;
    Ok(file)
}

/// Takes the lock of this name, or `None` if another process (or another handle of this one) holds it.
pub(crate) fn try_lock(path: &Path) -> Result<Option<File>, FileError> {
    let file = lock_file(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(FileError::of("lock", path)(e)),
    }
}

fn lock_file(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(FileError::of("open the lock", path))
}

#[cfg(not(test))]
mod full_disk {
    pub(super) fn check() -> std::io::Result<()> {
        Ok(())
    }
}

/// Lets tests fill the disk: a write fails half way, as it would.
#[cfg(test)]
pub(crate) mod full_disk {
    use std::{cell::Cell, io};

    thread_local! { static FULL: Cell<bool> = const { Cell::new(false) } }

    /// Runs something on a disk that takes no more.
    pub(crate) fn during<T>(run: impl FnOnce() -> T) -> T {
        FULL.set(true);
        let result = run();
        FULL.set(false);
        result
    }

    pub(super) fn check() -> io::Result<()> {
        if FULL.get() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("it was made").permissions().mode() & 0o777
    }

    #[test]
    fn what_is_written_is_for_its_owner_alone() {
        let root = tempfile::tempdir().expect("temporary directory");
        let dir = root.path().join("a/b");
        make_private_dir(&dir).expect("made");
        assert_eq!(mode(&dir), 0o700);

        let file = dir.join("f");
        write(&file, b"one").expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("changed");
        write(&file, b"two").expect("written again");
        assert_eq!(mode(&file), 0o600);
        assert_eq!(read(&file, 3).expect("read"), b"two");
        assert_eq!(std::fs::read_dir(&dir).expect("listed").count(), 1, "nothing half written is left");

        let _lock = lock(&dir.join("lock")).expect("locked");
        assert_eq!(mode(&dir.join("lock")), 0o600);
    }

    #[test]
    fn a_file_longer_than_its_bound_is_not_read() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let file = dir.path().join("f");
        write(&file, b"four").expect("written");
        let error = read(&file, 3).expect_err("too long").to_string();
        assert!(error.starts_with("cannot read ") && error.ends_with("longer than 3 bytes"), "{error}");
    }

    #[test]
    fn a_missing_file_is_nothing_and_a_failed_write_leaves_the_old() {
        let dir = tempfile::tempdir().expect("temporary directory");
        assert!(read_if_there(&dir.path().join("none"), 9).expect("no error").is_none());
        remove(&dir.path().join("none")).expect("gone is fine");

        let kept = dir.path().join("kept");
        write(&kept, b"old").expect("written");
        let error = full_disk::during(|| write(&kept, b"new")).expect_err("the disk is full");
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(read(&kept, 9).expect("read"), b"old");
        remove(&kept).expect("removed");

        let target = dir.path().join("is-a-directory");
        std::fs::create_dir(&target).expect("made");
        let error = write(&target, b"x").expect_err("a directory is in the way");
        assert!(error.to_string().starts_with("cannot write "), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing half written is left");
    }

    #[test]
    fn a_lock_has_one_holder() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("lock");
        let held = try_lock(&path).expect("works").expect("free");
        assert!(try_lock(&path).expect("works").is_none());
        drop(held);
        assert!(try_lock(&path).expect("works").is_some());
    }
}

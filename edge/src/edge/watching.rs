//! Settings whose files have changed: read again, as if somebody had asked.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use net::FileWatch;
use tokio::{sync::watch, task::spawn_blocking};
use tracing::info;

use crate::{config::Settings, store::Reloads};

/// What tells that a file is another, or another's, or has been written: a mode that lets it be read counts too.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// What is watched, as it was when it was looked at last.
type Seen = BTreeMap<PathBuf, Stamp>;

/// Asks for a reload whenever one of the files that are watched has changed; none are, where only a signal is to.
///
/// What was written between the reading of the settings `in_force` and the first look is found by what they say.
pub(super) async fn watch(
    (settings, mut is_in_force): (Settings, impl FnMut(&config::Spec) -> bool),
    mut files: watch::Receiver<Vec<PathBuf>>,
    reloads: Reloads,
) {
    let (mut watch, mut before) = (FileWatch::default(), None);
    loop {
        let watched = files.borrow_and_update().clone();
        let (store, is_first) = (settings.store.clone(), before.is_none());
        let look = move || {
            watch.watch(&watched);
            let may_read = is_first && !watched.is_empty() && !watched.iter().any(|file| is_pipe(file));
            let seen: Seen = watched.into_iter().map(stamped).collect();
            // What cannot be read is told by whoever reads it next.
            let spec = if may_read { store.spec().ok() } else { None };
            (watch, seen, spec)
        };
        // What panicked there begins anew.
        let (next, now, spec) = spawn_blocking(look).await.unwrap_or_default();
        watch = next;
        let is_behind = spec.is_some_and(|spec| !is_in_force(&spec));
        let has_changed = before.replace(now.clone()).is_some_and(|before| differ(&before, &now));
        if is_behind || has_changed {
            info!("the settings have changed in their files: they are read again");
            if reloads.ask(false).await.is_none() {
                return;
            }
            continue;
        }
        tokio::select! {
            () = watch.changed() => {}
            changed = files.changed() => if changed.is_err() { return },
        }
    }
}

/// Whether a file that is in both has changed. What is new to one of them was read when it came.
fn differ(before: &Seen, now: &Seen) -> bool {
    now.iter().any(|(file, stamp)| before.get(file).is_some_and(|before| before != stamp))
}

fn stamped(file: PathBuf) -> (PathBuf, Stamp) {
    let stamp = stamp(&file);
    (file, stamp)
}

/// What a shell hands over as `<(...)` can be read once, and is empty by now. A file may come in its place.
fn is_pipe(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| !metadata.is_file())
}

fn stamp(file: &Path) -> Stamp {
    let of = |file: Metadata| (file.dev(), file.ino(), file.size(), file.ctime(), file.ctime_nsec());
    // What cannot be read again and again is as good as not there: to write a pipe is no change.
    fs::metadata(file).ok().filter(Metadata::is_file).map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_watched_before_can_have_changed() {
        let seen = |files: &[(&str, u64)]| -> Seen {
            files.iter().map(|(file, size)| (file.into(), Some((1, 1, *size, 1, 1)))).collect()
        };
        assert!(!differ(&seen(&[]), &seen(&[("a", 1)])));
        assert!(!differ(&seen(&[("a", 1), ("b", 1)]), &seen(&[("a", 1)])));
        assert!(differ(&seen(&[("a", 1)]), &seen(&[("a", 2), ("b", 1)])));
        let gone = Seen::from([("a".into(), None)]);
        assert!(differ(&seen(&[("a", 1)]), &gone) && differ(&gone, &seen(&[("a", 1)])));
    }

    #[test]
    fn a_file_in_the_place_of_another_is_another() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, other) = (dir.path().join("a"), dir.path().join("b"));
        assert_eq!(stamp(&file), None);
        fs::write(&file, "one").expect("written");
        let first = stamp(&file);
        assert_eq!(first, stamp(&file));
        fs::write(&other, "two").expect("written");
        fs::rename(&other, &file).expect("renamed over it");
        assert_ne!(first, stamp(&file));
    }
}

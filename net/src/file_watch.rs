//! Word of files that may have changed: from the kernel, and from the clock where the kernel cannot give it.
//!
//! Folders are watched and not files: an editor puts another file in the place of one, and a cluster another folder in the place
//! of the one that a link leads to. It reads no file and compares none: callers look, and know what they saw before.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::{sync::Notify, time};
use tracing::warn;

/// How often callers look without word. The kernel does not tell what another machine has done to a shared file system.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// And where a folder is not watched: it is not there, or the kernel has no watch left.
const LOOK_OFTEN: Duration = Duration::from_secs(2);
/// What is written in several steps is looked at after this much silence, and after so long in any case: a change is in force within a
/// second, also beside a file that is written all the time.
const SILENCE: Duration = Duration::from_millis(100);
const SILENCE_WAIT: Duration = Duration::from_millis(500);

/// A watch over files.
#[derive(Debug, Default)]
pub struct FileWatch {
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    word: Arc<Notify>,
    /// Why not every folder is watched.
    lack: Option<String>,
}

impl FileWatch {
    /// Watches these files, and no others any more. Whoever looks after this misses nothing. It blocks for as long as the file
    /// system takes.
    pub fn watch(&mut self, files: &[PathBuf]) {
        let folders: BTreeSet<PathBuf> = files.iter().flat_map(|file| folders(file)).collect();
        let lack = self.follow(&folders).err().map(|error| error.to_string());
        self.folders = folders;
        if let (Some(why), true) = (&lack, lack != self.lack) {
            warn!(why, "files are looked at every {} s: changes are not told", LOOK_OFTEN.as_secs());
        }
        self.lack = lack;
    }

    fn follow(&mut self, folders: &BTreeSet<PathBuf>) -> notify::Result<()> {
        if folders.is_empty() {
            self.watcher = None;
            return Ok(());
        }
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            none @ None => none.insert(listening(&self.word)?),
        };
        for gone in self.folders.difference(folders) {
            // Fails for what is not there any more, which nobody watches.
            let _ = watcher.unwatch(gone);
        }
        // Those that are watched as well: another folder may have taken the place.
        let watched = folders.iter().map(|folder| watcher.watch(folder, RecursiveMode::NonRecursive));
        watched.fold(Ok(()), Result::and)
    }

    /// Completes when a file may have changed; without word, when it is time to look all the same.
    pub async fn changed(&self) {
        let look_after = if self.lack.is_some() { LOOK_OFTEN } else { LOOK_EVERY };
        if time::timeout(look_after, self.word.notified()).await.is_ok() {
            let silence = async { while time::timeout(SILENCE, self.word.notified()).await.is_ok() {} };
            let _ = time::timeout(SILENCE_WAIT, silence).await;
        }
    }
}

/// A watcher that leaves word there; one word stands for all that nobody has heard yet.
fn listening(word: &Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let word = word.clone();
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Something was missed, if it is an error.
        if event.is_ok_and(|event| !is_change(event.kind)) {
            return;
        }
        word.notify_one();
    })
}

/// Reading is none, our own above all.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

/// Where the name of a file is, and where the file itself is that the name leads to.
fn folders(file: &Path) -> impl Iterator<Item = PathBuf> {
    let real = file.canonicalize().ok();
    [Some(file.to_owned()), real].into_iter().flatten().filter_map(|file| {
        let folder = file.parent()?;
        Some(if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// Word, and not the clock's turn.
    async fn heard(watch: &FileWatch) {
        time::timeout(LOOK_OFTEN, watch.changed()).await.expect("word comes");
    }

    #[tokio::test]
    async fn a_folder_that_is_never_silent_hides_no_change() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, noise) = (dir.path().join("a"), dir.path().join("noise"));
        fs::write(&file, "1").expect("written");
        let mut watch = FileWatch::default();
        watch.watch(std::slice::from_ref(&file));
        fs::write(&file, "2").expect("written");
        let mut told = std::pin::pin!(time::timeout(Duration::from_secs(1), watch.changed()));
        let mut writes = time::interval(SILENCE / 5);
        loop {
            tokio::select! {
                told = &mut told => return told.expect("within a second"),
                _ = writes.tick() => fs::write(&noise, "noise").expect("written"),
            }
        }
    }

    #[tokio::test]
    async fn whatever_way_a_file_is_replaced_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        for folder in ["one", "two", "elsewhere"] {
            fs::create_dir(at(folder)).expect("made");
            fs::write(at(folder).join("key"), folder).expect("written");
        }
        symlink("one", at("current")).expect("linked");
        symlink("current/key", at("linked")).expect("linked");
        symlink(at("elsewhere/key"), at("led-away")).expect("linked");
        fs::write(at("plain"), "1").expect("written");
        let mut watch = FileWatch::default();
        watch.watch(&[at("plain"), at("linked"), at("led-away")]);
        assert_eq!(watch.lack, None);

        fs::write(at("plain"), "2").expect("written in place");
        heard(&watch).await;
        fs::write(at("new"), "3").expect("written");
        fs::rename(at("new"), at("plain")).expect("renamed over it");
        heard(&watch).await;
        symlink("two", at("next")).expect("linked");
        fs::rename(at("next"), at("current")).expect("the link leads elsewhere");
        heard(&watch).await;
        fs::write(at("elsewhere/key"), "4").expect("written where the link leads");
        heard(&watch).await;
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_kernel_cannot_tell_the_clock_does() {
        let dir = tempfile::tempdir().expect("a directory");
        for (folder, wait) in [("missing", LOOK_OFTEN), ("", LOOK_EVERY)] {
            let (mut watch, before) = (FileWatch::default(), time::Instant::now());
            watch.watch(&[dir.path().join(folder).join("key")]);
            watch.changed().await;
            assert_eq!(before.elapsed(), wait);
        }
    }

    #[tokio::test]
    async fn a_folder_is_watched_again_when_another_has_taken_its_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("folder");
        let mut watch = FileWatch::default();
        for _ in 0..2 {
            fs::create_dir(&folder).expect("made");
            watch.watch(&[folder.join("key")]);
            // What its removal had to tell.
            let _ = time::timeout(SILENCE * 3, watch.changed()).await;
            fs::write(folder.join("key"), "1").expect("written");
            heard(&watch).await;
            fs::remove_dir_all(&folder).expect("gone, and its watch with it");
        }
        watch.watch(&[]);
        assert!(watch.watcher.is_none() && watch.lack.is_none());
    }

    #[test]
    fn reading_is_no_change() {
        assert!(!is_change(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!is_change(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(is_change(EventKind::Access(AccessKind::Close(AccessMode::Write))));
    }
}

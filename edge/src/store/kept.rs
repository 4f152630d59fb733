//! Drains made by hand, over restarts: one file of the `state_dir`, written whole.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tracing::{error, info};

use crate::model::{Drain, Drains, Subject};

/// Longest file: four thousand drains with all that is said of each.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// Where drains made by hand are kept.
#[derive(Debug)]
pub struct KeptDrains {
    file: PathBuf,
    /// The last could not be recorded.
    unwritten: AtomicBool,
}

/// Why those that are kept cannot be known.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] certs::FileError),
    /// The file is not ours or was damaged.
    #[error("{} is damaged ({what}): restore it, or remove it if nothing is to stay drained", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    drains: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kind: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    who: Option<String>,
    since_ms: u64,
}

impl KeptDrains {
    /// Those of a directory, and what they were when they were recorded last. This blocks.
    ///
    /// # Errors
    /// [`KeptError`] if the file is there and cannot be read.
    pub fn open(state_dir: &Path) -> Result<(Self, Drains), KeptError> {
        let file = state_dir.join("drains.json");
        let corrupt = |what: String| KeptError::Corrupt { path: file.clone(), what };
        let stored = match certs::read(&file, FILE_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => Stored { drains: Vec::new() },
            Err(error) => return Err(error.into()),
        };
        let (wall, clock) = (SystemTime::now(), Instant::now());
        let mut by_hand = BTreeMap::new();
        for Entry { kind, name, who, since_ms } in stored.drains {
            let subject = Subject::read(&kind, &name).map_err(corrupt)?;
            let since = UNIX_EPOCH.checked_add(Duration::from_millis(since_ms)).unwrap_or(wall);
            // What a clock that was set back says of the future is now.
            let ago = wall.duration_since(since).unwrap_or_default();
            let begun = clock.checked_sub(ago).unwrap_or(clock);
            by_hand.insert(subject, Drain { who, since, begun });
        }
        Ok((Self { file, unwritten: AtomicBool::new(false) }, Drains::kept(by_hand)))
    }

    /// Records these.
    ///
    /// # Errors
    /// Why that cannot be done, in words.
    pub async fn record(self: &Arc<Self>, drains: &Drains) -> Result<(), String> {
        let entry = |(subject, drain): (&Subject, &Drain)| Entry {
            kind: subject.kind().to_owned(),
            name: subject.name(),
            who: drain.who.clone(),
            since_ms: milliseconds(drain.since),
        };
        let stored = Stored { drains: drains.by_hand().iter().map(entry).collect() };
        let text = serde_json::to_vec_pretty(&stored).expect("texts and numbers can be written as JSON");
        let this = self.clone();
        let written = tokio::task::spawn_blocking(move || certs::write(&this.file, &text)).await;
        let written = written.map_err(|error| error.to_string()).and_then(|done| done.map_err(|e| e.to_string()));
        self.unwritten.store(written.is_err(), Ordering::Relaxed);
        written
    }

    /// True if the last could not be recorded.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.unwritten.load(Ordering::Relaxed)
    }

    /// Tells which have gone with what they drained, and records the rest.
    pub async fn follow(self: &Arc<Self>, before: &Drains, now: &Drains) {
        let dropped: Vec<String> = before.dropped(now).map(ToString::to_string).collect();
        if dropped.is_empty() {
            return;
        }
        info!(dropped = dropped.join(", "), "drained by hand, and not in the settings any more: forgotten");
        if let Err(why) = self.record(now).await {
            error!(why, "that they are forgotten could not be recorded");
        }
    }
}

fn milliseconds(since: SystemTime) -> u64 {
    u64::try_from(since.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn drain(who: &str) -> Drain {
        let since = UNIX_EPOCH + Duration::from_millis(milliseconds(SystemTime::now() - Duration::from_secs(60)));
        Drain { who: Some(who.to_owned()), since, begun: Instant::now() - Duration::from_secs(60) }
    }

    #[tokio::test]
    async fn what_is_recorded_is_there_at_the_next_start_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let (kept, none) = KeptDrains::open(dir.path()).expect("no file is no drain");
        assert!(none.is_empty());
        let origin = Subject::read("origin", "web/web-1").expect("right");
        let drains = none.with(origin.clone(), drain("root"));
        Arc::new(kept).record(&drains).await.expect("recorded");

        let file = dir.path().join("drains.json");
        assert_eq!(file.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
        let (_, again) = KeptDrains::open(dir.path()).expect("right");
        let (before, after) = (drains.find(&origin).expect("there").1, again.find(&origin).expect("kept").1);
        assert_eq!((&after.who, after.since), (&before.who, before.since));
        let off = after.begun.max(before.begun) - after.begun.min(before.begun);
        assert!(off < Duration::from_secs(10), "it has been so for as long: {off:?}");
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("drains.json");
        for wrong in ["", "{", "{\"drains\":[{\"kind\":\"route\",\"name\":\"a\",\"since_ms\":1}]}", "{\"other\":1}"] {
            std::fs::write(&file, wrong).expect("writable");
            let error = KeptDrains::open(dir.path()).expect_err("damaged").to_string();
            assert!(error.contains("drains.json is damaged (") && error.contains("remove it if"), "{error}");
        }
        std::fs::remove_file(&file).expect("there");
        std::fs::create_dir(&file).expect("made");
        let error = KeptDrains::open(dir.path()).expect_err("no file").to_string();
        assert!(error.starts_with("cannot read ") && error.contains("drains.json"), "{error}");
    }

    #[tokio::test]
    async fn what_cannot_be_recorded_is_behind_until_it_can() {
        let dir = tempfile::tempdir().expect("a directory");
        let (kept, none) = KeptDrains::open(dir.path()).expect("no file is no drain");
        let kept = Arc::new(kept);
        let drains = none.with(Subject::read("pool", "web").expect("right"), drain("root"));
        let file = dir.path().join("drains.json");
        std::fs::create_dir(&file).expect("in the way");
        assert!(kept.record(&drains).await.is_err_and(|why| why.contains("drains.json")) && kept.is_behind());
        std::fs::remove_dir(&file).expect("there");
        kept.record(&drains).await.expect("recorded");
        assert!(!kept.is_behind());
    }
}

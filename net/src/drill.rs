//! Bugs on demand, so that tests can see what one in a task that must run would do to a whole process.
//!
//! In release builds this is nothing.

use std::{env, path::PathBuf, sync::LazyLock, thread, time::Duration};

/// Names the directory whose files are wishes.
const VARIABLE: &str = "UNDERPASS_DRILL";

/// How often a thread that hangs looks whether it still should.
const HANGS: Duration = Duration::from_millis(10);

static DIR: LazyLock<Option<PathBuf>> = LazyLock::new(|| env::var_os(VARIABLE).map(PathBuf::from));

/// A place where a test may want a panic: it wishes for one with a file of this name, which is then gone.
///
/// # Panics
/// In a debug build, if a test wishes it.
pub fn point(name: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    if let Some(dir) = &*DIR {
        assert!(std::fs::remove_file(dir.join(name)).is_err(), "a drill wished for this, in {name}");
    }
}

/// A place where a test may want a thread to hang: for as long as there is a file of this name.
pub fn hang(name: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    if let Some(dir) = &*DIR {
        while dir.join(name).exists() {
            #[expect(clippy::disallowed_methods, reason = "the drill is that the whole worker stops")]
            thread::sleep(HANGS);
        }
    }
}

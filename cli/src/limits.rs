//! The process's limit of open files: every flow holds one, and the usual soft limit of 1,024 is kept for old programs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Fewer than this and an edge or a connector soon refuses flows.
const FEW: u64 = 4096;

/// Raises the soft limit to the hard one.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => debug!(files = limit.maximum, "raised the limit of open files"),
        Err(error) => warn!(%error, "cannot raise the limit of open files"),
    }
}

/// Says so if the limit is small.
pub(crate) fn warn_if_few_open_files() {
    if let Some(files) = getrlimit(Resource::Nofile).current
        && files < FEW
    {
        warn!(files, "few files may be open at once, and every flow holds one: raise `ulimit -n` or LimitNOFILE");
    }
}

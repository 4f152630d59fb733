//! The word that a flow was ended for the sake of others, for whoever serves the client it was read for.

use std::pin::Pin;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Says when a flow was reset because it held what others needed; clones hear the same. A direct way never is.
#[derive(Debug, Clone, Default)]
pub struct Sacrificed(CancellationToken);

impl Sacrificed {
    /// It is over.
    pub(crate) fn say(&self) {
        self.0.cancel();
    }

    /// True if it was.
    #[must_use]
    pub fn is_said(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Completes when it is, or was.
    pub async fn said(&self) {
        self.0.cancelled().await;
    }

    /// The same, to be kept.
    #[must_use]
    pub fn wait(&self) -> Pin<Box<WaitForCancellationFutureOwned>> {
        Box::pin(self.0.clone().cancelled_owned())
    }
}

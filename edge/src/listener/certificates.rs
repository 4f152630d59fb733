//! Certificate files that were replaced: read again, and what is wrong with certificates said again.

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use net::FileWatch;
use tokio::{task::spawn_blocking, time::Instant};

use super::table::Listeners;
use crate::tls::ServerTls;

/// How often the log says again that a certificate ends soon, or has.
const REMIND_EVERY: Duration = Duration::from_secs(6 * 3600);

impl Listeners {
    /// Reads certificates again whose files have changed, for as long as anybody holds this.
    pub async fn watch_certificates(this: Weak<Self>) {
        let (mut watch, mut reminded) = (FileWatch::default(), Instant::now());
        loop {
            let Some(listeners) = this.upgrade() else { return };
            let all: Vec<Arc<ServerTls>> =
                listeners.states().iter().filter_map(|state| state.serving().tls.clone()).collect();
            let committed = listeners.committed.clone();
            drop(listeners);
            let is_due = reminded.elapsed() >= REMIND_EVERY;
            if is_due {
                reminded = Instant::now();
            }
            let look = move || {
                let files: Vec<PathBuf> = all.iter().flat_map(|tls| tls.files()).collect();
                watch.watch(&files);
                for tls in &all {
                    // A failure is told there.
                    tls.refresh();
                    if is_due {
                        tls.remind();
                    }
                }
                watch
            };
            // Files are read where that holds nobody up. What panicked there begins anew.
            watch = spawn_blocking(look).await.unwrap_or_default();
            tokio::select! {
                () = watch.changed() => {}
                () = committed.notified() => {}
            }
        }
    }
}

//! How an edge or a connector lives in its process: the runtime, the signals, the time it gets to end.
//!
//! It knows nothing of what runs: it cancels a token, and calls back for a reload.

use std::{convert::Infallible, io, pin::pin, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{failure::Failure, logging, notify};

/// What is still there so long after the grace period hangs, and is left behind.
const OVERTIME: Duration = Duration::from_secs(5);
/// Exit code of a process that was told twice to end.
const ENDED_AT_ONCE: i32 = 1;

/// A runtime on the current thread.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(|e| Failure::Failed(format!("cannot start: {e}")))
}

/// The signals an edge or a connector obeys. From here on they do not end the process by themselves.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
enum Wish {
    End(&'static str),
    Reload,
}

impl Signals {
    /// Takes the signals over. Needs a runtime.
    pub(crate) fn take() -> Result<Self, Failure> {
        let take = || {
            Ok::<_, io::Error>(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                hangup: signal(SignalKind::hangup())?,
            })
        };
        take().map_err(|e| Failure::Failed(format!("cannot listen for signals: {e}")))
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End("SIGTERM"),
            _ = self.interrupt.recv() => Wish::End("SIGINT"),
            _ = self.hangup.recv() => Wish::Reload,
        }
    }

    /// Obeys signals: the first to end cancels `stop`, the second ends the process; each hangup calls `reload`.
    async fn obey(mut self, stop: &CancellationToken, reload: impl AsyncFn()) -> Infallible {
        loop {
            match self.next().await {
                Wish::End(signal) => end(signal, stop),
                Wish::Reload => {
                    notify::reloading();
                    self.reload(stop, &reload).await;
                    notify::ready();
                }
            }
        }
    }

    /// Reloads, and once more if that was asked for meanwhile. Whatever a reload waits for, a wish to end is heard.
    async fn reload(&mut self, stop: &CancellationToken, reload: &impl AsyncFn()) {
        let mut wanted = true;
        while std::mem::take(&mut wanted) {
            let mut reloading = pin!(reload());
            loop {
                tokio::select! {
                    () = &mut reloading => break,
                    wish = self.next() => match wish {
                        Wish::End(signal) => end(signal, stop),
                        Wish::Reload => wanted = true,
                    }
                }
            }
        }
    }
}

fn end(signal: &'static str, stop: &CancellationToken) {
    if stop.is_cancelled() {
        warn!(signal, "told again to end: open flows are cut");
        logging::flush();
        std::process::exit(ENDED_AT_ONCE);
    }
    info!(signal, "told to end: open flows may finish; the same signal again ends at once");
    notify::stopping();
    stop.cancel();
}

/// Runs something until it ends by itself or by a signal, at the latest `grace` (and a little) after that.
pub(crate) async fn attend<T>(
    running: impl Future<Output = Result<T, Failure>>,
    signals: Signals,
    stop: CancellationToken,
    grace: Duration,
    reload: impl AsyncFn(),
) -> Result<T, Failure> {
    let overdue = async {
        stop.cancelled().await;
        sleep(grace.saturating_add(OVERTIME)).await;
    };
    tokio::select! {
        // What runs starts before the first signal is looked at.
        biased;
        ended = running => ended,
        never = signals.obey(&stop, reload) => match never {},
        () = overdue => Err(Failure::Failed(format!("did not end within {} of being told to", config::spell(grace)))),
    }
}

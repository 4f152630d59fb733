//! How an edge or a connector lives in its process: the runtime, the signals, the time it gets to end.
//!
//! It knows nothing of what runs: it cancels tokens, and calls back for a reload.

use std::{convert::Infallible, io, pin::pin, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{failure::Failure, logging, notify, watchdog};

/// What is still there so long after the grace period hangs, and is left behind.
const OVERTIME: Duration = Duration::from_secs(5);
/// Exit code of a process that was told again to end, and waits for nothing: it did not end cleanly.
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

/// What tells something that runs to end: to take nothing new, and to let finish what flows.
#[derive(Debug, Clone, Default)]
pub(crate) struct End {
    pub(crate) stop: CancellationToken,
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

    /// Obeys signals: the first to end stops, the second ends the process at once; each hangup calls `reload`.
    async fn obey(mut self, end: &End, reload: impl AsyncFn()) -> Infallible {
        loop {
            match self.next().await {
                Wish::End(signal) => end.next(signal),
                Wish::Reload => {
                    notify::reloading();
                    self.reload(end, &reload).await;
                    notify::ready();
                }
            }
        }
    }

    /// Reloads, and once more if that was asked for meanwhile. Whatever a reload waits for, a wish to end is heard.
    async fn reload(&mut self, end: &End, reload: &impl AsyncFn()) {
        let mut wanted = true;
        while std::mem::take(&mut wanted) {
            let mut reloading = pin!(reload());
            loop {
                tokio::select! {
                    () = &mut reloading => break,
                    wish = self.next() => match wish {
                        Wish::End(signal) => end.next(signal),
                        Wish::Reload => wanted = true,
                    }
                }
            }
        }
    }
}

impl End {
    /// Obeys the next signal to end.
    fn next(&self, signal: &'static str) {
        if self.stop.is_cancelled() {
            // Nothing is closed in order: whoever says it twice does not want to wait for what may be stuck. The kernel resets
            // flows that would look whole, as their sockets are kept ready for that, and the other ends of links notice as they do of a crash.
            warn!(signal, "told again to end: nothing is waited for");
            logging::flush();
            std::process::exit(ENDED_AT_ONCE);
        }
        info!(signal, "told to end: open flows may finish; a second signal ends it at once");
        notify::stopping();
        self.stop.cancel();
    }

    /// Completes when what runs should long have ended.
    async fn overdue(&self, grace: Duration) -> Failure {
        self.stop.cancelled().await;
        sleep(grace.saturating_add(OVERTIME)).await;
        Failure::Failed(format!("did not end within {} of being told to", config::spell(grace)))
    }
}

/// Runs something until it ends by itself or by a signal, at the latest `grace` (and a little) after that.
pub(crate) async fn attend<T>(
    running: impl Future<Output = Result<T, Failure>>,
    signals: Signals,
    end: End,
    grace: Duration,
    reload: impl AsyncFn(),
) -> Result<T, Failure> {
    let _watchdog = watchdog::start();
    tokio::select! {
        // What runs starts before the first signal is looked at.
        biased;
        ended = running => ended,
        never = signals.obey(&end, reload) => match never {},
        failure = end.overdue(grace) => Err(failure),
    }
}

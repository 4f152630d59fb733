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

use crate::{failure::Failure, logging, notify};

/// What is still there so long after the grace period hangs, and is left behind.
const OVERTIME: Duration = Duration::from_secs(5);
/// How long it may take to cut what still flows, links and all.
const CUT_WAIT: Duration = Duration::from_secs(3);
/// Exit code of a process that ends without waiting for anything.
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

/// What tells something that runs to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct End {
    /// Takes nothing new; what flows may finish.
    pub(crate) stop: CancellationToken,
    /// Cuts what still flows.
    pub(crate) cut: CancellationToken,
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

    /// Obeys signals: the first to end stops, the second cuts, the third ends the process; each hangup calls `reload`.
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
        if self.cut.is_cancelled() {
            warn!(signal, "told once more to end: nothing is waited for");
            logging::flush();
            std::process::exit(ENDED_AT_ONCE);
        }
        if self.stop.is_cancelled() {
            warn!(signal, "told again to end: open flows are cut");
            return self.cut.cancel();
        }
        info!(signal, "told to end: open flows may finish; the same signal again cuts them");
        notify::stopping();
        self.stop.cancel();
    }

    /// Completes when what runs should long have ended.
    async fn overdue(&self, grace: Duration) -> Failure {
        self.stop.cancelled().await;
        tokio::select! {
            () = sleep(grace.saturating_add(OVERTIME)) => {
                Failure::Failed(format!("did not end within {} of being told to", config::spell(grace)))
            }
            () = async { self.cut.cancelled().await; sleep(CUT_WAIT).await } => told_again(),
        }
    }
}

/// Whoever cannot wait for flows to end is told that they have not.
fn told_again() -> Failure {
    Failure::Failed("told again to end before all flows had ended".to_owned())
}

/// Runs something until it ends by itself or by a signal, at the latest `grace` (and a little) after that.
pub(crate) async fn attend<T>(
    running: impl Future<Output = Result<T, Failure>>,
    signals: Signals,
    end: End,
    grace: Duration,
    reload: impl AsyncFn(),
) -> Result<T, Failure> {
    let ended = tokio::select! {
        // What runs starts before the first signal is looked at.
        biased;
        ended = running => ended,
        never = signals.obey(&end, reload) => match never {},
        failure = end.overdue(grace) => Err(failure),
    };
    if end.cut.is_cancelled() { ended.and(Err(told_again())) } else { ended }
}

//! What systemd is told, where it asked to be (`NOTIFY_SOCKET`); elsewhere nothing happens.

use std::convert::Infallible;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tracing::warn;

/// Started: listeners are bound, or links are being dialled.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] ends it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "cannot read the monotonic clock for the service manager"),
    }
}

/// Has the service manager go by the process that takes over from this one.
pub(crate) async fn of_successor(mut successor: watch::Receiver<Option<u32>>) -> Infallible {
    while let Ok(()) = successor.changed().await {
        if let Some(pid) = *successor.borrow_and_update() {
            tell(&[NotifyState::MainPid(pid)]);
        }
    }
    std::future::pending().await
}

/// Every worker makes progress.
pub(crate) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// Open flows are being waited for.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, state) {
        warn!(%error, "cannot tell the service manager");
    }
}

//! What systemd is told, where it asked to be (`NOTIFY_SOCKET`); elsewhere nothing happens.

use sd_notify::NotifyState;
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

/// Another process has taken over from this one: it is the service from now on.
pub(crate) fn succeeded_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
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

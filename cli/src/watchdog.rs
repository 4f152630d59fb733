//! The service manager's watchdog (`WATCHDOG_USEC`): it is told that all is well only while every thread that a process is made
//! of makes progress, and bites if one is stuck.
//!
//! On a thread of its own, so that no runtime which it watches can keep it from saying which one is stuck.

use std::{
    env, process,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use net::progress::{self, Watched};
use tokio::runtime::Handle;
use tracing::{error, info, warn};

use crate::notify;

/// Looks within the time after which the watchdog bites: so many that one missed does no harm, and a thread that is late once
/// is not yet stuck.
const LOOKS: u32 = 4;

/// Watches until it is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    _control: Arc<Watched>,
    _stop: mpsc::Sender<()>,
}

/// Starts to watch, if the service manager asks for it. Needs a runtime: the one that decides all that workers do not.
pub(crate) fn start() -> Option<Watchdog> {
    let [usec, pid] = ["WATCHDOG_USEC", "WATCHDOG_PID"].map(|name| env::var(name).ok());
    let time = asked(usec.as_deref()?, pid.as_deref(), process::id())?;
    let control = Watched::enter("control".to_owned(), Handle::current());
    let (stop, stopped) = mpsc::channel();
    let watch = move || watch(time / LOOKS, &stopped);
    match thread::Builder::new().name("watchdog".to_owned()).spawn(watch) {
        // It ends within a look of being dropped, or with the process.
        Ok(_) => Some(Watchdog { _control: control, _stop: stop }),
        Err(error) => {
            warn!(%error, "no thread can be had for the service manager's watchdog: it will bite");
            None
        }
    }
}

/// After which time the watchdog bites, if it is asked for, and of this process.
fn asked(usec: &str, pid: Option<&str>, own: u32) -> Option<Duration> {
    // As sd_watchdog_enabled(3) has it: a process that inherited these by accident is not meant.
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let time = usec.parse().ok().filter(|usec| *usec > 0).map(Duration::from_micros);
    if time.is_none() {
        warn!(WATCHDOG_USEC = usec, "not a number of microseconds above 0: there is no watchdog");
    }
    time
}

fn watch(each: Duration, stopped: &mpsc::Receiver<()>) {
    let mut were_stuck = Vec::new();
    loop {
        let stuck = progress::stuck();
        for worker in stuck.iter().filter(|worker| !were_stuck.contains(*worker)) {
            error!(
                worker,
                "this worker makes no progress, and the service manager's watchdog is told nothing until it does"
            );
        }
        for worker in were_stuck.iter().filter(|worker| !stuck.contains(*worker)) {
            info!(worker, "this worker makes progress again");
        }
        if stuck.is_empty() {
            notify::alive();
        }
        were_stuck = stuck;
        match stopped.recv_timeout(each) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_watches_if_it_is_asked_to_and_this_process_is_meant() {
        let second = Some(Duration::from_secs(1));
        for (usec, pid, time) in [
            ("1000000", Some("7"), second),
            ("1000000", None, second),
            ("1000000", Some("8"), None),
            ("1000000", Some("seven"), None),
            ("0", Some("7"), None),
            ("a second", None, None),
            ("-1", None, None),
        ] {
            assert_eq!(asked(usec, pid, 7), time, "{usec} {pid:?}");
        }
    }
}

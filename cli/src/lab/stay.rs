//! The lab that stays up: prints what to do with it, brings back what is killed, and ends at a signal.

use std::{io, io::Write, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    Ended, LabError, picture, print,
    process::Process,
    start,
    world::{Addresses, Afterwards, World},
};

/// How long a killed process stays away, so that one can look at the lab without it.
const AWAY: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What asks the lab to end.
#[derive(Debug)]
pub(super) struct Signals([Signal; 3]);

impl Signals {
    /// From here on these signals end nothing by themselves.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn new() -> io::Result<Self> {
        let [interrupt, terminate, hangup] = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Ok(Self([signal(interrupt)?, signal(terminate)?, signal(hangup)?]))
    }

    /// Waits for one.
    pub(super) async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
            _ = hangup.recv() => (),
        }
    }
}

/// Runs a lab until a signal.
///
/// # Errors
/// If it does not come up.
pub(super) async fn stay(
    afterwards: Afterwards,
    signals: &mut Signals,
    out: &mut (dyn Write + Send),
) -> Result<Ended, LabError> {
    print(out, "starting two edges, three connectors and five origins on loopback …\n")?;
    let started = tokio::select! {
        started = start(Addresses::Friendly, afterwards) => started,
        // What was started dies with the future that was starting it; the guard removes the rest.
        () = signals.any() => return Ok(Ended::Well),
    };
    let mut world = started?;
    let stayed = tokio::select! {
        stayed = watch(&mut world, out) => stayed,
        () = signals.any() => Ok(()),
    };
    // Nobody may be listening any more, and everything has to end all the same.
    let _ = print(out, &picture::parting(&world, afterwards));
    tokio::select! {
        () = world.stop() => (),
        // A second signal: at once.
        () = signals.any() => (),
    }
    stayed.map(|()| Ended::Well)
}

async fn watch(world: &mut World, out: &mut (dyn Write + Send)) -> Result<(), LabError> {
    print(out, &picture::whole(world))?;
    let mut away: Vec<(&'static str, tokio::time::Instant)> = Vec::new();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        for process in world.processes() {
            look_after(process, &mut away, out)?;
        }
    }
}

/// Tells of a process that has ended, and brings it back after a while.
fn look_after(
    process: &mut Process,
    away: &mut Vec<(&'static str, tokio::time::Instant)>,
    out: &mut (dyn Write + Send),
) -> Result<(), LabError> {
    let name = process.program.name;
    let Some(status) = process.ended().map_err(|source| LabError::Spawn { name, source })? else { return Ok(()) };
    match away.iter().position(|(gone, _)| *gone == name) {
        None => {
            away.push((name, tokio::time::Instant::now() + AWAY));
            print(out, &format!("\n{name} ended ({status}); it comes back in {} s\n", AWAY.as_secs()))
        }
        Some(place) if away[place].1 <= tokio::time::Instant::now() => {
            away.swap_remove(place);
            process.restart()?;
            print(out, &format!("\n{} # {name} is back\n", picture::kill_line(process)))
        }
        Some(_) => Ok(()),
    }
}

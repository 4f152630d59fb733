//! `underpass lab`: the whole product on this machine, with nothing else installed.
//!
//! It makes real files, starts this very binary as edges and connectors, and is itself the origins; so it proves what users
//! run, and owns nothing that they could not do by hand. It listens on loopback only.

mod certificate;
mod drill;
mod files;
mod guard;
mod load;
mod origin;
mod picture;
mod plan;
mod process;
mod status;
mod stay;
mod world;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitStatus,
};

use self::{
    process::Program,
    world::{Addresses, Afterwards, World},
};

/// What `underpass lab` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Break a connector, an origin and an edge under load, and tell what clients saw; ends within 45 s
    #[arg(long)]
    drill: bool,
    /// Print the drill's results as JSON (for people: on standard error)
    #[arg(long, requires = "drill")]
    json: bool,
    /// Keep the lab's files (settings, logs, keys) after its end
    #[arg(long)]
    keep: bool,
    /// The guard's own way in
    #[arg(long, hide = true, num_args = 0..=1)]
    guard: Option<Option<PathBuf>>,
}

/// How a lab ended when nothing stood in its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By a signal, or after a drill whose every promise held.
    Well,
    /// After a drill that broke a promise.
    PromiseBroken,
}

/// Why there is no lab.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LabError {
    /// No runtime, no signals.
    #[error("the lab cannot run here: {0}")]
    Runtime(io::Error),
    /// No directory for files.
    #[error("cannot make a directory for the lab's files: {0}")]
    Dir(io::Error),
    /// No certificate for HTTPS.
    #[error("cannot make a certificate: {0}")]
    Certificate(rcgen::Error),
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Every range is taken, or loopback is only one address.
    #[error("the origins need addresses in 127.0.0.0/8, such as 127.71.1.11, all on loopback and free: {0}")]
    NoGround(io::Error),
    /// Every port is taken.
    #[error("the lab needs {} free ports on a loopback address from 10000 to 29999", plan::PORTS)]
    NoPort,
    /// A process cannot be started.
    #[error("cannot start {name}: {source}")]
    Spawn {
        /// Which.
        name: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A process cannot be killed.
    #[error("cannot kill {name}: {source}")]
    Kill {
        /// Which.
        name: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A process ended that should not, or failed.
    #[error("{name} ended ({status}); its last lines:\n{tail}")]
    Ended {
        /// Which.
        name: &'static str,
        /// How.
        status: ExitStatus,
        /// Of its log.
        tail: String,
    },
    /// It takes too long.
    #[error("not up in time:\n  {}\n{tail}", what.join("\n  "))]
    Slow {
        /// What is missing.
        what: Vec<String>,
        /// Of the logs.
        tail: String,
    },
    /// A signal ended a drill, which so proved nothing.
    #[error("interrupted before the drill's end")]
    Interrupted,
    /// So much went wrong that the time was up.
    #[error("the drill was not over in time: a step above took too long")]
    Overtime,
    /// Nobody reads what is printed.
    #[error("cannot print: {0}")]
    Print(io::Error),
}

impl LabError {
    fn ended(program: &Program, status: ExitStatus) -> Self {
        Self::Ended { name: program.name, status, tail: program.tail() }
    }
}

/// Runs a lab or a drill to its end.
///
/// # Errors
/// If there can be no lab, or it falls apart.
pub(crate) fn run(args: Args) -> Result<Ended, LabError> {
    if let Some(dir) = args.guard {
        return guard::stand(dir).map(|()| Ended::Well).map_err(LabError::Runtime);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(LabError::Runtime)?;
    let afterwards = if args.keep { Afterwards::Keep } else { Afterwards::Remove };
    runtime.block_on(async {
        let mut signals = stay::Signals::new().map_err(LabError::Runtime)?;
        let (mut out, mut err) = (io::stdout(), io::stderr());
        match (args.drill, args.json) {
            (false, _) => stay::stay(afterwards, &mut signals, &mut out).await,
            (true, false) => drill::drill(afterwards, &mut signals, &mut out, None).await,
            (true, true) => drill::drill(afterwards, &mut signals, &mut err, Some(&mut out)).await,
        }
    })
}

/// Starts a lab and waits until it is whole; ends it again if that fails.
async fn start(addresses: Addresses, afterwards: Afterwards) -> Result<World, LabError> {
    let mut world = World::start(addresses, afterwards).await?;
    if let Err(error) = world.whole().await {
        world.stop().await;
        return Err(error);
    }
    Ok(world)
}

/// Prints text whole, at once.
fn print(out: &mut dyn Write, text: &str) -> Result<(), LabError> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(LabError::Print)
}

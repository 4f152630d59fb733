//! `edge`: the edge until it is told to end, with its file read again at each hangup.

use std::{convert::Infallible, path::Path, sync::Arc};

use edge::{
    config::WORKERS_MAX,
    edge::{EdgeError, Reload, Start},
    model::Config,
};
use net::network::Os;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    args::{Common, EdgeRun},
    edge_file,
    failure::Failure,
    lifecycle::{self, End, Signals},
    limits, logging, notify,
};

/// New settings that wait until the edge has taken those before.
const RELOADS_MAX: usize = 1;

pub(super) fn run(common: &Common, flags: &EdgeRun) -> Result<(), Failure> {
    let file = common.config.as_deref();
    let config = settings(file, flags)?;
    limits::raise_open_files();
    limits::warn_if_few_open_files();
    let runtime = lifecycle::runtime()?;
    let ended = runtime.block_on(serve(config, file, flags));
    // What is left reads or writes a file, or resolves a name; nobody waits for it any more.
    runtime.shutdown_background();
    ended
}

async fn serve(config: Config, file: Option<&Path>, flags: &EdgeRun) -> Result<(), Failure> {
    let signals = Signals::take()?;
    let (end, ready) = (End::default(), CancellationToken::new());
    let (reload, reloads) = mpsc::channel(RELOADS_MAX);
    let grace = flags.grace.grace_period;
    let (readied, lost_lines) = (ready.clone(), logging::lost());
    let End { stop, cut } = end.clone();
    let start = Start { config, network: Arc::new(Os), grace, stop, cut, reloads, ready: readied, lost_lines };
    let running = async {
        tokio::select! {
            ended = Box::pin(edge::edge::run(start)) => ended.map_err(failure),
            never = tell_when(ready) => match never {},
        }
    };
    let reload = async || {
        let read = match settings(file, flags) {
            Ok(config) => Reload::Settings(Box::new(config)),
            Err(failure) => {
                failure.lines().iter().for_each(|line| error!("{line}"));
                error!("reload refused: the configuration before stays in force");
                Reload::Wrong
            }
        };
        // The edge itself is ending if it takes no more.
        drop(reload.send(read).await);
    };
    let ended = lifecycle::attend(running, signals, end, grace, reload).await;
    if ended.is_ok() {
        info!("edge has ended");
    }
    ended
}

async fn tell_when(ready: CancellationToken) -> Infallible {
    ready.cancelled().await;
    notify::ready();
    std::future::pending().await
}

/// The file with the flags laid over; at each reload the same flags.
fn settings(file: Option<&Path>, flags: &EdgeRun) -> Result<Config, Failure> {
    let mut config = edge_file::read(file, &flags.over)?;
    if let Some(name) = &flags.name {
        config.name.clone_from(name);
    }
    if let Some(workers) = flags.workers {
        if !(1..=WORKERS_MAX).contains(&workers) {
            return Err(Failure::Usage(format!("--workers {workers}: must be from 1 to {WORKERS_MAX}")));
        }
        config.workers = workers;
    }
    Ok(config)
}

fn failure(error: EdgeError) -> Failure {
    match error {
        EdgeError::Ca(error) => error.into(),
        EdgeError::Issue(_)
        | EdgeError::Authority(_)
        | EdgeError::File(_)
        | EdgeError::AdminToken(_)
        | EdgeError::Tunnel(_)
        | EdgeError::Tls(_)
        | EdgeError::Listeners(_)
        | EdgeError::Io(_)
        | EdgeError::Lost(_) => Failure::failed(error),
    }
}

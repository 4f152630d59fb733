//! `edge`: the edge until it is told to end, with its file read again at each hangup.

use std::{convert::Infallible, path::Path, sync::Arc, time::Duration};

use edge::{
    config::{Settings, WORKERS_MAX},
    edge::{EdgeError, Start},
    model::Config,
};
use net::network::Os;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    args::{Common, EdgeRun},
    edge_file,
    failure::Failure,
    lifecycle::{self, End, Signals},
    limits, logging, notify,
};

/// Reloads asked for while one is under way.
const RELOADS_MAX: usize = 1;

pub(super) fn run(common: &Common, flags: &EdgeRun) -> Result<(), Failure> {
    let settings = settings(common.config.as_deref(), flags)?;
    let config = settings.current()?;
    limits::raise_open_files();
    limits::warn_if_few_open_files();
    let runtime = lifecycle::runtime()?;
    let ended = runtime.block_on(serve(config, settings, flags.grace.grace_period));
    // What is left reads or writes a file, or resolves a name; nobody waits for it any more.
    runtime.shutdown_background();
    ended
}

async fn serve(config: Config, settings: Settings, grace: Duration) -> Result<(), Failure> {
    let signals = Signals::take()?;
    let (end, ready) = (End::default(), CancellationToken::new());
    let (reload, reloads) = mpsc::channel(RELOADS_MAX);
    let (readied, lost_lines) = (ready.clone(), logging::lost());
    let End { stop, cut } = end.clone();
    let start =
        Start { config, settings, network: Arc::new(Os), grace, stop, cut, reloads, ready: readied, lost_lines };
    let running = async {
        tokio::select! {
            ended = Box::pin(edge::edge::run(start)) => ended.map_err(failure),
            never = tell_when(ready) => match never {},
        }
    };
    let reload = async || {
        let (asked, done) = oneshot::channel();
        // The edge itself is ending if it takes no more, or does not answer.
        if reload.send(asked).await.is_ok() {
            let _ = done.await;
        }
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

/// Where settings are read from, with the flags laid over; at each reload the same flags.
fn settings(file: Option<&Path>, flags: &EdgeRun) -> Result<Settings, Failure> {
    let mut settings = edge_file::settings(file, &flags.over)?;
    if let Some(workers) = flags.workers
        && !(1..=WORKERS_MAX).contains(&workers)
    {
        return Err(Failure::Usage(format!("--workers {workers}: must be from 1 to {WORKERS_MAX}")));
    }
    settings.over.name.clone_from(&flags.name);
    settings.over.workers = flags.workers;
    Ok(settings)
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

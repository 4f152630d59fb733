//! `edge`: the edge until it is told to end, with its file read again at each hangup.

use std::{convert::Infallible, path::Path, sync::Arc, time::Duration};

use api::code::Code;
use edge::{
    config::{Settings, WORKERS_MAX},
    edge::{EdgeError, Predecessor, Start, Succession},
    model::Config,
    store::Reloads,
};
use net::Sockets;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    again,
    args::{Common, EdgeRun, LogFlags},
    edge_file,
    failure::Failure,
    lifecycle::{self, End, Signals},
    limits, logging, notify,
};

pub(super) fn run(common: &Common, flags: &EdgeRun) -> Result<(), Failure> {
    let settings = settings(common.config.as_deref(), flags)?;
    let config = settings.current()?;
    limits::raise_open_files();
    limits::warn_if_few_open_files();
    let sockets = Arc::new(Sockets::of_process().map_err(Failure::failed)?);
    let runtime = lifecycle::runtime()?;
    let ended = runtime.block_on(serve(
        (config, settings),
        (sockets, flags.replace),
        (flags.pre_stop, flags.grace.grace_period),
        &common.log,
    ));
    // What is left reads or writes a file, or resolves a name; nobody waits for it any more.
    runtime.shutdown_background();
    ended
}

async fn serve(
    (config, settings): (Config, Settings),
    (sockets, replace): (Arc<Sockets>, bool),
    (pre_stop, grace): (Duration, Duration),
    log: &LogFlags,
) -> Result<(), Failure> {
    let signals = Signals::take()?;
    let before = match replace {
        true => Predecessor::meet(sockets.clone(), &config.state_dir).await.map_err(not_replaced)?,
        false => None,
    };
    if replace && before.is_none() {
        info!("no edge runs with this state_dir: there is nothing to take over");
    }
    let (successor, succeeded) = watch::channel(None);
    let (end, ready) = (End::default(), CancellationToken::new());
    let (reloads, wishes) = Reloads::new();
    let (log_level, level) = watch::channel(None);
    let start = Start {
        config,
        settings,
        network: sockets.clone(),
        succession: Some(Succession { sockets: sockets.clone(), before, successor }),
        pre_stop,
        grace,
        stop: end.stop.clone(),
        // Told again to end, the process is gone: nobody is left who could cut.
        cut: CancellationToken::new(),
        reloads: reloads.clone(),
        wishes,
        log_level,
        ready: ready.clone(),
        lost_lines: logging::lost(),
    };
    let running = async {
        tokio::select! {
            ended = Box::pin(edge::edge::run(start)) => ended.map_err(failure),
            never = tell_when(ready, &sockets) => match never {},
            never = notify::of_successor(succeeded) => match never {},
            failed = again::at_signals() => failed.map(|never| match never {}),
            never = logging::follow(log, level) => match never {},
        }
    };
    // The edge itself is ending if there is no answer.
    let reload = async || drop(reloads.ask(false).await);
    let ended = lifecycle::attend(running, signals, end, pre_stop.saturating_add(grace), reload).await;
    if ended.is_ok() {
        info!("edge has ended");
    }
    ended
}

async fn tell_when(ready: CancellationToken, sockets: &Sockets) -> Infallible {
    ready.cancelled().await;
    if sockets.count() > 0 {
        info!(sockets = sockets.count(), "sockets were handed down by whoever has started this");
    }
    for socket in sockets.unused() {
        warn!(
            socket,
            "this socket was handed down, and nothing in the settings has its address: clients wait there in vain"
        );
    }
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

fn not_replaced(error: impl ToString) -> Failure {
    Failure::failed(error).coded(Code::NotReplaced)
}

fn failure(error: EdgeError) -> Failure {
    match error {
        EdgeError::Ca(error) => error.into(),
        EdgeError::Handover(error) => not_replaced(error),
        EdgeError::Issue(_)
        | EdgeError::Authority(_)
        | EdgeError::File(_)
        | EdgeError::AdminToken(_)
        | EdgeError::Drains(_)
        | EdgeError::Tunnel(_)
        | EdgeError::Tls(_)
        | EdgeError::Listeners(_)
        | EdgeError::Io(_)
        | EdgeError::Lost(_) => Failure::failed(error),
    }
}

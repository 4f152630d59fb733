//! `edge`: the edge until it is told to end, with a new configuration at each hangup.
use std::sync::Arc;

use edge::edge::Start;
use net::network::Os;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    args::{Common, EdgeRun},
    edge_file,
    failure::Failure,
    lifecycle::{self, Signals},
};

pub(super) fn run(common: Common, flags: EdgeRun) -> Result<(), Failure> {
    let config = edge_file::read(common.config.as_deref(), &flags.over)?;
    let grace = flags.grace.grace_period;
    let runtime = lifecycle::runtime()?;
    runtime.block_on(async {
        let signals = Signals::take()?;
        let stop = CancellationToken::new();
        let (_tell, reloads) = mpsc::channel(1);
        let start = Start {
            config,
            network: Arc::new(Os),
            grace,
            stop: stop.clone(),
            reloads,
            ready: CancellationToken::new(),
        };
        let running = async { edge::edge::run(start).await.map_err(|e| Failure::Failed(e.to_string())) };
        lifecycle::attend(running, signals, stop, grace, async || ()).await
    })
}

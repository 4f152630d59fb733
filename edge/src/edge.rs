//! Composition root: builds the rooms in order and owns their lives.

mod credentials;
mod files;
mod handover;
mod reload;
mod reloading;
mod rooms;
mod watching;

use std::{
    io,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use certs::{
    ca::{CaError, IssueError},
    enrol::AuthorityError,
};
use config::LogFilter;
use credentials::Credentials;
pub use files::{Finding, Findings};
pub use handover::{HandoverError, Predecessor, Succession};
use handover::{Succeeding, Takeover};
use net::{Network, Vital, vital};
use reloading::Reloading;
use rooms::{Base, Rooms, build};
use tokio::{
    sync::{mpsc, watch},
    time,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    admin::TokenError,
    config::Settings,
    listener::ListenersError,
    metrics::{Metrics, Process},
    model::Config,
    store::{KeptError, Reloads, Wish},
    tls::TlsError,
    tunnel::TunnelError,
};

/// How long flows that are cut may take to be reset, and links, after them, to close.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// What an edge is started with.
#[derive(Debug)]
pub struct Start {
    /// Checked settings.
    pub config: Config,
    /// Where they are read from again at each reload.
    pub settings: Settings,
    /// The network.
    pub network: Arc<dyn Network>,
    /// Whose sockets can be handed over, and may have been.
    pub succession: Option<Succession>,
    /// How long it goes on as before when it is told to stop, but for saying that it is not ready.
    pub pre_stop: Duration,
    /// How long flows may take to end after that.
    pub grace: Duration,
    /// Stops it.
    pub stop: CancellationToken,
    /// Cuts what still flows then, before the grace is over.
    pub cut: CancellationToken,
    /// Where reloads are asked for.
    pub reloads: Reloads,
    /// Who asks; each is answered once it is over, however that went.
    pub wishes: mpsc::Receiver<Wish>,
    /// Told what the settings in force say is to be logged.
    pub log_level: watch::Sender<Option<LogFilter>>,
    /// Cancelled once all listeners are bound.
    pub ready: CancellationToken,
    /// Lines of the process's log that were lost, for its metrics.
    pub lost_lines: Arc<AtomicU64>,
}

/// Why an edge could not start.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The CA cannot be used.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// No certificate for the edge itself.
    #[error("the edge's own certificate: {0}")]
    Issue(#[from] IssueError),
    /// Tokens or revocations cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file of `state_dir` cannot be used.
    #[error(transparent)]
    File(#[from] certs::FileError),
    /// The admin token cannot be used.
    #[error(transparent)]
    AdminToken(#[from] TokenError),
    /// Nobody knows what is drained by hand.
    #[error(transparent)]
    Drains(#[from] KeptError),
    /// The tunnel endpoint cannot be opened.
    #[error("tunnel: {0}")]
    Tunnel(#[from] TunnelError),
    /// A file that settings name cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A listener cannot be opened.
    #[error(transparent)]
    Listeners(#[from] ListenersError),
    /// The admin endpoint cannot be opened, or no thread can be had.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The process that serves so far goes on.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// Something that must run has failed, and cannot be begun anew without the whole.
    #[error("{0} failed, which is a bug: the edge ends, so that it can be started anew")]
    Lost(&'static str),
}

/// Runs an edge until it is stopped and its flows have ended.
///
/// # Errors
/// [`EdgeError`] if it cannot start, or has lost what it cannot do without.
pub async fn run(start: Start) -> Result<(), EdgeError> {
    let vital = Vital::default();
    let running = vital::caught(Box::pin(serve(start, vital.clone())));
    tokio::select! {
        ended = running => ended.unwrap_or(Err(EdgeError::Lost("the edge itself"))),
        what = vital.lost() => Err(EdgeError::Lost(what)),
    }
}

async fn serve(start: Start, vital: Vital) -> Result<(), EdgeError> {
    let Start {
        config,
        settings,
        network,
        succession,
        pre_stop,
        grace,
        stop,
        cut,
        reloads,
        wishes,
        log_level,
        ready,
        lost_lines,
    } = start;
    let admin_stop = CancellationToken::new();
    let (unready, readiness) = watch::channel(vec!["listeners are not bound yet".to_owned()]);
    let metrics = Metrics::of(Process { vital: vital.clone(), lost_lines });
    let credentials = tokio::select! {
        credentials = Credentials::in_time(&config) => credentials?,
        () = stop.cancelled() => return Ok(()),
    };
    if let Some(succession) = &succession {
        succession.number();
    }
    let reloading = Reloading::new(settings, reloads, log_level);
    let base = Base {
        reloading,
        network,
        grace,
        cut: cut.child_token(),
        unready: readiness,
        metrics,
        vital: vital.clone(),
        credentials,
        sockets: succession.as_ref().map(|succession| succession.sockets.clone()),
        generation: succession.as_ref().map(Succession::generation).unwrap_or_default(),
    };
    let (rooms, admin) = build(&config, base)?;
    let before = succession.as_ref().and_then(|succession| succession.before.as_ref());
    let begun = tokio::select! {
        begun = rooms.begin(&config, before, || admin.answer(&admin_stop)) => begun,
        () = stop.cancelled() => return Ok(()),
    };
    begun?;
    unready.send_replace(Vec::new());
    ready.cancel();
    info!(edge = %config.name, "edge is ready");
    rooms.reloading.watch(&rooms.store, &vital);
    let mut succeeding = succession.map(|succession| rooms.await_successor(&config, succession));
    let takeover = rooms.serve(&config, wishes, &stop, &mut succeeding).await;
    match takeover {
        Some(takeover) => {
            unready.send_replace(vec!["another process of this edge has taken over".to_owned()]);
            admin_stop.cancel();
            rooms.give_way((succeeding.take(), &config.state_dir), takeover).await;
        }
        None => {
            unready.send_replace(vec!["the edge is shutting down".to_owned()]);
            if succeeding.is_some() {
                handover::leave(&config.state_dir);
            }
            rooms.wait_for_others(pre_stop).await;
        }
    }
    rooms.end(grace).await;
    admin_stop.cancel();
    Ok(())
}

impl Rooms {
    /// Opens the listeners. The admin endpoint answers before, unless that is another process's for now.
    async fn begin(
        &self,
        config: &Config,
        before: Option<&Predecessor>,
        answer: impl FnOnce(),
    ) -> Result<(), EdgeError> {
        match before {
            Some(before) => self.take_over(config, before).await.inspect(|()| answer()),
            None => {
                answer();
                self.put_in_force(config).await.map(drop)
            }
        }
    }

    /// Serves until it is stopped, or another process can in its place. Who waits for a reload then waits in vain.
    async fn serve(
        &self,
        config: &Config,
        mut wishes: mpsc::Receiver<Wish>,
        stop: &CancellationToken,
        succeeding: &mut Option<Succeeding>,
    ) -> Option<Takeover> {
        loop {
            let wish = tokio::select! {
                () = stop.cancelled() => return None,
                takeover = Succeeding::next(succeeding) => return Some(takeover),
                Some(wish) = wishes.recv() => wish,
            };
            // Whatever a reload waits for, it is not kept from ending.
            tokio::select! {
                () = stop.cancelled() => return None,
                takeover = Succeeding::next(succeeding) => return Some(takeover),
                outcome = self.reload(config, wish.dry_run) => wish.answer(outcome),
            }
        }
    }

    /// Gives whoever stands in front, and sends clients here, time to notice that this edge is not ready.
    async fn wait_for_others(&self, pre_stop: Duration) {
        if pre_stop.is_zero() {
            return;
        }
        info!(pre_stop = %config::spell(pre_stop), "stopping: not ready from now on, and all else as before");
        let _ = time::timeout(pre_stop, self.cut.cancelled()).await;
    }

    /// Lets flows end, then closes what is left.
    async fn end(&self, grace: Duration) {
        info!(grace_s = grace.as_secs(), "stopping: nothing new is accepted");
        self.listeners.close();
        self.tunnel.leave.cancel();
        let why = tokio::select! {
            () = self.listeners.ended() => None,
            () = self.cut.cancelled() => Some("nothing is waited for"),
            () = time::sleep(grace) => Some("the grace period is over"),
        };
        if let Some(why) = why {
            warn!("{why}: cutting what still flows");
            self.cut.cancel();
            // A flow that ends with the process looks whole: each has to be reset before.
            let _ = time::timeout(CLOSE_WAIT, self.listeners.ended()).await;
        }
        self.tunnel.stop.cancel();
        self.tunnel.tasks.close();
        let _ = time::timeout(CLOSE_WAIT, self.tunnel.tasks.wait()).await;
    }
}

//! Composition root: builds the rooms in order and owns their lives.

mod credentials;
mod files;
mod reload;
mod watching;

use std::{
    array, io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use certs::{
    ca::{CaError, IssueError},
    edge::EdgeCertificates,
    enrol::AuthorityError,
};
use config::LogFilter;
use credentials::Credentials;
pub use files::{Finding, Findings};
use net::{Network, Unreachables, Vital, Workers, vital};
use reload::Reloading;
use tokio::{
    sync::{mpsc, watch},
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    admin::{self, Admin, TokenError},
    balancer::Balancer,
    config::Settings,
    health::{Board, BoardHandles, BoardParts, view::HealthView},
    listener::{Http, Listeners, ListenersError, Scarce, Shared, Sources},
    metrics::{Metrics, Process},
    model::Config,
    offramp::Offramp,
    store::{KeptDrains, KeptError, Reloads, Store, Wish},
    tls::TlsError,
    tunnel::{self, LinksView, Registry, TunnelError, TunnelParts},
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
    /// Something that must run has failed, and cannot be begun anew without the whole.
    #[error("{0} failed, which is a bug: the edge ends, so that it can be started anew")]
    Lost(&'static str),
}

/// The rooms of a running edge.
struct Rooms {
    reloading: Reloading,
    store: Arc<Store>,
    drains: Arc<KeptDrains>,
    view: watch::Receiver<Arc<HealthView>>,
    tunnel: DialledIn,
    listeners: Arc<Listeners>,
    metrics: Metrics,
    cut: CancellationToken,
}

/// Where connectors dial in, and what has come of that.
struct DialledIn {
    registry: Arc<Registry>,
    leave: CancellationToken,
    stop: CancellationToken,
    tasks: TaskTracker,
    #[expect(dead_code, reason = "the thread ends when this is dropped")]
    receiver: Workers,
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
        pre_stop,
        grace,
        stop,
        cut,
        reloads,
        mut wishes,
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
    };
    let rooms = build(&config, base, &admin_stop)?;
    rooms.put_in_force(&config).await?;
    unready.send_replace(Vec::new());
    ready.cancel();
    info!(edge = %config.name, "edge is ready");
    rooms.reloading.watch(&rooms.store, &vital);
    loop {
        let wish = tokio::select! {
            () = stop.cancelled() => break,
            Some(wish) = wishes.recv() => wish,
        };
        // Whatever a reload waits for, it is not kept from ending.
        tokio::select! {
            () = stop.cancelled() => break,
            outcome = rooms.reload(&config, wish.dry_run) => wish.answer(outcome),
        }
    }
    // Who waits for a reload waits in vain.
    drop(wishes);
    unready.send_replace(vec!["the edge is shutting down".to_owned()]);
    rooms.wait_for_others(pre_stop).await;
    rooms.end(grace).await;
    admin_stop.cancel();
    Ok(())
}

/// What the rooms are built on.
struct Base {
    reloading: Reloading,
    network: Arc<dyn Network>,
    grace: Duration,
    cut: CancellationToken,
    unready: watch::Receiver<Vec<String>>,
    metrics: Metrics,
    vital: Vital,
    credentials: Credentials,
}

/// Opens the tunnel. Connectors may be at the door before listeners are bound.
fn open_tunnel(config: &Config, base: &Base, store: &Store, workers: &Arc<Workers>) -> Result<DialledIn, EdgeError> {
    let receiver = Workers::start("receive", 1)?;
    let registry = Arc::new(Registry::new(store.subscribe(), base.vital.clone()));
    let ([leave, stop], tasks) = (array::from_fn(|_| CancellationToken::new()), TaskTracker::new());
    let parts = TunnelParts {
        listen: config.tunnel.listen,
        name: config.name.clone(),
        authority: base.credentials.authority.clone(),
        certificates: base.credentials.certificates.clone(),
        keys: base.credentials.keys.clone(),
        registry: registry.clone(),
        unreachable: Unreachables::default(),
        metrics: base.metrics.clone(),
        receiver: receiver.handle(0).clone(),
        workers: workers.clone(),
        grace: base.grace,
        stop: stop.clone(),
        leave: leave.clone(),
        vital: base.vital.clone(),
    };
    let address = tunnel::start(&*base.network, parts, &tasks)?;
    info!(%address, "connectors may dial in");
    Ok(DialledIn { registry, leave, stop, tasks, receiver })
}

fn build(config: &Config, base: Base, admin_stop: &CancellationToken) -> Result<Rooms, EdgeError> {
    let workers = Arc::new(Workers::start("carry", config.workers)?);
    let (drains, by_hand) = KeptDrains::open(&config.state_dir)?;
    let (drains, store) = (Arc::new(drains), Arc::new(Store::granting(config.catalog.grants.clone(), by_hand)));
    let tunnel = open_tunnel(config, &base, &store, &workers)?;
    let registry = &tunnel.registry;
    let Base { reloading, network, cut, unready, metrics, vital, credentials, .. } = base;
    let Credentials { authority, certificates, token, sealer, .. } = credentials;
    let admin_listener = network.listen(config.admin.listen)?;

    let (offramp, http) = (Offramp::new(store.subscribe()), Arc::new(Http::new(workers.count())));
    let (board, handles) = board((&store, registry), &offramp, (&network, &metrics, &vital));
    let shared = Shared {
        network,
        workers,
        offramp: offramp.clone(),
        balancer: Balancer::new(sealer),
        view: handles.view.clone(),
        links: registry.subscribe(),
        reports: handles.reports,
        metrics: metrics.clone(),
        sources: Sources::default(),
        flows: Arc::default(),
        cut: cut.clone(),
        scarce: Scarce::default(),
        recent: Arc::default(),
        reveals_ids: config.admin.reveal_id,
        vital: vital.clone(),
    };
    let listeners = Arc::new(Listeners::new(Arc::new(shared), http.clone()));
    tokio::spawn(vital.clone().keep("the health board", board));
    keep_house((&vital, &store), &listeners, (&http, registry.subscribe()), certificates);
    let view = handles.view.clone();
    let admin = Admin {
        name: config.name.clone(),
        config: config.admin.clone(),
        token,
        view: handles.view,
        links: registry.subscribe(),
        listeners: listeners.clone(),
        registry: registry.clone(),
        store: store.clone(),
        drains: drains.clone(),
        authority,
        metrics: metrics.clone(),
        reloads: reloading.reloads.clone(),
        last_reload: reloading.last.subscribe(),
        unready,
        vital,
    };
    answer(admin_listener, admin, admin_stop);
    Ok(Rooms { reloading, store, drains, view, tunnel, listeners, metrics, cut })
}

fn board(
    (store, registry): (&Store, &Registry),
    offramp: &Offramp,
    (network, metrics, vital): (&Arc<dyn Network>, &Metrics, &Vital),
) -> (Board, BoardHandles) {
    Board::new(BoardParts {
        snapshots: store.subscribe(),
        links: registry.subscribe(),
        offramp: offramp.clone(),
        network: network.clone(),
        metrics: metrics.clone(),
        vital: vital.clone(),
    })
}

/// Starts what comes round now and then.
fn keep_house(
    (vital, store): (&Vital, &Store),
    listeners: &Arc<Listeners>,
    (http, links): (&Arc<Http>, watch::Receiver<Arc<LinksView>>),
    certificates: Arc<EdgeCertificates>,
) {
    let (listeners, http, snapshots) = (Arc::downgrade(listeners), Arc::downgrade(http), store.subscribe());
    let watch = move || Listeners::watch_certificates(listeners.clone());
    tokio::spawn(vital.clone().keep("the watch over certificate files", watch));
    let sweep = move || Http::sweep(http.clone(), (snapshots.clone(), links.clone()));
    tokio::spawn(vital.clone().keep("the sweep of idle connections", sweep));
    tokio::spawn(
        vital.clone().keep("the renewal of the edge's certificate", move || credentials::rotate(certificates.clone())),
    );
}

/// Starts the admin endpoint.
fn answer(listener: Box<dyn net::Listener>, admin: Admin, stop: &CancellationToken) {
    let address: SocketAddr = listener.local_addr().unwrap_or(admin.config.listen);
    info!(%address, "admin endpoint");
    let (listener, stop) = (Arc::<dyn net::Listener>::from(listener), stop.clone());
    let vital = admin.vital.clone();
    let serve = move || admin::serve(listener.clone(), admin.clone(), stop.clone());
    tokio::spawn(vital.keep("the admin endpoint", serve));
}

impl Rooms {
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
            () = self.cut.cancelled() => Some("told again to end"),
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

//! Composition root: builds the rooms in order and owns their lives.

mod credentials;
mod files;

use std::{
    array, io,
    net::SocketAddr,
    panic::resume_unwind,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use certs::{
    ca::{CaError, IssueError},
    edge::EdgeCertificates,
    enrol::AuthorityError,
};
use credentials::Credentials;
pub use files::{Finding, Findings};
use net::{Network, Unreachables, Vital, Workers, vital};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

use crate::{
    admin::{self, Admin, TokenError},
    balancer::Balancer,
    config::Settings,
    health::{Board, BoardParts},
    listener::{Http, Listeners, ListenersError, Scarce, Shared, Sources},
    metrics::{Metrics, Process},
    model::Config,
    offramp::Offramp,
    store::{Snapshot, Store},
    tls::TlsError,
    tunnel::{self, Registry, TunnelError, TunnelParts},
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
    /// How long flows may take to end when it is told to stop.
    pub grace: Duration,
    /// Stops it.
    pub stop: CancellationToken,
    /// Cuts what still flows then, before the grace is over.
    pub cut: CancellationToken,
    /// Asks for reloads; each is answered once it is over, however that went.
    pub reloads: mpsc::Receiver<oneshot::Sender<()>>,
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
    store: Store,
    registry: Arc<Registry>,
    listeners: Arc<Listeners>,
    metrics: Metrics,
    cut: CancellationToken,
    leave: CancellationToken,
    tunnel_stop: CancellationToken,
    tunnel_tasks: TaskTracker,
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
    let Start { config, settings, network, grace, stop, cut, mut reloads, ready, lost_lines } = start;
    let admin_stop = CancellationToken::new();
    let (unready, readiness) = watch::channel(vec!["listeners are not bound yet".to_owned()]);
    let metrics = Metrics::of(Process { vital: vital.clone(), lost_lines });
    let credentials = tokio::select! {
        credentials = Credentials::in_time(&config) => credentials?,
        () = stop.cancelled() => return Ok(()),
    };
    let base = Base { network, grace, cut: cut.child_token(), unready: readiness, metrics, vital, credentials };
    let rooms = build(&config, base, &admin_stop)?;
    rooms.put_in_force(&config).await?;
    unready.send_replace(Vec::new());
    ready.cancel();
    info!(edge = %config.name, "edge is ready");
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => break,
            Some(asked) = reloads.recv() => asked,
        };
        // Whatever a reload waits for, it is not kept from ending.
        tokio::select! {
            () = stop.cancelled() => break,
            () = rooms.reload(&config, &settings) => {}
        }
        // Who asked may be gone.
        let _ = asked.send(());
    }
    unready.send_replace(vec!["the edge is shutting down".to_owned()]);
    rooms.end(grace).await;
    admin_stop.cancel();
    Ok(())
}

/// What the rooms are built on.
struct Base {
    network: Arc<dyn Network>,
    grace: Duration,
    cut: CancellationToken,
    unready: watch::Receiver<Vec<String>>,
    metrics: Metrics,
    vital: Vital,
    credentials: Credentials,
}

fn build(config: &Config, base: Base, admin_stop: &CancellationToken) -> Result<Rooms, EdgeError> {
    let Base { network, grace, cut, unready, metrics, vital, credentials } = base;
    let Credentials { authority, certificates, keys, token, sealer } = credentials;
    let (receiver, workers) = (Workers::start("receive", 1)?, Arc::new(Workers::start("carry", config.workers)?));
    // Connectors may be at the door before listeners are bound.
    let store = Store::granting(config.catalog.grants.clone());
    let registry = Arc::new(Registry::new(store.subscribe(), vital.clone()));
    let ([leave, tunnel_stop], tunnel_tasks) = (array::from_fn(|_| CancellationToken::new()), TaskTracker::new());
    let parts = TunnelParts {
        listen: config.tunnel.listen,
        name: config.name.clone(),
        authority: authority.clone(),
        certificates: certificates.clone(),
        keys,
        registry: registry.clone(),
        unreachable: Unreachables::default(),
        metrics: metrics.clone(),
        receiver: receiver.handle(0).clone(),
        workers: workers.clone(),
        grace,
        stop: tunnel_stop.clone(),
        leave: leave.clone(),
        vital: vital.clone(),
    };
    let address = tunnel::start(&*network, parts, &tunnel_tasks)?;
    info!(%address, "connectors may dial in");
    let admin_listener = network.listen(config.admin.listen)?;

    let (offramp, http) = (Offramp::new(store.subscribe()), Arc::new(Http::new(workers.count())));
    let (board, handles) = Board::new(BoardParts {
        snapshots: store.subscribe(),
        links: registry.subscribe(),
        offramp: offramp.clone(),
        network: network.clone(),
        metrics: metrics.clone(),
        vital: vital.clone(),
    });
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
        cut: cut.clone(),
        scarce: Scarce::default(),
        vital: vital.clone(),
    };
    let listeners = Arc::new(Listeners::new(Arc::new(shared), http.clone()));
    tokio::spawn(vital.clone().keep("the health board", board));
    keep_house(&vital, &listeners, &http, certificates);
    let admin = Admin {
        name: config.name.clone(),
        config: config.admin.clone(),
        token,
        view: handles.view,
        links: registry.subscribe(),
        listeners: listeners.clone(),
        registry: registry.clone(),
        authority,
        metrics: metrics.clone(),
        unready,
        vital,
    };
    answer(admin_listener, admin, admin_stop);
    Ok(Rooms { store, registry, listeners, metrics, cut, leave, tunnel_stop, tunnel_tasks, receiver })
}

/// Starts what comes round now and then.
fn keep_house(vital: &Vital, listeners: &Arc<Listeners>, http: &Arc<Http>, certificates: Arc<EdgeCertificates>) {
    let (listeners, http) = (Arc::downgrade(listeners), Arc::downgrade(http));
    let watch = move || Listeners::watch_certificates(listeners.clone());
    tokio::spawn(vital.clone().keep("the watch over certificate files", watch));
    tokio::spawn(vital.clone().keep("the sweep of idle connections", move || Http::sweep(http.clone())));
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
    /// Puts a catalog in force: first all that can fail, files and addresses; then what cannot.
    async fn put_in_force(&self, config: &Config) -> Result<(), EdgeError> {
        let (catalog, before) = (config.catalog.clone(), self.store.current());
        // What changes is known first, and files are read where that holds nobody up.
        let read = tokio::task::spawn_blocking(move || (before.plan(&catalog), Snapshot::read(catalog, &before)));
        let (plan, read) = read.await.unwrap_or_else(|failed| resume_unwind(failed.into_panic()));
        let snapshot = Arc::new(read?);
        let prepared = self.listeners.prepare(&snapshot).await?;
        // Flows of new listeners wait for the first view that knows their pools.
        self.listeners.commit(prepared);
        self.store.commit(snapshot.clone());
        let catalog = &snapshot.catalog;
        self.registry.follow();
        self.metrics.know(catalog);
        let (added, removed, changed) = (plan.added(), plan.removed(), plan.changed());
        info!(version = catalog.version, %added, %removed, %changed, "catalog in force");
        Ok(())
    }

    /// Reads the settings again. Only their catalog is put in force.
    async fn reload(&self, running: &Config, settings: &Settings) {
        let settings = settings.clone();
        let read = tokio::task::spawn_blocking(move || settings.current()).await;
        let next = match read.unwrap_or_else(|failed| resume_unwind(failed.into_panic())) {
            Ok(next) => next,
            Err(mistakes) => {
                mistakes.list.iter().for_each(|mistake| error!("{mistake}"));
                error!("reload refused: the configuration before stays in force");
                return self.metrics.reload("refused");
            }
        };
        let fixed = [
            ("name", running.name == next.name),
            ("state_dir", running.state_dir == next.state_dir),
            // What join tokens tell is read by those who make them.
            ("tunnel.listen", running.tunnel.listen == next.tunnel.listen),
            ("ca", running.ca == next.ca),
            ("affinity_key", running.affinity_key == next.affinity_key),
            ("admin", running.admin == next.admin),
            ("workers", running.workers == next.workers),
        ];
        for (key, _) in fixed.iter().filter(|(_, same)| !same) {
            warn!(key, "this setting changes only with a restart");
        }
        match self.put_in_force(&next).await {
            Ok(()) => self.metrics.reload("applied"),
            Err(error) => {
                self.metrics.reload("refused");
                error!(%error, "reload refused: the catalog before stays in force");
            }
        }
    }

    /// Lets flows end, then closes what is left.
    async fn end(&self, grace: Duration) {
        info!(grace_s = grace.as_secs(), "stopping: nothing new is accepted");
        self.listeners.close();
        self.leave.cancel();
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
        self.tunnel_stop.cancel();
        self.tunnel_tasks.close();
        let _ = time::timeout(CLOSE_WAIT, self.tunnel_tasks.wait()).await;
    }
}

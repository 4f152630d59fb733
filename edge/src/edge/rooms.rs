//! The rooms of an edge, built in order.

use std::{array, net::SocketAddr, sync::Arc, time::Duration};

use certs::edge::EdgeCertificates;
use net::{Network, Sockets, Unreachables, Vital, Workers};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

use super::{
    EdgeError,
    credentials::{self, Credentials},
    reloading::Reloading,
};
use crate::{
    admin::{self, Admin},
    balancer::Balancer,
    health::{Board, BoardHandles, BoardParts, view::HealthView},
    listener::{Http, Listeners, Scarce, Shared, Sources},
    metrics::Metrics,
    model::Config,
    offramp::Offramp,
    store::{KeptDrains, Store},
    tunnel::{self, LinksView, Registry, TunnelParts},
};

/// The rooms of a running edge.
pub(super) struct Rooms {
    pub(super) reloading: Reloading,
    pub(super) store: Arc<Store>,
    pub(super) drains: Arc<KeptDrains>,
    pub(super) view: watch::Receiver<Arc<HealthView>>,
    pub(super) tunnel: DialledIn,
    pub(super) listeners: Arc<Listeners>,
    pub(super) metrics: Metrics,
    pub(super) cut: CancellationToken,
}

/// Where connectors dial in, and what has come of that.
pub(super) struct DialledIn {
    pub(super) registry: Arc<Registry>,
    pub(super) succeeded: watch::Sender<bool>,
    /// Has links judged again.
    pub(super) recheck: watch::Sender<()>,
    pub(super) leave: CancellationToken,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    #[expect(dead_code, reason = "the thread ends when this is dropped")]
    receiver: Workers,
}

/// What the rooms are built on.
pub(super) struct Base {
    pub(super) reloading: Reloading,
    pub(super) network: Arc<dyn Network>,
    pub(super) grace: Duration,
    pub(super) cut: CancellationToken,
    pub(super) unready: watch::Receiver<Vec<String>>,
    pub(super) metrics: Metrics,
    pub(super) vital: Vital,
    pub(super) credentials: Credentials,
    /// Sockets that other processes may have, too.
    pub(super) sockets: Option<Arc<Sockets>>,
    /// Which of the processes that have had the sockets this one is.
    pub(super) generation: u8,
}

/// Opens the tunnel. Connectors may be at the door before listeners are bound.
fn open_tunnel(config: &Config, base: &Base, store: &Store, workers: &Arc<Workers>) -> Result<DialledIn, EdgeError> {
    let receiver = Workers::start("receive", 1)?;
    let registry = Arc::new(Registry::new(store.subscribe(), base.vital.clone()));
    let ([leave, stop], tasks) = (array::from_fn(|_| CancellationToken::new()), TaskTracker::new());
    let (succeeded, recheck) = (watch::Sender::new(false), watch::Sender::new(()));
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
        generation: base.generation,
        succeeded: succeeded.subscribe(),
        recheck: recheck.subscribe(),
        vital: base.vital.clone(),
    };
    let address = tunnel::start(&*base.network, parts, &tasks)?;
    info!(%address, "connectors may dial in");
    Ok(DialledIn { registry, succeeded, recheck, leave, stop, tasks, receiver })
}

pub(super) fn build(config: &Config, base: Base) -> Result<(Rooms, Unanswered), EdgeError> {
    let workers = Arc::new(Workers::start("carry", config.workers)?);
    let (drains, by_hand) = KeptDrains::open(&config.state_dir)?;
    let (drains, store) = (Arc::new(drains), Arc::new(Store::granting(config.catalog.grants.clone(), by_hand)));
    let tunnel = open_tunnel(config, &base, &store, &workers)?;
    let registry = &tunnel.registry;
    let Base { reloading, network, cut, unready, metrics, vital, credentials, sockets, .. } = base;
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
        sockets,
        authority,
        metrics: metrics.clone(),
        reloads: reloading.reloads.clone(),
        last_reload: reloading.last.subscribe(),
        unready,
        vital,
    };
    let rooms = Rooms { reloading, store, drains, view, tunnel, listeners, metrics, cut };
    Ok((rooms, Unanswered { listener: admin_listener, admin }))
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

/// The admin endpoint, before it answers.
pub(super) struct Unanswered {
    listener: Box<dyn net::Listener>,
    admin: Admin,
}

impl Unanswered {
    /// Has it answer.
    pub(super) fn answer(self, stop: &CancellationToken) {
        let Self { listener, admin } = self;
        let address: SocketAddr = listener.local_addr().unwrap_or(admin.config.listen);
        info!(%address, "admin endpoint");
        let (listener, stop) = (Arc::<dyn net::Listener>::from(listener), stop.clone());
        let vital = admin.vital.clone();
        let serve = move || admin::serve(listener.clone(), admin.clone(), stop.clone());
        tokio::spawn(vital.keep("the admin endpoint", serve));
    }
}

//! Composition root: builds the rooms in order and owns their lives.

mod handover;
mod joining;
mod keepers;
mod reload;

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::PathBuf,
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::Duration,
};

use certs::{
    identity::{ConnectorState, StateError},
    token::JoinToken,
};
use net::{Network, Unreachables, Vital, Workers, vital};
use protocol::{control::Refusal, id::Target, sparing::Sparing};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

pub use self::handover::{HandoverError, Predecessor, Succession};
use self::{
    handover::{Attending, Own},
    joining::identify,
    keepers::{Base, Keepers},
    reload::{Reloader, put_off},
};
use crate::{
    admin,
    config::{Config, Settings, Withdrawn},
    link::{AddressBook, Dialler, Links, Renewal},
    metrics::{Metrics, Process},
    reloads::Reloads,
    serve::{Host, Policy, Racer, Resolver, Rules, Ruling, Rulings, Service},
};

/// What a connector is started with.
#[derive(Debug)]
pub struct Start {
    /// Checked settings.
    pub config: Config,
    /// Where they are read from again at each reload.
    pub settings: Settings,
    /// Asks for reloads; each is answered once it is over, however that went.
    pub reloads: mpsc::Receiver<oneshot::Sender<()>>,
    /// The join token, needed only while there is no identity.
    pub token: Option<JoinToken>,
    /// The network.
    pub network: Arc<dyn Network>,
    /// The admin endpoint's socket can be handed over, and may have been.
    pub succession: Option<Succession>,
    /// How long flows may take to end when it is told to stop.
    pub grace: Duration,
    /// Stops it.
    pub stop: CancellationToken,
    /// Cuts what still flows then, before the grace is over.
    pub cut: CancellationToken,
    /// Lines of the process's log that were lost, for its metrics.
    pub lost_lines: Arc<AtomicU64>,
}

/// Why a connector ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// `state_dir` cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The join token was refused and there is no identity to go on with.
    #[error("the join token was refused: {0}")]
    TokenRefused(Refusal),
    /// Settings do not fit the identity or the token.
    #[error("{0}")]
    Settings(String),
    /// A socket or a thread cannot be had.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Key or certificate cannot be used.
    #[error("{0}")]
    Identity(String),
    /// The process that serves so far goes on.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// Something that must run has failed, and cannot be begun anew without the whole.
    #[error("{0} failed, which is a bug: the connector ends, so that it can be started anew")]
    Lost(&'static str),
}

/// Runs a connector until it is stopped and its flows have ended.
///
/// # Errors
/// [`ConnectorError`]; an edge that cannot be reached is none: it is tried for ever.
pub async fn run(start: Start) -> Result<(), ConnectorError> {
    let vital = Vital::default();
    let running = vital::caught(Box::pin(serve(start, vital.clone())));
    tokio::select! {
        ended = running => ended.unwrap_or(Err(ConnectorError::Lost("the connector itself"))),
        what = vital.lost() => Err(ConnectorError::Lost(what)),
    }
}

async fn serve(start: Start, vital: Vital) -> Result<(), ConnectorError> {
    let begun = Begun::new(&start, &vital)?;
    let Start { settings, reloads: mut asked, token, network, grace, stop, cut, .. } = start;
    let Begun { config, of_token, listening, resolver, known, metrics, reloads, .. } = &begun;
    // It answers until all else has ended, and is waited for by nobody.
    let _admin = begun.succeeding.admin_stop.clone().drop_guard();
    let Succeeding { state, links, before, .. } = &begun.succeeding;
    let workers = Arc::new(Workers::start("carry", config.workers)?);
    let book = Arc::new(AddressBook::open(state.clone(), resolver));
    let heard = Unreachables::default();
    let dialler = Dialler::new(&*network, resolver.clone(), book.clone(), heard.clone())?;
    let (identity, is_due) = tokio::select! {
        (identity, is_due) = put_off(&mut asked, identify(state, config, token, (&dialler, links))) => (identity?, is_due),
        () = stop.cancelled() => return Ok(()),
    };
    info!(connector = %identity.peer().connector, replica = %state.replica(), "connector starts");
    config.doubts().iter().for_each(|doubt| warn!("{}", doubt.text));
    let service = Arc::new(Service {
        rulings: Rulings::new(ruling(config, (*listening, grace))),
        network: network.clone(),
        resolver: resolver.clone(),
        racer: Racer::default(),
        metrics: metrics.clone(),
        denials: Sparing::default(),
    });
    let renewal = Arc::new(Renewal::new(state.clone(), identity));
    // It is told once.
    let _ = known.set(renewal.clone());
    let tasks = TaskTracker::new();
    let base = Base {
        network,
        book,
        heard,
        grace,
        held: begun.succeeding.hold.subscribe(),
        stop: stop.clone(),
        cut,
        vital: vital.clone(),
        status: links.clone(),
        service,
        renewal,
        workers: workers.clone(),
        tasks: tasks.clone(),
    };
    let turns = before.as_ref().map(|before| before.turns()).unwrap_or_default();
    let keepers = Keepers::start(base, config, (begun.succeeding.run, turns))?;
    let (of_token, listening, reloads) = (of_token.clone(), *listening, reloads.clone());
    let (seen, in_force) = (Ok(config.clone()), config.clone());
    let reloader = Reloader { settings, asked, of_token, listening, reloads, stop, keepers, is_due, in_force, seen };
    tokio::select! {
        () = vital.keep("the reloads", reloader) => {}
        failed = begun.succeeding.run(begun.admin) => return failed.map(|never| match never {}),
    }
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// A connector whose state is held, and whose admin endpoint is there, before it is known who it is.
struct Begun {
    config: Config,
    /// The edges of the join token.
    of_token: Vec<Target>,
    /// Where the admin endpoint is.
    listening: SocketAddr,
    resolver: Resolver,
    known: Arc<OnceLock<Arc<Renewal>>>,
    metrics: Metrics,
    reloads: Arc<Reloads>,
    /// The admin endpoint, where another process answers so far.
    admin: Option<(Box<dyn net::Listener>, admin::View)>,
    succeeding: Succeeding,
}

impl Begun {
    fn new(start: &Start, vital: &Vital) -> Result<Self, ConnectorError> {
        let Start { config, token, network, succession, stop, lost_lines, .. } = start;
        let before = succession.as_ref().and_then(Succession::before);
        let state = Arc::new(match &before {
            Some(before) => before.state(&config.state_dir)?,
            None => ConnectorState::open(&config.state_dir)?,
        });
        let of_token = edges_of(token.as_ref(), &state)?;
        let config = resolved(config.clone(), &of_token).map_err(ConnectorError::Settings)?;
        let listener = match succession {
            Some(succession) => succession.sockets.listen(config.admin_listen)?,
            None => network.listen(config.admin_listen)?,
        };
        // Where it really is: the port may have been left to the system.
        let listening = listener.local_addr()?;
        let metrics = Metrics::of(Process { vital: vital.clone(), lost_lines: lost_lines.clone() });
        let (links, known, reloads) = (Arc::new(Links::default()), Arc::default(), Arc::new(Reloads::default()));
        let view = admin::View {
            links: links.clone(),
            renewal: Arc::clone(&known),
            metrics: metrics.clone(),
            reloads: reloads.clone(),
            vital: vital.clone(),
            stop: stop.clone(),
        };
        let admin_stop = CancellationToken::new();
        let admin = match &before {
            Some(_) => Some((listener, view)),
            None => {
                answer(listener, view, admin_stop.clone());
                None
            }
        };
        let run = before.as_ref().map_or_else(rand::random, |before| before.run());
        let succeeding = Succeeding {
            own: succession.as_ref().map(Succession::own),
            before,
            state,
            run,
            links,
            hold: watch::Sender::new(false),
            admin_stop,
            stop: stop.clone(),
            state_dir: config.state_dir.clone(),
        };
        let resolver = Resolver::system();
        Ok(Self { config, of_token, listening, resolver, known, metrics, reloads, admin, succeeding })
    }
}

/// What takes over, and lets others.
struct Succeeding {
    own: Option<Own>,
    before: Option<Arc<Predecessor>>,
    state: Arc<ConnectorState>,
    run: u64,
    links: Arc<Links>,
    hold: watch::Sender<bool>,
    admin_stop: CancellationToken,
    stop: CancellationToken,
    state_dir: PathBuf,
}

impl Succeeding {
    /// Takes over from the process before, if there is one, has the admin endpoint answer then, and lets successors knock.
    async fn run(self, admin: Option<(Box<dyn net::Listener>, admin::View)>) -> Result<Infallible, ConnectorError> {
        let Self { own, before, state, run, links, hold, admin_stop, stop, state_dir } = self;
        if let (Some(before), Some((listener, view))) = (&before, admin) {
            before.take_over(&links).await?;
            answer(listener, view, admin_stop.clone());
        }
        if let Some(own) = own {
            let attending = Attending { own, state, run, links, held: hold, before, admin_stop, stop };
            // It goes on while this process ends.
            tokio::spawn(attending.attend(state_dir));
        }
        std::future::pending().await
    }
}

/// The edges of the join token, which may have been redeemed long ago.
fn edges_of(token: Option<&JoinToken>, state: &ConnectorState) -> Result<Vec<Target>, StateError> {
    match token {
        Some(token) => Ok(token.edges.clone()),
        None => state.token_edges(),
    }
}

/// Starts the admin endpoint.
fn answer(listener: Box<dyn net::Listener>, view: admin::View, stop: CancellationToken) {
    let (listener, vital) = (Arc::<dyn net::Listener>::from(listener), view.vital.clone());
    let answering = move || admin::serve(listener.clone(), view.clone(), stop.clone());
    tokio::spawn(vital.keep("the admin endpoint", answering));
}

/// The same with the edges to keep links to: those in the settings, else those of the join token.
fn resolved(config: Config, of_token: &[Target]) -> Result<Config, String> {
    let edges = if config.edges.is_empty() { of_token.to_vec() } else { config.edges };
    if edges.is_empty() {
        let text =
            "no edge to dial: name one by `edges` in the file, by --edge, or give a join token that carries them";
        return Err(text.to_owned());
    }
    Ok(Config { edges, ..config })
}

/// What the settings permit.
fn ruling(config: &Config, (listening, grace): (SocketAddr, Duration)) -> Ruling {
    let rules = Rules { routes: config.routes.clone(), maps: config.maps.clone(), allow: config.allow.clone() };
    // Only an address of this host can be bound.
    let is_local = |ip: IpAddr| UdpSocket::bind((ip, 0)).is_ok();
    let policy = Policy::new(rules, Host { listening: vec![listening], is_local });
    let cut_after = match config.withdrawn {
        Withdrawn::Finish => None,
        Withdrawn::Cut => Some(grace),
    };
    Ruling { policy, cut_after }
}

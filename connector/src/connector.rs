//! Composition root: builds the rooms in order and owns their lives.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::{Duration, Instant},
};

use certs::{
    identity::{ConnectorState, Identity, StateError},
    tls,
    token::JoinToken,
};
use net::{Network, Unreachables, Vital, Workers, vital};
use protocol::{
    control::{Enrol, Refusal, RefusalCode, RouteClaim},
    id::{Name, Target},
    sparing::Sparing,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    admin,
    config::Config,
    link::{self, AddressBook, Dialler, EnrolError, LinkStatus, Links, Renewal, Supervisor},
    metrics::{Metrics, Process},
    serve::{Host, Policy, Racer, Resolver, Rules, Service},
};

/// What a connector is started with.
#[derive(Debug)]
pub struct Start {
    /// Checked settings.
    pub config: Config,
    /// The join token, needed only while there is no identity.
    pub token: Option<JoinToken>,
    /// The network.
    pub network: Arc<dyn Network>,
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
    let Start { config, token, network, grace, stop, cut, lost_lines } = start;
    let state = Arc::new(ConnectorState::open(&config.state_dir)?);
    let edges = edges(&config, token.as_ref(), &state)?;
    let admin_listener = network.listen(config.admin_listen)?;
    // Where it really is: the port may have been left to the system.
    let listening = admin_listener.local_addr()?;
    let workers = Workers::start("carry", config.workers)?;
    let resolver = Resolver::system();
    let metrics = Metrics::of(Process { vital: vital.clone(), lost_lines });
    let status = Arc::new(Links::default());
    let known = Arc::new(OnceLock::new());
    let view = admin::View {
        links: status.clone(),
        renewal: known.clone(),
        metrics: metrics.clone(),
        vital: vital.clone(),
        stop: stop.clone(),
    };
    let tasks = TaskTracker::new();
    // It answers until all else has ended, and is waited for by nobody.
    let admin_stop = CancellationToken::new();
    let _admin = admin_stop.clone().drop_guard();
    let listener = Arc::<dyn net::Listener>::from(admin_listener);
    let answering = move || admin::serve(listener.clone(), view.clone(), admin_stop.clone());
    tokio::spawn(vital.clone().keep("the admin endpoint", answering));

    let book = Arc::new(AddressBook::open(state.clone(), &resolver));
    let heard = Unreachables::default();
    let dialler = Dialler::new(&*network, resolver.clone(), book.clone(), heard.clone())?;
    let identity = tokio::select! {
        identity = identify(&state, &config, token, (&dialler, &status)) => identity?,
        () = stop.cancelled() => return Ok(()),
    };
    info!(connector = %identity.peer().connector, replica = %state.replica(), "connector starts");
    config.doubts().iter().for_each(|doubt| warn!("{}", doubt.text));
    let service = Arc::new(Service {
        policy: policy(&config, listening),
        network: network.clone(),
        resolver,
        racer: Racer::default(),
        metrics,
        denials: Sparing::default(),
    });
    let renewal = Arc::new(Renewal::new(state, identity));
    // It is told once.
    let _ = known.set(renewal.clone());
    let keeping = Keeping { config: &config, network: &*network, book, heard, grace, stop, cut, vital, status };
    keeping.start(edges, (&service, &renewal), (&workers, &tasks))?;
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// What every slot's keeper is made of.
struct Keeping<'a> {
    config: &'a Config,
    network: &'a dyn Network,
    book: Arc<AddressBook>,
    heard: Unreachables,
    grace: Duration,
    stop: CancellationToken,
    cut: CancellationToken,
    vital: Vital,
    status: Arc<Links>,
}

impl Keeping<'_> {
    /// Starts a keeper for each slot of each edge, spread over the workers.
    fn start(
        &self,
        edges: Vec<Target>,
        (service, renewal): (&Arc<Service>, &Arc<Renewal>),
        (workers, tasks): (&Workers, &TaskTracker),
    ) -> Result<(), ConnectorError> {
        let Self { config, network, book, heard, grace, stop, cut, vital, status } = self;
        let claim = |(vnet, cidr): &(Name, _)| RouteClaim { vnet: vnet.to_string(), cidr: format!("{cidr}") };
        let routes: Arc<[RouteClaim]> = config.routes.iter().map(claim).collect();
        let run = rand::random();
        let links = u16::try_from(config.links_per_edge).unwrap_or(u16::MAX);
        let slots = edges.iter().flat_map(|edge| (0..links).map(move |slot| (edge, slot)));
        for (number, (edge, slot)) in slots.enumerate() {
            let on_worker = workers.handle(number);
            let dialler = {
                let _here = on_worker.enter();
                Dialler::new(*network, service.resolver.clone(), book.clone(), heard.clone())?
            };
            status.set(edge, slot, LinkStatus::Dialling(None));
            let supervisor = Supervisor {
                edge: edge.clone(),
                slot,
                links_per_edge: links,
                run,
                routes: routes.clone(),
                dialler,
                renewal: renewal.clone(),
                service: service.clone(),
                status: status.clone(),
                stop: stop.clone(),
                grace: *grace,
                cut: cut.clone(),
            };
            let keep = vital.clone().keep("a link's keeper", move || link::supervise(supervisor.clone()));
            tasks.spawn_on(vital.clone().need("a link's keeper", stop.clone(), keep), on_worker);
        }
        Ok(())
    }
}

/// The edges to keep links to: those in the settings, else those of the join token, which may have been redeemed long ago.
fn edges(config: &Config, token: Option<&JoinToken>, state: &ConnectorState) -> Result<Vec<Target>, ConnectorError> {
    let edges = match token {
        _ if !config.edges.is_empty() => config.edges.clone(),
        Some(token) => token.edges.clone(),
        None => state.token_edges()?,
    };
    if edges.is_empty() {
        let text =
            "no edge to dial: name one by `edges` in the file, by --edge, or give a join token that carries them";
        return Err(ConnectorError::Settings(text.to_owned()));
    }
    Ok(edges)
}

fn policy(config: &Config, listening: SocketAddr) -> Policy {
    let rules = Rules { routes: config.routes.clone(), maps: config.maps.clone(), allow: config.allow.clone() };
    // Only an address of this host can be bound.
    let is_local = |ip: IpAddr| UdpSocket::bind((ip, 0)).is_ok();
    Policy::new(rules, Host { listening: vec![listening], is_local })
}

/// The identity in `state_dir`, or a new one for the join token.
async fn identify(
    state: &Arc<ConnectorState>,
    config: &Config,
    token: Option<JoinToken>,
    (dialler, status): (&Dialler, &Links),
) -> Result<Identity, ConnectorError> {
    let kept = state.identity()?;
    if let Some(token) = &token {
        check_name(config, &token.connector)?;
    }
    let Some(kept) = kept else {
        let text = "no identity in state_dir yet: give a join token (made by `underpass token create` at an edge)";
        let token = token.ok_or_else(|| ConnectorError::Settings(text.to_owned()))?;
        return enrol(state, &token, &config.edges, (dialler, status)).await;
    };
    check_name(config, &kept.peer().connector)?;
    match token {
        // A token that was never redeemed was made after this identity, perhaps because it was revoked.
        Some(token) if !state.has_redeemed(&token) => {
            match enrol_once(state, &token, &config.edges, (dialler, status)).await? {
                Enrolment::Done(identity) => Ok(*identity),
                Enrolment::Refused(refusal) => {
                    warn!(%refusal, "the join token was refused: going on with the identity in state_dir");
                    Ok(kept)
                }
                Enrolment::Unanswered => {
                    warn!("no edge could redeem the join token: going on with the identity in state_dir");
                    Ok(kept)
                }
            }
        }
        Some(_) | None => Ok(kept),
    }
}

fn check_name(config: &Config, name: &Name) -> Result<(), ConnectorError> {
    match &config.name {
        Some(configured) if configured != name => Err(ConnectorError::Settings(format!(
            "the settings name this connector {configured}, its token or certificate {name}: they must agree"
        ))),
        Some(_) | None => Ok(()),
    }
}

/// How one round of enrolment went.
enum Enrolment {
    Done(Box<Identity>),
    Refused(Refusal),
    Unanswered,
}

/// Redeems the token, for ever unless it is refused.
async fn enrol(
    state: &Arc<ConnectorState>,
    token: &JoinToken,
    more_edges: &[Target],
    (dialler, status): (&Dialler, &Links),
) -> Result<Identity, ConnectorError> {
    let mut backoff = link::Backoff::new(Instant::now());
    loop {
        match enrol_once(state, token, more_edges, (dialler, status)).await? {
            Enrolment::Done(identity) => return Ok(*identity),
            Enrolment::Refused(refusal) => return Err(ConnectorError::TokenRefused(refusal)),
            Enrolment::Unanswered => tokio::time::sleep(backoff.next(Instant::now(), rand::random())).await,
        }
    }
}

/// Redeems the token: at the edges it names, then at those in the settings, until one answers. An edge that has never heard
/// of the token may not be the one that issued it, so that answer counts only once all edges in the token have answered.
async fn enrol_once(
    state: &Arc<ConnectorState>,
    token: &JoinToken,
    more_edges: &[Target],
    (dialler, status): (&Dialler, &Links),
) -> Result<Enrolment, ConnectorError> {
    let request = state.enrolment()?;
    let (mut unknown, mut unanswered) = (None, false);
    for edge in token.edges.iter().chain(more_edges.iter().filter(|e| !token.edges.contains(e))) {
        status.set_joining(edge, None);
        let enrol = Enrol {
            token: token.id.0,
            secret: *token.secret.expose(),
            replica: state.replica().to_string(),
            csr: request.csr().to_vec(),
        };
        match link::enrol(dialler, edge, tls::enrol_client(token.ca), enrol).await {
            Ok(enrolled) => {
                let identity = state.finish_enrolment(&request, token, &enrolled)?;
                link::tell_clock(&identity);
                return Ok(Enrolment::Done(Box::new(identity)));
            }
            Err(EnrolError::Refused(refusal)) if refusal.code() == RefusalCode::TokenUnknown => {
                status.set_joining(edge, Some(refusal.to_string()));
                unknown = Some(refusal);
            }
            Err(EnrolError::Refused(refusal)) if refusal.code() != RefusalCode::Unavailable => {
                return Ok(Enrolment::Refused(refusal));
            }
            Err(error) if error.is_other_fleet() => {
                warn!(%edge, %error, "this edge is not of the fleet that the join token is for");
                status.set_joining(edge, Some(error.to_string()));
                let text = "the edge proves another CA than the one in the token: the token is for another fleet";
                unknown = Some(Refusal::new(RefusalCode::TokenUnknown, text));
            }
            Err(error) => {
                warn!(%edge, cause = error.cause(), %error, "cannot enrol here yet: trying again");
                status.set_joining(edge, Some(error.to_string()));
                unanswered |= token.edges.contains(edge);
            }
        }
    }
    Ok(match unknown {
        Some(refusal) if !unanswered => Enrolment::Refused(refusal),
        Some(_) | None => Enrolment::Unanswered,
    })
}

//! Keeps the certificate fresh: over live links while there are any, on a connection of its own once it has run out.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use api::code::Code;
use arc_swap::ArcSwap;
use certs::{
    identity::{ConnectorState, Identity, KeyRequest},
    rotation::{self, Clock, Standing, Utc},
    tls,
};
use net::drill;
use protocol::{
    control::{Refusal, RefusalCode, Renew, Renewed},
    id::Target,
};
use tracing::{info, warn};

use super::dial::{Dialler, EnrolError};

/// A request without an answer is sent again after this.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// A link renews at most once in this time.
const RENEWED_AT_MOST: Duration = Duration::from_mins(10);

/// The identity of this replica, and how it is renewed. Shared by all links.
#[derive(Debug)]
pub struct Renewal {
    state: Arc<ConnectorState>,
    identity: ArcSwap<Identity>,
    /// A turn for each edge: one that does not answer keeps nobody from asking another.
    turns: Mutex<BTreeMap<Target, Arc<tokio::sync::Mutex<()>>>>,
    /// An edge says that the certificate has run out, whatever our clock says.
    overdue: AtomicBool,
}

impl Renewal {
    /// Starts from the identity that `state` holds.
    #[must_use]
    pub fn new(state: Arc<ConnectorState>, identity: Identity) -> Self {
        let identity = ArcSwap::from_pointee(identity);
        Self { state, identity, turns: Mutex::default(), overdue: AtomicBool::new(false) }
    }

    /// The newest identity.
    #[must_use]
    pub fn identity(&self) -> Arc<Identity> {
        self.identity.load_full()
    }

    /// Renews on a connection of its own if the certificate has run out; several callers cause one renewal at each edge.
    ///
    /// # Errors
    /// [`EnrolError`] of the edge that was asked; another may be asked next.
    pub async fn ensure_valid(&self, dialler: &Dialler, edge: &Target) -> Result<(), EnrolError> {
        if !self.has_run_out() {
            return Ok(());
        }
        let turn = self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(edge.clone()).or_default().clone();
        let _one = turn.lock().await;
        if !self.has_run_out() {
            return Ok(());
        }
        let identity = self.identity();
        let request = self.state.renewal().map_err(|e| EnrolError::State(e.to_string()))?;
        let crypto = tls::renew_client(&identity).map_err(|e| EnrolError::State(e.to_string()))?;
        let renewed = dialler.renew(edge, crypto, request.csr().to_vec()).await?;
        self.keep(request, renewed).await.map_err(EnrolError::State)
    }

    /// A certificate that is not valid otherwise is a matter for the edge to explain.
    fn has_run_out(&self) -> bool {
        let by_our_clock = self.identity().peer().lifetime.standing(SystemTime::now()) == Standing::ExpiredMayRenew;
        by_our_clock || self.overdue.load(Ordering::Relaxed)
    }

    /// Hears why an edge let a link not in: if the certificate has run out by its clock, it is renewed before the next dial.
    pub fn heard(&self, refusal: &Refusal) {
        if refusal.code() == RefusalCode::CertificateExpired {
            self.overdue.store(true, Ordering::Relaxed);
        }
    }

    async fn keep(&self, request: KeyRequest, renewed: Renewed) -> Result<(), String> {
        let (state, old) = (self.state.clone(), self.identity());
        let store = move || state.finish_renewal(&request, &old, &renewed).map_err(|e| e.to_string());
        let stored = tokio::task::spawn_blocking(store).await.map_err(|e| io::Error::other(e).to_string())?;
        let identity = stored?;
        info!(not_after = %Utc(identity.peer().lifetime.not_after), "certificate renewed");
        self.overdue.store(false, Ordering::Relaxed);
        tell_clock(&identity);
        self.identity.store(Arc::new(identity));
        Ok(())
    }
}

/// Compares this machine's clock with the edge's that has just issued this identity, and tells if they differ.
pub fn tell_clock(identity: &Identity) {
    match Clock::against(identity.peer().lifetime.issued_at, SystemTime::now()) {
        Clock::Agrees => {}
        Clock::Behind(by) => {
            warn!(by_s = by.as_secs(), code = %Code::ClockWrong, "this machine's clock is behind the edge's: set one of them right")
        }
        Clock::Ahead(by) => {
            warn!(by_s = by.as_secs(), code = %Code::ClockWrong, "this machine's clock is ahead of the edge's: set one of them right")
        }
    }
}

/// The renewals of one link: each link renews for itself, since the edge extends only the link it is asked on.
#[derive(Debug)]
pub(super) struct LinkRenewal {
    renewal: Arc<Renewal>,
    due_at: SystemTime,
    asked: Option<KeyRequest>,
    failures: u32,
}

impl LinkRenewal {
    pub(super) fn new(renewal: Arc<Renewal>) -> Self {
        let due_at = renewal.identity().peer().lifetime.renew_at(rand::random());
        Self { renewal, due_at, asked: None, failures: 0 }
    }

    /// The request to send now, if it is time.
    pub(super) fn due(&mut self) -> Option<Renew> {
        drill::point("renewal");
        let now = SystemTime::now();
        if now < self.due_at {
            return None;
        }
        self.due_at = now + ANSWER_WAIT;
        match self.renewal.state.renewal() {
            Ok(request) => {
                let csr = request.csr().to_vec();
                self.asked = Some(request);
                Some(Renew { csr })
            }
            Err(error) => {
                self.failed(&error.to_string());
                None
            }
        }
    }

    /// Whether an answer is awaited.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    pub(super) async fn granted(&mut self, renewed: Renewed) {
        let Some(request) = self.asked.take() else { return };
        match self.renewal.keep(request, renewed).await {
            // A clock that runs far ahead of the edge's must not make it renew without end.
            Ok(()) => {
                let next = Self::new(self.renewal.clone());
                *self = Self { due_at: next.due_at.max(SystemTime::now() + RENEWED_AT_MOST), ..next };
            }
            Err(error) => self.failed(&error),
        }
    }

    pub(super) fn refused(&mut self, refusal: &Refusal) {
        self.asked = None;
        self.failed(&refusal.to_string());
    }

    fn failed(&mut self, why: &str) {
        self.failures += 1;
        let wait = rotation::retry_after(self.failures, rand::random());
        warn!(why, code = %Code::NotRenewed, again_in_s = wait.as_secs(), "the certificate could not be renewed");
        self.due_at = SystemTime::now() + wait;
    }
}

#[cfg(test)]
mod tests {
    use certs::{
        ca::Ca,
        enrol::Authority,
        tokens::{LIFETIME_DEFAULT, NewToken},
    };
    use futures_util::future::join_all;
    use net::{Unreachables, memory::MemoryNetwork};
    use protocol::control::Enrol;
    use tokio::time::Instant;

    use super::{super::book::AddressBook, *};
    use crate::serve::Resolver;

    const DAY: Duration = Duration::from_hours(24);

    fn target(host: u8) -> Target {
        format!("192.0.2.{host}:7843").parse().expect("a target")
    }

    /// An identity whose certificate ran out two days ago.
    fn run_out(dir: &std::path::Path) -> Renewal {
        lasting(dir, SystemTime::now() - 3 * DAY)
    }

    /// An identity whose certificate was issued then.
    fn lasting(dir: &std::path::Path, then: SystemTime) -> Renewal {
        let ca = Arc::new(Ca::open(&dir.join("edge"), then).expect("a CA"));
        let authority = Authority::open(&dir.join("edge"), ca.clone()).expect("a directory");
        let connector = "dc1".parse().expect("a name");
        let new = NewToken { connector, lifetime: LIFETIME_DEFAULT, edges: vec![target(1)] };
        let token = authority.tokens().create(new, ca.fingerprint(), then).expect("a token");
        let state = Arc::new(ConnectorState::open(&dir.join("connector")).expect("a directory"));
        let request = state.enrolment().expect("a key");
        let replica = state.replica().to_string();
        let enrol = Enrol { token: token.id.0, secret: *token.secret.expose(), replica, csr: request.csr().to_vec() };
        let (_, enrolled) = authority.enrol(&enrol, |_| true, then).expect("a good token");
        let identity = state.finish_enrolment(&request, &token, &enrolled).expect("what the token promises");
        Renewal::new(state, identity)
    }

    #[tokio::test(start_paused = true)]
    async fn an_edge_that_does_not_answer_keeps_nobody_from_asking_another() {
        let dir = tempfile::tempdir().expect("a directory");
        let renewal = run_out(dir.path());
        let host = MemoryNetwork::new(1).host("192.0.2.1".parse().expect("an address"));
        let book = Arc::new(AddressBook::open(renewal.state.clone(), &Resolver::system()));
        let dialler = Dialler::new(&host, Resolver::system(), book, Unreachables::default()).expect("a socket");
        let edges: Vec<Target> = (2..6).map(target).collect();
        let began = Instant::now();
        let asked = join_all(edges.iter().map(|edge| renewal.ensure_valid(&dialler, edge))).await;
        assert!(asked.iter().all(|answer| matches!(answer, Err(EnrolError::Dial(_)))), "{asked:?}");
        assert!(began.elapsed() < Duration::from_secs(6), "one after the other: {:?}", began.elapsed());
    }
    #[test]
    fn an_edge_that_says_the_certificate_has_run_out_is_believed() {
        let dir = tempfile::tempdir().expect("a directory");
        let renewal = lasting(dir.path(), SystemTime::now());
        assert!(!renewal.has_run_out());
        renewal.heard(&Refusal::new(RefusalCode::NoGrant, "no grant"));
        assert!(!renewal.has_run_out());
        renewal.heard(&Refusal::new(RefusalCode::CertificateExpired, "by the edge's clock"));
        assert!(renewal.has_run_out());
    }
}

//! Keeps the certificate fresh: over live links while there are any, on a connection of its own once it has run out.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use certs::{
    identity::{ConnectorState, Identity, KeyRequest},
    rotation::{self, Standing},
    tls,
};
use net::drill;
use protocol::{
    control::{Refusal, Renew, Renewed},
    id::Target,
};
use tokio::sync::Mutex;
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
    own_connection: Mutex<()>,
}

impl Renewal {
    /// Starts from the identity that `state` holds.
    #[must_use]
    pub fn new(state: Arc<ConnectorState>, identity: Identity) -> Self {
        Self { state, identity: ArcSwap::from_pointee(identity), own_connection: Mutex::new(()) }
    }

    /// The newest identity.
    #[must_use]
    pub fn identity(&self) -> Arc<Identity> {
        self.identity.load_full()
    }

    /// Renews on a connection of its own if the certificate has run out; several callers cause one renewal.
    ///
    /// # Errors
    /// [`EnrolError`] of the edge that was asked; another may be asked next.
    pub async fn ensure_valid(&self, dialler: &Dialler, edge: &Target) -> Result<(), EnrolError> {
        let _one = self.own_connection.lock().await;
        let identity = self.identity();
        if identity.peer().lifetime.standing(SystemTime::now()) != Standing::ExpiredMayRenew {
            // Valid; or a matter for the edge to explain.
            return Ok(());
        }
        let request = self.state.renewal().map_err(|e| EnrolError::State(e.to_string()))?;
        let crypto = tls::renew_client(&identity).map_err(|e| EnrolError::State(e.to_string()))?;
        let renewed = dialler.renew(edge, crypto, request.csr().to_vec()).await?;
        self.keep(request, renewed).await.map_err(EnrolError::State)
    }

    async fn keep(&self, request: KeyRequest, renewed: Renewed) -> Result<(), String> {
        let (state, old) = (self.state.clone(), self.identity());
        let store = move || state.finish_renewal(&request, &old, &renewed).map_err(|e| e.to_string());
        let stored = tokio::task::spawn_blocking(store).await.map_err(|e| io::Error::other(e).to_string())?;
        let identity = stored?;
        info!(not_after = ?identity.peer().lifetime.not_after, "certificate renewed");
        self.identity.store(Arc::new(identity));
        Ok(())
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
        warn!(why, again_in_s = wait.as_secs(), "the certificate could not be renewed");
        self.due_at = SystemTime::now() + wait;
    }
}

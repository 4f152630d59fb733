//! A client's connection, as its requests see it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, Request};
use hyper::body::Body;
use tokio::time;
use tokio_util::task::TaskTracker;

use super::kept::Worker;
use crate::listener::http::client::{guard, owed::Owed, talk::Talk};
use crate::listener::http::message::{
    fault::Fault,
    request::{Asked, Reading},
};
use crate::{
    listener::{guests::Admitted, shared::Shared, state::ListenerState},
    tls::Shown,
};

/// A connection that has been without a request for so long can be spared if files are used up.
const SPARE_AFTER: Duration = Duration::from_secs(1);
/// How long a connection whose listener is closed is kept for one more request.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// A client's connection, as its requests see it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) state: Arc<ListenerState>,
    pub(super) worker: Arc<Worker>,
    pub(super) talk: Arc<Talk>,
    /// Answers that have begun and not ended.
    pub(super) owed: Owed,
    pub(super) source: SocketAddr,
    pub(super) tls: bool,
    /// The name the client asked for in its handshake, and what it was shown.
    pub(super) shown: Option<Shown>,
    /// What it has shown in its handshake, as origins are told.
    pub(super) certificate: Option<HeaderValue>,
    pub(super) tasks: TaskTracker,
    pub(super) _admitted: Admitted,
}

impl Connection {
    pub(super) fn reading(&self) -> Reading {
        Reading { default_port: if self.tls { 443 } else { 80 }, paths: self.state.listener().http.paths }
    }

    /// Whether this connection was begun for the request's host: what its client was shown is valid for it. A client that
    /// named no server in its handshake has no such claim to break (RFC 9110 section 15.5.20).
    pub(super) fn serves(&self, asked: &Asked) -> bool {
        match (&self.shown, &asked.host) {
            (Some(shown), Some(host)) => shown.covers(&host.host),
            (None, _) | (_, None) => true,
        }
    }

    /// Completes when it is to go as soon as nothing is under way: its listener is closed, or files are used up and it has
    /// been idle for a moment.
    pub(super) async fn dismissed(&self) {
        tokio::select! {
            () = self.state.closed() => {}
            () = self.spared() => {}
        }
    }

    /// The same where a client learns that it is to go by nothing but an answer: a request that it sends meanwhile has its time to
    /// come, and is answered.
    pub(super) async fn forsaken(&self) {
        let last = async {
            self.state.closed().await;
            time::sleep(LAST_WAIT).await;
        };
        tokio::select! {
            () = last => {}
            () = self.spared() => {}
        }
    }

    async fn spared(&self) {
        let mut scarce = self.shared.scarce.listen();
        while scarce.changed().await.is_ok() {
            if self.talk.is_idle_for(SPARE_AFTER) {
                return;
            }
        }
        // The edge is ending, and says so otherwise.
        std::future::pending().await
    }

    /// A request that may be carried here, settled on the protocol it changes to if it asks for one.
    pub(super) fn admit<B: Body>(&self, asked: Asked, request: &Request<B>) -> Result<Asked, Fault> {
        if self.serves(&asked) {
            asked.choose(&self.state.listener().http.upgrade, request)
        } else {
            Err(Fault::MISDIRECTED)
        }
    }

    /// How long a client may take nothing of what it is sent.
    pub(super) fn client_timeout(&self) -> Duration {
        self.state.listener().http.client_timeout
    }

    /// How long it may be without a request on its way.
    pub(super) fn idle_wait(&self) -> Duration {
        self.state.listener().idle_timeout.unwrap_or(guard::IDLE_WAIT)
    }
}

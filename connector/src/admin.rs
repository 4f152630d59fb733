//! The connector's own HTTP endpoint: liveness, readiness, metrics. It reads and never changes anything.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::{
    link::{LinkStatus, Links},
    metrics::Metrics,
};

/// After an accept that failed (descriptors used up, most likely), others need time to end.
const PAUSE: Duration = Duration::from_millis(100);

/// What the endpoint shows.
#[derive(Debug, Clone)]
pub struct View {
    /// Link slots.
    pub links: Arc<Links>,
    /// Counters.
    pub metrics: Metrics,
}

/// Serves until stopped.
pub async fn serve(listener: Box<dyn net::Listener>, view: View, stop: CancellationToken) {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(view);
    let served = axum::serve(Accepting(listener), router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        error!(%error, "the admin endpoint ended");
    }
}

async fn ready(State(view): State<View>) -> impl IntoResponse {
    if view.links.is_ready() {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let slots = view.links.all();
    let why = |(edge, slot, status): &(_, _, LinkStatus)| match status {
        LinkStatus::Dialling(why) => format!("{edge} link {slot}: {}\n", why.as_deref().unwrap_or("dialling")),
        LinkStatus::Registered { state, .. } => format!("{edge} link {slot}: {state:?}\n").to_lowercase(),
    };
    let reasons: String = slots.iter().map(why).collect();
    (StatusCode::SERVICE_UNAVAILABLE, if reasons.is_empty() { "not enrolled yet\n".to_owned() } else { reasons })
}

async fn metrics(State(view): State<View>) -> impl IntoResponse {
    let up = view.links.up();
    ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], view.metrics.encode(up))
}

/// Our listener, as axum wants it.
struct Accepting(Box<dyn net::Listener>);

impl axum::serve::Listener for Accepting {
    type Io = net::Socket;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.0.accept().await {
                Ok(accepted) => return accepted,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

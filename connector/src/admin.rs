//! The connector's own HTTP endpoint: liveness, readiness, metrics. It reads and never changes anything.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use hyper_util::service::TowerToHyperService;
use net::Vital;
use tokio_util::sync::CancellationToken;

use crate::{
    link::{LinkStatus, Links},
    metrics::Metrics,
};

/// What the endpoint shows.
#[derive(Debug, Clone)]
pub struct View {
    /// Link slots.
    pub links: Arc<Links>,
    /// Counters.
    pub metrics: Metrics,
    /// How its tasks fare.
    pub vital: Vital,
    /// Cancelled once it was told to end.
    pub stop: CancellationToken,
}

/// Serves until stopped.
pub async fn serve(listener: Arc<dyn net::Listener>, view: View, stop: CancellationToken) {
    let router = Router::new()
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(view);
    net::endpoint::serve(listener, TowerToHyperService::new(router), stop).await;
}

async fn alive(State(view): State<View>) -> impl IntoResponse {
    if view.vital.is_lost() {
        return (StatusCode::INTERNAL_SERVER_ERROR, view.vital.complaints().join("\n") + "\n");
    }
    (StatusCode::OK, "ok\n".to_owned())
}

async fn ready(State(view): State<View>) -> impl IntoResponse {
    let mut complaints = view.vital.complaints();
    if view.stop.is_cancelled() {
        complaints.push("the connector is shutting down".to_owned());
    }
    if !complaints.is_empty() {
        return (StatusCode::SERVICE_UNAVAILABLE, complaints.join("\n") + "\n");
    }
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

//! The connector's own HTTP endpoint: liveness, readiness, metrics, status. It reads and never changes anything.

mod status;

use std::sync::{Arc, OnceLock};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use hyper_util::service::TowerToHyperService;
use net::{Vital, exposition};
use tokio_util::sync::CancellationToken;

use crate::{
    link::{EdgeLinks, Links, Renewal},
    metrics::Metrics,
    reloads::Reloads,
};

/// What the endpoint shows.
#[derive(Debug, Clone)]
pub struct View {
    /// Link slots.
    pub links: Arc<Links>,
    /// Who this is, once that is known.
    pub renewal: Arc<OnceLock<Arc<Renewal>>>,
    /// Counters.
    pub metrics: Metrics,
    /// What came of the last reload.
    pub reloads: Arc<Reloads>,
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
        .route(api::STATUS, get(status))
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
    let edges = view.links.by_edge();
    if edges.is_empty() {
        let tried = view.links.joining();
        let tried: String = tried.iter().map(|(edge, why)| format!("{edge}: not enrolled yet: {why}\n")).collect();
        let text = if tried.is_empty() { "not enrolled yet\n".to_owned() } else { tried };
        return (StatusCode::SERVICE_UNAVAILABLE, text);
    }
    let lacking: String = edges.iter().filter(|edge| edge.up < edge.wanted).map(lacking).collect();
    if view.links.is_ready() {
        return (StatusCode::OK, format!("ok\n{lacking}"));
    }
    (StatusCode::SERVICE_UNAVAILABLE, lacking)
}

/// A line about an edge that has fewer links than it should.
fn lacking(edge: &EdgeLinks) -> String {
    let EdgeLinks { edge, up, wanted, why } = edge;
    let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{edge}: {up} of {wanted} links up{why}\n")
}

async fn metrics(State(view): State<View>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let (kind, text) = exposition::fitting(view.metrics.encode(&view.links.by_edge()), accept);
    ([(header::CONTENT_TYPE, kind)], text)
}

async fn status(State(view): State<View>) -> Json<api::connector::Status> {
    Json(status::status(&view))
}

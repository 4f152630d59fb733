//! The admin endpoint: liveness, readiness, metrics, status, and the few writes there are.
//!
//! Reads views; writes only through the tunnel's registry, the authority and the store. Decides nothing about traffic.

mod drain;
mod guard;
mod reload;
mod revoke;
mod status;
mod token;

pub use token::{AdminToken, TokenError};

use std::{sync::Arc, time::SystemTime};

use api::{
    Problem,
    code::Code,
    explain::{Flows, Question},
};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use certs::enrol::Authority;
use hyper_util::service::TowerToHyperService;
use net::{Sockets, Vital, exposition};
use protocol::id::Name;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    health::view::{Health, HealthView},
    listener::{ListenerState, Listeners, Untraced},
    metrics::{Metrics, Readings},
    model::{AdminConfig, FlowId},
    store::{KeptDrains, Outcome, Reloads, Store},
    tls::Certificate,
    tunnel::{LinksView, Registry},
};

/// What the endpoint reads and writes.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The edge's name.
    pub name: Name,
    /// Settings of the endpoint.
    pub config: AdminConfig,
    /// What a writer must know.
    pub token: Arc<AdminToken>,
    /// Health, with the catalog it belongs to.
    pub view: watch::Receiver<Arc<HealthView>>,
    /// Links.
    pub links: watch::Receiver<Arc<LinksView>>,
    /// Open listeners.
    pub listeners: Arc<Listeners>,
    /// Where links are closed.
    pub registry: Arc<Registry>,
    /// What is in force: drains are put there.
    pub store: Arc<Store>,
    /// Where drains by hand are kept.
    pub drains: Arc<KeptDrains>,
    /// Sockets that other processes may have, too.
    pub sockets: Option<Arc<Sockets>>,
    /// Where names are revoked.
    pub authority: Arc<Authority>,
    /// Counters.
    pub metrics: Metrics,
    /// Where settings are read again.
    pub reloads: Reloads,
    /// How that went the last time.
    pub last_reload: watch::Receiver<Option<Arc<Outcome>>>,
    /// Why the edge is not ready; empty when it is.
    pub unready: watch::Receiver<Vec<String>>,
    /// How its tasks fare.
    pub vital: Vital,
}

/// Serves until stopped.
pub async fn serve(listener: Arc<dyn net::Listener>, admin: Admin, stop: CancellationToken) {
    let router = Router::new()
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route(api::STATUS, get(status))
        .route(api::explain::EXPLAIN, get(explain))
        .route(api::trace::TRACE, post(trace))
        .route(api::reload::RELOAD, post(reload::reload))
        .route(api::drain::DRAINS, get(drain::list).post(drain::drain).delete(drain::undrain))
        .route("/api/v1/connectors/{name}/revoke", post(revoke::revoke))
        .layer(middleware::from_fn_with_state(admin.clone(), guard::guard))
        .with_state(admin);
    net::endpoint::serve(listener, TowerToHyperService::new(router), stop).await;
}

async fn alive(State(admin): State<Admin>) -> Response {
    if admin.vital.is_lost() {
        return (StatusCode::INTERNAL_SERVER_ERROR, admin.vital.complaints().join("\n") + "\n").into_response();
    }
    "ok\n".into_response()
}

/// Why it is not ready, as far as there is a reason.
fn reasons(admin: &Admin) -> Vec<String> {
    let mut reasons = admin.unready.borrow().clone();
    reasons.extend(admin.vital.complaints());
    reasons
}

async fn ready(State(admin): State<Admin>) -> Response {
    let reasons = reasons(&admin);
    if reasons.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let (view, links) = (admin.view.borrow().clone(), admin.links.borrow().clone());
    let origins = || view.pools.iter().flat_map(|p| &p.origins);
    let readings = Readings {
        links: links.links.len(),
        links_up: links.links.values().filter(|l| l.load.is_placeable()).count(),
        streams: links.links.values().map(|l| l.load.streams()).sum(),
        origins: origins().count(),
        origins_healthy: origins().filter(|o| o.health == Health::Healthy).count(),
        drained: admin.store.current().drains.all().count(),
        ca_ends: seconds(admin.authority.ca().not_after()),
        certificates: admin.listeners.states().iter().flat_map(|state| ends(state)).collect(),
    };
    match admin.metrics.encode(readings) {
        Ok(text) => {
            let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
            let (kind, text) = exposition::fitting(text, accept);
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// When the certificates of a listener end.
fn ends(state: &ListenerState) -> Vec<(String, String, i64)> {
    let name = state.listener().name.to_string();
    let ends = |certificate: &Arc<Certificate>| {
        (name.clone(), certificate.file().display().to_string(), seconds(certificate.ends()))
    };
    state.certificates().iter().map(ends).collect()
}

/// Since 1970.
fn seconds(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

async fn status(State(admin): State<Admin>) -> Json<api::edge::Status> {
    let (view, links) = (admin.view.borrow().clone(), admin.links.borrow().clone());
    let (listeners, drains) = (admin.listeners.states(), admin.store.current().drains.clone());
    let reload = admin.last_reload.borrow().as_deref().map(reload::last);
    let status = status::status(status::Told {
        name: &admin.name,
        unready: reasons(&admin),
        view: &view,
        links: &links,
        listeners: &listeners,
        drains: &drains,
        metrics: &admin.metrics,
    });
    Json(api::edge::Status { reload, ..status })
}

async fn explain(State(admin): State<Admin>, Query(question): Query<Question>) -> Response {
    if let Some(flow) = &question.flow {
        return of_flow(&admin, flow, &question);
    }
    match admin.listeners.explain(&question) {
        Ok(explanation) => Json(explanation).into_response(),
        Err(why) => problem(StatusCode::BAD_REQUEST, Code::BadQuestion, &why),
    }
}

/// It asks an origin something, so it needs the token as every write does.
async fn trace(State(admin): State<Admin>, Query(question): Query<Question>) -> Response {
    if question.flow.is_some() {
        return problem(
            StatusCode::BAD_REQUEST,
            Code::BadQuestion,
            "a flow that is traced has no id yet: ask `explain` for one that has been here",
        );
    }
    match admin.listeners.trace(&question).await {
        Ok(trace) => Json(trace).into_response(),
        Err(busy @ Untraced::Busy) => problem(StatusCode::TOO_MANY_REQUESTS, Code::Contradicted, &busy.to_string()),
        Err(wrong @ Untraced::Wrong(_)) => problem(StatusCode::BAD_REQUEST, Code::BadQuestion, &wrong.to_string()),
    }
}

/// What became of a flow that did not go well at once.
fn of_flow(admin: &Admin, flow: &str, question: &Question) -> Response {
    let id: FlowId = match flow.parse() {
        Ok(id) => id,
        Err(right) => return problem(StatusCode::BAD_REQUEST, Code::BadQuestion, right),
    };
    if *question != (Question { flow: question.flow.clone(), ..Question::default() }) {
        return problem(
            StatusCode::BAD_REQUEST,
            Code::BadQuestion,
            "of a flow that has been here nothing else is asked than its id",
        );
    }
    let flows = admin.listeners.recent(id);
    if flows.is_empty() {
        let words = "nothing is kept of this flow: it was not refused, tried again, kept waiting or slow, it is not over \
                     yet, or 10,000 others of that kind have come since";
        return problem(StatusCode::NOT_FOUND, Code::NotThere, words);
    }
    Json(Flows { flow: flow.to_owned(), flows }).into_response()
}

/// Why something asked for was not done.
fn problem(status: StatusCode, code: Code, text: &str) -> Response {
    (status, Json(Problem::new(code, text.to_owned()))).into_response()
}

//! Reading settings again, as writers ask for it; and what is told of how that went.

use api::{
    code::Code,
    reload::{Change, LastReload, Reload},
};
use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use certs::rotation::Utc;
use serde::Deserialize;

use super::{Admin, problem};
use crate::store::{Fate, Outcome, Step};

/// What may follow.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    /// Only what would change.
    dry_run: bool,
}

/// Waits until the reload is over. Settings that cannot be used are not whoever asked's mistake alone, and not the edge's: 422.
pub(super) async fn reload(State(admin): State<Admin>, Query(Asked { dry_run }): Query<Asked>) -> Response {
    match admin.reloads.ask(dry_run).await {
        Some(outcome) if outcome.mistakes.is_empty() => Json(told(&outcome)).into_response(),
        Some(outcome) => (StatusCode::UNPROCESSABLE_ENTITY, Json(told(&outcome))).into_response(),
        None => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::Ending,
            "the edge is shutting down: nothing is reloaded any more",
        ),
    }
}

fn told(outcome: &Outcome) -> Reload {
    Reload {
        at: Some(Utc(outcome.at).to_string()),
        applied: outcome.is_applied(),
        dry_run: outcome.dry_run,
        catalog_version: outcome.version,
        changes: outcome.plan.steps.iter().map(change).collect(),
        restart: texts(&outcome.restart),
        mistakes: outcome.mistakes.clone(),
    }
}

/// As status tells of it.
pub(super) fn last(outcome: &Outcome) -> LastReload {
    LastReload {
        at: Some(Utc(outcome.at).to_string()),
        applied: outcome.is_applied(),
        restart: texts(&outcome.restart),
        mistakes: outcome.mistakes.clone(),
    }
}

fn texts(keys: &[&'static str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

fn change(step: &Step) -> Change {
    let (fate, words) = match &step.fate {
        Fate::Added => ("added", Vec::new()),
        Fate::Removed => ("removed", Vec::new()),
        Fate::Changed(words) => ("changed", words.clone()),
        Fate::Unchanged => ("unchanged", Vec::new()),
    };
    Change { kind: step.kind.as_str().to_owned(), name: step.name.to_string(), fate: fate.to_owned(), words }
}

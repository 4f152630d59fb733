//! Revocation, as writers ask for it: the mark first, then the links, whether or not the mark could be recorded.

use std::time::SystemTime;

use api::{Revoked, code::Code};
use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use protocol::{error::CloseCode, id::Name};
use serde::Deserialize;
use tracing::{error, info};

use super::{Admin, problem};

/// What may follow the name.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    /// Also a name that this edge neither grants anything nor has a link of.
    force: bool,
}

pub(super) async fn revoke(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    Query(Asked { force }): Query<Asked>,
) -> Response {
    let Ok(name) = name.parse::<Name>() else {
        return problem(StatusCode::BAD_REQUEST, Code::BadQuestion, "not a connector's name");
    };
    if let (false, Err(hint)) = (force, known(&admin, &name)) {
        let right = "a name whose grant is gone is revoked by --force (?force=true)";
        let text = format!("this edge grants nothing to connector \"{name}\" and has no link of it{hint}; {right}");
        return problem(StatusCode::NOT_FOUND, Code::NotThere, &text);
    }
    // A process that is about to take over does not know of it: it may not, then.
    let _changing = admin.store.change_by_hand().await;
    let (authority, revoked) = (admin.authority.clone(), name.clone());
    let recorded = tokio::task::spawn_blocking(move || authority.revoke(&revoked, SystemTime::now())).await;
    let recorded = recorded.map_err(|error| error.to_string()).and_then(|done| done.map_err(|e| e.to_string()));
    // It holds from here on, so whoever dials again is kept out.
    let closed = admin.registry.close_all_of(&name, CloseCode::Revoked, "the connector was revoked");
    let answer = Revoked { connector: name.to_string(), links_closed: closed, error: None, code: None };
    match recorded {
        Ok(()) => {
            info!(connector = %name, links_closed = closed, "connector revoked");
            Json(answer).into_response()
        }
        Err(why) => {
            let code = Code::NotRecorded;
            error!(connector = %name, links_closed = closed, %code, why, "connector revoked, but that is not recorded yet");
            let text = format!(
                "{name} is kept out and its links are closed, but that could not be recorded, so a restart of this \
                 edge would undo it: {why}; mend that, then revoke it again"
            );
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                Json(Revoked { error: Some(text), code: Some(code.to_string()), ..answer }),
            )
                .into_response()
        }
    }
}

/// Whether the name is granted something or is here; if not, which may have been meant.
fn known(admin: &Admin, name: &Name) -> Result<(), String> {
    let links = admin.links.borrow().clone();
    if links.tunnels.iter().any(|tunnel| tunnel.connector == *name) {
        return Ok(());
    }
    Err(config::hint(name.as_str(), links.tunnels.iter().map(|tunnel| tunnel.connector.as_str())))
}

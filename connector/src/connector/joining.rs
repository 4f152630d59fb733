//! Who this connector is: the identity that it has, or one for its join token.

use std::{sync::Arc, time::Instant};

use certs::{
    identity::{ConnectorState, Identity},
    tls,
    token::JoinToken,
};
use protocol::{
    control::{Enrol, Refusal, RefusalCode},
    id::{Name, Target},
};
use tracing::warn;

use super::ConnectorError;
use crate::{
    config::Config,
    link::{self, Dialler, EnrolError, Links},
};

/// The identity in `state_dir`, or a new one for the join token.
pub(super) async fn identify(
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

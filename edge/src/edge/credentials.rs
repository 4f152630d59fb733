//! What an edge proves itself by and judges others by, kept in `state_dir`; and its own certificate, kept fresh.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use certs::{
    ca::{Ca, CaError},
    edge::EdgeCertificates,
    endpoint::EndpointKeys,
    enrol::Authority,
    secret::Secret,
};
use net::drill;
use tokio::time::{self, MissedTickBehavior};
use tracing::{error, info, warn};

use super::EdgeError;
use crate::{admin::AdminToken, balancer::Sealer, model::Config, tls::Term};

/// How often an edge looks whether its clock has been set.
const CLOCK_LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the edge asks whether its own certificate is due: a machine that slept, or whose clock was set, lets no connector
/// in before it is replaced.
const ROTATE_EVERY: Duration = Duration::from_secs(1);

/// What an edge keeps in `state_dir`.
pub(super) struct Credentials {
    pub(super) authority: Arc<Authority>,
    pub(super) certificates: Arc<EdgeCertificates>,
    pub(super) keys: Arc<EndpointKeys>,
    pub(super) token: Arc<AdminToken>,
    pub(super) sealer: Sealer,
}

impl Credentials {
    /// What is kept there, once the clock has come to the CA's beginning: a machine may start before its clock is set.
    ///
    /// # Errors
    /// What cannot be had.
    pub(super) async fn in_time(config: &Config) -> Result<Self, EdgeError> {
        let mut told = false;
        loop {
            match Self::open(config) {
                Err(EdgeError::Ca(early @ CaError::NotBegun { .. })) => {
                    if !std::mem::replace(&mut told, true) {
                        warn!(why = %early, "the edge waits for its clock");
                    }
                    time::sleep(CLOCK_LOOK_EVERY).await;
                }
                done => return done,
            }
        }
    }

    fn open(config: &Config) -> Result<Self, EdgeError> {
        let now = SystemTime::now();
        let ca = Arc::new(match &config.ca {
            Some(files) => Ca::from_files(&files.certificate, &files.key, now)?,
            None => Ca::open(&config.state_dir, now)?,
        });
        Ok(Self {
            certificates: Arc::new(EdgeCertificates::new(ca.clone(), now)?),
            keys: Arc::new(EndpointKeys::open(&config.state_dir)?),
            authority: Arc::new(Authority::open(&config.state_dir, ca)?),
            token: Arc::new(AdminToken::open(&config.state_dir)?),
            sealer: Sealer::new(&match &config.affinity_key {
                Some(file) => Secret::in_file(file)?,
                None => Secret::kept_in(&config.state_dir.join("affinity.key"))?,
            }),
        })
    }
}

/// Keeps the edge's own certificate fresh.
pub(super) async fn rotate(certificates: Arc<EdgeCertificates>) {
    let mut ticks = time::interval(ROTATE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    tell_ca(certificates.ca().not_after());
    loop {
        ticks.tick().await;
        drill::point("renewal");
        match certificates.rotate_if_due(SystemTime::now()) {
            Ok(true) => {
                info!("the edge's certificate was renewed");
                told = None;
            }
            Ok(false) => {}
            Err(error) => {
                let error = error.to_string();
                if told.as_ref() != Some(&error) {
                    error!(error, "the edge's certificate cannot be renewed");
                    told = Some(error);
                }
            }
        }
    }
}

/// Says if connectors will soon not be let in any more.
fn tell_ca(ends: SystemTime) {
    match Term::of(SystemTime::UNIX_EPOCH, ends, SystemTime::now()) {
        Term::Good => {}
        term @ (Term::EndsSoon(_) | Term::Ended(_) | Term::NotBegun(_)) => {
            warn!("the fleet's CA, without which no connector is let in, {term}");
        }
    }
}

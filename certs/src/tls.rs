//! The tunnel's TLS: configurations for whatever carries a link, and what a finished handshake admits.
//!
//! TLS 1.3 only, post-quantum key exchange first, no tickets, no resumption, no early data.

use std::{sync::Arc, time::SystemTime};

use protocol::{
    control::{Refusal, RefusalCode},
    link::Connection,
    version::{ALPN_ENROL, ALPN_LINK, ALPN_RENEW},
};
use rustls::{
    ClientConfig, ServerConfig, client::Resumption, pki_types::CertificateDer, server::NoServerSessionStorage,
    version::TLS13,
};

use crate::{
    digest::Sha256,
    edge::EdgeCertificates,
    identity::Identity,
    peer::Distance,
    provider::provider,
    rotation::Standing,
    verify::{ConnectorVerifier, EdgeVerifier, Peer, PeerError},
};

/// Why a TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the TLS configuration cannot be made: {0}")]
pub struct TlsError(#[from] rustls::Error);

/// What a finished handshake may be used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// A link of this peer, whose certificate is valid.
    Link(Peer),
    /// One renewal by this peer, whose certificate is valid or expired recently.
    Renew(Peer),
    /// One enrolment, by nobody yet.
    Enrol,
}

/// Decides what a connection is for: the ALPN says what its peer wants, the certificate whether it may. Revocation and
/// grant are [`crate::enrol::Authority`]'s and come after.
///
/// # Errors
/// A [`Refusal`] to send to the peer.
pub fn admit(alpn: &[u8], certificates: Option<&[CertificateDer<'_>]>, now: SystemTime) -> Result<Admission, Refusal> {
    let leaf = certificates.and_then(<[_]>::first);
    if alpn == ALPN_ENROL {
        return match leaf {
            None => Ok(Admission::Enrol),
            Some(_) => Err(bad("an enrolment presents a join token and no certificate")),
        };
    }
    if alpn != ALPN_LINK && alpn != ALPN_RENEW {
        return Err(Refusal::new(RefusalCode::Version, "no protocol that this edge knows was asked for"));
    }
    let leaf = leaf.ok_or_else(|| bad("a connector's certificate is needed: enrol first"))?;
    let peer = Peer::of(leaf).map_err(|e| bad(&e.to_string()))?;
    let expired = |text: String| Err(Refusal::new(RefusalCode::CertificateExpired, &text));
    let over = Distance::since(peer.lifetime.not_after, now);
    match peer.lifetime.standing(now) {
        Standing::Valid if alpn == ALPN_LINK => Ok(Admission::Link(peer)),
        Standing::Valid => Ok(Admission::Renew(peer)),
        Standing::ExpiredMayRenew if alpn == ALPN_RENEW => Ok(Admission::Renew(peer)),
        Standing::ExpiredMayRenew => expired(format!("{}: renew it first", PeerError::Expired(over))),
        Standing::Lapsed => expired(PeerError::Lapsed(over).to_string()),
        Standing::NotYetValid => {
            let until = Distance::until(peer.lifetime.not_before, now);
            Err(Refusal::new(RefusalCode::Unavailable, &PeerError::NotYetValid(until).to_string()))
        }
    }
}

/// [`admit`] for a connection whose handshake is done.
///
/// # Errors
/// As [`admit`].
pub fn admit_connection(connection: &Connection, now: SystemTime) -> Result<Admission, Refusal> {
    admit(&connection.purpose().unwrap_or_default(), connection.certificates().as_deref(), now)
}

fn bad(text: &str) -> Refusal {
    Refusal::new(RefusalCode::BadRequest, text)
}

/// The edge's side of links, enrolments and renewals. A connection is to be passed to [`admit_connection`].
///
/// # Errors
/// [`TlsError`] if the CA's certificate cannot anchor trust.
pub fn server_crypto(certificates: Arc<EdgeCertificates>) -> Result<Arc<ServerConfig>, TlsError> {
    Ok(Arc::new(server_config(certificates)?))
}

/// The connector's side of a link.
///
/// # Errors
/// [`TlsError`] if key or certificate cannot be used.
pub fn link_client(identity: &Identity) -> Result<Arc<ClientConfig>, TlsError> {
    Ok(Arc::new(identified_client(identity, ALPN_LINK)?))
}

/// The connector's side of a renewal on a connection of its own, for an identity that may have expired.
///
/// # Errors
/// [`TlsError`] if key or certificate cannot be used.
pub fn renew_client(identity: &Identity) -> Result<Arc<ClientConfig>, TlsError> {
    Ok(Arc::new(identified_client(identity, ALPN_RENEW)?))
}

/// The connector's side of an enrolment: trusts the CA with this digest, and shows no certificate.
#[must_use]
pub fn enrol_client(ca: Sha256) -> Arc<ClientConfig> {
    Arc::new(anonymous_client(ca))
}

pub(crate) fn server_config(certificates: Arc<EdgeCertificates>) -> Result<ServerConfig, TlsError> {
    let verifier = ConnectorVerifier::new(certificates.ca().certificate())?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(certificates);
    config.alpn_protocols = [ALPN_LINK, ALPN_ENROL, ALPN_RENEW].map(<[u8]>::to_vec).to_vec();
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

pub(crate) fn identified_client(identity: &Identity, alpn: &[u8]) -> Result<ClientConfig, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(EdgeVerifier::trusting(identity.ca())?))
        .with_client_auth_cert(vec![identity.certificate().clone()], identity.private_key())?;
    Ok(sealed(config, alpn))
}

pub(crate) fn anonymous_client(ca: Sha256) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(EdgeVerifier::pinning(ca)))
        .with_no_client_auth();
    sealed(config, ALPN_ENROL)
}

fn sealed(mut config: ClientConfig, alpn: &[u8]) -> ClientConfig {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}

#[cfg(test)]
mod tests;

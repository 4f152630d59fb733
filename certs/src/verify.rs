//! Whether a certificate is good: the verifiers both sides put into TLS.
//!
//! Roles are apart. An edge has `serverAuth` and one DNS name, whatever address was dialled; a connector has `clientAuth`
//! and one URI. Revocation, grants and what a connection may be used for are decided after the handshake.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

pub use crate::peer::{EDGE_NAME, Peer, PeerError, Span, is_other_ca};
use crate::{
    digest::Sha256,
    peer::{Distance, edge_lifetime},
    provider::provider,
    rotation::{Lifetime, Standing},
};

/// Says in our words what webpki says in its own.
fn explained(error: Error, lifetime: &Lifetime, now: SystemTime) -> Error {
    use CertificateError as E;
    let Error::InvalidCertificate(what) = error else {
        return error;
    };
    let error = if matches!(what, E::UnknownIssuer | E::BadSignature) {
        PeerError::OtherCa
    } else if matches!(what, E::Expired | E::ExpiredContext { .. }) {
        PeerError::Expired(Distance::since(lifetime.not_after, now))
    } else if matches!(what, E::NotValidYet | E::NotValidYetContext { .. }) {
        PeerError::NotYetValid(Distance::until(lifetime.not_before, now))
    } else if matches!(what, E::NotValidForName | E::NotValidForNameContext { .. }) {
        PeerError::NotAnEdge
    } else {
        PeerError::Rejected(what.to_string())
    };
    error.into()
}

fn system_time(now: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs())
}

fn unix_time(at: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

fn anchored(ca: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone())?;
    Ok(Arc::new(roots))
}

/// What an edge puts into TLS: no certificate, or a connector's issued by this very CA. One that expired at most
/// [`crate::rotation::RENEWABLE_FOR`] ago passes, because TLS does not tell what the connection is for; [`crate::tls::admit`] does.
#[derive(Debug)]
pub(crate) struct ConnectorVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
}

impl ConnectorVerifier {
    pub(crate) fn new(ca: &CertificateDer<'static>) -> Result<Self, Error> {
        let webpki = WebPkiClientVerifier::builder_with_provider(anchored(ca)?, provider())
            .allow_unauthenticated()
            .build()
            .map_err(|e| Error::General(e.to_string()))?;
        Ok(Self { webpki })
    }
}

impl ClientCertVerifier for ConnectorVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let lifetime = Peer::of(end_entity)?.lifetime;
        let moment = system_time(now);
        let at = match lifetime.standing(moment) {
            Standing::Valid => lifetime.judged_at(moment),
            Standing::NotYetValid => moment,
            Standing::ExpiredMayRenew => lifetime.not_after,
            Standing::Lapsed => return Err(PeerError::Lapsed(Distance::since(lifetime.not_after, moment)).into()),
        };
        let at = unix_time(at);
        // Our CA issues connectors directly, so nothing in between is looked at.
        self.webpki.verify_client_cert(end_entity, &[], at).map_err(|e| explained(e, &lifetime, moment))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("the tunnel is TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// What a connector knows of the CA.
#[derive(Debug)]
enum Trust {
    /// The CA itself, from enrolment.
    Ca(Arc<WebPkiServerVerifier>),
    /// What a join token says of it; the edge sends the rest.
    Fingerprint(Sha256),
}

/// What a connector puts into TLS: the edge's certificate must be issued by the fleet's CA, for edges. The name that was
/// dialled does not matter.
#[derive(Debug)]
pub(crate) struct EdgeVerifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl EdgeVerifier {
    pub(crate) fn trusting(ca: &CertificateDer<'static>) -> Result<Self, Error> {
        Ok(Self { trust: Trust::Ca(webpki_for(ca)?), provider: provider() })
    }

    pub(crate) fn pinning(ca: Sha256) -> Self {
        Self { trust: Trust::Fingerprint(ca), provider: provider() }
    }
}

fn webpki_for(ca: &CertificateDer<'static>) -> Result<Arc<WebPkiServerVerifier>, Error> {
    WebPkiServerVerifier::builder_with_provider(anchored(ca)?, provider())
        .build()
        .map_err(|e| Error::General(e.to_string()))
}

impl ServerCertVerifier for EdgeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let lifetime = edge_lifetime(end_entity)?;
        let webpki = match &self.trust {
            Trust::Ca(webpki) => Arc::clone(webpki),
            Trust::Fingerprint(wanted) => {
                let ca = intermediates.iter().find(|c| Sha256::of(c).matches(wanted));
                webpki_for(&ca.ok_or(PeerError::OtherFingerprint(*wanted))?.clone().into_owned())?
            }
        };
        let name = ServerName::try_from(EDGE_NAME).expect("a constant DNS name");
        let moment = system_time(now);
        let at = if lifetime.standing(moment) == Standing::Valid { lifetime.judged_at(moment) } else { moment };
        // Our CA issues edges directly, so nothing in between is looked at.
        webpki
            .verify_server_cert(end_entity, &[], &name, ocsp_response, unix_time(at))
            .map_err(|e| explained(e, &lifetime, moment))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("the tunnel is TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

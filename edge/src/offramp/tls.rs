//! TLS to origins: whom to believe, read from files whenever a catalog is put in force, and handshakes.
//!
//! Sessions are never resumed: every handshake sees the certificate, and no ticket of one origin is shown to another.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::digest::{self, SHA256};
use protocol::{
    error::Reason,
    id::{Host, Name},
};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio_rustls::TlsConnector;

use super::{Why, Wire, why};
use crate::model::{Catalog, Check, Origin, OriginTls, Pool, Trust, Upstream};

/// Bytes of a file of authorities, at most.
const CA_MAX: u64 = 4 * 1024 * 1024;

/// How to speak TLS: settings, and what was read for them. Equal only to itself: once a file holds something else, what
/// was opened before is not used any more.
#[derive(Debug, Clone)]
pub struct Tls(Arc<Loaded>);

#[derive(Debug)]
struct Loaded {
    settings: Arc<OriginTls>,
    /// Of the certificates that are believed.
    digest: Vec<u8>,
    config: Arc<ClientConfig>,
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Tls {}

impl Hash for Tls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// Why the authorities of a pool cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("pool {pool}: {source}")]
pub struct TlsError {
    pool: Name,
    source: io::Error,
}

/// The TLS settings of a catalog, ready for use; and those of the one before, for what was placed under it.
#[derive(Debug, Default)]
pub struct TlsTable {
    now: HashMap<Arc<OriginTls>, Tls>,
    before: HashMap<Arc<OriginTls>, Tls>,
}

impl TlsTable {
    /// Reads every file that the catalog names. What has not changed stays the same.
    ///
    /// # Errors
    /// The first pool whose authorities cannot be read.
    pub fn read(&self, catalog: &Catalog) -> Result<Self, TlsError> {
        let mut now = HashMap::new();
        for pool in &catalog.pools {
            for settings in settings_of(pool) {
                if now.contains_key(settings) {
                    continue;
                }
                let loaded = self.load(settings);
                let tls = loaded.map_err(|source| TlsError { pool: pool.name.clone(), source })?;
                now.insert(settings.clone(), tls);
            }
        }
        Ok(Self { now, before: self.now.clone() })
    }

    /// Everything that cannot be read of what the catalog names, with the file if it is in one.
    #[must_use]
    pub fn unreadable(catalog: &Catalog) -> Vec<(TlsError, Option<PathBuf>)> {
        let mut all = Vec::new();
        for pool in &catalog.pools {
            let mut seen: Vec<&Trust> = Vec::new();
            for settings in settings_of(pool) {
                if seen.contains(&&settings.trust) {
                    continue;
                }
                seen.push(&settings.trust);
                if let Err(source) = Self::default().load(settings) {
                    all.push((TlsError { pool: pool.name.clone(), source }, settings.trust.file().cloned()));
                }
            }
        }
        all
    }

    /// What these settings have come to.
    pub(super) fn find(&self, settings: &OriginTls) -> Option<Tls> {
        self.now.get(settings).or_else(|| self.before.get(settings)).cloned()
    }

    fn load(&self, settings: &Arc<OriginTls>) -> io::Result<Tls> {
        let certificates = certificates(&settings.trust)?;
        let mut digest = digest::Context::new(&SHA256);
        certificates.iter().for_each(|certificate| digest.update(certificate));
        let digest = digest.finish().as_ref().to_vec();
        match self.now.get(settings) {
            Some(same) if same.0.digest == digest => Ok(same.clone()),
            Some(_) | None => {
                let config = Arc::new(config(&settings.trust, certificates)?);
                Ok(Tls(Arc::new(Loaded { settings: settings.clone(), digest, config })))
            }
        }
    }
}

fn settings_of(pool: &Pool) -> impl Iterator<Item = &Arc<OriginTls>> {
    let probed = pool.monitor.as_ref().and_then(|monitor| match &monitor.check {
        Check::Http(check) => Some(&check.speaks),
        Check::Tcp | Check::Udp(_) | Check::Icmp => None,
    });
    [Some(&pool.upstream), probed].into_iter().flatten().filter_map(|speaks| match speaks {
        Upstream::Https(settings) => Some(settings),
        Upstream::Http1 | Upstream::H2c => None,
    })
}

fn certificates(trust: &Trust) -> io::Result<Vec<CertificateDer<'static>>> {
    match trust {
        Trust::Anybody => Ok(Vec::new()),
        Trust::System => {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() {
                return Err(io::Error::other("the system names no authorities it trusts: give `ca`"));
            }
            Ok(found.certs)
        }
        Trust::Ca(path) => {
            let read = certs::read(path, CA_MAX).map_err(io::Error::other)?;
            let found = CertificateDer::pem_slice_iter(&read).collect::<Result<Vec<_>, _>>();
            let found = found.map_err(|e| named(path, &e))?;
            if found.is_empty() {
                return Err(named(path, &"the file has no PEM certificate"));
            }
            Ok(found)
        }
    }
}

fn named(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

fn config(trust: &Trust, certificates: Vec<CertificateDer<'static>>) -> io::Result<ClientConfig> {
    let provider = Arc::new(provider::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(io::Error::other)?;
    let mut roots = RootCertStore::empty();
    let builder = match trust {
        Trust::Anybody => builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider))),
        Trust::System => {
            // The system's own may hold some that nobody can read; they are of no use to anybody.
            let _ = roots.add_parsable_certificates(certificates);
            builder.with_root_certificates(roots)
        }
        Trust::Ca(path) => {
            for certificate in certificates {
                roots.add(certificate).map_err(|e| named(path, &e))?;
            }
            builder.with_root_certificates(roots)
        }
    };
    let mut config = builder.with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

impl Tls {
    /// Shakes hands with an origin.
    ///
    /// # Errors
    /// Why; nothing of a request has been sent then.
    pub(super) async fn connect(&self, wire: Wire, origin: &Origin, offer: Offer) -> Result<(Wire, Chosen), Why> {
        let name = match &self.0.settings.server_name {
            Some(name) => name.clone(),
            None => server_name(&origin.address.host).ok_or_else(|| {
                Why::new(Reason::TlsNameMismatch, "its address is no name that a certificate can have")
            })?,
        };
        let connector = TlsConnector::from(self.0.config.clone());
        let stream = connector.with_alpn(offer.protocols()).connect(name, wire);
        let stream = Box::pin(stream).await.map_err(|e| why(&e))?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let chosen = if is_http2 { Chosen::Http2 } else { Chosen::Http1 };
        Ok((Wire::Tls(Box::new(stream)), chosen))
    }
}

/// What an origin may choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    Any,
    Http1,
}

impl Offer {
    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Any => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Self::Http1 => vec![b"http/1.1".to_vec()],
        }
    }
}

/// What an origin chose to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chosen {
    Http1,
    Http2,
}

/// The host of an address as a server's name, if it can be one.
fn server_name(host: &Host) -> Option<ServerName<'static>> {
    match host {
        Host::Ip(ip) => Some(ServerName::from(*ip)),
        Host::Name(name) => ServerName::try_from(name.clone()).ok(),
    }
}

fn why(error: &io::Error) -> Why {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(wrong)) = tls else {
        return Why::new(Reason::TlsHandshake, error.to_string());
    };
    let mismatch = matches!(wrong, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. });
    let reason = if mismatch { Reason::TlsNameMismatch } else { Reason::TlsUntrusted };
    Why::new(reason, why::certificate(wrong))
}

/// Believes whoever shows a certificate and holds its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

//! TLS to origins: whom to believe.
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
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    version::{TLS12, TLS13},
};

use super::TlsError;
use crate::model::{Catalog, Check, OriginTls, Pool, Trust, Upstream};

/// Bytes of a file of authorities, at most.
const CA_MAX: u64 = 4 * 1024 * 1024;

/// How to speak TLS: settings, and what was read for them. Equal only to itself: once a file holds something else, what
/// was opened before is not used any more.
#[derive(Debug, Clone)]
pub struct ClientTls(Arc<Loaded>);

#[derive(Debug)]
struct Loaded {
    settings: Arc<OriginTls>,
    /// Of the certificates that are believed.
    digest: Vec<u8>,
    config: Arc<ClientConfig>,
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ClientTls {}

impl ClientTls {
    /// As configured.
    #[must_use]
    pub fn settings(&self) -> &OriginTls {
        &self.0.settings
    }

    /// Ready for use.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        self.0.config.clone()
    }
}

impl Hash for ClientTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// The TLS settings of a catalog, ready for use; and those of the one before, for what was placed under it.
#[derive(Debug, Clone, Default)]
pub struct ClientTlsTable {
    now: HashMap<Arc<OriginTls>, ClientTls>,
    before: HashMap<Arc<OriginTls>, ClientTls>,
}

impl ClientTlsTable {
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
                let tls = loaded.map_err(|source| TlsError::Pool { pool: pool.name.clone(), source })?;
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
                    all.push((TlsError::Pool { pool: pool.name.clone(), source }, settings.trust.file().cloned()));
                }
            }
        }
        all
    }

    /// The files that were read.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.now.keys().filter_map(|settings| settings.trust.file())
    }

    /// What these settings have come to.
    #[must_use]
    pub fn find(&self, settings: &OriginTls) -> Option<ClientTls> {
        self.now.get(settings).or_else(|| self.before.get(settings)).cloned()
    }

    fn load(&self, settings: &Arc<OriginTls>) -> io::Result<ClientTls> {
        let certificates = certificates(&settings.trust)?;
        let mut digest = digest::Context::new(&SHA256);
        certificates.iter().for_each(|certificate| digest.update(certificate));
        let digest = digest.finish().as_ref().to_vec();
        match self.now.get(settings) {
            Some(same) if same.0.digest == digest => Ok(same.clone()),
            Some(_) | None => {
                let config = Arc::new(config(&settings.trust, certificates)?);
                Ok(ClientTls(Arc::new(Loaded { settings: settings.clone(), digest, config })))
            }
        }
    }
}

fn settings_of(pool: &Pool) -> impl Iterator<Item = &Arc<OriginTls>> {
    let probed = pool.monitor.as_ref().and_then(|monitor| match &monitor.check {
        Check::Http(check) => Some(&check.speaks),
        Check::Tcp | Check::TcpAnswer(_) | Check::Udp(_) | Check::Icmp => None,
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
        Trust::Ca(path) => authorities(path),
    }
}

/// The authorities in a PEM file, of which there is at least one.
pub(super) fn authorities(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let read = certs::read(path, CA_MAX).map_err(io::Error::other)?;
    let found = CertificateDer::pem_slice_iter(&read).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|e| named(path, &e))?;
    if found.is_empty() {
        return Err(named(path, &"the file has no PEM certificate"));
    }
    Ok(found)
}

pub(super) fn named(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
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

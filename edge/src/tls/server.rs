//! Certificates of an `https` listener: chosen by the name the client asks for, read again when the
//! files change.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use api::code::Code;
use arc_swap::ArcSwap;
use data_encoding::BASE64;
use http::HeaderValue;
use net::Socket;
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::CertificateDer,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio::time;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{info, warn};

use super::{
    certificate::{Certificate, Term},
    client::{authorities, named},
};
use crate::model::{ClientCertificates, ListenerTls, TlsVersion};

/// How long a handshake may take.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// The certificates of one listener.
#[derive(Debug)]
pub struct ServerTls {
    settings: ListenerTls,
    now: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    certificates: Arc<ByName>,
    stamps: Vec<Stamp>,
}

/// What tells that a file has changed.
type Stamp = Option<(SystemTime, u64)>;

impl ServerTls {
    /// Reads the files; `None` if there are none to read.
    ///
    /// # Errors
    /// The first file that cannot be read or does not fit, named in the text.
    pub fn load(settings: &ListenerTls) -> io::Result<Option<Arc<Self>>> {
        if settings.certificates.is_empty() {
            return Ok(None);
        }
        let now = ArcSwap::from_pointee(load(settings)?);
        Ok(Some(Arc::new(Self { settings: settings.clone(), now })))
    }

    /// Reads the authorities of clients, if there are any.
    ///
    /// # Errors
    /// What is wrong, with the file in the text.
    pub fn check_clients(settings: &ListenerTls) -> io::Result<()> {
        verifier(settings.clients.as_ref()).map(drop)
    }

    /// What is read.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.settings.files().cloned()
    }

    /// What clients are shown now.
    #[must_use]
    pub fn certificates(&self) -> Vec<Arc<Certificate>> {
        self.now.load().certificates.0.clone()
    }

    /// Says in the log once more what is wrong with them.
    pub fn remind(&self) {
        tell(&self.now.load().certificates.0, SystemTime::now());
    }

    /// Reads the files again if one of them has changed; what cannot be read leaves everything as it was.
    pub fn refresh(&self) {
        if stamps(&self.settings) == self.now.load().stamps {
            return;
        }
        match load(&self.settings) {
            Ok(loaded) => {
                self.now.store(Arc::new(loaded));
                info!("certificates were read again");
            }
            Err(error) => warn!(%error, code = %Code::Settings, "certificates stay as they were"),
        }
    }

    /// Shakes hands with a client.
    pub async fn accept(&self, client: Socket) -> Option<Shaken> {
        let loaded = self.now.load_full();
        let acceptor = TlsAcceptor::from(loaded.config.clone());
        let stream = time::timeout(HANDSHAKE_WAIT, Box::pin(acceptor.accept(client))).await.ok()?.ok()?;
        let session = stream.get_ref().1;
        let is_h2 = session.alpn_protocol().map(|protocol| protocol == b"h2");
        let shown = session.server_name().map(|name| loaded.certificates.shown(name));
        let certificate = session.peer_certificates().and_then(|chain| field(chain.first()?));
        Some(Shaken { stream: Box::new(stream), is_h2, shown, certificate })
    }
}

impl ServerTls {
    /// What a client would be shown now that asked for this name.
    #[must_use]
    pub fn shown(&self, name: &str) -> Shown {
        self.now.load().certificates.shown(name)
    }
}

/// A client that hands were shaken with.
#[derive(Debug)]
pub struct Shaken {
    /// What it says from now on.
    pub stream: Box<TlsStream<Socket>>,
    /// True if it chose HTTP/2, nothing if it chose nothing.
    pub is_h2: Option<bool>,
    /// What it was shown, if it asked for a name.
    pub shown: Option<Shown>,
    /// What it has shown itself, as origins are told: the value of `Client-Cert` (RFC 9440 section 2.1).
    pub certificate: Option<HeaderValue>,
}

fn field(certificate: &CertificateDer<'_>) -> Option<HeaderValue> {
    HeaderValue::try_from(format!(":{}:", BASE64.encode(certificate))).ok()
}

/// What a client was shown that asked for a name.
#[derive(Debug)]
pub struct Shown {
    name: String,
    certificate: Option<Arc<Certificate>>,
}

impl Shown {
    /// Where its certificate was read from.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.certificate.as_ref().map(|certificate| certificate.file())
    }

    /// Whether requests for this host, in lower case, may come over the connection.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        self.name == plain || self.certificate.as_ref().is_some_and(|certificate| certificate.covers(plain))
    }
}

fn stamps(settings: &ListenerTls) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| fs::metadata(path).ok().and_then(|m| Some((m.modified().ok()?, m.len())));
    settings.files().map(stamp).collect()
}

fn load(settings: &ListenerTls) -> io::Result<Loaded> {
    // Stamped first: a change while they are read is seen the next time.
    let stamps = stamps(settings);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let read = |files| Certificate::read(files).map(Arc::new);
    let certificates = settings.certificates.iter().map(read).collect::<io::Result<Vec<_>>>()?;
    tell(&certificates, SystemTime::now());
    let certificates = Arc::new(ByName(certificates));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(settings.minimum))
        .map_err(io::Error::other)?
        .with_client_cert_verifier(verifier(settings.clients.as_ref())?)
        .with_cert_resolver(certificates.clone());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded { config: Arc::new(config), certificates, stamps })
}

fn versions(minimum: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    match minimum {
        TlsVersion::Tls12 => vec![&TLS13, &TLS12],
        TlsVersion::Tls13 => vec![&TLS13],
    }
}

/// What judges the certificates of clients.
fn verifier(clients: Option<&ClientCertificates>) -> io::Result<Arc<dyn ClientCertVerifier>> {
    let Some(ClientCertificates { ca, is_optional }) = clients else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    for authority in authorities(ca)? {
        roots.add(authority).map_err(|error| named(ca, &error))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if *is_optional { builder.allow_unauthenticated() } else { builder };
    builder.build().map_err(|error| named(ca, &error))
}

/// Says in the log which of them clients refuse, or will soon.
fn tell(certificates: &[Arc<Certificate>], now: SystemTime) {
    for certificate in certificates {
        match certificate.term(now) {
            Term::Good => {}
            term @ (Term::EndsSoon(_) | Term::Ended(_) | Term::NotBegun(_)) => {
                let code = Code::CertificateEnds;
                warn!(certificate = %certificate.file().display(), %code, "this certificate {term}");
            }
        }
    }
}

/// The first certificate that is valid for the name asked for; else, or if none is asked for, the first of all.
#[derive(Debug)]
struct ByName(Vec<Arc<Certificate>>);

impl ByName {
    fn shown(&self, name: &str) -> Shown {
        Shown { name: name.to_ascii_lowercase(), certificate: self.choose(Some(name)) }
    }

    fn choose(&self, name: Option<&str>) -> Option<Arc<Certificate>> {
        let name = name.map(str::to_ascii_lowercase);
        let fitting = |certificate: &&Arc<Certificate>| name.as_ref().is_some_and(|name| certificate.covers(name));
        self.0.iter().find(fitting).or_else(|| self.0.first()).cloned()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name()).map(|certificate| certificate.key.clone())
    }
}

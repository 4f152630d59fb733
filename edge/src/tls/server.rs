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
use net::Socket;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio::time;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{info, warn};

use super::certificate::{Certificate, Term};
use crate::model::CertificateFiles;

/// How long a handshake may take.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// The certificates of one listener.
#[derive(Debug)]
pub struct ServerTls {
    files: Vec<CertificateFiles>,
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
    pub fn load(files: &[CertificateFiles]) -> io::Result<Option<Arc<Self>>> {
        if files.is_empty() {
            return Ok(None);
        }
        let now = ArcSwap::from_pointee(load(files)?);
        Ok(Some(Arc::new(Self { files: files.to_vec(), now })))
    }

    /// What is read.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.files.iter().flat_map(|files| [files.certificate.clone(), files.key.clone()])
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
        if stamps(&self.files) == self.now.load().stamps {
            return;
        }
        match load(&self.files) {
            Ok(loaded) => {
                self.now.store(Arc::new(loaded));
                info!("certificates were read again");
            }
            Err(error) => warn!(%error, code = %Code::Settings, "certificates stay as they were"),
        }
    }

    /// Shakes hands with a client; true if it chose HTTP/2, nothing if it chose nothing, and what it was shown.
    pub async fn accept(&self, client: Socket) -> Option<(Box<TlsStream<Socket>>, Option<bool>, Option<Shown>)> {
        let loaded = self.now.load_full();
        let acceptor = TlsAcceptor::from(loaded.config.clone());
        let stream = time::timeout(HANDSHAKE_WAIT, Box::pin(acceptor.accept(client))).await.ok()?.ok()?;
        let chosen = stream.get_ref().1.alpn_protocol().map(|protocol| protocol == b"h2");
        let shown = stream.get_ref().1.server_name().map(|name| loaded.certificates.shown(name));
        Some((Box::new(stream), chosen, shown))
    }
}

impl ServerTls {
    /// What a client would be shown now that asked for this name.
    #[must_use]
    pub fn shown(&self, name: &str) -> Shown {
        self.now.load().certificates.shown(name)
    }
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

fn stamps(files: &[CertificateFiles]) -> Vec<Stamp> {
    let stamp = |path: &Path| fs::metadata(path).ok().and_then(|m| Some((m.modified().ok()?, m.len())));
    files.iter().flat_map(|f| [stamp(&f.certificate), stamp(&f.key)]).collect()
}

fn load(files: &[CertificateFiles]) -> io::Result<Loaded> {
    // Stamped first: a change while they are read is seen the next time.
    let stamps = stamps(files);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let read = |files| Certificate::read(files).map(Arc::new);
    let certificates = files.iter().map(read).collect::<io::Result<Vec<_>>>()?;
    tell(&certificates, SystemTime::now());
    let certificates = Arc::new(ByName(certificates));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_cert_resolver(certificates.clone());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded { config: Arc::new(config), certificates, stamps })
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

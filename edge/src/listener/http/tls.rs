//! Certificates of an `https` listener: read from files, chosen by the name the client asks for, read again when the
//! files change.

use std::{
    fs, io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use net::Socket;
use rustls::{
    ServerConfig,
    client::verify_server_name,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio::time;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{info, warn};

use crate::model::CertificateFiles;

/// How long a handshake may take.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// The certificates of one listener.
#[derive(Debug)]
pub(in crate::listener) struct Tls {
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

impl Tls {
    /// Reads the files; `None` if there are none to read.
    ///
    /// # Errors
    /// The first file that cannot be read or does not fit, named in the text.
    pub(in crate::listener) fn load(files: &[CertificateFiles]) -> io::Result<Option<Arc<Self>>> {
        if files.is_empty() {
            return Ok(None);
        }
        let now = ArcSwap::from_pointee(load(files)?);
        Ok(Some(Arc::new(Self { files: files.to_vec(), now })))
    }

    /// Reads the files again if one of them has changed; what cannot be read leaves everything as it was.
    pub(in crate::listener) fn refresh(&self) {
        if stamps(&self.files) == self.now.load().stamps {
            return;
        }
        match load(&self.files) {
            Ok(loaded) => {
                self.now.store(Arc::new(loaded));
                info!("certificates were read again");
            }
            Err(error) => warn!(%error, "certificates stay as they were"),
        }
    }

    /// Shakes hands with a client; true if it chose HTTP/2, nothing if it chose nothing, and what it was shown.
    pub(super) async fn accept(&self, client: Socket) -> Option<(Box<TlsStream<Socket>>, Option<bool>, Option<Shown>)> {
        let loaded = self.now.load_full();
        let acceptor = TlsAcceptor::from(loaded.config.clone());
        let stream = time::timeout(HANDSHAKE_WAIT, Box::pin(acceptor.accept(client))).await.ok()?.ok()?;
        let chosen = stream.get_ref().1.alpn_protocol().map(|protocol| protocol == b"h2");
        let shown = stream
            .get_ref()
            .1
            .server_name()
            .map(|name| Shown { name: name.to_ascii_lowercase(), certificate: loaded.certificates.choose(Some(name)) });
        Some((Box::new(stream), chosen, shown))
    }
}

/// What a client was shown that asked for a name.
#[derive(Debug)]
pub(super) struct Shown {
    name: String,
    certificate: Option<Arc<CertifiedKey>>,
}

impl Shown {
    /// Whether requests for this host, in lower case, may come over the connection.
    pub(super) fn covers(&self, host: &str) -> bool {
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        self.name == plain
            || ServerName::try_from(plain).is_ok_and(|name| self.certificate.as_ref().is_some_and(|c| fits(c, &name)))
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
    let certificates = files.iter().map(|f| certificate(f, &provider)).collect::<io::Result<Vec<_>>>()?;
    let certificates = Arc::new(ByName(certificates));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_cert_resolver(certificates.clone());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded { config: Arc::new(config), certificates, stamps })
}

fn certificate(files: &CertificateFiles, provider: &CryptoProvider) -> io::Result<Arc<CertifiedKey>> {
    let named = |path: &Path, error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
    let read = |path: &Path| fs::read(path).map_err(|e| named(path, &e));
    let chain = CertificateDer::pem_slice_iter(&read(&files.certificate)?).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|e| named(&files.certificate, &e))?;
    if chain.is_empty() {
        return Err(named(&files.certificate, &"the file has no PEM certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|e| named(&files.key, &e))?;
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(|e| named(&files.key, &e))?;
    ParsedCertificate::try_from(&certified.cert[0]).map_err(|e| named(&files.certificate, &e))?;
    Ok(Arc::new(certified))
}

/// The first certificate that is valid for the name asked for; else, or if none is asked for, the first of all.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ByName {
    fn choose(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let fitting = |certified: &&Arc<CertifiedKey>| name.as_ref().is_some_and(|name| fits(certified, name));
        self.0.iter().find(fitting).or_else(|| self.0.first()).cloned()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name())
    }
}

fn fits(certified: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = ParsedCertificate::try_from(&certified.cert[0]);
    parsed.is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
}

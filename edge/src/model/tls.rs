//! TLS that ends at a listener.

use std::path::PathBuf;

/// How a listener speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ListenerTls {
    /// What clients are shown: the first serves those that name no server. Empty: no TLS ends here.
    pub certificates: Vec<CertificateFiles>,
    /// Which certificates of clients are asked for; absent: none.
    pub clients: Option<ClientCertificates>,
    /// The oldest version that is spoken.
    pub minimum: TlsVersion,
}

/// A server certificate by files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// PEM chain, the server's own first.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// What clients have to show.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientCertificates {
    /// PEM file of the authorities whose certificates are believed.
    pub ca: PathBuf,
    /// Whoever shows none is served as well.
    pub is_optional: bool,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TlsVersion {
    /// 1.2 (RFC 5246).
    #[default]
    Tls12,
    /// 1.3 (RFC 8446).
    Tls13,
}

impl ListenerTls {
    /// All files that it names.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let shown = self.certificates.iter().flat_map(|files| [&files.certificate, &files.key]);
        shown.chain(self.clients.iter().map(|clients| &clients.ca))
    }
}

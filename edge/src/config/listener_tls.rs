//! TLS that ends at a listener: what it shows, what it asks its clients for.

use std::path::{Path, PathBuf};

use config::{Table, Value, beside};

use super::words::TLS_VERSIONS;
use crate::model::{CertificateFiles, ClientCertificates, ListenProtocol, ListenerTls, TlsVersion};

const KEYS: [&str; 3] = ["certificates", "client_certificates", "minimum_tls"];

pub(super) fn read(t: &Table<'_>, protocol: Option<ListenProtocol>, path: &Path) -> ListenerTls {
    match protocol {
        Some(ListenProtocol::Tcp | ListenProtocol::Udp | ListenProtocol::Http) => {
            KEYS.iter().for_each(|key| t.refuse(key, "is for listeners with `protocol` \"https\""));
            return ListenerTls::default();
        }
        Some(ListenProtocol::Https) | None => {}
    }
    let all = t.tables("certificates", |c| {
        let file = |key, what: &str| c.required(key, what).and_then(|v| file(&v, path));
        let certificate = file("certificate", "the PEM file of the server's certificate and its chain");
        let key = file("key", "the PEM file of its key");
        Some(CertificateFiles { certificate: certificate?, key: key? })
    });
    if protocol.is_some() && all.is_empty() {
        let right = "such as [{ certificate = \"www.pem\", key = \"www.key\" }]";
        t.lacking(t.place(), format!("`certificates` is missing in `listener`: what the server shows, {right}"));
    }
    let clients = t.table("client_certificates", |c| {
        let ca = c.required("ca", "the PEM file of the authorities whose certificates are believed");
        let ca = ca.and_then(|v| file(&v, path));
        let is_optional = c.or("optional", false, |v| v.boolean());
        Some(ClientCertificates { ca: ca?, is_optional })
    });
    ListenerTls {
        certificates: all.into_iter().flatten().collect(),
        clients: clients.flatten(),
        minimum: t.or("minimum_tls", TlsVersion::default(), |v| v.word(&TLS_VERSIONS)),
    }
}

fn file(v: &Value<'_>, path: &Path) -> Option<PathBuf> {
    v.string().map(|at| beside(path, at.value))
}

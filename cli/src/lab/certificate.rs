//! The certificate of the lab's HTTPS listener: signed by itself, so that a client can be given it as the one to trust.

use std::net::Ipv4Addr;

use rcgen::{CertificateParams, DnType, KeyPair};

/// A certificate with its key, in PEM.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Makes one for `localhost` and the address the edges listen at.
///
/// # Errors
/// Those of the library.
pub(super) fn make(host: Ipv4Addr) -> Result<Own, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(["localhost".to_owned(), host.to_string()])?;
    params.distinguished_name.push(DnType::CommonName, "underpass lab");
    let certificate = params.self_signed(&key)?.pem();
    Ok(Own { certificate, key: key.serialize_pem() })
}

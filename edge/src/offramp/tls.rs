//! Handshakes with origins.

use std::io;

use protocol::{error::Reason, id::Host};
use rustls::{CertificateError, pki_types::ServerName};
use tokio_rustls::TlsConnector;

use super::{Why, Wire, why};
use crate::{model::Origin, tls::ClientTls};

impl ClientTls {
    /// Shakes hands with an origin.
    ///
    /// # Errors
    /// Why; nothing of a request has been sent then.
    pub(super) async fn connect(&self, wire: Wire, origin: &Origin, offer: Offer) -> Result<(Wire, Chosen), Why> {
        let name = match &self.settings().server_name {
            Some(name) => name.clone(),
            None => server_name(&origin.address.host).ok_or_else(|| {
                Why::new(Reason::TlsNameMismatch, "its address is no name that a certificate can have")
            })?,
        };
        let connector = TlsConnector::from(self.config());
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

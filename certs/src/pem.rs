//! PEM of certificates. Keys are written by rcgen, and everything is read by rustls.

use data_encoding::BASE64;
use rustls::pki_types::CertificateDer;

const LINE: usize = 64;

/// The certificate between its BEGIN and END lines.
pub(crate) fn certificate(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = BASE64.encode(der);
    while !rest.is_empty() {
        let tail = rest.split_off(rest.len().min(LINE));
        text.push_str(&rest);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// Every certificate of a PEM text, in order.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::pem_slice_iter(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_come_back_as_written() {
        for length in [1, 47, 48, 49, 500] {
            let der = vec![7; length];
            let text = certificate(&der) + &certificate(b"second");
            let back = certificates(text.as_bytes()).expect("PEM");
            assert_eq!(back, [CertificateDer::from(der), CertificateDer::from(b"second".to_vec())]);
        }
    }
}

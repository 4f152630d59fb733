//! Certificate requests: proof that the sender holds a key, and the key. Everything else a request asks for is ignored.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use x509_parser::{
    certification_request::X509CertificationRequest,
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256},
    prelude::FromDer,
};

use crate::digest::Sha256;

/// Longest request that is looked at, bytes. Ours have about 200.
pub const CSR_MAX: usize = 4096;
/// An uncompressed point of P-256.
const POINT: usize = 65;

/// A P-256 public key whose holder has proved that it has the private one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenKey(Vec<u8>);

/// Why a request is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Over [`CSR_MAX`].
    #[error("the certificate request has {0} bytes, at most {CSR_MAX} are allowed")]
    TooLong(usize),
    /// Not DER of the right shape, or bytes left over.
    #[error("the certificate request is not PKCS#10 in DER")]
    Malformed,
    /// Another kind of key.
    #[error("the certificate request must be for an ECDSA P-256 key signed with SHA-256")]
    UnsupportedKey,
    /// Whoever sent it does not hold the key.
    #[error("the certificate request is not signed by its own key")]
    BadSignature,
}

impl ProvenKey {
    /// Reads a request and checks its signature by the very key it is about.
    ///
    /// # Errors
    /// [`CsrError`], in words fit for a refusal.
    pub fn from_csr(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > CSR_MAX {
            return Err(CsrError::TooLong(der.len()));
        }
        let (rest, csr) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
        if !rest.is_empty() {
            return Err(CsrError::Malformed);
        }
        let info = &csr.certification_request_info;
        let curve = info.subject_pki.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
        let point = info.subject_pki.subject_public_key.data.as_ref();
        let supported = info.subject_pki.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
            && curve == Some(OID_EC_P256)
            && csr.signature_algorithm.algorithm == OID_SIG_ECDSA_WITH_SHA256
            && point.len() == POINT;
        if !supported {
            return Err(CsrError::UnsupportedKey);
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
            .verify(info.raw, &csr.signature_value.data)
            .map_err(|_| CsrError::BadSignature)?;
        Ok(Self(point.to_owned()))
    }

    /// What tells this key from others.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&self.0)
    }
}

impl PublicKeyData for ProvenKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// A request that names nothing but the key.
pub(crate) fn request(key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key)?.der().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csr() -> Vec<u8> {
        request(&KeyPair::generate().expect("key")).expect("request")
    }

    #[test]
    fn a_request_proves_its_key() {
        let key = KeyPair::generate().expect("key");
        let proven = ProvenKey::from_csr(&request(&key).expect("request")).expect("accepted");
        assert_eq!(proven.0, key.public_key_raw());
        assert_eq!(ProvenKey::from_csr(&request(&key).expect("again")).map(|k| k.digest()), Ok(proven.digest()));
    }

    #[test]
    fn other_kinds_of_keys_are_refused() {
        for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256] {
            let key = KeyPair::generate_for(algorithm).expect("key");
            assert_eq!(ProvenKey::from_csr(&request(&key).expect("request")), Err(CsrError::UnsupportedKey));
        }
    }

    #[test]
    fn a_request_for_the_key_of_another_is_refused() {
        let (mine, theirs) = (KeyPair::generate().expect("key"), KeyPair::generate().expect("key"));
        let mut der = request(&mine).expect("request");
        let at = der.windows(POINT).position(|w| w == mine.public_key_raw()).expect("the point is in it");
        der[at..at + POINT].copy_from_slice(theirs.public_key_raw());
        assert_eq!(ProvenKey::from_csr(&der), Err(CsrError::BadSignature));
    }

    #[test]
    fn broken_bytes_never_yield_another_key() {
        let good = csr();
        let key = ProvenKey::from_csr(&good).expect("accepted");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            // The frame around the signed part may be read leniently; what is signed may not.
            assert!(ProvenKey::from_csr(&bad).map_or(true, |k| k == key), "byte {at}");
            assert!(ProvenKey::from_csr(&good[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(ProvenKey::from_csr(&[good, vec![0]].concat()), Err(CsrError::Malformed), "bytes left over");
        assert_eq!(ProvenKey::from_csr(&[0; CSR_MAX + 1]), Err(CsrError::TooLong(CSR_MAX + 1)));
    }
}

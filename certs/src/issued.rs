//! What the CA issues to an edge.

use std::fmt;

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};

use crate::{provider::provider, rotation::Lifetime};

/// A certificate of an edge, the CA's behind it, and the key.
pub struct EdgeIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    lifetime: Lifetime,
}

impl EdgeIdentity {
    pub(crate) fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>, lifetime: Lifetime) -> Self {
        Self { chain, key, lifetime }
    }

    /// The edge's certificate, without the CA's.
    #[must_use]
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// When it was issued and holds.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// As rustls wants it.
    pub(crate) fn certified(&self) -> CertifiedKey {
        let key = provider().key_provider.load_private_key(self.key.clone_key());
        CertifiedKey::new(self.chain.clone(), key.expect("the CA makes keys that TLS can use"))
    }
}

impl fmt::Debug for EdgeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeIdentity").field("lifetime", &self.lifetime).field("key", &"***").finish_non_exhaustive()
    }
}

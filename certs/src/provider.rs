//! The cryptography that every TLS of the tunnel uses.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs as suites};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = suites::default_provider();
    // AES-128-GCM costs the least per byte and is what QUIC's first packets use anyhow. The key exchange groups are
    // rustls's own order under `prefer-post-quantum`: X25519MLKEM768 first.
    provider.cipher_suites = vec![
        suites::cipher_suite::TLS13_AES_128_GCM_SHA256,
        suites::cipher_suite::TLS13_AES_256_GCM_SHA384,
        suites::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(provider)
});

/// The cryptography everything here uses.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

//! Names, resolved with the host's own settings and hosts file.

use std::{net::IpAddr, sync::Arc};

use hickory_resolver::{TokioResolver, net::runtime::TokioRuntimeProvider};

/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// A caching resolver.
#[derive(Clone)]
pub struct Resolver(Result<Arc<TokioResolver>, String>);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// A resolver with the system's settings. Where those cannot be read, addresses still work and names fail with the
    /// reason.
    #[must_use]
    pub fn system() -> Self {
        let build = || TokioResolver::builder(TokioRuntimeProvider::default())?.build();
        Self(build().map(Arc::new).map_err(|e| format!("the system's resolver settings cannot be used: {e}")))
    }

    /// The addresses of a name, in the order they should be tried.
    ///
    /// # Errors
    /// Words for the operator.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let resolver = self.0.as_ref().map_err(Clone::clone)?;
        let found = resolver.lookup_ip(name).await.map_err(|e| format!("cannot resolve {name}: {e}"))?;
        Ok(found.iter().take(ADDRESSES_MAX).collect())
    }
}

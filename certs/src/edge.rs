//! An edge's own certificate: kept in memory, made anew at every start and replaced at two thirds of its life, without a
//! restart and without touching live connections.

use std::{fmt, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{
    ca::{Ca, IssueError},
    rotation::Lifetime,
};

/// The certificate an edge shows now. TLS asks it at each handshake; a task that watches the time rotates it.
pub struct EdgeCertificates {
    ca: Arc<Ca>,
    current: ArcSwap<Current>,
}

struct Current {
    certified: Arc<CertifiedKey>,
    lifetime: Lifetime,
}

impl Current {
    fn issued(ca: &Ca, now: SystemTime) -> Result<Self, IssueError> {
        let identity = ca.issue_edge(now)?;
        Ok(Self { certified: Arc::new(identity.certified()), lifetime: identity.lifetime() })
    }
}

impl EdgeCertificates {
    /// The first certificate of this run.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn new(ca: Arc<Ca>, now: SystemTime) -> Result<Self, IssueError> {
        let current = ArcSwap::from_pointee(Current::issued(&ca, now)?);
        Ok(Self { ca, current })
    }

    /// The CA that issues them.
    #[must_use]
    pub fn ca(&self) -> &Arc<Ca> {
        &self.ca
    }

    /// The lifetime of the certificate shown now. It is rotated at two thirds of it.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.current.load().lifetime
    }

    /// Replaces the certificate if its time has come (or the clock was set back before its beginning); says whether it did.
    /// To be asked every few minutes, so that a machine that slept or a clock that jumped is noticed.
    ///
    /// # Errors
    /// [`IssueError`]; the old certificate stays.
    pub fn rotate_if_due(&self, now: SystemTime) -> Result<bool, IssueError> {
        let lifetime = self.lifetime();
        let due = now >= lifetime.renew_at(0.0) || now < lifetime.not_before;
        if due {
            self.current.store(Arc::new(Current::issued(&self.ca, now)?));
        }
        Ok(due)
    }
}

impl ResolvesServerCert for EdgeCertificates {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().certified))
    }
}

impl fmt::Debug for EdgeCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeCertificates")
            .field("ca", &self.ca)
            .field("lifetime", &self.lifetime())
            .field("key", &"***")
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fleet::{Fleet, HOUR, now};

    #[test]
    fn the_certificate_is_replaced_at_two_thirds_of_its_life() {
        let fleet = Fleet::new();
        let certificates = EdgeCertificates::new(Arc::clone(fleet.ca()), now()).expect("issued");
        let first = Arc::clone(&certificates.current.load().certified);
        assert!(!certificates.rotate_if_due(now() + 16 * HOUR - Duration::from_secs(1)).expect("not due"));
        assert!(Arc::ptr_eq(&first, &certificates.current.load().certified));
        assert!(certificates.rotate_if_due(now() + 16 * HOUR).expect("due"));
        assert_ne!(first.cert, certificates.current.load().certified.cert);
        assert_eq!(certificates.lifetime().not_after, now() + 40 * HOUR);
    }

    #[test]
    fn a_clock_set_back_before_the_certificate_begins_replaces_it() {
        let fleet = Fleet::new();
        let certificates = EdgeCertificates::new(Arc::clone(fleet.ca()), now() + 48 * HOUR).expect("issued");
        assert!(certificates.rotate_if_due(now()).expect("due"));
        assert_eq!(certificates.lifetime().issued_at, now());
    }

    #[test]
    fn debug_shows_no_key() {
        let fleet = Fleet::new();
        let identity = fleet.ca().issue_edge(now()).expect("issued");
        let certificates = EdgeCertificates::new(Arc::clone(fleet.ca()), now()).expect("issued");
        for shown in [format!("{identity:?}"), format!("{certificates:?}"), format!("{:?}", fleet.ca())] {
            assert!(shown.contains("***") && shown.len() < 600, "{shown}");
        }
    }
}

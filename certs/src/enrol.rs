//! What an edge answers to those who ask for a certificate: enrolment by join token, renewal by certificate; and whether a
//! peer is still admitted. The wire and the connection are the caller's.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::SystemTime,
};

use protocol::{
    control::{Enrol, Enrolled, Refusal, RefusalCode, Renew, Renewed},
    id::Name,
};
use rustls::pki_types::CertificateDer;

use crate::{
    FileError,
    ca::{Ca, IssueError, Subject},
    csr::{CsrError, ProvenKey},
    revocation::{RevocationError, Revocations},
    rotation::Standing,
    secret::Secret,
    token::TokenId,
    tokens::{Claim, Tokens},
    verify::Peer,
};

/// CA, tokens and revocations of one `state_dir`. Its methods read and write files: call them where blocking is fine.
#[derive(Debug)]
pub struct Authority {
    ca: Arc<Ca>,
    tokens: Tokens,
    revocations: Revocations,
    /// The latest moment of any issue. Held from the look at the revocations to the issue, so that a revocation falls
    /// either before that look or after that issue.
    latest_issue: Mutex<SystemTime>,
}

/// Why an authority cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The revocations cannot be read.
    #[error(transparent)]
    Revocations(#[from] RevocationError),
}

impl Authority {
    /// Opens tokens and revocations in `state_dir`.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn open(state_dir: &Path, ca: Arc<Ca>) -> Result<Self, AuthorityError> {
        Ok(Self {
            ca,
            tokens: Tokens::open(state_dir)?,
            revocations: Revocations::open(state_dir)?,
            latest_issue: Mutex::new(SystemTime::UNIX_EPOCH),
        })
    }

    /// The CA.
    #[must_use]
    pub fn ca(&self) -> &Arc<Ca> {
        &self.ca
    }

    /// The open tokens.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Voids every certificate and token issued to this name until now, even those of a clock that was ahead. Closing the
    /// name's live links is the caller's.
    ///
    /// # Errors
    /// [`RevocationError`]; then nothing is revoked.
    pub fn revoke(&self, name: &Name, now: SystemTime) -> Result<(), RevocationError> {
        let latest_issue = self.issuing();
        self.revocations.revoke(name, now.max(*latest_issue))
    }

    /// Redeems a join token. `granted` says whether this edge grants the token's connector anything; a request that is
    /// refused for want of a grant, or because it is malformed, does not use the token up.
    ///
    /// # Errors
    /// A [`Refusal`] to send.
    pub fn enrol(
        &self,
        request: &Enrol,
        granted: impl FnOnce(&Name) -> bool,
        now: SystemTime,
    ) -> Result<(Peer, Enrolled), Refusal> {
        let key = proven(&request.csr)?;
        let replica: Name =
            request.replica.parse().map_err(|e| bad(&format!("the replica's name is not valid: {e}")))?;
        let mut latest_issue = self.issuing();
        self.reload()?;
        let id = TokenId(request.token);
        let claim = Claim { id, secret: Secret::new(request.secret), key: &key };
        let admissible = |name: &Name, created| self.admit(name, created, granted(name));
        let connector = self.tokens.redeem(&claim, admissible, now)?;
        let (peer, certificate) = self.issue(
            &key,
            &Subject { connector: &connector, replica: &replica, enrolled_at: now },
            now,
            &mut latest_issue,
        )?;
        let enrolled = Enrolled {
            connector: connector.to_string(),
            certificate: certificate.to_vec(),
            ca: self.ca.certificate().to_vec(),
        };
        Ok((peer, enrolled))
    }

    /// Issues a certificate to whom the handshake has shown to be `peer`, for a new key. A live link of the peer holds as
    /// long as the new one.
    ///
    /// # Errors
    /// A [`Refusal`] to send.
    pub fn renew(
        &self,
        request: &Renew,
        peer: &Peer,
        granted: bool,
        now: SystemTime,
    ) -> Result<(Peer, Renewed), Refusal> {
        let mut latest_issue = self.issuing();
        self.check(peer, granted)?;
        match peer.lifetime.standing(now) {
            Standing::Valid | Standing::ExpiredMayRenew => {}
            Standing::Lapsed | Standing::NotYetValid => {
                let text = "the certificate can no longer be renewed: enrol with a new join token";
                return Err(Refusal::new(RefusalCode::CertificateExpired, text));
            }
        }
        let key = proven(&request.csr)?;
        let Peer { connector, replica, lifetime } = peer;
        let subject = Subject { connector, replica, enrolled_at: lifetime.enrolled_at };
        let (peer, certificate) = self.issue(&key, &subject, now, &mut latest_issue)?;
        Ok((peer, Renewed { certificate: certificate.to_vec() }))
    }

    /// Whether a peer with a good certificate may still register: it has a grant here and was not revoked since.
    ///
    /// # Errors
    /// A [`Refusal`] to send.
    pub fn check(&self, peer: &Peer, granted: bool) -> Result<(), Refusal> {
        self.reload()?;
        self.admit(&peer.connector, peer.lifetime.enrolled_at, granted)
    }

    fn admit(&self, name: &Name, enrolled_at: SystemTime, granted: bool) -> Result<(), Refusal> {
        if self.revocations.is_void(name, enrolled_at) {
            let text = "the connector was revoked: a new join token admits it again";
            return Err(Refusal::new(RefusalCode::Revoked, text));
        }
        if !granted {
            let text =
                format!("this edge grants nothing to {name}: add a [[connector]] of this name to its configuration");
            return Err(Refusal::new(RefusalCode::NoGrant, &text));
        }
        Ok(())
    }

    /// Sees what other processes have revoked. If that cannot be known, nobody is admitted.
    fn reload(&self) -> Result<(), Refusal> {
        self.revocations.reload().map(|_| ()).map_err(|error| {
            tracing::warn!(%error, "revocations cannot be read, so nobody is admitted");
            Refusal::new(
                RefusalCode::Unavailable,
                "the edge cannot read its revocations now: see its log, and try again",
            )
        })
    }

    fn issue(
        &self,
        key: &ProvenKey,
        subject: &Subject<'_>,
        now: SystemTime,
        latest_issue: &mut SystemTime,
    ) -> Result<(Peer, CertificateDer<'static>), Refusal> {
        let certificate = self.ca.issue_connector(key, subject, now).map_err(|e| not_issued(&e))?;
        *latest_issue = now.max(*latest_issue);
        let peer = Peer::of(&certificate).expect("our CA issues what we read");
        Ok((peer, certificate))
    }

    fn issuing(&self) -> MutexGuard<'_, SystemTime> {
        self.latest_issue.lock().expect("nothing panics while it holds this lock")
    }
}

fn proven(csr: &[u8]) -> Result<ProvenKey, Refusal> {
    ProvenKey::from_csr(csr).map_err(|e: CsrError| bad(&e.to_string()))
}

fn bad(text: &str) -> Refusal {
    Refusal::new(RefusalCode::BadRequest, text)
}

fn not_issued(error: &IssueError) -> Refusal {
    tracing::warn!(%error, "no certificate can be issued");
    Refusal::new(RefusalCode::Unavailable, "the edge cannot issue certificates now: see its log")
}

#[cfg(test)]
mod tests;

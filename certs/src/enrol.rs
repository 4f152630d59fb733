//! What an edge answers to those who ask for a certificate: enrolment by join token, renewal by certificate; and whether a
//! peer is still admitted. The wire and the connection are the caller's.

use std::{
    collections::BTreeSet,
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
    peer::{Distance, PeerError},
    revocation::{Descent, Judgement, REVOCATIONS_MAX, RevocationError, Revocations},
    rotation::Standing,
    secret::Secret,
    token::TokenId,
    tokens::{Claim, Redeemed, Tokens},
    verify::Peer,
};

/// CA, tokens and revocations of one `state_dir`. Its methods read and write files: call them where blocking is fine.
#[derive(Debug)]
pub struct Authority {
    ca: Arc<Ca>,
    tokens: Tokens,
    revocations: Arc<Revocations>,
    /// Replicas of revoked names of whose return was told.
    told: Mutex<BTreeSet<(Name, Name)>>,
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
        let revocations = Arc::new(Revocations::open(state_dir)?);
        let tokens = Tokens::numbered(state_dir, revocations.clone())?;
        Ok(Self { ca, tokens, revocations, told: Mutex::default() })
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

    /// Voids every token made for this name until now, and every certificate that goes back to one, whatever clocks say. Closing
    /// the name's live links is the caller's.
    ///
    /// # Errors
    /// [`RevocationError`]: it holds all the same until the process ends, but is not recorded yet.
    pub fn revoke(&self, name: &Name, now: SystemTime) -> Result<(), RevocationError> {
        self.told().retain(|(connector, _)| connector != name);
        self.revocations.revoke(name, now)
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
        self.reload()?;
        let id = TokenId(request.token);
        let claim = Claim { id, secret: Secret::new(request.secret), key: &key };
        let admissible = |name: &Name, descent: &Descent| self.admit(name, descent, granted(name)).map(|_| ());
        let Redeemed { connector, enrolment } = self.tokens.redeem(&claim, admissible, now)?;
        let subject =
            Subject { connector: &connector, replica: &replica, enrolled_at: now, enrolment: Some(enrolment) };
        let (peer, certificate) = self.issue(&key, &subject, now)?;
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
        self.check(peer, granted)?;
        match peer.lifetime.standing(now) {
            Standing::Valid | Standing::ExpiredMayRenew => {}
            Standing::Lapsed => {
                let text = PeerError::Lapsed(Distance::since(peer.lifetime.not_after, now)).to_string();
                return Err(Refusal::new(RefusalCode::CertificateExpired, &text));
            }
            Standing::NotYetValid => {
                let text = PeerError::NotYetValid(Distance::until(peer.lifetime.not_before, now)).to_string();
                return Err(Refusal::new(RefusalCode::Unavailable, &text));
            }
        }
        let key = proven(&request.csr)?;
        let Peer { connector, replica, lifetime, enrolment } = peer;
        let subject = Subject { connector, replica, enrolled_at: lifetime.enrolled_at, enrolment: *enrolment };
        let (peer, certificate) = self.issue(&key, &subject, now)?;
        Ok((peer, Renewed { certificate: certificate.to_vec() }))
    }

    /// Whether a peer with a good certificate may still register: it has a grant here and was not revoked since.
    ///
    /// # Errors
    /// A [`Refusal`] to send.
    pub fn check(&self, peer: &Peer, granted: bool) -> Result<(), Refusal> {
        self.reload()?;
        let judgement = self.admit(&peer.connector, &peer.descent(), granted)?;
        if let Some(enrolment) = peer.enrolment
            && let Err(error) = self.revocations.meet(&peer.connector, enrolment.number)
        {
            tracing::warn!(%error, connector = %peer.connector, "the number of a token cannot be recorded");
        }
        if judgement == Judgement::Readmitted && self.is_news(peer) {
            let (connector, replica) = (&peer.connector, &peer.replica);
            tracing::warn!(%connector, %replica, "a connector that was revoked is back: a later join token admits it");
        }
        Ok(())
    }

    /// Whether it was not told yet that this replica is back after a revocation.
    fn is_news(&self, peer: &Peer) -> bool {
        let mut told = self.told();
        // Full: then the same is told twice.
        if told.len() >= REVOCATIONS_MAX {
            told.clear();
        }
        told.insert((peer.connector.clone(), peer.replica.clone()))
    }

    fn admit(&self, name: &Name, descent: &Descent, granted: bool) -> Result<Judgement, Refusal> {
        let judgement = self.revocations.judge(name, descent);
        let why = match judgement {
            Judgement::Holds | Judgement::Readmitted => None,
            Judgement::Void => Some(
                "the connector was revoked at this edge: a join token made since, here or where it was revoked too, \
                 admits it again",
            ),
            Judgement::VoidByAge => Some(
                "the connector was revoked at this edge an hour or more after its token was redeemed at another, by the \
                 clocks of the two: a new join token admits it again",
            ),
        };
        if let Some(text) = why {
            return Err(Refusal::new(RefusalCode::Revoked, text));
        }
        if !granted {
            let text =
                format!("this edge grants nothing to {name}: add a [[connector]] of this name to its configuration");
            return Err(Refusal::new(RefusalCode::NoGrant, &text));
        }
        Ok(judgement)
    }

    /// Sees what other processes have revoked. If that cannot be known, nobody is admitted.
    fn reload(&self) -> Result<(), Refusal> {
        if let Err(error) = self.revocations.retry() {
            tracing::debug!(%error, "a revocation is in force and still not recorded");
        }
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
    ) -> Result<(Peer, CertificateDer<'static>), Refusal> {
        let certificate = self.ca.issue_connector(key, subject, now).map_err(|e| not_issued(&e))?;
        let peer = Peer::of(&certificate).expect("our CA issues what we read");
        Ok((peer, certificate))
    }

    fn told(&self) -> MutexGuard<'_, BTreeSet<(Name, Name)>> {
        self.told.lock().expect("nothing panics while it holds this lock")
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

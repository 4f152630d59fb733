//! Open join tokens: one small file each under `state_dir/tokens`, holding a digest of the secret and not the secret. The
//! command that creates tokens and the edge that redeems them are separate processes and share the files under a lock.
//!
//! A token has a number, which revocations give; whether it is still good, who redeems asks through a closure, before anything
//! is recorded, and so whether its connector has a grant.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use protocol::{
    control::{Refusal, RefusalCode},
    id::{Name, Target},
};
use serde::{Deserialize, Serialize};

use crate::{
    csr::ProvenKey,
    digest::Sha256,
    files::{self, FileError},
    peer::Span,
    revocation::{Descent, Enrolment, RevocationError, Revocations, unix_ms},
    rotation::Utc,
    secret::Secret,
    token::{EDGES_MAX, JoinToken, TokenId},
};

/// How long a token lasts unless told otherwise.
pub const LIFETIME_DEFAULT: Duration = Duration::from_secs(3600);
/// Longest lifetime of a token.
pub const LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Most token files, open and recently ended ones together.
pub const TOKENS_MAX: usize = 4096;

/// An ended token is remembered for this long, so that its late redeemer hears "expired" and not "unknown".
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);
/// Files a redemption looks at to tidy up; a creation looks at all.
const TIDIED_BY_REDEMPTION: usize = 32;
const FILE_MAX: u64 = 4096;

/// The tokens of a `state_dir`.
#[derive(Debug)]
pub struct Tokens {
    dir: PathBuf,
    revocations: Arc<Revocations>,
}

/// What a new token is to say.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Who its redeemer becomes.
    pub connector: Name,
    /// How long it lasts.
    pub lifetime: Duration,
    /// Where to enrol and connect.
    pub edges: Vec<Target>,
}

/// An attempt to redeem a token.
#[derive(Debug)]
pub struct Claim<'a> {
    /// Which token.
    pub id: TokenId,
    /// Its secret, as the claimant says.
    pub secret: Secret<[u8; 32]>,
    /// The key that is to be certified.
    pub key: &'a ProvenKey,
}

/// What a redeemed token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redeemed {
    /// Who its redeemer becomes.
    pub connector: Name,
    /// What certificates that go back to it carry.
    pub enrolment: Enrolment,
}

/// Why no token can be made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not known which number the token must have.
    #[error(transparent)]
    Revocations(#[from] RevocationError),
    /// Nowhere to go, or too many places.
    #[error("a join token names 1 to {EDGES_MAX} edges, not {0}: set `advertise` under [tunnel]")]
    Edges(usize),
    /// None, or too long.
    #[error("a join token lasts from one second to 30 days")]
    Lifetime,
    /// The bound is reached.
    #[error("{TOKENS_MAX} join tokens are open or ended within a week: wait, or remove some from {}", .0.display())]
    TooMany(PathBuf),
}

/// A token file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    connector: String,
    created_ms: u64,
    expires_ms: u64,
    secret_sha256: String,
    /// Its number among the revocations of its connector. Earlier versions gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    /// SHA-256 of the public key that redeemed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redeemed_by: Option<String>,
}

impl Tokens {
    /// Opens the tokens of a directory, which is made if missing.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn open(state_dir: &Path) -> Result<Self, TokenError> {
        Ok(Self::numbered(state_dir, Arc::new(Revocations::open(state_dir)?))?)
    }

    /// The same, with the revocations of that directory.
    pub(crate) fn numbered(state_dir: &Path, revocations: Arc<Revocations>) -> Result<Self, FileError> {
        let dir = state_dir.join("tokens");
        files::make_private_dir(&dir)?;
        Ok(Self { dir, revocations })
    }

    /// Makes a token and records it, so that an edge on these files redeems it from now on.
    ///
    /// # Errors
    /// [`TokenError`]; then there is no token.
    pub fn create(&self, new: NewToken, ca: Sha256, now: SystemTime) -> Result<JoinToken, TokenError> {
        if new.edges.is_empty() || new.edges.len() > EDGES_MAX {
            return Err(TokenError::Edges(new.edges.len()));
        }
        if new.lifetime < Duration::from_secs(1) || new.lifetime > LIFETIME_MAX {
            return Err(TokenError::Lifetime);
        }
        let token = JoinToken::new(new.edges, ca, new.connector, now + new.lifetime);
        // A revocation from here on is the later one.
        self.revocations.reload()?;
        let record = Record {
            connector: token.connector.to_string(),
            created_ms: unix_ms(now),
            expires_ms: unix_ms(token.expires),
            secret_sha256: Sha256::of(token.secret.expose()).to_string(),
            number: Some(self.revocations.next_token(&token.connector)),
            redeemed_by: None,
        };
        let _lock = self.lock()?;
        if self.tidy(now, usize::MAX)? >= TOKENS_MAX {
            return Err(TokenError::TooMany(self.dir.clone()));
        }
        self.record(token.id, &record)?;
        Ok(token)
    }

    /// Makes a token void that could not be handed over.
    ///
    /// # Errors
    /// [`FileError`]; then it is good until it expires.
    pub fn withdraw(&self, id: TokenId) -> Result<(), FileError> {
        let _lock = self.lock()?;
        files::remove(&self.file(id))
    }

    /// Redeems a token for one key, and tells whose name it carries. The same key may repeat that until the token expires,
    /// because the answer may have been lost; another key may not. `admissible` is asked about the connector's name and the
    /// token's descent once the secret has been found right and before anything is recorded.
    ///
    /// # Errors
    /// A [`Refusal`] to send; nothing is recorded then.
    pub fn redeem(
        &self,
        claim: &Claim<'_>,
        admissible: impl FnOnce(&Name, &Descent) -> Result<(), Refusal>,
        now: SystemTime,
    ) -> Result<Redeemed, Refusal> {
        // Without the lock first: whoever does not know a secret must not make others wait.
        self.known(claim)?;
        let _lock = self.lock().map_err(|e| unavailable(&e))?;
        let record = self.known(claim)?;
        let connector: Name = record.connector.parse().map_err(|_| damaged(claim.id, "its connector is no name"))?;
        let enrolment = |number| Enrolment { number, authority: self.revocations.authority() };
        let created = SystemTime::UNIX_EPOCH + Duration::from_millis(record.created_ms);
        admissible(&connector, &Descent { enrolment: record.number.map(enrolment), at: created })?;
        // One without a number is good now, so it has the number of one made now.
        let enrolment = enrolment(record.number.unwrap_or_else(|| self.revocations.next_token(&connector)));
        if unix_ms(now) >= record.expires_ms {
            let end = SystemTime::UNIX_EPOCH + Duration::from_millis(record.expires_ms);
            let over = Span(now.duration_since(end).unwrap_or_default());
            let text = format!(
                "the join token expired {over} ago, by this edge's clock, which shows {}: create a new one",
                Utc(now)
            );
            return Err(Refusal::new(RefusalCode::TokenExpired, &text));
        }
        let key = claim.key.digest().to_string();
        match &record.redeemed_by {
            Some(by) if *by == key => return Ok(Redeemed { connector, enrolment }),
            Some(_) => return Err(Refusal::new(RefusalCode::TokenUsed, "the join token was used: create a new one")),
            None => {}
        }
        let redeemed = Record { redeemed_by: Some(key), ..record };
        self.record(claim.id, &redeemed).map_err(|e| unavailable(&e))?;
        if let Err(error) = self.tidy(now, TIDIED_BY_REDEMPTION) {
            tracing::warn!(%error, "ended join tokens cannot be removed");
        }
        Ok(Redeemed { connector, enrolment })
    }

    /// The token's record, for someone who knows its secret.
    fn known(&self, claim: &Claim<'_>) -> Result<Record, Refusal> {
        const UNKNOWN: &str =
            "this edge does not know the join token: it redeems only tokens made on it, exactly as shown";
        let unknown = || Refusal::new(RefusalCode::TokenUnknown, UNKNOWN);
        let bytes = files::read_if_there(&self.file(claim.id), FILE_MAX).map_err(|e| unavailable(&e))?;
        let record: Record =
            serde_json::from_slice(&bytes.ok_or_else(unknown)?).map_err(|e| damaged(claim.id, &e.to_string()))?;
        let digest: Sha256 = record.secret_sha256.parse().map_err(|_| damaged(claim.id, "its digest is none"))?;
        if !digest.matches(&Sha256::of(claim.secret.expose())) {
            return Err(unknown());
        }
        Ok(record)
    }

    fn record(&self, id: TokenId, record: &Record) -> Result<(), FileError> {
        let bytes = serde_json::to_vec_pretty(record).expect("a record of texts and numbers always encodes");
        files::write(&self.file(id), &bytes)
    }

    /// Removes what ended long ago among the first `look_at` files; says how many files there are.
    fn tidy(&self, now: SystemTime, look_at: usize) -> Result<usize, FileError> {
        let mut left = 0;
        for (index, path) in files::list(&self.dir, "json")?.into_iter().enumerate() {
            let forgotten = index < look_at && ended_by(&path).is_some_and(|end| end + REMEMBERED < now);
            if forgotten {
                files::remove(&path)?;
            } else {
                left += 1;
            }
        }
        Ok(left)
    }

    fn file(&self, id: TokenId) -> PathBuf {
        self.dir.join(format!("{}.json", id.to_hex()))
    }

    fn lock(&self) -> Result<File, FileError> {
        files::lock(&self.dir.join("lock"))
    }
}

/// When the token in this file ends; `None` if the file cannot be understood, and so is left alone.
fn ended_by(path: &Path) -> Option<SystemTime> {
    let record: Record = serde_json::from_slice(&files::read(path, FILE_MAX).ok()?).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(record.expires_ms))
}

/// The claimant learns that it may try again; the edge's people learn why.
fn unavailable(error: &FileError) -> Refusal {
    tracing::warn!(%error, "a join token cannot be redeemed");
    Refusal::new(RefusalCode::Unavailable, "the edge cannot read or record join tokens now: see its log, and try again")
}

fn damaged(id: TokenId, what: &str) -> Refusal {
    tracing::warn!(token = %id, what, "the file of a join token is damaged");
    Refusal::new(RefusalCode::Unavailable, "the edge's record of the join token is damaged: create a new one")
}

#[cfg(test)]
mod tests;

//! A connector's side: its key and certificate in a `state_dir` that one process owns at a time, from the first key to every
//! renewal.
//!
//! Key, certificate and CA are one file, so they are replaced together or not at all. It talks to no edge.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use protocol::{
    control::{Enrolled, Renewed},
    id::{Name, Target},
};
use rcgen::{KeyPair, PublicKeyData};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime},
    server::danger::ClientCertVerifier,
};

use crate::{
    csr,
    digest::Sha256,
    files::{self, FileError},
    peer::{Peer, PeerError, parse},
    pem,
    secret::{Secret, random},
    token::JoinToken,
    verify::ConnectorVerifier,
};

const FILE_MAX: u64 = 64 * 1024;

/// Who this replica is, and the proof.
#[derive(Clone)]
pub struct Identity {
    peer: Peer,
    certificate: CertificateDer<'static>,
    ca: CertificateDer<'static>,
    key: Secret<Vec<u8>>,
}

/// A key that is to be certified, and the request to send for it.
pub struct KeyRequest {
    key: KeyPair,
    csr: Vec<u8>,
}

/// The `state_dir` of a connector, held against other processes until dropped.
#[derive(Debug)]
pub struct ConnectorState {
    dir: PathBuf,
    replica: Name,
    lock: File,
}

/// Why a connector's state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Two processes, one directory.
    #[error("{} is in use by another process: give each replica a state_dir of its own", .0.display())]
    InUse(PathBuf),
    /// A file is not ours or was damaged.
    #[error("{} is damaged ({what}): restore it, or remove it and enrol with a new join token", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// An edge answered with something that is not for us; what we had stays.
    #[error("the edge's answer is not usable: {0}")]
    BadAnswer(String),
    /// The cryptographic library refused.
    #[error("a key could not be made: {0}")]
    Key(#[from] rcgen::Error),
}

impl ConnectorState {
    /// Takes a directory, which is made if missing, and gives the replica a random name once.
    ///
    /// # Errors
    /// [`StateError`] if another process has it, or its files cannot be read or written.
    pub fn open(state_dir: &Path) -> Result<Self, StateError> {
        files::make_private_dir(state_dir)?;
        let lock = files::try_lock(&state_dir.join("lock"))?;
        let lock = lock.ok_or_else(|| StateError::InUse(state_dir.to_owned()))?;
        Self::held(state_dir, lock)
    }

    /// The same for a process that takes over from the one which has it: `lock` is that one's [`ConnectorState::lock`]. It is free again
    /// when both have ended.
    ///
    /// # Errors
    /// [`StateError`] if its files cannot be read or written.
    pub fn taken_over(state_dir: &Path, lock: OwnedFd) -> Result<Self, StateError> {
        Self::held(state_dir, lock.into())
    }

    /// What holds the directory, for a process that takes over.
    ///
    /// # Errors
    /// The kernel's.
    pub fn lock(&self) -> io::Result<OwnedFd> {
        self.lock.try_clone().map(OwnedFd::from)
    }

    fn held(state_dir: &Path, lock: File) -> Result<Self, StateError> {
        let path = state_dir.join("replica");
        let replica = match files::read_if_there(&path, FILE_MAX)? {
            Some(bytes) => str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok()).ok_or_else(|| {
                StateError::Corrupt { path: path.clone(), what: "it must hold the replica's name".to_owned() }
            })?,
            None => {
                let name = format!("r-{}", HEXLOWER.encode(&random::<4>()));
                files::write(&path, name.as_bytes())?;
                name.parse().expect("hex digits after \"r-\" are a name")
            }
        };
        Ok(Self { dir: state_dir.to_owned(), replica, lock })
    }

    /// Whether the identity was had for this very token. A token that was not redeemed yet is worth trying even if there is an
    /// identity: that may have been revoked.
    #[must_use]
    pub fn has_redeemed(&self, token: &JoinToken) -> bool {
        let kept = files::read_if_there(&self.redeemed_file(), FILE_MAX).ok().flatten();
        kept.is_some_and(|id| id == token.id.to_hex().as_bytes())
    }

    /// This replica's name for itself.
    #[must_use]
    pub fn replica(&self) -> &Name {
        &self.replica
    }

    /// The identity, if this replica is enrolled. It may have expired: ask its lifetime.
    ///
    /// # Errors
    /// [`StateError`] if the file is there and cannot be read or understood.
    pub fn identity(&self) -> Result<Option<Identity>, StateError> {
        let path = self.identity_file();
        let Some(bytes) = files::read_secret_if_there(&path, FILE_MAX)? else {
            return Ok(None);
        };
        let corrupt = |what: String| StateError::Corrupt { path: path.clone(), what };
        let text = str::from_utf8(&bytes).map_err(|_| corrupt("it is not text".to_owned()))?;
        let key = KeyPair::from_pem(text).map_err(|_| corrupt("it holds no private key".to_owned()))?;
        let certificates = pem::certificates(&bytes).map_err(|e| corrupt(e.to_string()))?;
        let count = certificates.len();
        let [certificate, ca] = <[_; 2]>::try_from(certificates)
            .map_err(|_| corrupt(format!("it must hold 2 certificates and holds {count}")))?;
        Identity::assembled(&key, certificate, ca).map(Some).map_err(|e| corrupt(e.to_string()))
    }

    /// The key to enrol with. It is kept before it is sent anywhere, and the same until enrolment succeeds, so that a
    /// redemption whose answer was lost, even by a crash, can be repeated.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn enrolment(&self) -> Result<KeyRequest, StateError> {
        let path = self.enrolment_file();
        if let Some(bytes) = files::read_secret_if_there(&path, FILE_MAX)? {
            let key = str::from_utf8(&bytes).ok().and_then(|text| KeyPair::from_pem(text).ok());
            let what = || "it must hold a private key".to_owned();
            let key = key.ok_or_else(|| StateError::Corrupt { path: path.clone(), what: what() })?;
            return KeyRequest::of(key);
        }
        let request = KeyRequest::of(KeyPair::generate()?)?;
        files::write(&path, request.key.serialize_pem().as_bytes())?;
        Ok(request)
    }

    /// A fresh key to renew with. Nothing is kept until the answer is: a lost answer is asked for again with another key.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn renewal(&self) -> Result<KeyRequest, StateError> {
        KeyRequest::of(KeyPair::generate()?)
    }

    /// Keeps what an edge answered to an enrolment, once it has been found to be what the token promises.
    ///
    /// # Errors
    /// [`StateError`]; then the answer may be asked for again with the same [`ConnectorState::enrolment`].
    pub fn finish_enrolment(
        &self,
        request: &KeyRequest,
        token: &JoinToken,
        answer: &Enrolled,
    ) -> Result<Identity, StateError> {
        let bad = |what: &str| Err(StateError::BadAnswer(what.to_owned()));
        if !Sha256::of(&answer.ca).matches(&token.ca) {
            return bad("its CA is not the one in the join token");
        }
        if answer.connector != token.connector.as_str() {
            return bad("it is for another connector than the join token");
        }
        let ca = CertificateDer::from(answer.ca.clone());
        let identity = self.keep(request, &token.connector, answer.certificate.clone(), ca)?;
        let edges: Vec<String> = token.edges.iter().map(Target::to_string).collect();
        let edges = serde_json::to_vec_pretty(&edges).expect("a list of texts always encodes");
        files::write(&self.token_edges_file(), &edges)?;
        files::write(&self.redeemed_file(), token.id.to_hex().as_bytes())?;
        files::remove(&self.enrolment_file())?;
        Ok(identity)
    }

    /// Keeps what an edge answered to a renewal of `old`.
    ///
    /// # Errors
    /// [`StateError`]; then `old` stays.
    pub fn finish_renewal(
        &self,
        request: &KeyRequest,
        old: &Identity,
        answer: &Renewed,
    ) -> Result<Identity, StateError> {
        self.keep(request, &old.peer.connector, answer.certificate.clone(), old.ca.clone())
    }

    fn keep(
        &self,
        request: &KeyRequest,
        connector: &Name,
        certificate: Vec<u8>,
        ca: CertificateDer<'static>,
    ) -> Result<Identity, StateError> {
        let identity = Identity::assembled(&request.key, certificate.into(), ca)
            .map_err(|e| StateError::BadAnswer(e.to_string()))?;
        if identity.peer.connector != *connector || identity.peer.replica != self.replica {
            return Err(StateError::BadAnswer("its certificate is for somebody else".to_owned()));
        }
        let text =
            [request.key.serialize_pem(), pem::certificate(&identity.certificate), pem::certificate(&identity.ca)];
        files::write(&self.identity_file(), text.concat().as_bytes())?;
        Ok(identity)
    }

    /// The edges that the token named which was redeemed last: the token itself may be gone.
    ///
    /// # Errors
    /// [`StateError`] if the file is there and cannot be read or understood.
    pub fn token_edges(&self) -> Result<Vec<Target>, StateError> {
        let path = self.token_edges_file();
        let Some(bytes) = files::read_if_there(&path, FILE_MAX)? else { return Ok(Vec::new()) };
        let corrupt = |what: String| StateError::Corrupt { path: path.clone(), what };
        let texts: Vec<String> = serde_json::from_slice(&bytes).map_err(|e| corrupt(e.to_string()))?;
        texts.iter().map(|text| text.parse().map_err(|_| corrupt(format!("\"{text}\" is no edge")))).collect()
    }

    /// Where edges were reached last, by name.
    ///
    /// # Errors
    /// [`StateError`] if the file is there and cannot be read or understood.
    pub fn edge_addresses(&self) -> Result<BTreeMap<String, Vec<IpAddr>>, StateError> {
        let path = self.edges_file();
        let Some(bytes) = files::read_if_there(&path, FILE_MAX)? else { return Ok(BTreeMap::new()) };
        serde_json::from_slice(&bytes).map_err(|e| StateError::Corrupt { path, what: e.to_string() })
    }

    /// Keeps where edges were reached last.
    ///
    /// # Errors
    /// [`StateError`] if the file cannot be written.
    pub fn keep_edge_addresses(&self, edges: &BTreeMap<String, Vec<IpAddr>>) -> Result<(), StateError> {
        let bytes = serde_json::to_vec_pretty(edges).expect("a map of texts to addresses always encodes");
        Ok(files::write(&self.edges_file(), &bytes)?)
    }

    fn edges_file(&self) -> PathBuf {
        self.dir.join("edges.json")
    }

    fn token_edges_file(&self) -> PathBuf {
        self.dir.join("token-edges.json")
    }

    fn identity_file(&self) -> PathBuf {
        self.dir.join("identity.pem")
    }

    fn redeemed_file(&self) -> PathBuf {
        self.dir.join("redeemed")
    }

    fn enrolment_file(&self) -> PathBuf {
        self.dir.join("enrolment.key")
    }
}

impl Identity {
    /// Puts the parts together if they belong together.
    fn assembled(
        key: &KeyPair,
        certificate: CertificateDer<'static>,
        ca: CertificateDer<'static>,
    ) -> Result<Self, PeerError> {
        let peer = Peer::of(&certificate)?;
        if parse(&certificate)?.public_key().raw != key.subject_public_key_info() {
            return Err(PeerError::Malformed("it is for another key"));
        }
        // Whether it holds now is asked later, again and again; here, whether it ever did.
        let issued = peer.lifetime.issued_at.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
        ConnectorVerifier::new(&ca)
            .and_then(|v| v.verify_client_cert(&certificate, &[], UnixTime::since_unix_epoch(issued)))
            .map_err(|e| PeerError::Rejected(e.to_string()))?;
        Ok(Self { peer, certificate, ca, key: Secret::new(key.serialize_der()) })
    }

    /// Who it says we are, and how long.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Our certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate of the fleet's CA.
    #[must_use]
    pub fn ca(&self) -> &CertificateDer<'static> {
        &self.ca
    }

    /// The key, for TLS.
    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.expose().clone()))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("peer", &self.peer).field("key", &self.key).finish_non_exhaustive()
    }
}

impl KeyRequest {
    fn of(key: KeyPair) -> Result<Self, StateError> {
        let csr = csr::request(&key)?;
        Ok(Self { key, csr })
    }

    /// The PKCS#10 request in DER, for [`protocol::control::Enrol`] or [`protocol::control::Renew`].
    #[must_use]
    pub fn csr(&self) -> &[u8] {
        &self.csr
    }
}

impl fmt::Debug for KeyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRequest").field("key", &"***").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

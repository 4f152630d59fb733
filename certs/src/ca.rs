//! The fleet's CA: made once in a `state_dir`, or brought in files; issues edges and connectors.
//!
//! It decides nothing about who may have a certificate.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use protocol::id::Name;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::{
    client::danger::ServerCertVerifier,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::danger::ClientCertVerifier,
};
use time::OffsetDateTime;

use crate::{
    csr::ProvenKey,
    digest::Sha256,
    files::{self, FileError},
    issued::EdgeIdentity,
    peer::{self, Distance, EDGE_NAME, Peer, Span, moment, parse},
    pem,
    revocation::{AuthorityId, Enrolment, unix_ms},
    rotation::{BACKDATED, Lifetime, Utc},
    secret::random,
    verify::{ConnectorVerifier, EdgeVerifier},
};

/// How long a CA of our making lasts.
pub const CA_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
const FILE_MAX: u64 = 64 * 1024;

/// A CA and its key. Debug shows the certificate's digest only.
pub struct Ca {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    fingerprint: Sha256,
    not_after: SystemTime,
}

/// Why there is no usable CA.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The certificate file is not one certificate.
    #[error("{} must hold one CA certificate in PEM: {what}", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The CA's time has not begun, by this machine's clock.
    #[error(
        "the CA in {} begins {} from now, by this machine's clock, which shows {}: the clock is behind",
        path.display(), Span(distance.span), Utc(distance.now)
    )]
    NotBegun {
        /// The certificate file.
        path: PathBuf,
        /// How long until then.
        distance: Distance,
    },
    /// The key file is not a private key.
    #[error("{} must hold one private key in PEM", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
    },
    /// Certificate and key do not belong together.
    #[error("{} is not the key of {}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// The key of our own CA was lost.
    #[error(
        "{} is there but its key {} is not: restore the key, or remove the certificate to begin anew \
         (then every connector must enrol again)",
        certificate.display(), key.display()
    )]
    KeyLost {
        /// The certificate file.
        certificate: PathBuf,
        /// The missing key file.
        key: PathBuf,
    },
    /// A certificate could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// Why a certificate cannot be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The CA's own time is over.
    #[error("the CA has expired: replace it; every connector must enrol again")]
    CaExpired,
    /// The clock is too far off for a certificate to say.
    #[error("the clock of this machine shows a year that no certificate can hold")]
    Clock,
    /// The cryptographic library refused.
    #[error("a certificate could not be made: {0}")]
    Rcgen(#[from] rcgen::Error),
}

/// Whom a connector's certificate is for.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The connector.
    pub connector: &'a Name,
    /// Which of its replicas.
    pub replica: &'a Name,
    /// When the replica redeemed its join token.
    pub enrolled_at: SystemTime,
    /// Which token that was; of those that earlier versions made nobody knows.
    pub enrolment: Option<Enrolment>,
}

struct Moments {
    enrolled_at: SystemTime,
    now: SystemTime,
}

impl Ca {
    /// The CA kept in `state_dir`, made now if there is none. Processes that start together agree on one.
    ///
    /// # Errors
    /// [`CaError`] if it is damaged, expired, or cannot be read or written.
    pub fn open(state_dir: &Path, now: SystemTime) -> Result<Self, CaError> {
        files::make_private_dir(state_dir)?;
        let _lock = files::lock(&state_dir.join("ca.lock"))?;
        let (certificate_path, key_path) = (state_dir.join("ca.pem"), state_dir.join("ca.key"));
        let certificate = files::read_if_there(&certificate_path, FILE_MAX)?;
        let key = files::read_if_there(&key_path, FILE_MAX)?;
        match (certificate, key) {
            (Some(_), Some(_)) => {}
            (Some(_), None) => return Err(CaError::KeyLost { certificate: certificate_path, key: key_path }),
            // The key is written first, so a key alone is a start that was interrupted. A certificate made again from
            // the same key is trusted by whoever trusted the first.
            (None, Some(key)) => make_certificate(&read_key(&key, &key_path)?, &certificate_path, now)?,
            (None, None) => {
                let key = KeyPair::generate().map_err(IssueError::from)?;
                files::write(&key_path, key.serialize_pem().as_bytes())?;
                make_certificate(&key, &certificate_path, now)?;
            }
        }
        Self::from_files(&certificate_path, &key_path, now)
    }

    /// A CA brought in PEM files.
    ///
    /// # Errors
    /// [`CaError`] if a file is unreadable or holds something else, if key and certificate do not belong together, and if
    /// the certificate is no CA's, has expired, or cannot issue what Underpass needs.
    pub fn from_files(certificate_path: &Path, key_path: &Path, now: SystemTime) -> Result<Self, CaError> {
        let wrong = |what: String| CaError::Certificate { path: certificate_path.to_owned(), what };
        let found = pem::certificates(&files::read(certificate_path, FILE_MAX)?).map_err(|e| wrong(e.to_string()))?;
        let count = found.len();
        let [certificate] = <[_; 1]>::try_from(found).map_err(|_| wrong(format!("it holds {count}")))?;
        let key = read_key(&files::read(key_path, FILE_MAX)?, key_path)?;
        files::warn_if_open(key_path);
        let x509 = parse(&certificate).map_err(|e| wrong(e.to_string()))?;
        if x509.public_key().raw != key.subject_public_key_info() {
            return Err(CaError::Mismatch { certificate: certificate_path.to_owned(), key: key_path.to_owned() });
        }
        if !x509.is_ca() || x509.key_usage().ok().flatten().is_some_and(|usage| !usage.value.key_cert_sign()) {
            return Err(wrong("this one is not a CA's".to_owned()));
        }
        let not_after = moment(x509.validity().not_after).map_err(|e| wrong(e.to_string()))?;
        let not_before = moment(x509.validity().not_before).map_err(|e| wrong(e.to_string()))?;
        if now > not_after {
            return Err(wrong("this one has expired".to_owned()));
        }
        if now < not_before {
            let distance = Distance::until(not_before, now);
            return Err(CaError::NotBegun { path: certificate_path.to_owned(), distance });
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(IssueError::from)?;
        let fingerprint = Sha256::of(&certificate);
        let ca = Self { certificate, issuer, fingerprint, not_after };
        ca.rehearse(now).map_err(|what| wrong(format!("this one cannot issue what underpass needs: {what}")))?;
        Ok(ca)
    }

    /// The CA's certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The moment it ends: nobody is let in after it.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// SHA-256 of [`Ca::certificate`], as join tokens pin it.
    #[must_use]
    pub fn fingerprint(&self) -> Sha256 {
        self.fingerprint
    }

    /// A certificate, with a fresh key, for an edge.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue_edge(&self, now: SystemTime) -> Result<EdgeIdentity, IssueError> {
        let key = KeyPair::generate()?;
        let mut params = leaf("underpass edge", ExtendedKeyUsagePurpose::ServerAuth);
        params.subject_alt_names = vec![SanType::DnsName(EDGE_NAME.try_into()?)];
        let (certificate, lifetime) = self.issue(params, &key, Moments { enrolled_at: now, now })?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(EdgeIdentity::new(vec![certificate, self.certificate.clone()], key, lifetime))
    }

    /// A certificate for a connector's key.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue_connector(
        &self,
        key: &ProvenKey,
        subject: &Subject<'_>,
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, IssueError> {
        let Subject { connector, replica, enrolled_at, enrolment } = *subject;
        let mut params = leaf(connector.as_str(), ExtendedKeyUsagePurpose::ClientAuth);
        params.subject_alt_names = vec![SanType::URI(Peer::uri(connector, replica).try_into()?)];
        let extension = |e| CustomExtension::from_oid_content(peer::ENROLMENT_OID, peer::enrolment_content(&e));
        params.custom_extensions = enrolment.map(extension).into_iter().collect();
        Ok(self.issue(params, key, Moments { enrolled_at, now })?.0)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        Moments { enrolled_at, now }: Moments,
    ) -> Result<(CertificateDer<'static>, Lifetime), IssueError> {
        if now >= self.not_after {
            return Err(IssueError::CaExpired);
        }
        let lifetime = Lifetime { enrolled_at, ..Lifetime::starting(now, self.not_after) };
        let serial = peer::serial(now, enrolled_at);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.not_before = calendar(lifetime.not_before)?;
        params.not_after = calendar(lifetime.not_after)?;
        Ok((params.signed_by(key, &self.issuer)?.into(), lifetime))
    }

    /// Issues one of each and verifies it as peers will, so that what is wrong with a CA shows at the start and not at the
    /// first connection: name constraints, an encoding of its name that we do not reproduce, an algorithm nobody accepts.
    fn rehearse(&self, now: SystemTime) -> Result<(), String> {
        let at = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        let edge = self.issue_edge(now).map_err(|e| e.to_string())?;
        let name = ServerName::try_from(EDGE_NAME).expect("a constant DNS name");
        EdgeVerifier::trusting(&self.certificate)
            .and_then(|v| v.verify_server_cert(edge.leaf(), &[], &name, &[], at))
            .map_err(|e| e.to_string())?;

        let key = KeyPair::generate().and_then(|k| crate::csr::request(&k)).map_err(|e| e.to_string())?;
        let key = ProvenKey::from_csr(&key).map_err(|e| e.to_string())?;
        let name: Name = "rehearsal".parse().expect("a constant name");
        let enrolment = Some(Enrolment { number: 0, authority: AuthorityId::new() });
        let subject = Subject { connector: &name, replica: &name, enrolled_at: now, enrolment };
        let leaf = self.issue_connector(&key, &subject, now).map_err(|e| e.to_string())?;
        ConnectorVerifier::new(&self.certificate)
            .and_then(|v| v.verify_client_cert(&leaf, &[], at))
            .map_err(|e| e.to_string())?;
        Ok(())
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").field("fingerprint", &self.fingerprint).field("key", &"***").finish_non_exhaustive()
    }
}

fn read_key(text: &[u8], path: &Path) -> Result<KeyPair, CaError> {
    str::from_utf8(text)
        .ok()
        .and_then(|text| KeyPair::from_pem(text).ok())
        .ok_or_else(|| CaError::Key { path: path.to_owned() })
}

fn make_certificate(key: &KeyPair, path: &Path, now: SystemTime) -> Result<(), CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // The name follows from the key: a CA made again from its key is the same to whoever trusts it.
    let digest = Sha256::of(key.public_key_raw()).to_string();
    params.distinguished_name.push(DnType::CommonName, format!("underpass CA {}", &digest[..16]));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = calendar(now - BACKDATED)?;
    params.not_after = calendar(now + CA_LIFE)?;
    params.serial_number = Some(SerialNumber::from_slice(&[unix_ms(now).to_be_bytes(), random()].concat()));
    let certificate = params.self_signed(key).map_err(IssueError::from)?;
    Ok(files::write(path, pem::certificate(certificate.der()).as_bytes())?)
}

fn leaf(name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

fn calendar(time: SystemTime) -> Result<OffsetDateTime, IssueError> {
    let seconds = i64::try_from(unix_ms(time) / 1000).map_err(|_| IssueError::Clock)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| IssueError::Clock)
}

#[cfg(test)]
mod tests;

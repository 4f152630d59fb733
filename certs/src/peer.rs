//! Whom a certificate names, for how long and by which token: how it is written and read. Its signature is the verifiers'.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use protocol::id::Name;
use rustls::{Error, OtherError, pki_types::CertificateDer};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{ExtendedKeyUsage, GeneralName},
    oid_registry::Oid,
    prelude::FromDer,
    time::ASN1Time,
};

use crate::{
    digest::Sha256,
    revocation::{AuthorityId, Descent, Enrolment, unix_ms},
    rotation::{Lifetime, Utc},
    secret::random,
};

/// The DNS name of every edge's certificate.
pub const EDGE_NAME: &str = "edge.underpass.internal";
const CONNECTOR_URI: &str = "underpass://connector/";

/// Whom a connector's certificate names. That the certificate is genuine was checked in the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The connector.
    pub connector: Name,
    /// Which of its replicas.
    pub replica: Name,
    /// When its certificate was issued and holds.
    pub lifetime: Lifetime,
    /// The join token that it goes back to, if that was told.
    pub enrolment: Option<Enrolment>,
}

/// Why a certificate is not accepted. The text reaches both sides of the handshake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Not a certificate of ours in form.
    #[error("the certificate is malformed: {0}")]
    Malformed(&'static str),
    /// An edge's used by a connector, a connector's used by an edge, a CA's used by either.
    #[error("the certificate is not made for this role: an edge has serverAuth alone, a connector clientAuth alone")]
    WrongRole,
    /// The URI is missing, is not alone or is of another form.
    #[error("the certificate must carry one name, underpass://connector/NAME/REPLICA")]
    NoIdentity,
    /// Not an edge's name.
    #[error("the certificate must carry the name {EDGE_NAME}")]
    NotAnEdge,
    /// Signed by somebody else.
    #[error("the certificate was issued by another CA than the one trusted here")]
    OtherCa,
    /// What was presented does not contain the CA that the join token names.
    #[error("the edge's CA is not the one in the join token (SHA-256 {0})")]
    OtherFingerprint(Sha256),
    /// Its time is over.
    #[error(
        "the certificate expired {} ago, by a clock that shows {}; if it was just issued, one of the two clocks is wrong",
        Span(.0.span), Utc(.0.now)
    )]
    Expired(Distance),
    /// Its time is over and so is the time to renew it.
    #[error("the certificate expired {} ago and may no longer be renewed: enrol with a new join token", Span(.0.span))]
    Lapsed(Distance),
    /// Its time has not begun.
    #[error(
        "the certificate begins {} from now, by a clock that shows {}: one of the two clocks is wrong",
        Span(.0.span), Utc(.0.now)
    )]
    NotYetValid(Distance),
    /// What webpki says otherwise.
    #[error("the certificate is not acceptable: {0}")]
    Rejected(String),
}

/// How far a moment lies from now, and what now is by the clock that judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distance {
    /// How far.
    pub span: Duration,
    /// From when.
    pub now: SystemTime,
}

impl Distance {
    /// From a moment that is over.
    pub(crate) fn since(then: SystemTime, now: SystemTime) -> Self {
        Self { span: now.duration_since(then).unwrap_or_default(), now }
    }

    /// To a moment that is yet to come.
    pub(crate) fn until(then: SystemTime, now: SystemTime) -> Self {
        Self { span: then.duration_since(now).unwrap_or_default(), now }
    }
}

/// Hours and minutes, days and months, for people.
#[derive(Debug, Clone, Copy)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0..60 => write!(f, "{seconds} s"),
            60..7200 => write!(f, "{} min", seconds / 60),
            7200..172_800 => write!(f, "{} h", seconds / 3600),
            172_800..=5_184_000 => write!(f, "{} days", seconds / 86_400),
            _ => write!(f, "{} months", seconds / 2_629_800),
        }
    }
}

/// Whether a refusal of ours says that the other side is of another CA, and so of another fleet: by the CA, or by its digest.
#[must_use]
pub fn is_other_ca(words: &str) -> bool {
    [OTHER_CA, OTHER_FINGERPRINT].iter().any(|beginning| words.contains(beginning))
}

/// How [`PeerError::OtherCa`] and [`PeerError::OtherFingerprint`] begin, which is all that the TLS library leaves of them.
const OTHER_CA: &str = "the certificate was issued by another CA";
const OTHER_FINGERPRINT: &str = "the edge's CA is not the one in the join token";

impl From<PeerError> for Error {
    fn from(error: PeerError) -> Self {
        Self::Other(OtherError(Arc::new(error)))
    }
}

impl Peer {
    /// Reads a connector's certificate: its role, its one name, its times. The signature is not looked at.
    ///
    /// # Errors
    /// [`PeerError`] if it is no connector's certificate of ours.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, PeerError> {
        let x509 = parse(certificate)?;
        require_role(&x509, |usage| usage.client_auth && !usage.server_auth)?;
        let san = x509.subject_alternative_name().map_err(|_| PeerError::NoIdentity)?.ok_or(PeerError::NoIdentity)?;
        let [GeneralName::URI(uri)] = san.value.general_names[..] else {
            return Err(PeerError::NoIdentity);
        };
        let (connector, replica) =
            uri.strip_prefix(CONNECTOR_URI).and_then(|names| names.split_once('/')).ok_or(PeerError::NoIdentity)?;
        Ok(Self {
            connector: connector.parse().map_err(|_| PeerError::NoIdentity)?,
            replica: replica.parse().map_err(|_| PeerError::NoIdentity)?,
            lifetime: lifetime(&x509)?,
            enrolment: enrolment(&x509)?,
        })
    }

    /// What revocations judge it by.
    #[must_use]
    pub fn descent(&self) -> Descent {
        Descent { enrolment: self.enrolment, at: self.lifetime.enrolled_at }
    }

    /// How its certificate says it.
    pub(crate) fn uri(connector: &Name, replica: &Name) -> String {
        format!("{CONNECTOR_URI}{connector}/{replica}")
    }
}

/// When an edge's certificate holds, if it is one. The signature is not looked at.
pub(crate) fn edge_lifetime(certificate: &CertificateDer<'_>) -> Result<Lifetime, PeerError> {
    let x509 = parse(certificate)?;
    require_role(&x509, |usage| usage.server_auth && !usage.client_auth)?;
    lifetime(&x509)
}

/// A certificate, all of its bytes.
pub(crate) fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, PeerError> {
    match X509Certificate::from_der(certificate) {
        Ok(([], x509)) => Ok(x509),
        Ok(_) => Err(PeerError::Malformed("bytes are left over")),
        Err(_) => Err(PeerError::Malformed("not X.509 in DER")),
    }
}

/// A moment as certificates write it.
pub(crate) fn moment(time: ASN1Time) -> Result<SystemTime, PeerError> {
    let seconds = u64::try_from(time.timestamp()).map_err(|_| PeerError::Malformed("it dates from before 1970"))?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn require_role(x509: &X509Certificate<'_>, role: fn(&ExtendedKeyUsage<'_>) -> bool) -> Result<(), PeerError> {
    let usage = x509.extended_key_usage().map_err(|_| PeerError::WrongRole)?.ok_or(PeerError::WrongRole)?;
    if x509.is_ca() || usage.value.any || !role(usage.value) { Err(PeerError::WrongRole) } else { Ok(()) }
}

/// Bytes of a serial number, as many as RFC 5280 allows: the moment of issue in milliseconds (8), the moment of enrolment in
/// milliseconds (6, enough for the next eight thousand years), random ones (6).
const SERIAL_LENGTH: usize = 20;

/// The serial number of a certificate issued now.
pub(crate) fn serial(issued_at: SystemTime, enrolled_at: SystemTime) -> [u8; SERIAL_LENGTH] {
    let mut serial = [0; SERIAL_LENGTH];
    let (issued, rest) = serial.split_at_mut(8);
    let (enrolled, noise) = rest.split_at_mut(6);
    issued.copy_from_slice(&unix_ms(issued_at).to_be_bytes());
    enrolled.copy_from_slice(&unix_ms(enrolled_at).to_be_bytes()[2..]);
    noise.copy_from_slice(&random::<6>());
    serial
}

/// Where a certificate says which join token it goes back to. Not critical, so that older peers pass over it.
pub(crate) const ENROLMENT_OID: &[u64] = &[2, 25, 4_730_818_305_164_839_971];
/// An octet string of 16 bytes, in DER.
const ENROLMENT_HEAD: [u8; 2] = [4, 16];

/// How a certificate says it.
pub(crate) fn enrolment_content(enrolment: &Enrolment) -> Vec<u8> {
    [&ENROLMENT_HEAD[..], &enrolment.number.to_be_bytes(), &enrolment.authority.0].concat()
}

fn enrolment(x509: &X509Certificate<'_>) -> Result<Option<Enrolment>, PeerError> {
    let foreign = || PeerError::Malformed("it does not tell which join token it goes back to");
    let oid = Oid::from(ENROLMENT_OID).expect("a constant object identifier");
    let Some(extension) = x509.get_extension_unique(&oid).map_err(|_| foreign())? else { return Ok(None) };
    let content: [u8; 16] =
        extension.value.strip_prefix(&ENROLMENT_HEAD).and_then(|rest| rest.try_into().ok()).ok_or_else(foreign)?;
    let [number @ .., _, _, _, _, _, _, _, _] = content;
    let [_, _, _, _, _, _, _, _, authority @ ..] = content;
    Ok(Some(Enrolment { number: u64::from_be_bytes(number), authority: AuthorityId(authority) }))
}

fn lifetime(x509: &X509Certificate<'_>) -> Result<Lifetime, PeerError> {
    let foreign = PeerError::Malformed("its serial number does not tell when it was issued");
    let digits = x509.raw_serial();
    let mut serial = [0; SERIAL_LENGTH];
    let start = serial.len().checked_sub(digits.len()).ok_or_else(|| foreign.clone())?;
    serial[start..].copy_from_slice(digits);
    let mut enrolled = [0; 8];
    enrolled[2..].copy_from_slice(&serial[8..14]);
    let [issued @ .., _, _, _, _, _, _, _, _, _, _, _, _] = serial;
    let since_epoch = |ms: [u8; 8]| SystemTime::UNIX_EPOCH + Duration::from_millis(u64::from_be_bytes(ms));
    let (issued_at, enrolled_at) = (since_epoch(issued), since_epoch(enrolled));
    let not_before = moment(x509.validity().not_before)?;
    let not_after = moment(x509.validity().not_after)?;
    if issued_at < not_before || issued_at > not_after {
        return Err(foreign);
    }
    Ok(Lifetime { issued_at, enrolled_at, not_before, not_after })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose as Usage, IsCa, KeyPair, SanType, SerialNumber,
    };

    use super::*;

    const ISSUED: u64 = 1_800_000_000_000;

    /// A certificate that differs from a connector's by what `change` does.
    fn forged(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.serial_number =
            Some(SerialNumber::from_slice(&[&ISSUED.to_be_bytes()[..], &ISSUED.to_be_bytes()[2..], &[7; 6]].concat()));
        params.extended_key_usages = vec![Usage::ClientAuth];
        params.subject_alt_names = vec![uri("underpass://connector/dc1/r-1")];
        change(&mut params);
        params.self_signed(&KeyPair::generate().expect("key")).expect("signed").into()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().expect("ASCII"))
    }

    #[test]
    fn a_connector_is_read_from_its_one_uri() {
        let peer = Peer::of(&forged(|_| {})).expect("a connector's");
        assert_eq!((peer.connector.as_str(), peer.replica.as_str()), ("dc1", "r-1"));
        assert_eq!(peer.lifetime.issued_at, SystemTime::UNIX_EPOCH + Duration::from_millis(ISSUED));
    }

    #[test]
    fn names_of_another_form_are_no_identity() {
        for bad in [
            "underpass://connector/dc1",
            "underpass://connector/dc1/",
            "underpass://connector//r-1",
            "underpass://connector/dc1/r-1/x",
            "underpass://connector/DC1/r-1",
            "underpass://connector/dc1/r_1",
            "underpass://edge/dc1/r-1",
            "Underpass://connector/dc1/r-1",
            "https://connector/dc1/r-1",
        ] {
            let certificate = forged(|p| p.subject_alt_names = vec![uri(bad)]);
            assert_eq!(Peer::of(&certificate), Err(PeerError::NoIdentity), "{bad}");
        }
        let dns = || SanType::DnsName("dc1".try_into().expect("ASCII"));
        let good = || uri("underpass://connector/dc1/r-1");
        for names in [vec![], vec![dns()], vec![good(), dns()], vec![good(), good()]] {
            let certificate = forged(|p| p.subject_alt_names = names);
            assert_eq!(Peer::of(&certificate), Err(PeerError::NoIdentity));
        }
    }

    #[test]
    fn roles_must_be_exact() {
        for usages in [
            vec![],
            vec![Usage::Any],
            vec![Usage::ClientAuth, Usage::Any],
            vec![Usage::ClientAuth, Usage::ServerAuth],
            vec![Usage::ServerAuth],
            vec![Usage::CodeSigning],
        ] {
            let certificate = forged(|p| p.extended_key_usages.clone_from(&usages));
            assert_eq!(Peer::of(&certificate), Err(PeerError::WrongRole), "{usages:?}");
        }
        let ca = forged(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        assert_eq!(Peer::of(&ca), Err(PeerError::WrongRole));
        assert_eq!(edge_lifetime(&forged(|_| {})), Err(PeerError::WrongRole));
    }

    #[test]
    fn a_serial_number_that_tells_no_time_is_foreign() {
        for serial in [vec![7; 8], vec![7; 16], vec![7; 20], vec![]] {
            let foreign = forged(|p| p.serial_number = Some(SerialNumber::from_slice(&serial)));
            assert!(matches!(Peer::of(&foreign), Err(PeerError::Malformed(_))), "{serial:?}");
        }
    }

    #[test]
    fn only_the_ca_and_its_digest_make_another_fleet() {
        let (now, digest) = (SystemTime::UNIX_EPOCH, Sha256([1; 32]));
        let span = Distance { span: Duration::from_secs(1), now };
        for (error, other) in [
            (PeerError::OtherCa, true),
            (PeerError::OtherFingerprint(digest), true),
            (PeerError::WrongRole, false),
            (PeerError::NotAnEdge, false),
            (PeerError::Expired(span), false),
            (PeerError::NotYetValid(span), false),
            (PeerError::Rejected("another".to_owned()), false),
        ] {
            let said = Error::from(error).to_string();
            assert_eq!(is_other_ca(&said), other, "{said}");
        }
        assert!(!is_other_ca("peer doesn't support any known protocol"));
    }

    #[test]
    fn spans_are_said_in_the_unit_people_use() {
        for (seconds, want) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (7199, "119 min"),
            (7200, "2 h"),
            (172_800, "2 days"),
            (58_000_000, "22 months"),
        ] {
            assert_eq!(Span(Duration::from_secs(seconds)).to_string(), want);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(at in 0..10_000_usize, byte: u8, noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut certificate = forged(|_| {}).to_vec();
            let at = at % certificate.len();
            certificate[at] = byte;
            let _ = Peer::of(&certificate.into());
            let _ = Peer::of(&noise.clone().into());
            let _ = crate::csr::ProvenKey::from_csr(&noise);
        }
    }
}

//! A certificate that clients are shown: read from its files once, with the names it is valid for and its end.

use std::{
    fmt, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, time::ASN1Time};

use crate::model::CertificateFiles;

/// Bytes of a chain, or of a key, at most.
const FILE_MAX: u64 = 1024 * 1024;

/// An end this near is told, or one within the last third of a shorter life.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// A certificate with its key.
#[derive(Debug)]
pub struct Certificate {
    file: PathBuf,
    pub(super) key: Arc<CertifiedKey>,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    begins: SystemTime,
    ends: SystemTime,
}

/// How long a certificate still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// For long enough.
    Good,
    /// It ends soon, after this.
    EndsSoon(Duration),
    /// It ended this long ago.
    Ended(Duration),
    /// It begins after this.
    NotBegun(Duration),
}

impl Term {
    /// How long what holds from `begins` to `ends` still does.
    #[must_use]
    pub fn of(begins: SystemTime, ends: SystemTime, now: SystemTime) -> Self {
        let life = ends.duration_since(begins).unwrap_or_default();
        if let Ok(ago) = now.duration_since(ends) {
            return Self::Ended(ago);
        }
        if now < begins {
            return Self::NotBegun(begins.duration_since(now).unwrap_or_default());
        }
        match ends.duration_since(now).unwrap_or_default() {
            after if after < SOON.min(life / 3) => Self::EndsSoon(after),
            _ => Self::Good,
        }
    }

    /// Its word in status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::EndsSoon(_) => "ends_soon",
            Self::Ended(_) => "expired",
            Self::NotBegun(_) => "not_begun",
        }
    }
}

/// As it follows upon "this certificate".
impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("is good"),
            Self::EndsSoon(after) => write!(f, "ends in {}: renew it", days(*after)),
            Self::Ended(ago) => write!(f, "expired {} ago: clients refuse it", days(*ago)),
            Self::NotBegun(after) => write!(f, "begins in {}: clients refuse it, or this clock is wrong", days(*after)),
        }
    }
}

fn days(span: Duration) -> String {
    match span.as_secs() / 3600 {
        hours @ 0..48 => format!("{hours} h"),
        hours => format!("{} days", hours / 24),
    }
}

impl Certificate {
    /// Reads and checks both files, and that they belong together.
    ///
    /// # Errors
    /// What is wrong, with the file in the text.
    pub fn read(files: &CertificateFiles) -> io::Result<Self> {
        let named = |path: &Path, error: &dyn fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
        let read = |path: &Path| certs::read(path, FILE_MAX).map_err(io::Error::other);
        let wrong = |error: &dyn fmt::Display| named(&files.certificate, error);
        let chain = CertificateDer::pem_slice_iter(&read(&files.certificate)?).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|e| wrong(&e))?;
        if chain.is_empty() {
            return Err(wrong(&"the file has no PEM certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|e| named(&files.key, &e))?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        let key = key.map_err(|e| {
            if matches!(e, rustls::Error::InconsistentKeys(_)) {
                named(&files.key, &format!("this is not the key of {}", files.certificate.display()))
            } else {
                named(&files.key, &e)
            }
        })?;
        ParsedCertificate::try_from(&key.cert[0]).map_err(|e| wrong(&e))?;
        let (_, parsed) = X509Certificate::from_der(&key.cert[0]).map_err(|e| wrong(&e))?;
        let (names, addresses) = names(&parsed);
        let validity = parsed.validity();
        let (begins, ends) = (moment(validity.not_before), moment(validity.not_after));
        Ok(Self { file: files.certificate.clone(), names, addresses, begins, ends, key: Arc::new(key) })
    }

    /// Whether it is valid for a host, in lower case.
    pub(super) fn covers(&self, host: &str) -> bool {
        if let Ok(address) = host.parse() {
            return self.addresses.contains(&address);
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        let parent = host.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(above) => parent == Some(above),
            None => name == host,
        })
    }

    /// Its file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Names it is valid for.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.names.iter().cloned().chain(self.addresses.iter().map(IpAddr::to_string)).collect()
    }

    /// When it ends.
    #[must_use]
    pub fn ends(&self) -> SystemTime {
        self.ends
    }

    /// How long it still holds.
    #[must_use]
    pub fn term(&self, now: SystemTime) -> Term {
        Term::of(self.begins, self.ends, now)
    }
}

/// Names in lower case, and addresses, as the certificate has them.
fn names(parsed: &X509Certificate<'_>) -> (Vec<String>, Vec<IpAddr>) {
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    let alternatives = parsed.subject_alternative_name().ok().flatten();
    for name in alternatives.iter().flat_map(|found| &found.value.general_names) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "names of other kinds are nobody's host")]
        match name {
            GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
            _ => {}
        }
    }
    (names, addresses)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn moment(at: ASN1Time) -> SystemTime {
    let seconds = at.timestamp();
    let since = Duration::from_secs(seconds.unsigned_abs());
    let moment =
        if seconds < 0 { SystemTime::UNIX_EPOCH.checked_sub(since) } else { SystemTime::UNIX_EPOCH.checked_add(since) };
    moment.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A certificate of these names, kept in a directory.
    fn made(dir: &Path, file: &str, names: &[&str]) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("made");
        let path = |end: &str| dir.join(format!("{file}.{end}"));
        fs::write(path("pem"), made.cert.pem()).expect("written");
        fs::write(path("key"), made.signing_key.serialize_pem()).expect("written");
        CertificateFiles { certificate: path("pem"), key: path("key") }
    }

    #[test]
    fn a_certificate_covers_its_names_and_what_a_wildcard_stands_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let names = ["www.example.com", "*.shop.example.com", "10.0.0.1", "::1"];
        let certificate = Certificate::read(&made(dir.path(), "a", &names)).expect("read");
        for host in ["www.example.com", "www.example.com.", "a.shop.example.com", "10.0.0.1", "::1"] {
            assert!(certificate.covers(host), "{host}");
        }
        for host in ["example.com", "shop.example.com", "a.b.shop.example.com", ".shop.example.com", "10.0.0.2", ""] {
            assert!(!certificate.covers(host), "{host}");
        }
    }

    #[test]
    fn a_key_that_is_anothers_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let (a, b) = (made(dir.path(), "a", &["a.example"]), made(dir.path(), "b", &["b.example"]));
        let mixed = CertificateFiles { certificate: a.certificate, key: b.key };
        let error = Certificate::read(&mixed).map(|_| ()).map_err(|e| e.to_string());
        assert!(error.as_ref().is_err_and(|e| e.contains("b.key: this is not the key of")), "{error:?}");
    }

    #[test]
    fn a_file_without_an_end_is_too_long() {
        let dir = tempfile::tempdir().expect("a directory");
        let CertificateFiles { certificate, key } = made(dir.path(), "a", &["a.example"]);
        let endless = PathBuf::from("/dev/zero");
        for files in [
            CertificateFiles { certificate: endless.clone(), key },
            CertificateFiles { certificate, key: endless.clone() },
        ] {
            let error = Certificate::read(&files).map(|_| ()).map_err(|e| e.to_string());
            assert_eq!(error, Err("cannot read /dev/zero: longer than 1048576 bytes".to_owned()));
        }
    }

    #[test]
    fn an_end_is_told_before_it_comes() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut certificate = Certificate::read(&made(dir.path(), "a", &["a.example"])).expect("read");
        let day = Duration::from_secs(86_400);
        let now = SystemTime::now();
        (certificate.begins, certificate.ends) = (now, now + day * 90);
        assert_eq!(certificate.term(now), Term::Good);
        assert_eq!(certificate.term(now + day * 80), Term::EndsSoon(day * 10));
        assert_eq!(certificate.term(now + day * 91), Term::Ended(day));
        assert_eq!(
            certificate.term(now - day).to_string(),
            "begins in 24 h: clients refuse it, or this clock is wrong"
        );
        certificate.ends = now + day * 6;
        assert_eq!(certificate.term(now + day), Term::Good, "a short life is no reason to warn");
        assert_eq!(certificate.term(now + day * 5), Term::EndsSoon(day));
        assert_eq!(Term::Ended(day * 660).to_string(), "expired 660 days ago: clients refuse it");
    }
}

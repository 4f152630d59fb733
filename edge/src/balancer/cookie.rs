//! The affinity cookie: which origin a client stays on, sealed so that nobody can read or make one, with an absolute end.
//!
//! Pure but for the nonce that every seal draws.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    digest,
};
use certs::secret::Secret;
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, HeaderValue, header};
use protocol::id::Name;

use crate::health::OriginKey;

const NONCE: usize = 12;
const PLAIN: usize = 16;

/// Seals and opens cookies.
pub struct Sealer(RandomizedNonceKey);

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(***)")
    }
}

/// What a cookie is for: it opens for this load balancer only.
#[derive(Debug, Clone, Copy)]
pub struct Purpose<'a> {
    /// The load balancer.
    pub balancer: &'a Name,
    /// The time.
    pub now: SystemTime,
}

impl Purpose<'_> {
    fn cookie(&self) -> String {
        format!("underpass-{}", self.balancer)
    }

    fn seconds(&self) -> u64 {
        self.now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
    }
}

impl Sealer {
    /// A sealer with this secret.
    #[must_use]
    pub fn new(secret: &Secret<String>) -> Self {
        let key = digest::digest(&digest::SHA256, secret.expose().as_bytes());
        Self(RandomizedNonceKey::new(&AES_256_GCM, key.as_ref()).expect("a SHA-256 digest is as long as the key"))
    }

    fn seal(&self, purpose: Purpose<'_>, origin: OriginKey, ttl: Duration) -> Option<String> {
        let expires = purpose.seconds().saturating_add(ttl.as_secs());
        let mut text = [expires.to_be_bytes(), origin.0.to_be_bytes()].concat();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(purpose.balancer.as_str()), &mut text).ok()?;
        Some(BASE64URL_NOPAD.encode(&[&nonce.as_ref()[..], &text].concat()))
    }

    fn open(&self, purpose: Purpose<'_>, sealed: &[u8]) -> Option<OriginKey> {
        let bytes = BASE64URL_NOPAD.decode(sealed).ok()?;
        let (nonce, text) = bytes.split_first_chunk::<NONCE>()?;
        let mut text = text.to_vec();
        let aad = Aad::from(purpose.balancer.as_str());
        let plain = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut text).ok()?;
        let plain: [u8; PLAIN] = (&*plain).try_into().ok()?;
        let (expires, origin) = plain.split_first_chunk::<8>()?;
        let origin = u64::from_be_bytes(origin.try_into().ok()?);
        (purpose.seconds() < u64::from_be_bytes(*expires)).then_some(OriginKey(origin))
    }

    /// The origin that the client is to stay on.
    #[must_use]
    pub fn read(&self, headers: &HeaderMap, purpose: Purpose<'_>) -> Option<OriginKey> {
        let name = purpose.cookie();
        let mut values = headers.get_all(header::COOKIE).iter().flat_map(pairs).filter_map(|pair| value(pair, &name));
        values.find_map(|value| self.open(purpose, value))
    }

    /// The field that keeps the client on this origin, for so long; absent if sealing fails.
    #[must_use]
    pub fn write(&self, purpose: Purpose<'_>, origin: OriginKey, ttl: Duration, tls: bool) -> Option<HeaderValue> {
        let (name, value, age) = (purpose.cookie(), self.seal(purpose, origin, ttl)?, ttl.as_secs());
        let secure = if tls { "; Secure" } else { "" };
        HeaderValue::from_str(&format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}")).ok()
    }
}

/// The pairs of a Cookie field.
pub(super) fn pairs(field: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    field.as_bytes().split(|b| *b == b';').map(<[u8]>::trim_ascii)
}

/// The value of a pair with this name.
pub(super) fn value<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// Removes the edge's own cookies: they say nothing to an origin.
pub fn hide(headers: &mut HeaderMap) {
    let Some(cookie) = headers.get(header::COOKIE) else { return };
    let ours = |pair: &&[u8]| pair.trim_ascii().starts_with(b"underpass-");
    let pairs = || cookie.as_bytes().split(|b| *b == b';');
    if !pairs().any(|pair| ours(&pair)) {
        return;
    }
    let rest: Vec<&[u8]> = pairs().filter(|pair| !ours(pair)).map(<[u8]>::trim_ascii).collect();
    match HeaderValue::from_bytes(&rest.join(&b"; "[..])) {
        Ok(rest) if !rest.is_empty() => drop(headers.insert(header::COOKIE, rest)),
        Ok(_) | Err(_) => drop(headers.remove(header::COOKIE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(100);

    fn sealer() -> Sealer {
        Sealer::new(&Secret::new("a secret".to_owned()))
    }

    fn purpose(balancer: &Name, after: u64) -> Purpose<'_> {
        Purpose { balancer, now: UNIX_EPOCH + Duration::from_secs(1_000_000 + after) }
    }

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn a_cookie_opens_until_its_absolute_end_and_for_its_balancer_only() {
        let (www, api, sealer) = (name("www"), name("api"), sealer());
        let sealed = sealer.seal(purpose(&www, 0), OriginKey(7), TTL).expect("sealed");
        let open = |balancer, after| sealer.open(purpose(balancer, after), sealed.as_bytes());
        assert_eq!(open(&www, 0), Some(OriginKey(7)));
        assert_eq!(open(&www, 99), Some(OriginKey(7)));
        assert_eq!(open(&www, 100), None);
        assert_eq!(open(&api, 0), None);
        let other = Sealer::new(&Secret::new("another".to_owned()));
        assert_eq!(other.open(purpose(&www, 0), sealed.as_bytes()), None);
    }

    #[test]
    fn a_changed_cookie_does_not_open_and_two_for_one_origin_differ() {
        let (www, sealer) = (name("www"), sealer());
        let seal = || sealer.seal(purpose(&www, 0), OriginKey(7), TTL).expect("sealed");
        let sealed = seal();
        assert_ne!(sealed, seal());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(sealer.open(purpose(&www, 0), &changed), None, "byte {at}");
        }
        assert_eq!(sealer.open(purpose(&www, 0), b""), None);
    }

    #[test]
    fn a_cookie_is_found_among_others_and_hidden_from_origins() {
        let (www, sealer) = (name("www"), sealer());
        let set = sealer.write(purpose(&www, 0), OriginKey(7), TTL, true).expect("a value");
        let set = set.to_str().expect("text");
        assert!(set.ends_with("; Path=/; Max-Age=100; HttpOnly; SameSite=Lax; Secure"), "{set}");
        let pair = set.split(';').next().expect("a pair");
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, format!("a=1; {pair}; b=2").parse().expect("a value"));
        assert_eq!(sealer.read(&headers, purpose(&www, 0)), Some(OriginKey(7)));
        hide(&mut headers);
        assert_eq!(headers[header::COOKIE], "a=1; b=2");
        headers.insert(header::COOKIE, pair.parse().expect("a value"));
        hide(&mut headers);
        assert!(headers.is_empty());
    }
}

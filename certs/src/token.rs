//! The join token: one line of text that lets one replica of one connector enrol once. Its form, not its redemption.
//!
//! ```text
//! upt1_ base64url( content, first 4 bytes of SHA-256("upt1_" content) )
//!
//! content  0    16       48             80            88
//!          | id | secret | CA's SHA-256 | expires u64 | u8 connector | u8 edges, each: u16 text |
//! ```
//! Numbers are big-endian, `expires` is in seconds since 1970, texts are preceded by their length.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use protocol::id::{Name, Target};

use crate::{
    digest::Sha256,
    secret::{Secret, random},
};

/// What every token of this form begins with.
pub const PREFIX: &str = "upt1_";
/// Most edges a token names.
pub const EDGES_MAX: usize = 16;
/// Longest text that is looked at, bytes; sixteen edges of the longest names fit.
pub const TEXT_MAX: usize = 8192;

const CHECK: usize = 4;
/// Nothing after the year 9999: neither the store nor the system's calendar goes further.
const EXPIRES_MAX: u64 = 253_402_300_799;

/// A token's public number. Its Display is short, for logs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId(pub [u8; 16]);

impl TokenId {
    /// All its digits, as files are named by them.
    #[must_use]
    pub fn to_hex(self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t-{}", HEXLOWER.encode(&self.0[..4]))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A join token. It has no Display, so that none is logged by mistake: [`JoinToken::reveal`] gives its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Where to enrol, and which edges to dial afterwards. 1 to [`EDGES_MAX`].
    pub edges: Vec<Target>,
    /// SHA-256 of the fleet's CA certificate in DER: what makes an edge the right one.
    pub ca: Sha256,
    /// Which token.
    pub id: TokenId,
    /// What proves possession of it.
    pub secret: Secret<[u8; 32]>,
    /// Who its redeemer becomes.
    pub connector: Name,
    /// When it ends, in whole seconds.
    pub expires: SystemTime,
}

/// Why a text is no join token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenTextError {
    /// Something else altogether.
    #[error("this is no join token: a join token begins with \"upt1_\"")]
    NotAToken,
    /// Made by a later release.
    #[error("this join token is of a form that this release does not know: update underpass here")]
    NewerForm,
    /// Characters are missing, changed or added.
    #[error("the join token is cut short or mistyped: copy it again, all of its one line")]
    CutShort,
    /// Whole, and yet its content breaks the bounds.
    #[error("the join token is whole but its {0} is not valid: create a new one")]
    Content(&'static str),
}

impl JoinToken {
    /// A token with a fresh number and secret. `expires` is cut to whole seconds.
    #[must_use]
    pub fn new(edges: Vec<Target>, ca: Sha256, connector: Name, expires: SystemTime) -> Self {
        let whole = Duration::from_secs(unix_seconds(expires));
        Self {
            edges,
            ca,
            id: TokenId(random()),
            secret: Secret::new(random()),
            connector,
            expires: SystemTime::UNIX_EPOCH + whole,
        }
    }

    /// The token's text: whoever has it can enrol.
    ///
    /// # Panics
    /// If there are more than [`EDGES_MAX`] edges.
    #[must_use]
    pub fn reveal(&self) -> String {
        assert!(self.edges.len() <= EDGES_MAX, "the store makes no token with more edges");
        let mut content = Vec::with_capacity(160);
        content.extend_from_slice(&self.id.0);
        content.extend_from_slice(self.secret.expose());
        content.extend_from_slice(&self.ca.0);
        content.extend_from_slice(&unix_seconds(self.expires).to_be_bytes());
        let name = self.connector.as_str();
        content.push(u8::try_from(name.len()).expect("names have at most 63 bytes"));
        content.extend_from_slice(name.as_bytes());
        content.push(u8::try_from(self.edges.len()).expect("asserted above"));
        for edge in &self.edges {
            let text = edge.to_string();
            let length = u16::try_from(text.len()).expect("host names have at most 253 bytes");
            content.extend_from_slice(&length.to_be_bytes());
            content.extend_from_slice(text.as_bytes());
        }
        content.extend_from_slice(&check(&content));
        format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&content))
    }
}

impl FromStr for JoinToken {
    type Err = TokenTextError;

    /// Reads a token's text; white space around it is allowed, none inside it.
    fn from_str(text: &str) -> Result<Self, TokenTextError> {
        let text = text.trim();
        let Some(encoded) = text.strip_prefix(PREFIX) else {
            return Err(unknown_form(text));
        };
        if text.len() > TEXT_MAX {
            return Err(TokenTextError::CutShort);
        }
        let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| TokenTextError::CutShort)?;
        let (content, sum) = bytes.split_last_chunk::<CHECK>().ok_or(TokenTextError::CutShort)?;
        if *sum != check(content) {
            return Err(TokenTextError::CutShort);
        }
        Reader(content).token()
    }
}

fn unknown_form(text: &str) -> TokenTextError {
    let version = text.strip_prefix("upt").and_then(|rest| rest.split_once('_'));
    let numbered = version.is_some_and(|(v, _)| (1..=4).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_digit()));
    if numbered { TokenTextError::NewerForm } else { TokenTextError::NotAToken }
}

fn check(content: &[u8]) -> [u8; CHECK] {
    let Sha256([a, b, c, d, ..]) = Sha256::of(&[PREFIX.as_bytes(), content].concat());
    [a, b, c, d]
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Takes the fields of a content from its front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn token(mut self) -> Result<JoinToken, TokenTextError> {
        let id = TokenId(self.array("number")?);
        let secret = Secret::new(self.array("secret")?);
        let ca = Sha256(self.array("CA digest")?);
        let expires = u64::from_be_bytes(self.array("expiry")?);
        if expires > EXPIRES_MAX {
            return Err(TokenTextError::Content("expiry"));
        }
        let [length] = self.array("connector name")?;
        let connector = self.parse("connector name", usize::from(length))?;
        let edges = self.edges()?;
        if !self.0.is_empty() {
            return Err(TokenTextError::Content("end"));
        }
        let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(expires);
        Ok(JoinToken { edges, ca, id, secret, connector, expires })
    }

    fn edges(&mut self) -> Result<Vec<Target>, TokenTextError> {
        let [count] = self.array("list of edges")?;
        if count == 0 || usize::from(count) > EDGES_MAX {
            return Err(TokenTextError::Content("list of edges"));
        }
        let mut edges = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let length = u16::from_be_bytes(self.array("edge address")?);
            edges.push(self.parse("edge address", usize::from(length))?);
        }
        Ok(edges)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], TokenTextError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(TokenTextError::Content(what))?;
        self.0 = rest;
        Ok(*head)
    }

    fn parse<T: FromStr>(&mut self, what: &'static str, length: usize) -> Result<T, TokenTextError> {
        let (text, rest) = self.0.split_at_checked(length).ok_or(TokenTextError::Content(what))?;
        self.0 = rest;
        let text: &'a str = str::from_utf8(text).map_err(|_| TokenTextError::Content(what))?;
        text.parse().map_err(|_| TokenTextError::Content(what))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> JoinToken {
        let edges = ["edge-1.example.com:7843", "[2001:db8::1]:7843"];
        JoinToken {
            edges: edges.iter().map(|e| e.parse().expect("target")).collect(),
            ca: Sha256([0xca; 32]),
            id: TokenId([0x1d; 16]),
            secret: Secret::new([0x5e; 32]),
            connector: "dc1".parse().expect("name"),
            expires: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        }
    }

    fn seal(content: &[u8]) -> String {
        let bytes = [content, &check(content)].concat();
        format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }

    fn content(text: &str) -> Vec<u8> {
        let mut bytes = BASE64URL_NOPAD.decode(&text.as_bytes()[PREFIX.len()..]).expect("base64url");
        bytes.truncate(bytes.len() - CHECK);
        bytes
    }

    #[test]
    fn the_text_of_a_token_never_changes() {
        let golden = concat!(
            "upt1_HR0dHR0dHR0dHR0dHR0dHV5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eXl5eysrKysrKysrKysrKysrKysrKysrKysrKysrKysrK",
            "ysoAAAAAa0nSAANkYzECABdlZGdlLTEuZXhhbXBsZS5jb206Nzg0MwASWzIwMDE6ZGI4OjoxXTo3ODQz",
        );
        let text = token().reveal();
        assert!(text.starts_with(golden), "{text}");
        assert_eq!(text.parse(), Ok(token()));
        assert_eq!(format!("  {text}\r\n").parse(), Ok(token()), "white space around it comes from files and pastes");
    }

    #[test]
    fn a_paste_that_lost_or_changed_a_character_is_told_apart() {
        let text = token().reveal();
        for end in PREFIX.len()..text.len() {
            assert_eq!(text[..end].parse::<JoinToken>(), Err(TokenTextError::CutShort), "cut at {end}");
        }
        for at in PREFIX.len()..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            let bad = String::from_utf8(bad).expect("ASCII");
            assert_eq!(bad.parse::<JoinToken>(), Err(TokenTextError::CutShort), "changed at {at}");
        }
        for bad in [format!("{text}x"), format!("{text}="), text.replacen('d', "d\n", 1), format!("{text}{text}")] {
            assert_eq!(bad.parse::<JoinToken>(), Err(TokenTextError::CutShort), "{bad}");
        }
    }

    #[test]
    fn other_texts_are_told_what_a_token_looks_like() {
        for bad in ["", "upt", "upt_", "uptx_abc", "hello", "UPT1_AAAA", "-----BEGIN CERTIFICATE-----", "upt12345_x"] {
            assert_eq!(bad.parse::<JoinToken>(), Err(TokenTextError::NotAToken), "{bad:?}");
        }
        assert_eq!("upt2_AAAA".parse::<JoinToken>(), Err(TokenTextError::NewerForm));
        let long = format!("{PREFIX}{}", "A".repeat(TEXT_MAX));
        assert_eq!(long.parse::<JoinToken>(), Err(TokenTextError::CutShort));
    }

    #[test]
    fn a_whole_token_with_impossible_content_is_refused() {
        let good = content(&token().reveal());
        let change = |at: usize, byte: u8| {
            let mut bad = good.clone();
            bad[at] = byte;
            seal(&bad)
        };
        for (bad, what) in [
            (seal(&[&good[..], &[0]].concat()), "end"),
            (seal(&good[..good.len() - 1]), "edge address"),
            (seal(&good[..20]), "secret"),
            (change(80, 0xff), "expiry"),
            (change(88, 200), "connector name"),
            (change(89, b'-'), "connector name"),
            (change(92, 0), "list of edges"),
            (change(92, 17), "list of edges"),
            (change(95, b' '), "edge address"),
            (change(95, 0xff), "edge address"),
        ] {
            assert_eq!(bad.parse::<JoinToken>(), Err(TokenTextError::Content(what)));
        }
    }

    #[test]
    fn the_longest_token_fits_its_bound() {
        let mut token = token();
        token.connector = "x".repeat(63).parse().expect("name");
        token.edges = vec![format!("{}:65535", "h".repeat(253)).parse().expect("target"); EDGES_MAX];
        let text = token.reveal();
        assert!(text.len() <= TEXT_MAX, "{}", text.len());
        assert_eq!(text.parse(), Ok(token));
    }

    #[test]
    fn debug_and_logs_do_not_show_the_secret() {
        let shown = format!("{:?} {:#?}", token(), token());
        assert!(shown.contains("***") && shown.contains("t-1d1d1d1d"), "{shown}");
        assert!(!shown.contains("94") && !shown.contains("5e5e"), "{shown}");
        assert!(!shown.contains(&"1d".repeat(16)), "the number is shortened: {shown}");
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(content in proptest::collection::vec(any::<u8>(), 0..300), noise in ".{0,60}") {
            let _ = seal(&content).parse::<JoinToken>();
            let _ = noise.parse::<JoinToken>();
            let _ = format!("{PREFIX}{noise}").parse::<JoinToken>();
        }
    }
}

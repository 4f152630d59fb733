//! What steering by hash goes by: a number for a key, and one for a key at an origin. Fixed for ever and the same on every edge:
//! so two edges send one client to the same origin. Pure.

use std::net::IpAddr;

use http::{HeaderMap, header};

use super::{cookie, place::Ask};
use crate::{health::OriginKey, model::HashOn};

const HASH_SEED: u64 = 0x5bd1_e995_7b7d_159d;

/// The number of a flow's key; that of its source, if the flow has none of this kind.
pub(super) fn key(on: &HashOn, ask: &Ask<'_, '_>) -> u64 {
    let source = ask.flow.source_ip();
    let of_header =
        |name| ask.headers.and_then(|headers: &HeaderMap| headers.get(name)).map(|value| text(value.as_bytes()));
    let found = match on {
        HashOn::Source => None,
        HashOn::SourcePrefix(prefix) => Some(fold(prefix.of(source))),
        HashOn::Host => ask.flow.host.map(|host| text(host.as_bytes())),
        HashOn::Path => ask.flow.paths.first().map(|path| text(path.as_bytes())),
        HashOn::Header(name) => of_header(name),
        HashOn::Cookie(name) => {
            let all = ask.headers.map(|headers| headers.get_all(header::COOKIE));
            all.and_then(|all| all.iter().flat_map(cookie::pairs).find_map(|pair| cookie::value(pair, name))).map(text)
        }
    };
    found.unwrap_or_else(|| fold(source))
}

/// A number between 0 and 1, never either.
pub(super) fn unit(key: u64, origin: OriginKey) -> f64 {
    ((mix(key ^ mix(origin.0)) >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

fn fold(source: IpAddr) -> u64 {
    match source {
        IpAddr::V4(ip) => mix(HASH_SEED ^ u64::from(u32::from(ip))),
        IpAddr::V6(ip) => {
            let bits = u128::from(ip);
            mix(mix(HASH_SEED ^ (bits >> 64) as u64) ^ bits as u64)
        }
    }
}

/// Eight bytes at a time; the length goes in, so that a shorter text is no other one with zeros behind it.
fn text(text: &[u8]) -> u64 {
    let chunk = |bytes: &[u8]| bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    text.chunks(8).fold(mix(HASH_SEED ^ text.len() as u64), |hash, bytes| mix(hash ^ chunk(bytes)))
}

/// The finaliser of splitmix64: every bit of the input moves every bit of the output.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn texts_that_differ_have_numbers_that_differ() {
        let texts = ["", "\0", "\0\0", "a", "b", "ab", "ba", "aaaaaaaa", "aaaaaaaab", "baaaaaaaa", "aaaaaaaa\0"];
        let numbers: HashSet<u64> = texts.iter().map(|word| text(word.as_bytes())).collect();
        assert_eq!(numbers.len(), texts.len());
    }
}

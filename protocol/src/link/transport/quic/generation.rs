//! Connection IDs of an edge's endpoint: by the first byte they say which of the processes that have had its socket a packet is for,
//! by the rest that they are the edge's at all.
//!
//! ```text
//! bytes  0           1..9
//!        generation  nonce and its keyed hash
//! ```

use std::time::Duration;

use quinn_proto::{ConnectionId, ConnectionIdGenerator, HashedConnectionIdGenerator, InvalidCid};

/// Bytes of a connection ID.
const LEN: usize = 9;
/// Set in the first byte of packets with a long header (RFC 9000 section 17.2), whose connection ID has its length before it.
const LONG: u8 = 0x80;
/// Where that length is, behind the version.
const LONG_LEN_AT: usize = 5;

/// Makes the IDs of one generation, and knows those of all.
pub(super) struct Generation {
    number: u8,
    rest: HashedConnectionIdGenerator,
}

impl Generation {
    pub(super) fn new(number: u8, key: u64) -> Self {
        Self { number, rest: HashedConnectionIdGenerator::from_key(key) }
    }
}

impl ConnectionIdGenerator for Generation {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [self.number; LEN];
        id[1..].copy_from_slice(&self.rest.generate_cid());
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        match id.split_first() {
            Some((_, rest)) if rest.len() == LEN - 1 => self.rest.validate(&ConnectionId::new(rest)),
            Some(_) | None => Err(InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Which process a packet is for. One that does not say so begins something, or is nobody's.
#[must_use]
pub fn generation_of(packet: &[u8]) -> Option<u8> {
    let (first, rest) = packet.split_first()?;
    if first & LONG == 0 {
        return rest.first().copied();
    }
    // Clients make up longer ones for their first packet.
    let is_ours = usize::from(*packet.get(LONG_LEN_AT)?) == LEN;
    packet.get(LONG_LEN_AT + 1).copied().filter(|_| is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_every_generation_are_known_and_others_are_not() {
        let of = |number| Generation::new(number, 7).generate_cid();
        let ids = [of(0), of(1), of(255)];
        let knows = |key, id: &ConnectionId| Generation::new(3, key).validate(id).is_ok();
        assert!(ids.iter().all(|id| id.len() == LEN && knows(7, id) && !knows(8, id)));
        assert_eq!(ids.map(|id| id[0]), [0, 1, 255]);
        assert!(!knows(7, &ConnectionId::new(&ids[0][..8])) && !knows(7, &ConnectionId::new(&[])));
    }

    #[test]
    fn packets_say_whose_they_are_if_they_can() {
        let id = Generation::new(4, 7).generate_cid();
        let short = [&[0x40][..], &id, b"sealed"].concat();
        let long =
            |id: &[u8]| [&[0xe0, 0, 0, 0, 1, u8::try_from(id.len()).expect("short")][..], id, b"sealed"].concat();
        let check = |packet: &[u8], expected| assert_eq!(generation_of(packet), expected, "{packet:?}");
        check(&short, Some(4));
        check(&long(&id), Some(4));
        check(&long(&[4; 20]), None);
        check(&long(&[4; 8]), None);
        for cut in [&[][..], &[0x40], &[0xe0], &[0xe0, 0, 0, 0, 1, 9]] {
            check(cut, None);
        }
    }
}

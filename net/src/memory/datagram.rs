//! One datagram on its way, and why it may not arrive.

use std::net::SocketAddr;

use bytes::Bytes;
use quinn::udp::EcnCodepoint;

/// Largest payload of a datagram that gets through: what 1,500 bytes leave behind the headers of IPv4 and UDP.
const PAYLOAD_MAX: usize = 1_472;

/// Datagrams that never arrived, by why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// A cut lies between.
    pub cut: u64,
    /// The dice said so.
    pub lost: u64,
    /// The receiver's queue was full.
    pub full: u64,
    /// Larger than a packet may be.
    pub too_large: u64,
    /// Nobody has the address, or nobody is bound there.
    pub unreachable: u64,
}

/// Why a datagram does not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    Cut,
    Dice,
    Full,
    TooLarge,
    Unreachable,
    /// Nobody is bound there, and the sender is told so.
    Refused,
}

impl Dropped {
    pub(super) fn count(&mut self, loss: Loss) {
        let count = match loss {
            Loss::Cut => &mut self.cut,
            Loss::Dice => &mut self.lost,
            Loss::Full => &mut self.full,
            Loss::TooLarge => &mut self.too_large,
            Loss::Unreachable | Loss::Refused => &mut self.unreachable,
        };
        *count += 1;
    }
}

/// One datagram, with addresses without disguise.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Bytes,
    pub(super) ecn: Option<EcnCodepoint>,
}

impl Datagram {
    pub(super) fn is_too_large(&self) -> bool {
        self.bytes.len() > PAYLOAD_MAX
    }
}

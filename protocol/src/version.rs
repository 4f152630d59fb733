//! Versions of the tunnel protocol and the ALPN names that select what a connection is for.

/// ALPN of a link: an enrolled connector carrying flows.
pub const ALPN_LINK: &[u8] = b"underpass/1";
/// ALPN of enrolment: no client certificate, a join token for a first certificate, nothing else.
pub const ALPN_ENROL: &[u8] = b"underpass-enrol/1";
/// ALPN of renewal with a certificate that may have expired: one renewal, nothing else.
pub const ALPN_RENEW: &[u8] = b"underpass-renew/1";

/// Newest version of the control messages that this build speaks.
pub const VERSION: u16 = 4;
/// Oldest version it still accepts.
pub const VERSION_MIN: u16 = 1;
/// From this version on, the writer of a flow keeps to what its reader has allowed.
pub const VERSION_WINDOWS: u16 = 2;
/// From this version on, a connector may claim other routes over a link that is up.
pub const VERSION_CLAIMS: u16 = 3;
/// From this version on, an edge may ask for a link to the process that takes over from it.
pub const VERSION_SUCCESSOR: u16 = 4;
/// From this version on, an edge says which flow a stream is for, and a connector how long each stage of its opening took.
pub const VERSION_FLOWS: u16 = 4;

/// Picks the version both sides speak, given the range the peer offers; `None` if there is none.
#[must_use]
pub fn negotiate(peer_min: u16, peer_max: u16) -> Option<u16> {
    let version = peer_max.min(VERSION);
    (version >= peer_min.max(VERSION_MIN)).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_taken() {
        assert_eq!(negotiate(1, 1), Some(1));
        assert_eq!(negotiate(1, 2), Some(2), "we come down to an older peer");
        assert_eq!(negotiate(1, 9), Some(4), "a newer peer comes down to us");
        assert_eq!(negotiate(5, 9), None, "a peer that dropped our version is refused");
        assert_eq!(negotiate(0, 0), None, "a peer older than our oldest is refused");
    }
}

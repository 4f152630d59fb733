//! Who may use a listener, and how much of it.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use ipnetwork::IpNetwork;

/// Who may use a listener, and how much of it. By default everybody may, without a bound of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admission {
    /// Networks whose clients are admitted; if there are any, others are not.
    pub allow: Vec<IpNetwork>,
    /// Networks whose clients are not admitted.
    pub deny: Vec<IpNetwork>,
    /// Most flows of one client that are open at once.
    pub connections_per_source: Option<usize>,
    /// How often flows may begin.
    pub rate: Option<Rate>,
    /// How often flows of one client may begin.
    pub rate_per_source: Option<Rate>,
    /// How often one client may ask, over all its connections; HTTP alone.
    pub requests_per_source: Option<Rate>,
}

/// So many in a time: all of them at once, if there were none before, and then evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In which time.
    pub per: Duration,
}

impl Admission {
    /// Whether a client with this address may use the listener. Of all networks that hold it, the one with the longest prefix
    /// decides; of two equal ones, that of `deny`.
    #[must_use]
    pub fn admits(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let longest = |networks: &[IpNetwork]| {
            networks.iter().filter(|network| network.contains(client)).map(IpNetwork::prefix).max()
        };
        match (longest(&self.allow), longest(&self.deny)) {
            (Some(allowed), Some(denied)) => allowed > denied,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => self.allow.is_empty(),
        }
    }

    /// Whether each client has a bound of its own.
    #[must_use]
    pub fn knows_sources(&self) -> bool {
        self.connections_per_source.is_some() || self.rate_per_source.is_some() || self.requests_per_source.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(words: &str) -> Vec<IpNetwork> {
        words.split_whitespace().map(|network| network.parse().expect("a network")).collect()
    }

    #[test]
    fn the_longest_prefix_decides_and_of_two_equal_ones_that_which_denies() {
        for (allow, deny, client, expected) in [
            ("", "", "192.0.2.1", true),
            ("", "192.0.2.0/24", "192.0.2.1", false),
            ("", "192.0.2.0/24", "198.51.100.1", true),
            ("192.0.2.0/24", "", "192.0.2.1", true),
            ("192.0.2.0/24", "", "198.51.100.1", false),
            ("10.0.0.0/8 10.1.2.0/24", "10.1.0.0/16", "10.1.2.3", true),
            ("10.0.0.0/8 10.1.2.0/24", "10.1.0.0/16", "10.1.3.3", false),
            ("10.0.0.0/8", "10.0.0.0/8", "10.1.2.3", false),
            ("192.0.2.0/24", "", "::ffff:192.0.2.1", true),
            ("2001:db8::/32", "2001:db8:1::/48", "2001:db8:1::5", false),
        ] {
            let admission = Admission { allow: networks(allow), deny: networks(deny), ..Admission::default() };
            let client = client.parse().expect("an address");
            assert_eq!(admission.admits(client), expected, "{client}: allow {allow}, deny {deny}");
        }
    }
}

//! The longest-prefix table: sorted prefixes, each knowing the next wider one.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use ipnetwork::IpNetwork;
use protocol::{
    error::Reason,
    id::{Host, LinkId, Name},
};

use crate::model::Route;

/// Which links lead where, one snapshot. VNets share nothing; inside one the longest prefix wins, and equal prefixes form a
/// set. Cheap to clone: VNets that are alike are shared.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RouteTable {
    vnets: HashMap<Name, Arc<Vnet>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Vnet {
    v4: Prefixes,
    v6: Prefixes,
    links: Vec<LinkId>,
}

#[derive(Debug, Default)]
struct Claims {
    v4: Sets,
    v6: Sets,
}

/// Ordered by first address, then from wide to narrow: a prefix comes after everything that holds it.
type Sets = BTreeMap<(u128, u8), Claim>;

#[derive(Debug)]
struct Claim {
    last: u128,
    links: Vec<LinkId>,
}

impl RouteTable {
    /// Builds the table from the routes of live links, and from the routes of connectors that have no link now: those lead
    /// nowhere, but tell `tunnel_down` from `no_route`.
    #[must_use]
    pub fn build(live: impl IntoIterator<Item = (Route, LinkId)>, absent: impl IntoIterator<Item = Route>) -> Self {
        let mut vnets: HashMap<Name, Claims> = HashMap::new();
        for (route, link) in live {
            claim(vnets.entry(route.vnet).or_default(), route.cidr).links.push(link);
        }
        for route in absent {
            claim(vnets.entry(route.vnet).or_default(), route.cidr);
        }
        Self { vnets: vnets.into_iter().map(|(name, claims)| (name, Arc::new(Vnet::build(claims)))).collect() }
    }

    /// The same with one VNet as it is now; what was known of it before is forgotten.
    #[must_use]
    pub fn with(
        mut self,
        vnet: &Name,
        live: impl IntoIterator<Item = (IpNetwork, LinkId)>,
        absent: impl IntoIterator<Item = IpNetwork>,
    ) -> Self {
        let mut claims = Claims::default();
        for (cidr, link) in live {
            claim(&mut claims, cidr).links.push(link);
        }
        for cidr in absent {
            claim(&mut claims, cidr);
        }
        let is_known = !claims.v4.is_empty() || !claims.v6.is_empty();
        let now = Vnet::build(claims);
        if !is_known {
            self.vnets.remove(vnet);
        } else if self.vnets.get(vnet).is_none_or(|before| **before != now) {
            self.vnets.insert(vnet.clone(), Arc::new(now));
        }
        self
    }

    /// The VNets that are not the same in both tables.
    #[must_use]
    pub fn differing(&self, other: &Self) -> BTreeSet<Name> {
        let is_same = |name: &Name| match (self.vnets.get(name), other.vnets.get(name)) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.vnets.keys().chain(other.vnets.keys()).filter(|name| !is_same(name)).cloned().collect()
    }

    /// The links of the longest prefix that covers the address and has a live link, in order of their numbers; never empty.
    ///
    /// # Errors
    /// [`Reason::NoRoute`] if nothing covers the address, [`Reason::TunnelDown`] if only routes without a live link do.
    pub fn lookup(&self, vnet: &Name, address: IpAddr) -> Result<&[LinkId], Reason> {
        let vnet = self.vnets.get(vnet).ok_or(Reason::NoRoute)?;
        match address {
            IpAddr::V4(ip) => vnet.v4.lookup(u32::from(ip).into()),
            IpAddr::V6(ip) => vnet.v6.lookup(ip.into()),
        }
    }

    /// Every live link of the VNet, in order of their numbers; never empty. A name has no prefix to route by, so it is
    /// tried on all of them.
    ///
    /// # Errors
    /// [`Reason::NoRoute`] if no route of the VNet is known, [`Reason::TunnelDown`] if none of them has a live link.
    pub fn links_of(&self, vnet: &Name) -> Result<&[LinkId], Reason> {
        let vnet = self.vnets.get(vnet).ok_or(Reason::NoRoute)?;
        if vnet.links.is_empty() { Err(Reason::TunnelDown) } else { Ok(&vnet.links) }
    }

    /// The links that lead to an origin's host, be it an address or a name.
    ///
    /// # Errors
    /// As [`Self::lookup`] and [`Self::links_of`].
    pub fn links_to(&self, vnet: &Name, host: &Host) -> Result<&[LinkId], Reason> {
        match host {
            Host::Ip(address) => self.lookup(vnet, *address),
            Host::Name(_) => self.links_of(vnet),
        }
    }
}

impl Vnet {
    fn build(claims: Claims) -> Self {
        let sets = [&claims.v4, &claims.v6];
        let mut links: Vec<_> =
            sets.into_iter().flat_map(BTreeMap::values).flat_map(|claim| claim.links.clone()).collect();
        links.sort_unstable();
        links.dedup();
        Self { v4: Prefixes::build(claims.v4), v6: Prefixes::build(claims.v6), links }
    }
}

/// The prefixes of one address family. Two prefixes either nest or share nothing, so whatever covers an address is the last
/// prefix that begins at or before it, or one of those that hold that prefix.
#[derive(Debug, Default, PartialEq, Eq)]
struct Prefixes(Vec<Prefix>);

#[derive(Debug, PartialEq, Eq)]
struct Prefix {
    first: u128,
    last: u128,
    wider: Option<usize>,
    links: Vec<LinkId>,
}

impl Prefixes {
    fn build(sets: Sets) -> Self {
        let mut prefixes: Vec<Prefix> = Vec::with_capacity(sets.len());
        let mut open: Vec<usize> = Vec::new();
        for ((first, _), Claim { last, mut links }) in sets {
            while open.pop_if(|index| prefixes[*index].last < first).is_some() {}
            links.sort_unstable();
            links.dedup();
            let wider = open.last().copied();
            open.push(prefixes.len());
            prefixes.push(Prefix { first, last, wider, links });
        }
        Self(prefixes)
    }

    fn lookup(&self, address: u128) -> Result<&[LinkId], Reason> {
        let mut why = Reason::NoRoute;
        let mut next = self.0.partition_point(|prefix| prefix.first <= address).checked_sub(1);
        while let Some(index) = next {
            let prefix = &self.0[index];
            if address <= prefix.last {
                if !prefix.links.is_empty() {
                    return Ok(&prefix.links);
                }
                why = Reason::TunnelDown;
            }
            next = prefix.wider;
        }
        Err(why)
    }
}

fn claim(claims: &mut Claims, cidr: IpNetwork) -> &mut Claim {
    let (sets, first, last) = match cidr {
        IpNetwork::V4(net) => {
            (&mut claims.v4, u128::from(u32::from(net.network())), u128::from(u32::from(net.broadcast())))
        }
        IpNetwork::V6(net) => (&mut claims.v6, u128::from(net.network()), u128::from(net.broadcast())),
    };
    sets.entry((first, cidr.prefix())).or_insert_with(|| Claim { last, links: Vec::new() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn route(vnet: &str, cidr: &str) -> Route {
        Route { vnet: name(vnet), cidr: cidr.parse().expect("a CIDR") }
    }

    fn table(live: &[(&str, &str, u64)], absent: &[(&str, &str)]) -> RouteTable {
        RouteTable::build(
            live.iter().map(|(vnet, cidr, link)| (route(vnet, cidr), LinkId(*link))),
            absent.iter().map(|(vnet, cidr)| route(vnet, cidr)),
        )
    }

    fn check(table: &RouteTable, vnet: &str, address: &str, expected: Result<&[u64], Reason>) {
        let found = table.lookup(&name(vnet), address.parse().expect("an address"));
        let found = found.map(|links| links.iter().map(|link| link.0).collect::<Vec<_>>());
        assert_eq!(found, expected.map(<[u64]>::to_vec), "{vnet} {address}");
    }

    #[test]
    fn the_longest_prefix_wins_and_equal_ones_share() {
        let live = [
            ("prod", "10.0.0.0/8", 1),
            ("prod", "10.1.0.0/16", 3),
            ("prod", "10.1.0.0/16", 2),
            ("prod", "10.1.0.0/16", 2),
            ("prod", "10.1.2.3/32", 4),
            ("prod", "::/0", 5),
        ];
        let table = table(&live, &[]);
        check(&table, "prod", "10.1.2.3", Ok(&[4]));
        check(&table, "prod", "10.1.2.4", Ok(&[2, 3]));
        check(&table, "prod", "10.2.0.0", Ok(&[1]));
        check(&table, "prod", "11.0.0.0", Err(Reason::NoRoute));
        check(&table, "prod", "fd00::1", Ok(&[5]));
        check(&table, "prod", "::ffff:11.0.0.0", Ok(&[5]));
    }

    #[test]
    fn the_same_cidr_in_two_vnets_stays_apart() {
        let table = table(&[("red", "10.7.0.0/24", 1), ("blue", "10.7.0.0/24", 2)], &[]);
        check(&table, "red", "10.7.0.9", Ok(&[1]));
        check(&table, "blue", "10.7.0.9", Ok(&[2]));
        check(&table, "green", "10.7.0.9", Err(Reason::NoRoute));
    }

    #[test]
    fn a_route_without_a_link_is_told_from_none_and_yields_to_a_wider_live_one() {
        let table = table(&[("prod", "10.0.0.0/8", 1)], &[("prod", "10.1.0.0/16"), ("prod", "172.16.0.0/12")]);
        check(&table, "prod", "10.1.0.1", Ok(&[1]));
        check(&table, "prod", "172.16.0.1", Err(Reason::TunnelDown));
        check(&table, "prod", "192.168.0.1", Err(Reason::NoRoute));
    }

    #[test]
    fn a_name_is_tried_on_every_link_of_its_vnet() {
        let live = [("prod", "10.0.0.0/8", 2), ("prod", "fd00::/8", 1), ("prod", "10.1.0.0/16", 2)];
        let table = table(&live, &[("lab", "10.0.0.0/8")]);
        let host = Host::name("db.internal").expect("a host name");
        assert_eq!(table.links_to(&name("prod"), &host), Ok(&[LinkId(1), LinkId(2)][..]));
        assert_eq!(table.links_of(&name("lab")), Err(Reason::TunnelDown));
        assert_eq!(table.links_of(&name("other")), Err(Reason::NoRoute));
    }

    #[test]
    fn only_the_vnet_that_changes_differs() {
        let before = table(&[("red", "10.0.0.0/8", 1), ("blue", "10.0.0.0/8", 2)], &[]);
        let cidr = "10.0.0.0/8".parse().expect("a CIDR");
        let same = before.clone().with(&name("red"), [(cidr, LinkId(1))], []);
        assert!(same.differing(&before).is_empty(), "it says what was known");
        let after = same.with(&name("red"), [(cidr, LinkId(1)), (cidr, LinkId(3))], []);
        assert_eq!(after.differing(&before), [name("red")].into());
        check(&after, "red", "10.1.1.1", Ok(&[1, 3]));
        check(&after, "blue", "10.1.1.1", Ok(&[2]));
        let without = after.clone().with(&name("red"), [], []);
        assert_eq!(without.differing(&after), [name("red")].into());
        check(&without, "red", "10.1.1.1", Err(Reason::NoRoute));
        let absent = without.with(&name("red"), [], [cidr]);
        check(&absent, "red", "10.1.1.1", Err(Reason::TunnelDown));
    }

    /// Few address bits, so that prefixes nest and repeat.
    fn cidrs() -> impl Strategy<Value = IpNetwork> {
        let v4 = (any::<u8>(), 20_u8..=32).prop_map(|(low, prefix)| {
            let ip = std::net::Ipv4Addr::new(10, 0, low >> 6, low << 2);
            let net = ipnetwork::Ipv4Network::new(ip, prefix).expect("a prefix");
            IpNetwork::new(net.network().into(), prefix).expect("a prefix")
        });
        let v6 = (any::<u8>(), 116_u8..=128).prop_map(|(low, prefix)| {
            let ip = std::net::Ipv6Addr::from(u128::from(low) << 4);
            let net = ipnetwork::Ipv6Network::new(ip, prefix).expect("a prefix");
            IpNetwork::new(net.network().into(), prefix).expect("a prefix")
        });
        prop_oneof![3 => v4, 1 => v6]
    }

    /// The naive table: look at every route.
    fn naive(live: &[(IpNetwork, u64)], absent: &[IpNetwork], address: IpAddr) -> Result<Vec<LinkId>, Reason> {
        let covering = || live.iter().filter(|(cidr, _)| cidr.contains(address));
        let Some(longest) = covering().map(|(cidr, _)| cidr.prefix()).max() else {
            let known = absent.iter().any(|cidr| cidr.contains(address));
            return Err(if known { Reason::TunnelDown } else { Reason::NoRoute });
        };
        let mut links: Vec<_> =
            covering().filter(|(cidr, _)| cidr.prefix() == longest).map(|(_, link)| LinkId(*link)).collect();
        links.sort_unstable();
        links.dedup();
        Ok(links)
    }

    proptest! {
        #[test]
        fn lookup_agrees_with_looking_at_every_route(
            live in prop::collection::vec((cidrs(), 0_u64..6), 0..40),
            absent in prop::collection::vec(cidrs(), 0..10),
            probes in prop::collection::vec(any::<u16>(), 30),
        ) {
            let table = RouteTable::build(
                live.iter().map(|(cidr, link)| (Route { vnet: name("v"), cidr: *cidr }, LinkId(*link))),
                absent.iter().map(|cidr| Route { vnet: name("v"), cidr: *cidr }),
            );
            let edges = live.iter().map(|(cidr, _)| cidr.ip());
            let v4 = probes.iter().map(|low| IpAddr::from([10, 0, (low >> 8) as u8 & 7, *low as u8]));
            let v6 = probes.iter().map(|low| IpAddr::from(u128::from(*low & 0x1fff).to_be_bytes()));
            for address in edges.chain(v4).chain(v6) {
                let found = table.lookup(&name("v"), address).map(<[LinkId]>::to_vec);
                // An empty VNet of the naive table is an unknown one here; both know no route.
                prop_assert_eq!(found, naive(&live, &absent, address), "{}", address);
            }
        }
    }
}

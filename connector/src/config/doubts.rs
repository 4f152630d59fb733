//! What is right in a file and yet looks like a mistake: parts that can have no effect.
//!
//! Pure: it knows the settings alone, not the host or the network.

use ipnetwork::IpNetwork;
use protocol::id::Name;

use super::{
    AllowEntry, Config, Map,
    routes::{inside, overlap},
};

/// Something that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The text of the entry that it is about.
    pub entry: String,
    /// What is odd about it.
    pub text: String,
}

/// Addresses that are dialled only where an entry inside their very range names them.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

impl Config {
    /// Everything that looks like a mistake.
    #[must_use]
    pub fn doubts(&self) -> Vec<Doubt> {
        let entries = self.allow.iter().flatten();
        let idle = entries.filter(|entry| !self.dialled().any(|to| overlap(to, entry.cidr))).map(|entry| Doubt {
            entry: entry.to_string(),
            text: format!("allow: no route leads to {entry}, so it permits nothing"),
        });
        idle.chain(self.routes.iter().filter_map(|route| self.closed(route))).collect()
    }

    /// A route of which nothing may be dialled.
    fn closed(&self, (vnet, cidr): &(Name, IpNetwork)) -> Option<Doubt> {
        let doubt = |why: String| Doubt { entry: cidr.to_string(), text: format!("route {vnet} {cidr}: {why}") };
        let dialled: Vec<_> = self.dialled_for(vnet, *cidr).collect();
        let allows = |which: &dyn Fn(&AllowEntry, IpNetwork) -> bool| {
            self.allow
                .iter()
                .flatten()
                .any(|entry| dialled.iter().any(|to| overlap(*to, entry.cidr) && which(entry, *to)))
        };
        if self.allow.is_some() && !allows(&|_, _| true) {
            return Some(doubt("no `allow` entry permits any of it".to_owned()));
        }
        let loopback = LOOPBACK.map(|range| range.parse::<IpNetwork>().expect("a network"));
        let range = loopback.into_iter().find(|range| dialled.iter().all(|to| inside(*to, *range)))?;
        let is_named = allows(&|entry, _| inside(entry.cidr, range));
        (!is_named)
            .then(|| doubt(format!("loopback addresses are refused unless an `allow` entry inside {range} names them")))
    }

    fn dialled(&self) -> impl Iterator<Item = IpNetwork> {
        self.routes.iter().flat_map(|(vnet, cidr)| self.dialled_for(vnet, *cidr))
    }

    /// The networks that a route's addresses are dialled in.
    fn dialled_for(&self, vnet: &Name, cidr: IpNetwork) -> impl Iterator<Item = IpNetwork> {
        let maps = || self.maps.iter().filter(move |map: &&Map| map.vnet == *vnet && overlap(map.from, cidr));
        let is_mapped = maps().any(|map| inside(cidr, map.from));
        maps().map(|map| map.to).chain((!is_mapped).then_some(cidr)).collect::<Vec<_>>().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    fn doubts(text: &str) -> Vec<String> {
        let config = super::super::parse(text, Path::new("/c.toml")).unwrap_or_else(|wrong| panic!("{wrong}"));
        config.doubts().into_iter().map(|doubt| format!("{} | {}", doubt.entry, doubt.text)).collect()
    }

    #[test]
    fn what_can_have_no_effect_is_doubted() {
        let route = "[[route]]\nvnet = \"v\"\ncidr = \"10.7.0.0/24\"\n";
        let none: [String; 0] = [];
        assert_eq!(doubts(route), none);
        assert_eq!(doubts(&format!("{route}[allow]\ntargets = [\"10.0.0.0/8:80\"]\n")), none);
        assert_eq!(
            doubts(&format!("{route}[allow]\ntargets = [\"10.7.0.0/24:80\", \"192.168.0.0/16:*\"]\n")),
            ["192.168.0.0/16:* | allow: no route leads to 192.168.0.0/16:*, so it permits nothing"]
        );
        assert_eq!(
            doubts(&format!("{route}[allow]\ntargets = [\"192.168.0.0/16:*\"]\n")),
            [
                "192.168.0.0/16:* | allow: no route leads to 192.168.0.0/16:*, so it permits nothing",
                "10.7.0.0/24 | route v 10.7.0.0/24: no `allow` entry permits any of it",
            ]
        );
    }

    #[test]
    fn what_a_map_leads_to_is_what_counts() {
        let map = "[[route]]\nvnet = \"v\"\ncidr = \"10.7.0.0/24\"\n\
                   [[map]]\nvnet = \"v\"\nfrom = \"10.7.0.0/24\"\nto = \"127.9.0.0/24\"\n";
        let refused = "10.7.0.0/24 | route v 10.7.0.0/24: loopback addresses are refused unless an `allow` entry \
                       inside 127.0.0.0/8 names them";
        assert_eq!(doubts(map), [refused]);
        assert_eq!(doubts(&format!("{map}[allow]\ntargets = [\"0.0.0.0/0:*\"]\n")), [refused]);
        let none: [String; 0] = [];
        assert_eq!(doubts(&format!("{map}[allow]\ntargets = [\"127.9.0.0/24:80\"]\n")), none);
    }
}

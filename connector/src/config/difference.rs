//! What a reload is about to change, in words, and what it cannot change.

use std::{collections::BTreeSet, fmt};

use ipnetwork::IpNetwork;
use protocol::id::Name;

use super::{AllowEntry, Config, Map};

/// From the settings in force to others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// What changes, such as `route prod 10.2.0.0/16 added`.
    pub changes: Vec<String>,
    /// Keys that changed and count only with a restart.
    pub restart: Vec<&'static str>,
}

/// Changes that the log tells one by one; the rest are counted.
const TOLD_MAX: usize = 24;

impl Difference {
    /// Between two.
    #[must_use]
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut changes = Vec::new();
        let route = |(vnet, cidr): &(Name, IpNetwork)| format!("route {vnet} {cidr}");
        tell((&old.routes, &new.routes), route, &mut changes);
        let map = |Map { vnet, from, to }: &Map| format!("map {vnet} {from} to {to}");
        tell((&old.maps, &new.maps), map, &mut changes);
        match (&old.allow, &new.allow) {
            (None, Some(_)) => changes.push("allow list added".to_owned()),
            (Some(_), None) => changes.push("allow list removed: any of its routes is permitted".to_owned()),
            (None, None) | (Some(_), Some(_)) => {}
        }
        if let Some(after) = &new.allow {
            let allow = |entry: &AllowEntry| format!("allow {entry}");
            tell((old.allow.as_deref().unwrap_or_default(), after), allow, &mut changes);
        }
        tell((&old.edges, &new.edges), |edge| format!("edge {edge}"), &mut changes);
        let mut becomes = |key: &str, before: &dyn fmt::Display, after: &dyn fmt::Display| {
            let (before, after) = (before.to_string(), after.to_string());
            if before != after {
                changes.push(format!("{key} {before} → {after}"));
            }
        };
        becomes("links_per_edge", &old.links_per_edge, &new.links_per_edge);
        becomes("withdrawn", &old.withdrawn, &new.withdrawn);
        becomes("reload", &old.reload, &new.reload);
        Self { changes, restart: restart(old, new) }
    }

    /// Whether nothing would be different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.restart.is_empty()
    }
}

/// What cannot change while it runs, and does.
fn restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let fixed = [
        ("name", old.name == new.name),
        ("state_dir", old.state_dir == new.state_dir),
        ("token_file", old.token_file == new.token_file),
        ("admin.listen", old.admin_listen == new.admin_listen),
        ("workers", old.workers == new.workers),
    ];
    fixed.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
}

/// What is in one list alone; their order says nothing.
fn tell<T: Ord>((old, new): (&[T], &[T]), name: impl Fn(&T) -> String, told: &mut Vec<String>) {
    let (before, after): (BTreeSet<&T>, BTreeSet<&T>) = (old.iter().collect(), new.iter().collect());
    told.extend(new.iter().filter(|one| !before.contains(one)).map(|one| format!("{} added", name(one))));
    told.extend(old.iter().filter(|one| !after.contains(one)).map(|one| format!("{} removed", name(one))));
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.changes.len() {
            0 => f.write_str("nothing"),
            few if few <= TOLD_MAX => f.write_str(&self.changes.join("; ")),
            many => write!(f, "{} and {} more", self.changes[..TOLD_MAX].join("; "), many - TOLD_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BEFORE: &str = "name = \"dc1\"\nedges = [\"e1:7843\", \"e2:7843\"]\n\
        [[route]]\nvnet = \"prod\"\ncidr = \"10.1.0.0/16\"\n[[route]]\nvnet = \"prod\"\ncidr = \"10.2.0.0/16\"\n\
        [[map]]\nvnet = \"prod\"\nfrom = \"10.1.0.0/24\"\nto = \"192.168.0.0/24\"\n\
        [allow]\ntargets = [\"10.0.0.0/8:80\", \"192.168.0.0/16:*\"]\n";

    fn config(text: &str) -> Config {
        super::super::parse(text, Path::new("/c.toml")).unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    /// What is told when the text becomes another.
    fn told(edit: &[(&str, &str)]) -> String {
        let after = edit.iter().fold(BEFORE.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        let Difference { changes, restart } = Difference::between(&config(BEFORE), &config(&after));
        format!("{} | {}", changes.join("; "), restart.join(" "))
    }

    #[test]
    fn what_differs_is_told_in_words() {
        assert_eq!(told(&[]), " | ");
        assert_eq!(
            told(&[("10.2.0.0/16\"", "10.3.0.0/16\"")]),
            "route prod 10.3.0.0/16 added; route prod 10.2.0.0/16 removed | "
        );
        assert_eq!(
            told(&[("192.168.0.0/24", "192.168.1.0/24")]),
            "map prod 10.1.0.0/24 to 192.168.1.0/24 added; map prod 10.1.0.0/24 to 192.168.0.0/24 removed | "
        );
        assert_eq!(told(&[(", \"192.168.0.0/16:*\"", "")]), "allow 192.168.0.0/16:* removed | ");
        assert_eq!(
            told(&[("[allow]\ntargets = [\"10.0.0.0/8:80\", \"192.168.0.0/16:*\"]\n", "")]),
            "allow list removed: any of its routes is permitted | "
        );
        assert_eq!(told(&[("e2:7843", "e3:7843")]), "edge e3:7843 added; edge e2:7843 removed | ");
        assert_eq!(
            told(&[("edges", "links_per_edge = 4\nwithdrawn = \"cut\"\nreload = \"signal\"\nedges")]),
            "links_per_edge 2 → 4; withdrawn finish → cut; reload watch → signal | "
        );
    }

    #[test]
    fn what_needs_a_restart_is_named_and_order_is_no_difference() {
        assert_eq!(
            told(&[(
                "name = \"dc1\"",
                "workers = 64\nstate_dir = \"s\"\ntoken_file = \"t\"\nadmin.listen = \"[::1]:1\""
            )]),
            " | name state_dir token_file admin.listen workers"
        );
        assert_eq!(told(&[("\"e1:7843\", \"e2:7843\"", "\"e2:7843\", \"e1:7843\"")]), " | ");
        let (without, with) = (
            config(""),
            config("[[route]]\nvnet = \"v\"\ncidr = \"10.0.0.0/8\"\n[allow]\ntargets = [\"10.0.0.0/8:80\"]\n"),
        );
        assert_eq!(
            Difference::between(&without, &with).changes,
            ["route v 10.0.0.0/8 added", "allow list added", "allow 10.0.0.0/8:80 added"]
        );
    }

    #[test]
    fn of_many_changes_the_rest_is_counted() {
        let changes = (0..30).map(|n| format!("edge e{n}:1 added")).collect();
        let told = Difference { changes, restart: Vec::new() }.to_string();
        assert!(told.ends_with("edge e23:1 added and 6 more"), "{told}");
        assert_eq!(Difference::default().to_string(), "nothing");
    }
}

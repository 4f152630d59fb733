//! What one catalog has and another has not, in words for the log of a reload.

use std::{collections::BTreeMap, fmt};

use protocol::id::Name;

use crate::model::Catalog;

/// Things told by name; the rest are counted.
const TOLD_MAX: usize = 12;

/// What a reload has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What is new.
    pub added: Things,
    /// What is gone.
    pub removed: Things,
    /// What goes by other settings.
    pub changed: Things,
}

/// Names of things with their kinds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Things(Vec<String>);

impl fmt::Display for Things {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = &self.0[..self.0.len().min(TOLD_MAX)];
        match self.0.len() - told.len() {
            0 if told.is_empty() => f.write_str("nothing"),
            0 => f.write_str(&told.join(", ")),
            more => write!(f, "{} and {more} more", told.join(", ")),
        }
    }
}

impl Changes {
    /// From one catalog to another.
    #[must_use]
    pub fn between(old: &Catalog, new: &Catalog) -> Self {
        let mut changes = Self::default();
        changes.note("connector", (&old.grants, &new.grants), |grant| &grant.connector);
        changes.note("monitor", (&old.monitors, &new.monitors), |monitor| &monitor.name);
        changes.note("pool", (&old.pools, &new.pools), |pool| &pool.name);
        changes.note("load_balancer", (&old.load_balancers, &new.load_balancers), |lb| &lb.name);
        changes.note("listener", (&old.listeners, &new.listeners), |listener| &listener.name);
        changes
    }

    fn note<T: PartialEq>(&mut self, kind: &str, (old, new): (&[T], &[T]), name: impl Fn(&T) -> &Name) {
        let named = |things| -> BTreeMap<_, _> { <[T]>::iter(things).map(|thing| (name(thing), thing)).collect() };
        let (old, new) = (named(old), named(new));
        let tell = |name: &Name| format!("{kind} {name}");
        for (name, thing) in &new {
            match old.get(name) {
                None => self.added.0.push(tell(name)),
                Some(before) if before != thing => self.changed.0.push(tell(name)),
                Some(_) => {}
            }
        }
        self.removed.0.extend(old.keys().filter(|name| !new.contains_key(*name)).map(|name| tell(name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(text: &str) -> Catalog {
        let pool = |name: &str| {
            format!("[[pool]]\nname = \"{name}\"\n[[pool.origin]]\nname = \"o\"\naddress = \"127.0.0.1:80\"\n")
        };
        let pools: String = text.split(' ').map(pool).collect();
        let lb = "[[load_balancer]]\nname = \"lb\"\npools = [\"web\"]\n";
        let listener =
            "[[listener]]\nname = \"www\"\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:8000\"\nload_balancer = \"lb\"\n";
        let file = format!("name = \"edge-1\"\n[tunnel]\nlisten = \"127.0.0.1:7843\"\n{pools}{lb}{listener}");
        crate::config::parse(&file, "edge.toml".as_ref()).expect("settings").catalog
    }

    #[test]
    fn only_what_differs_is_told_wherever_it_stands() {
        let (two, moved) = (catalog("web api"), catalog("old web"));
        let changes = Changes::between(&two, &moved);
        assert_eq!(
            (changes.added.to_string(), changes.removed.to_string()),
            ("pool old".to_owned(), "pool api".to_owned())
        );
        assert_eq!(changes.changed.to_string(), "nothing");
        assert_eq!(Changes::between(&two, &two.clone()), Changes::default());
        let first = Changes::between(&Catalog::default(), &two);
        assert_eq!(
            first.added.to_string(),
            "pool web, pool api, load_balancer lb, listener www".replace("web, pool api", "api, pool web")
        );
    }

    #[test]
    fn many_are_counted() {
        let things = Things((0..20).map(|n| format!("pool {n}")).collect());
        assert!(things.to_string().ends_with("pool 11 and 8 more"), "{things}");
    }
}

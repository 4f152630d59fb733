//! What a reload is about to change, object by object: known before anything is done, and told in the words of the settings.

use std::{collections::BTreeMap, fmt};

use config::Object;
use protocol::id::Name;

use crate::model::Catalog;

/// Objects that the log tells by name; the rest are counted.
const TOLD_MAX: usize = 12;
/// Differences told of one object; the rest are counted.
const WORDS_MAX: usize = 8;

/// What there is to do from one catalog to the next, by kind and name. Prints a line for each object.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Every object of either catalog.
    pub steps: Vec<Step>,
}

/// One object, and what becomes of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// What becomes of it.
    pub fate: Fate,
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A grant.
    Connector,
    /// A monitor.
    Monitor,
    /// A pool.
    Pool,
    /// A load balancer.
    LoadBalancer,
    /// A listener.
    Listener,
}

impl Kind {
    /// Its word in settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connector => "connector",
            Self::Monitor => "monitor",
            Self::Pool => "pool",
            Self::LoadBalancer => "load_balancer",
            Self::Listener => "listener",
        }
    }
}

/// What becomes of an object.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is new.
    Added,
    /// It goes.
    Removed,
    /// It goes on by other settings: what its own words say differently. If they say the same, what it names has changed.
    Changed(Vec<String>),
    /// It goes on as it is.
    Unchanged,
}

impl Plan {
    /// From one catalog to another.
    #[must_use]
    pub fn between(old: &Catalog, new: &Catalog) -> Self {
        let mut plan = Between { old, new, steps: Vec::new() };
        plan.note(Kind::Connector, (&old.grants, &new.grants), |grant| &grant.connector);
        plan.note(Kind::Monitor, (&old.monitors, &new.monitors), |monitor| &monitor.name);
        plan.note(Kind::Pool, (&old.pools, &new.pools), |pool| &pool.name);
        plan.note(Kind::LoadBalancer, (&old.load_balancers, &new.load_balancers), |lb| &lb.name);
        plan.note(Kind::Listener, (&old.listeners, &new.listeners), |listener| &listener.name);
        Self { steps: plan.steps }
    }

    /// What is new, for the log.
    #[must_use]
    pub fn added(&self) -> String {
        self.listed(|step| (step.fate == Fate::Added).then(|| step.title()))
    }

    /// What goes, for the log.
    #[must_use]
    pub fn removed(&self) -> String {
        self.listed(|step| (step.fate == Fate::Removed).then(|| step.title()))
    }

    /// What goes on by other settings, and by which, for the log.
    #[must_use]
    pub fn changed(&self) -> String {
        self.listed(|step| match &step.fate {
            Fate::Changed(words) => Some(format!("{} ({})", step.title(), told(words))),
            Fate::Added | Fate::Removed | Fate::Unchanged => None,
        })
    }

    fn listed(&self, tell: impl Fn(&Step) -> Option<String>) -> String {
        let mut all = self.steps.iter().filter_map(tell);
        let listed: Vec<String> = all.by_ref().take(TOLD_MAX).collect();
        match all.count() {
            0 if listed.is_empty() => "nothing".to_owned(),
            0 => listed.join(", "),
            more => format!("{} and {more} more", listed.join(", ")),
        }
    }
}

impl Step {
    fn title(&self) -> String {
        format!("{} {}", self.kind.as_str(), self.name)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = self.title();
        match &self.fate {
            Fate::Added => write!(f, "{title}: added"),
            Fate::Removed => write!(f, "{title}: removed"),
            Fate::Changed(words) => write!(f, "{title}: {}", told(words)),
            Fate::Unchanged => write!(f, "{title}: unchanged"),
        }
    }
}

fn told(words: &[String]) -> String {
    let first = words[..words.len().min(WORDS_MAX)].join("; ");
    match words.len().saturating_sub(WORDS_MAX) {
        0 if words.is_empty() => "what it names has changed".to_owned(),
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

struct Between<'a> {
    old: &'a Catalog,
    new: &'a Catalog,
    steps: Vec<Step>,
}

impl Between<'_> {
    fn note<T: PartialEq>(&mut self, kind: Kind, (old, new): (&[T], &[T]), name: impl Fn(&T) -> &Name) {
        let words = (self.old.spec.objects(kind.as_str()), self.new.spec.objects(kind.as_str()));
        let before: BTreeMap<&Name, &T> = old.iter().map(|thing| (name(thing), thing)).collect();
        let after: BTreeMap<&Name, &T> = new.iter().map(|thing| (name(thing), thing)).collect();
        let all = after.keys().chain(before.keys().filter(|name| !after.contains_key(*name)));
        for &name in all {
            let fate = match (before.get(name), after.get(name)) {
                (None, _) => Fate::Added,
                (Some(_), None) => Fate::Removed,
                (Some(old), Some(new)) if old == new => Fate::Unchanged,
                (Some(_), Some(_)) => Fate::Changed(changes(&words, name)),
            };
            self.steps.push(Step { kind, name: name.clone(), fate });
        }
    }
}

/// The objects of one kind, before and after, in their own words.
type Words<'a> = (BTreeMap<&'a str, Object<'a>>, BTreeMap<&'a str, Object<'a>>);

fn changes((old, new): &Words<'_>, name: &Name) -> Vec<String> {
    match (old.get(name.as_str()), new.get(name.as_str())) {
        (Some(old), Some(new)) => old.changes(*new),
        // A catalog that was not checked from words has none.
        (None, _) | (_, None) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A catalog with these pools, which have `monitor`.
    fn catalog(pools: &str, monitor: &str) -> Catalog {
        let pool = |name: &str| {
            format!(
                "[[pool]]\nname = \"{name}\"\nmonitor = \"m\"\n[[pool.origin]]\nname = \"o\"\naddress = \"127.0.0.1:80\"\n"
            )
        };
        let pools: String = pools.split(' ').map(pool).collect();
        let lb = "[[load_balancer]]\nname = \"lb\"\npools = [\"web\"]\n";
        let listener =
            "[[listener]]\nname = \"www\"\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:8000\"\nload_balancer = \"lb\"\n";
        let file = format!(
            "name = \"edge-1\"\n[tunnel]\nlisten = \"127.0.0.1:7843\"\n[[monitor]]\nname = \"m\"\n{monitor}\n{pools}{lb}{listener}"
        );
        crate::config::parse(&file, "edge.toml".as_ref()).unwrap_or_else(|wrong| panic!("{wrong}")).catalog
    }

    #[test]
    fn only_what_differs_is_told_wherever_it_stands() {
        let (two, moved) = (catalog("web api", "type = \"tcp\""), catalog("old web", "type = \"tcp\""));
        let plan = Plan::between(&two, &moved);
        assert_eq!(
            (plan.added(), plan.removed(), plan.changed()),
            ("pool old".into(), "pool api".into(), "nothing".into())
        );
        assert_eq!(
            plan.to_string(),
            "monitor m: unchanged\npool old: added\npool web: unchanged\npool api: removed\n\
             load_balancer lb: unchanged\nlistener www: unchanged\n"
        );
        let same = Plan::between(&two, &two.clone());
        assert!(same.steps.iter().all(|step| step.fate == Fate::Unchanged));
        let first = Plan::between(&Catalog::default(), &two);
        assert_eq!(first.added(), "monitor m, pool api, pool web, load_balancer lb, listener www");
    }

    #[test]
    fn what_changes_is_told_in_the_words_of_the_settings() {
        let old = catalog("web", "type = \"tcp\"");
        // The same in other words is no change.
        let plan = Plan::between(&old, &catalog("web", "type = \"tcp\"\ninterval = \"5000ms\""));
        assert_eq!(plan.changed(), "nothing");
        let plan = Plan::between(&old, &catalog("web", "type = \"tcp\"\ninterval = \"9s\""));
        assert_eq!(plan.changed(), "monitor m (interval unset → 9s), pool web (what it names has changed)");
    }

    #[test]
    fn a_listener_that_leads_elsewhere_is_told_by_what_it_names() {
        let head = "name = \"edge-1\"\n[tunnel]\nlisten = \"127.0.0.1:7843\"\n[[connector]]\nname = \"dc1\"\n\
                    routes = [{ vnet = \"prod\", cidr = \"10.0.0.0/8\" }, { vnet = \"lab\", cidr = \"10.0.0.0/8\" }]\n\
                    [[listener]]\nname = \"in\"\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:8000\"\n\
                    proxy_protocol = [\"192.0.2.0/24\"]\n";
        let leading = |vnet: &str| {
            let file = format!("{head}vnet = \"{vnet}\"\n");
            crate::config::parse(&file, "edge.toml".as_ref()).unwrap_or_else(|wrong| panic!("{wrong}")).catalog
        };
        assert_eq!(Plan::between(&leading("prod"), &leading("lab")).changed(), "listener in (vnet prod → lab)");
    }

    #[test]
    fn many_are_counted() {
        let step =
            |number| Step { kind: Kind::Pool, name: format!("p{number}").parse().expect("a name"), fate: Fate::Added };
        let plan = Plan { steps: (0..20).map(step).collect() };
        assert!(plan.added().ends_with("pool p11 and 8 more"), "{}", plan.added());
        let words: Vec<String> = (0..20).map(|number| format!("word {number}")).collect();
        assert!(told(&words).ends_with("word 7 and 12 more"));
    }
}

//! What is being emptied: it takes nothing new, and what flows there goes on. By hand, or because the file says so.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant, SystemTime},
};

use protocol::id::Name;

use super::{Affinity, Catalog};

/// Most drains by hand at once; beyond, refused with words.
pub const DRAINS_MAX: usize = 4_096;

/// What can be drained.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// All replicas of a connector.
    Connector(Name),
    /// One of them.
    Replica {
        /// Whose.
        connector: Name,
        /// Which.
        replica: Name,
    },
    /// An origin of a pool.
    Origin {
        /// The pool.
        pool: Name,
        /// The origin in it.
        origin: Name,
    },
    /// All origins of a pool.
    Pool(Name),
    /// A load balancer.
    LoadBalancer(Name),
    /// A listener.
    Listener(Name),
}

/// Since when something is drained, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// Who asked for it, by what they say of themselves; absent: nobody has said.
    pub who: Option<String>,
    /// Since when, as it is told.
    pub since: SystemTime,
    /// Since when, as it is reckoned with.
    pub begun: Instant,
}

/// Who has it that something is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainedBy {
    /// The file: only there it can be undone.
    File,
    /// Somebody who asked the edge.
    Api,
}

/// All drains in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drains {
    by_hand: BTreeMap<Subject, Drain>,
    by_file: BTreeMap<Subject, Drain>,
}

impl Subject {
    /// From the word of its kind and its name, as users write them.
    ///
    /// # Errors
    /// What would be right.
    pub fn read(kind: &str, name: &str) -> Result<Self, String> {
        let one = |text: &str| text.parse::<Name>().map_err(|error| format!("{text:?} is no name: {error}"));
        match kind {
            "connector" => match name.split_once('/') {
                Some((connector, replica)) => Ok(Self::Replica { connector: one(connector)?, replica: one(replica)? }),
                None => Ok(Self::Connector(one(name)?)),
            },
            "origin" => match name.split_once('/') {
                Some((pool, origin)) => Ok(Self::Origin { pool: one(pool)?, origin: one(origin)? }),
                None => Err(format!("an origin is named by its pool and its name, POOL/ORIGIN, not {name:?}")),
            },
            "pool" => Ok(Self::Pool(one(name)?)),
            "load_balancer" | "load-balancer" => Ok(Self::LoadBalancer(one(name)?)),
            "listener" => Ok(Self::Listener(one(name)?)),
            _ => Err(format!("`kind` is connector, origin, pool, load_balancer or listener, not {kind:?}")),
        }
    }

    /// The word of its kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connector(_) | Self::Replica { .. } => "connector",
            Self::Origin { .. } => "origin",
            Self::Pool(_) => "pool",
            Self::LoadBalancer(_) => "load_balancer",
            Self::Listener(_) => "listener",
        }
    }

    /// Its name among those of its kind.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Connector(name) | Self::Pool(name) | Self::LoadBalancer(name) | Self::Listener(name) => {
                name.to_string()
            }
            Self::Replica { connector, replica } => format!("{connector}/{replica}"),
            Self::Origin { pool, origin } => format!("{pool}/{origin}"),
        }
    }

    /// Whether a catalog has it. Of a replica it knows no more than the connector.
    #[must_use]
    pub fn is_in(&self, catalog: &Catalog) -> bool {
        match self {
            Self::Connector(name) | Self::Replica { connector: name, .. } => {
                catalog.grants.iter().any(|grant| grant.connector == *name)
            }
            Self::Origin { pool, origin } => catalog
                .pools
                .iter()
                .any(|of| of.name == *pool && of.origins.iter().any(|listed| listed.name == *origin)),
            Self::Pool(name) => catalog.pools.iter().any(|pool| pool.name == *name),
            Self::LoadBalancer(name) => catalog.load_balancers.iter().any(|lb| lb.name == *name),
            Self::Listener(name) => catalog.listeners.iter().any(|listener| listener.name == *name),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

impl DrainedBy {
    /// The word for whoever asks.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Api => "api",
        }
    }
}

impl Drains {
    /// Those that were made by hand.
    #[must_use]
    pub fn kept(by_hand: BTreeMap<Subject, Drain>) -> Self {
        Self { by_hand, by_file: BTreeMap::new() }
    }

    /// Those that were made by hand, by what they drain.
    #[must_use]
    pub fn by_hand(&self) -> &BTreeMap<Subject, Drain> {
        &self.by_hand
    }

    /// Every one, and who has it so: of what is drained twice, what the file says.
    pub fn all(&self) -> impl Iterator<Item = (&Subject, DrainedBy, &Drain)> {
        let by_file = self.by_file.iter().map(|(subject, drain)| (subject, DrainedBy::File, drain));
        let by_hand = self.by_hand.iter().filter(|(subject, _)| !self.by_file.contains_key(subject));
        by_file.chain(by_hand.map(|(subject, drain)| (subject, DrainedBy::Api, drain)))
    }

    /// The drain of this very thing.
    #[must_use]
    pub fn find(&self, subject: &Subject) -> Option<(DrainedBy, &Drain)> {
        let by_file = self.by_file.get(subject).map(|drain| (DrainedBy::File, drain));
        by_file.or_else(|| self.by_hand.get(subject).map(|drain| (DrainedBy::Api, drain)))
    }

    /// The same with one more by hand.
    #[must_use]
    pub fn with(&self, subject: Subject, drain: Drain) -> Self {
        let mut next = self.clone();
        next.by_hand.insert(subject, drain);
        next
    }

    /// The same without this one by hand.
    #[must_use]
    pub fn without(&self, subject: &Subject) -> Self {
        let mut next = self.clone();
        next.by_hand.remove(subject);
        next
    }

    /// Those under the next catalog: by hand what it still has, and what it says itself.
    #[must_use]
    pub fn under(&self, catalog: &Catalog, (since, begun): (SystemTime, Instant)) -> Self {
        let by_hand = self.by_hand.iter().filter(|(subject, _)| subject.is_in(catalog));
        let said = |subject: Subject| {
            let before = self.by_file.get(&subject).cloned();
            let drain = before.unwrap_or(Drain { who: None, since, begun });
            (subject, drain)
        };
        Self {
            by_hand: by_hand.map(|(subject, drain)| (subject.clone(), drain.clone())).collect(),
            by_file: in_file(catalog).map(said).collect(),
        }
    }

    /// Those by hand that the next do not have any more.
    pub fn dropped<'a>(&'a self, next: &'a Self) -> impl Iterator<Item = &'a Subject> {
        self.by_hand.keys().filter(|subject| !next.by_hand.contains_key(subject))
    }

    /// Since when an origin takes nothing new, for its own sake or its pool's.
    #[must_use]
    pub fn origin(&self, pool: &Name, origin: &Name) -> Option<Instant> {
        if self.is_empty() {
            return None;
        }
        let own = Subject::Origin { pool: pool.clone(), origin: origin.clone() };
        self.begun(&own).into_iter().chain(self.begun(&Subject::Pool(pool.clone()))).min()
    }

    /// Whether a link of this replica takes nothing new.
    #[must_use]
    pub fn holds_back(&self, connector: &Name, replica: &Name) -> bool {
        let own = || Subject::Replica { connector: connector.clone(), replica: replica.clone() };
        !self.is_empty() && (self.has(&Subject::Connector(connector.clone())) || self.has(&own()))
    }

    /// Whether this very thing is drained.
    #[must_use]
    pub fn has(&self, subject: &Subject) -> bool {
        self.find(subject).is_some()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_hand.is_empty() && self.by_file.is_empty()
    }

    fn begun(&self, subject: &Subject) -> Option<Instant> {
        [&self.by_file, &self.by_hand].into_iter().filter_map(|drains| Some(drains.get(subject)?.begun)).min()
    }
}

impl Affinity {
    /// How long those who are bound to an origin stay there once it is drained.
    #[must_use]
    pub fn drain_duration(self) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Source { prefix: _, ttl: _, drain } | Self::Cookie { ttl: _, drain } => drain,
        }
    }
}

/// What a catalog itself says is drained.
fn in_file(catalog: &Catalog) -> impl Iterator<Item = Subject> {
    let connectors = catalog.grants.iter().filter(|grant| grant.drain);
    let pools = catalog.pools.iter().filter(|pool| pool.drain);
    let origins = catalog.pools.iter().flat_map(|pool| {
        let drained = pool.origins.iter().filter(|origin| origin.drain);
        drained.map(|origin| Subject::Origin { pool: pool.name.clone(), origin: origin.name.clone() })
    });
    let load_balancers = catalog.load_balancers.iter().filter(|lb| lb.drain);
    let listeners = catalog.listeners.iter().filter(|listener| listener.drain);
    connectors
        .map(|grant| Subject::Connector(grant.connector.clone()))
        .chain(pools.map(|pool| Subject::Pool(pool.name.clone())))
        .chain(origins)
        .chain(load_balancers.map(|lb| Subject::LoadBalancer(lb.name.clone())))
        .chain(listeners.map(|listener| Subject::Listener(listener.name.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "name = \"edge-1\"\n[tunnel]\nlisten = \"127.0.0.1:7843\"\n\
         [[pool]]\nname = \"web\"\n[[pool.origin]]\nname = \"a\"\naddress = \"127.0.0.1:80\"\n\
         [[pool.origin]]\nname = \"b\"\naddress = \"127.0.0.1:81\"\n";

    fn catalog(more: &str) -> Catalog {
        let text = format!("{FILE}{more}");
        crate::config::parse(&text, "edge.toml".as_ref()).unwrap_or_else(|wrong| panic!("{wrong}")).catalog
    }

    fn subject(kind: &str, name: &str) -> Subject {
        Subject::read(kind, name).expect("right")
    }

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn what_is_drained_is_named_as_users_write_it() {
        for (kind, text) in [
            ("connector", "dc1"),
            ("connector", "dc1/r-1"),
            ("origin", "web/a"),
            ("pool", "web"),
            ("load_balancer", "www"),
            ("listener", "www"),
        ] {
            let read = subject(kind, text);
            assert_eq!((read.kind(), &read.name()[..]), (kind, text));
        }
        for (kind, text, right) in
            [("origin", "a", "POOL/ORIGIN"), ("pool", "Web", "a-z"), ("route", "a", "connector, origin, pool")]
        {
            let error = Subject::read(kind, text).expect_err("wrong");
            assert!(error.contains(right), "{error}");
        }
    }

    #[test]
    fn by_hand_is_kept_while_its_object_is_there_and_the_file_has_its_own() {
        let (now, clock) = (SystemTime::now(), Instant::now());
        let (web, a, b) = (catalog(""), subject("origin", "web/a"), subject("origin", "web/b"));
        let drain = Drain { who: Some("root".to_owned()), since: now, begun: clock };
        let drains = Drains::default().with(a.clone(), drain.clone()).with(b.clone(), drain);
        let same = drains.under(&web, (now, clock));
        assert_eq!(same, drains);
        assert!(same.origin(&name("web"), &name("a")).is_some() && same.origin(&name("api"), &name("a")).is_none());

        // The last origin of the file is said to be drained.
        let later = clock + Duration::from_secs(5);
        let said = same.under(&catalog("drain = true\n"), (now, later));
        assert_eq!(said.find(&b).map(|(by, drain)| (by, drain.begun)), Some((DrainedBy::File, later)));
        assert_eq!(said.find(&a).map(|(by, _)| by), Some(DrainedBy::Api));
        assert_eq!(said.origin(&name("web"), &name("b")), Some(clock), "since the first of both");
        assert_eq!(said.all().count(), 2);
        let again = said.under(&catalog("drain = true\n"), (now, later + Duration::from_secs(5)));
        assert_eq!(again, said, "it is drained since it first was");
        assert_eq!(said.under(&web, (now, later)).find(&b).map(|(by, _)| by), Some(DrainedBy::Api));

        let gone = said.under(&Catalog::default(), (now, later));
        assert!(gone.is_empty());
        assert_eq!(said.dropped(&gone).count(), 2);
    }

    #[test]
    fn whatever_can_be_drained_can_be_so_in_the_file() {
        let text = "name = \"edge-1\"\n[tunnel]\nlisten = \"127.0.0.1:7843\"\n\
             [[connector]]\nname = \"dc1\"\ndrain = true\nroutes = [{ vnet = \"prod\", cidr = \"10.0.0.0/8\" }]\n\
             [[pool]]\nname = \"web\"\ndrain = true\n\
             [[pool.origin]]\nname = \"a\"\naddress = \"127.0.0.1:80\"\ndrain = true\n\
             [[load_balancer]]\nname = \"lb\"\npools = [\"web\"]\ndrain = true\n\
             [[listener]]\nname = \"www\"\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:8000\"\nload_balancer = \"lb\"\ndrain = true\n";
        let parsed = |text: &str| crate::config::parse(text, "edge.toml".as_ref()).map(|config| config.catalog);
        let now = (SystemTime::now(), Instant::now());
        let count = |catalog: &Catalog| Drains::default().under(catalog, now).all().count();
        assert_eq!(parsed(text).map(|catalog| count(&catalog)).map_err(|wrong| wrong.to_string()), Ok(5));
        let none = text.replace("drain = true", "drain = false");
        assert_eq!(parsed(&none).map(|catalog| count(&catalog)).map_err(|wrong| wrong.to_string()), Ok(0));
        let wrong = parsed(&text.replacen("drain = true", "drain = 1", 1)).expect_err("a word").to_string();
        assert!(wrong.contains("`drain` must be true or false"), "{wrong}");
    }

    #[test]
    fn a_connector_holds_back_all_its_links_and_a_replica_its_own() {
        let drain = Drain { who: None, since: SystemTime::now(), begun: Instant::now() };
        let one = Drains::default().with(subject("connector", "dc1/r-1"), drain.clone());
        assert!(one.holds_back(&name("dc1"), &name("r-1")) && !one.holds_back(&name("dc1"), &name("r-2")));
        let all = Drains::default().with(subject("connector", "dc1"), drain);
        assert!(all.holds_back(&name("dc1"), &name("r-2")) && !all.holds_back(&name("dc2"), &name("r-1")));
    }
}

//! The last good addresses of names: when they are used at once, when the servers are asked first. Pure: callers bring the time.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Most names whose addresses are remembered; beyond, the one longest unused is forgotten.
const NAMES_MAX: usize = 1_024;
/// After a failure the last good addresses are used for so long before the servers are asked again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// The names that were resolved.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    addresses: Vec<IpAddr>,
    /// Since when the servers have not answered, and when they were asked last.
    failing: Option<Instant>,
    used: Instant,
}

/// What is done for whoever wants a name resolved.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The servers were asked in vain a moment ago: take these.
    Use(Vec<IpAddr>),
    /// Ask; take these, if any, when no answer comes.
    Ask(Option<Vec<IpAddr>>),
}

impl Known {
    pub(super) fn plan(&mut self, name: &str, now: Instant) -> Plan {
        let Some(entry) = self.0.get_mut(name) else { return Plan::Ask(None) };
        entry.used = now;
        let addresses = entry.addresses.clone();
        match entry.failing {
            Some(at) if now < at + ASK_AGAIN => Plan::Use(addresses),
            Some(_) | None => Plan::Ask(Some(addresses)),
        }
    }

    /// Takes in addresses of earlier times, unless there are newer ones.
    pub(super) fn remember(&mut self, name: &str, addresses: Vec<IpAddr>, now: Instant) {
        if !self.0.contains_key(name) {
            self.enter(name, addresses, now);
        }
    }

    /// Takes in an answer; says whether the name was failing.
    pub(super) fn found(&mut self, name: &str, addresses: Vec<IpAddr>, now: Instant) -> bool {
        let was_failing = self.0.get(name).is_some_and(|entry| entry.failing.is_some());
        self.enter(name, addresses, now);
        was_failing
    }

    /// Forgets a name that is no more.
    pub(super) fn denied(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Notes that nobody could tell; says whether that is news about a name whose addresses are known.
    pub(super) fn failed(&mut self, name: &str, now: Instant) -> bool {
        let Some(entry) = self.0.get_mut(name) else { return false };
        entry.failing.replace(now).is_none()
    }

    fn enter(&mut self, name: &str, addresses: Vec<IpAddr>, now: Instant) {
        if addresses.is_empty() {
            return;
        }
        if self.0.len() >= NAMES_MAX && !self.0.contains_key(name) {
            let oldest = self.0.iter().min_by_key(|(_, entry)| entry.used).map(|(name, _)| name.clone());
            oldest.map(|name| self.0.remove(&name));
        }
        self.0.insert(name.to_owned(), Entry { addresses, failing: None, used: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(last: u8) -> Vec<IpAddr> {
        vec![IpAddr::from([192, 0, 2, last])]
    }

    #[test]
    fn servers_that_fall_silent_are_asked_now_and_then_and_the_last_good_addresses_serve() {
        let (mut known, now) = (Known::default(), Instant::now());
        assert_eq!(known.plan("a", now), Plan::Ask(None));
        assert!(!known.failed("a", now), "there is nothing to fall back on");
        assert!(!known.found("a", some(1), now));
        assert_eq!(known.plan("a", now), Plan::Ask(Some(some(1))));
        assert!(known.failed("a", now), "news");
        assert!(!known.failed("a", now), "no news");
        assert_eq!(known.plan("a", now + ASK_AGAIN / 2), Plan::Use(some(1)));
        assert_eq!(known.plan("a", now + ASK_AGAIN), Plan::Ask(Some(some(1))));
        assert!(known.found("a", some(2), now + ASK_AGAIN), "they answer again");
        assert_eq!(known.plan("a", now + ASK_AGAIN), Plan::Ask(Some(some(2))));
    }

    #[test]
    fn a_name_that_is_no_more_has_no_last_good_addresses() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.found("a", some(1), now);
        known.denied("a");
        assert_eq!(known.plan("a", now), Plan::Ask(None));
        known.remember("a", some(3), now);
        known.remember("a", some(4), now);
        assert_eq!(known.plan("a", now), Plan::Ask(Some(some(3))), "newer ones stay");
    }

    #[test]
    fn names_beyond_the_bound_push_out_the_one_longest_unused() {
        let (mut known, now) = (Known::default(), Instant::now());
        let at = |n: usize| now + Duration::from_millis(n.try_into().expect("small"));
        for n in 0..NAMES_MAX {
            known.found(&n.to_string(), some(1), at(n));
        }
        known.plan("0", at(NAMES_MAX));
        known.found("one more", some(2), at(NAMES_MAX + 1));
        assert_eq!(known.0.len(), NAMES_MAX);
        assert!(known.0.contains_key("0") && !known.0.contains_key("1"));
    }
}

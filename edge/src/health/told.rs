//! Changes of paths as the log has them: a few of each second one by one, the others as numbers. A start, a dead connector
//! or a dead network changes hundreds at once, for one reason.

use std::time::{Duration, Instant};

use protocol::{error::Reason, id::Name, sparing::Sparing};
use tracing::{info, warn};

use super::{code::code_of, detail::Detail, key::PathKey, state::Transition, view::Health};

/// Numbers are told at most this often.
const COUNTS_EVERY: Duration = Duration::from_secs(1);

/// What was told, and what is yet to be.
#[derive(Debug, Default)]
pub(super) struct Told {
    one_by_one: Sparing,
    untold: Counts,
    since: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    healthy: usize,
    unhealthy: usize,
    unknown: usize,
}

/// A path as it is told.
#[derive(Debug)]
pub(super) struct Which<'a> {
    pub(super) key: &'a PathKey,
    pub(super) origin: &'a Name,
    pub(super) connector: Option<&'a Name>,
    pub(super) detail: &'a Detail,
}

impl Told {
    /// Tells a change of a path, now or with others.
    pub(super) fn tell(&mut self, now: Instant, which: &Which<'_>, change: Option<Transition>) {
        let Some(change) = change else { return };
        if self.one_by_one.may_say(now).is_none() {
            self.since.get_or_insert(now);
            match change.to {
                Health::Healthy => self.untold.healthy += 1,
                Health::Unhealthy => self.untold.unhealthy += 1,
                Health::Unknown => self.untold.unknown += 1,
            }
            return;
        }
        let (pool, via, origin) = (&which.key.pool, which.key.via, which.origin);
        let connector = which.connector.map(Name::as_str);
        match change.to {
            Health::Healthy => info!(%pool, %origin, %via, connector, "path is healthy"),
            Health::Unhealthy => {
                let (reason, detail) = (change.reason.map(Reason::as_str), which.detail.of(change.reason));
                let (code, detail) = (change.reason.map(|reason| code_of(reason).as_str()), detail.as_deref());
                warn!(%pool, %origin, %via, connector, reason, code, detail, "path is unhealthy");
            }
            Health::Unknown => info!(%pool, %origin, %via, connector, "path is unknown"),
        }
    }

    /// Tells the numbers of those that were not told one by one, if they have waited long enough.
    pub(super) fn tell_rest(&mut self, now: Instant) {
        let Some(Counts { healthy, unhealthy, unknown }) = self.due(now) else { return };
        if unhealthy > 0 {
            warn!(healthy, unhealthy, unknown, "more paths have changed: `underpass status` shows each");
        } else {
            info!(healthy, unhealthy, unknown, "more paths have changed: `underpass status` shows each");
        }
    }

    /// Whether some are yet to be told.
    pub(super) fn owes(&self) -> bool {
        self.since.is_some()
    }

    fn due(&mut self, now: Instant) -> Option<Counts> {
        let since = self.since?;
        if now.saturating_duration_since(since) < COUNTS_EVERY {
            return None;
        }
        self.since = None;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        health::OriginKey,
        model::{Origin, Via},
    };

    #[test]
    fn hundreds_of_changes_are_a_few_lines_and_one_with_numbers() {
        let (mut told, start) = (Told::default(), Instant::now());
        let name: Name = "web".parse().expect("a name");
        let origin = Origin {
            name: name.clone(),
            vnet: None,
            address: "127.0.0.1:80".parse().expect("a target"),
            weight: 1.0,
            proxy_protocol: None,
            drain: false,
        };
        let key = PathKey { pool: name.clone(), origin: OriginKey::of(&origin), via: Via::Direct };
        let detail = Detail::default();
        let which = Which { key: &key, origin: &name, connector: None, detail: &detail };
        let change = Transition { from: Health::Unknown, to: Health::Healthy, reason: None };
        for _ in 0..800 {
            told.tell(start, &which, Some(change));
        }
        told.tell(start, &which, None);
        assert_eq!(told.due(start), None, "more may come");
        assert_eq!(told.due(start + COUNTS_EVERY), Some(Counts { healthy: 790, unhealthy: 0, unknown: 0 }));
        assert_eq!(told.due(start + COUNTS_EVERY * 2), None);
    }
}

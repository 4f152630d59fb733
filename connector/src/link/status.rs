//! What is known of every link slot, for readiness, metrics and the log.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use protocol::{control::RefusedRoute, id::Target, liveness::LinkState};

/// One link slot of one edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkStatus {
    /// Being dialled; why the last try failed.
    Dialling(Option<String>),
    /// Registered.
    Registered {
        /// The edge's name.
        edge: String,
        /// Up or suspect.
        state: LinkState,
        /// Claims the edge did not accept.
        refused: Vec<RefusedRoute>,
    },
}

/// All link slots of a connector.
#[derive(Debug, Default)]
pub struct Links(Mutex<BTreeMap<(Target, u16), LinkStatus>>);

impl Links {
    /// Records a slot's status.
    pub fn set(&self, edge: &Target, slot: u16, status: LinkStatus) {
        self.lock().insert((edge.clone(), slot), status);
    }

    /// Records why a dial failed; a slot whose link is being replaced has a link all the same.
    pub fn set_failure(&self, edge: &Target, slot: u16, why: &str) {
        let mut slots = self.lock();
        let status = slots.entry((edge.clone(), slot)).or_insert(LinkStatus::Dialling(None));
        if let LinkStatus::Dialling(last) = status {
            *last = Some(why.to_owned());
        }
    }

    /// Records a registered slot's state, if it is still registered.
    pub fn set_state(&self, edge: &Target, slot: u16, new: LinkState) {
        if let Some(LinkStatus::Registered { state, .. }) = self.lock().get_mut(&(edge.clone(), slot)) {
            *state = new;
        }
    }

    /// Every slot, by edge and number.
    #[must_use]
    pub fn all(&self) -> Vec<(Target, u16, LinkStatus)> {
        self.lock().iter().map(|((edge, slot), status)| (edge.clone(), *slot, status.clone())).collect()
    }

    /// True while at least one link is registered and up.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.up() > 0
    }

    /// Links that are registered and up.
    #[must_use]
    pub fn up(&self) -> usize {
        self.lock().values().filter(|status| is_up(status)).count()
    }

    /// True while at least one link to this edge is registered and up.
    #[must_use]
    pub fn is_up(&self, edge: &Target) -> bool {
        let slots = self.lock();
        let mut of_edge = slots.range((edge.clone(), 0)..=(edge.clone(), u16::MAX));
        of_edge.any(|(_, status)| is_up(status))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Target, u16), LinkStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_up(status: &LinkStatus) -> bool {
    matches!(status, LinkStatus::Registered { state: LinkState::Up, .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_up_by_its_own_links() {
        let (links, near, far) = (Links::default(), target("10.0.0.1:7843"), target("10.0.0.2:7843"));
        let up = |state| LinkStatus::Registered { edge: String::new(), state, refused: Vec::new() };
        links.set(&near, 3, up(LinkState::Up));
        links.set(&far, 0, LinkStatus::Dialling(None));
        links.set(&far, 1, up(LinkState::Suspect));
        assert_eq!((links.is_up(&near), links.is_up(&far)), (true, false));
        links.set_failure(&far, 1, "a dial beside it failed");
        links.set_state(&far, 1, LinkState::Up);
        assert!(links.is_up(&far), "a stand-in that did not come takes nothing away");
        links.set_failure(&far, 0, "no answer");
        assert_eq!(links.all()[1].2, LinkStatus::Dialling(Some("no answer".to_owned())));
    }

    fn target(text: &str) -> Target {
        text.parse().expect("a target")
    }
}

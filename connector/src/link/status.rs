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
        let up = |s: &&LinkStatus| matches!(s, LinkStatus::Registered { state: LinkState::Up, .. });
        self.lock().values().filter(up).count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Target, u16), LinkStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

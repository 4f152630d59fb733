//! What is known of every link slot, for readiness, metrics and the log.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use protocol::{
    control::{Judged, RefusedRoute, RouteClaim},
    id::Target,
    link::Connection,
    liveness::LinkState,
};
use tokio::sync::Notify;

use super::Trouble;

/// One link slot of one edge.
#[derive(Debug, Clone)]
pub enum LinkStatus {
    /// Being dialled; why the last try failed.
    Dialling(Option<Trouble>),
    /// Registered.
    Registered {
        /// The edge's name.
        edge: String,
        /// Up or suspect.
        state: LinkState,
        /// Claims the edge did not accept.
        refused: Vec<RefusedRoute>,
        /// What else there is to show; boxed, since most slots of many are alike.
        about: Box<About>,
    },
}

/// What is shown of a registered link.
#[derive(Debug, Clone)]
pub struct About {
    /// Claims the edge accepted.
    pub accepted: Vec<RouteClaim>,
    /// The link itself.
    pub connection: Connection,
    /// Since when.
    pub since: SystemTime,
    /// What it has registered as, of the slot's two numbers.
    pub number: u16,
}

/// The links to one edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeLinks {
    /// As the settings name it.
    pub edge: Target,
    /// Registered and up.
    pub up: usize,
    /// Kept, whether up or not.
    pub wanted: usize,
    /// Why there is none, as far as is known.
    pub why: Option<String>,
}

/// What is said of who has not answered yet, and has not failed to.
const WAITING: &str = "no answer yet";

/// All link slots of a connector; before there are any, the edges that it wants to join at.
#[derive(Debug, Default)]
pub struct Links {
    slots: Mutex<BTreeMap<(Target, u16), LinkStatus>>,
    /// Whether each is up, and since when that is so.
    turned: Mutex<BTreeMap<(Target, u16), (bool, SystemTime)>>,
    joining: Mutex<BTreeMap<Target, Option<String>>>,
    /// Links that were replaced and told to leave, and have not ended.
    leaving: AtomicUsize,
    /// Told when a slot is up, or is not any more.
    news: Notify,
}

impl Links {
    /// Records why it could not join at an edge; `None` if that is not known yet.
    pub fn set_joining(&self, edge: &Target, why: Option<String>) {
        let mut joining = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        let last = joining.entry(edge.clone()).or_default();
        // The last reason stands until there is another.
        *last = why.or(last.take());
    }

    /// Where it wants to join, and why it has not.
    #[must_use]
    pub fn joining(&self) -> Vec<(Target, String)> {
        let joining = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        let said = |why: &Option<String>| why.as_deref().unwrap_or(WAITING).to_owned();
        joining.iter().map(|(edge, why)| (edge.clone(), said(why))).collect()
    }

    /// A slot is kept from now on, and has no link yet.
    pub fn keep(&self, edge: &Target, slot: u16) {
        self.lock().insert((edge.clone(), slot), LinkStatus::Dialling(None));
        self.turn((edge.clone(), slot), false);
    }

    /// A slot is kept no longer. Whatever is recorded of it later is of a link that leaves.
    pub fn forget(&self, edge: &Target, slot: u16) {
        let slot = (edge.clone(), slot);
        self.lock().remove(&slot);
        self.turned.lock().unwrap_or_else(PoisonError::into_inner).remove(&slot);
    }

    /// Records a kept slot's status.
    pub fn set(&self, edge: &Target, slot: u16, status: LinkStatus) {
        if let Some(kept) = self.lock().get_mut(&(edge.clone(), slot)) {
            self.turn((edge.clone(), slot), is_up(&status));
            *kept = status;
        }
    }

    /// Records what a registered slot's edge says of other claims than it registered with.
    pub fn set_claims(&self, edge: &Target, slot: u16, judged: &Judged) {
        if let Some(LinkStatus::Registered { refused, about, .. }) = self.lock().get_mut(&(edge.clone(), slot)) {
            refused.clone_from(&judged.refused);
            about.accepted.clone_from(&judged.accepted);
        }
    }

    /// Records why a dial failed; a slot whose link is being replaced has a link all the same.
    pub fn set_failure(&self, edge: &Target, slot: u16, why: Trouble) {
        if let Some(LinkStatus::Dialling(last)) = self.lock().get_mut(&(edge.clone(), slot)) {
            *last = Some(why);
        }
    }

    /// Records a registered slot's state, if it is still registered.
    pub fn set_state(&self, edge: &Target, slot: u16, new: LinkState) {
        if let Some(LinkStatus::Registered { state, .. }) = self.lock().get_mut(&(edge.clone(), slot)) {
            *state = new;
            self.turn((edge.clone(), slot), new == LinkState::Up);
        }
    }

    /// Since when a slot is up, or is not.
    #[must_use]
    pub fn since(&self, edge: &Target, slot: u16) -> Option<SystemTime> {
        let turned = self.turned.lock().unwrap_or_else(PoisonError::into_inner);
        turned.get(&(edge.clone(), slot)).map(|(_, since)| *since)
    }

    fn turn(&self, slot: (Target, u16), up: bool) {
        let mut turned = self.turned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_so = turned.entry(slot).or_insert_with(|| (up, SystemTime::now()));
        if is_so.0 != up {
            *is_so = (up, SystemTime::now());
        }
        drop(turned);
        self.news.notify_waiters();
    }

    /// Waits until this is so, looking again whenever a slot is up or is not any more.
    pub async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            let mut news = pin!(self.news.notified());
            // What comes after the look is not missed.
            news.as_mut().enable();
            if is_so() {
                return;
            }
            news.await;
        }
    }

    /// False while a slot is kept, and is not up.
    #[must_use]
    pub fn is_up_or_unknown(&self, edge: &Target, slot: u16) -> bool {
        self.lock().get(&(edge.clone(), slot)).is_none_or(is_up)
    }

    /// The number of each slot's link.
    #[must_use]
    pub fn numbers(&self) -> Vec<(Target, u16, u16)> {
        let slots = self.lock();
        let number = |((edge, slot), status): (&(Target, u16), &LinkStatus)| match status {
            LinkStatus::Registered { about, .. } => Some((edge.clone(), *slot, about.number)),
            LinkStatus::Dialling(_) => None,
        };
        slots.iter().filter_map(number).collect()
    }

    /// A link was replaced and told to leave.
    pub fn leaves(&self) {
        self.leaving.fetch_add(1, Ordering::Relaxed);
    }

    /// Such a link has ended.
    pub fn left(&self) {
        self.leaving.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many links leave, replaced by others.
    #[must_use]
    pub fn leaving(&self) -> usize {
        self.leaving.load(Ordering::Relaxed)
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

    /// How many there are and should be, by edge.
    #[must_use]
    pub fn by_edge(&self) -> Vec<EdgeLinks> {
        let mut edges: Vec<EdgeLinks> = Vec::new();
        for ((edge, _), status) in &*self.lock() {
            if edges.last().is_none_or(|last| last.edge != *edge) {
                edges.push(EdgeLinks { edge: edge.clone(), up: 0, wanted: 0, why: None });
            }
            let Some(at) = edges.last_mut() else { continue };
            at.wanted += 1;
            at.up += usize::from(is_up(status));
            match status {
                LinkStatus::Dialling(why) => {
                    at.why = at.why.take().or_else(|| why.as_ref().map(|why| why.text.clone()))
                }
                LinkStatus::Registered { .. } => {}
            }
        }
        for edge in edges.iter_mut().filter(|edge| edge.up == 0 && edge.why.is_none()) {
            edge.why = Some(WAITING.to_owned());
        }
        edges
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
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_up(status: &LinkStatus) -> bool {
    matches!(status, LinkStatus::Registered { state: LinkState::Up, .. })
}

#[cfg(test)]
mod tests {
    use api::code::Code;

    use super::*;

    fn trouble(text: &str) -> Trouble {
        Trouble { code: Code::EdgeSilent, text: text.to_owned() }
    }

    #[test]
    fn an_edge_without_links_is_seen_beside_others() {
        let (links, near, far) = (Links::default(), target("10.0.0.1:7843"), target("10.0.0.2:7843"));
        for slot in 0..2 {
            links.keep(&near, slot);
            links.keep(&far, slot);
        }
        links.set(&far, 1, LinkStatus::Dialling(Some(trouble("no answer"))));
        let none = |edge, why: Option<&str>| EdgeLinks { edge, up: 0, wanted: 2, why: why.map(str::to_owned) };
        assert_eq!(links.by_edge(), [none(near.clone(), Some(WAITING)), none(far, Some("no answer"))]);
        assert!(!links.is_up(&near) && !links.is_ready());
        links.set_failure(&near, 0, trouble("nor here"));
        assert_eq!(links.by_edge()[0].why.as_deref(), Some("nor here"));
    }

    #[test]
    fn what_is_kept_no_longer_is_not_seen_whatever_is_said_of_it() {
        let (links, near) = (Links::default(), target("10.0.0.1:7843"));
        links.keep(&near, 0);
        links.forget(&near, 0);
        links.set(&near, 0, LinkStatus::Dialling(Some(trouble("late"))));
        links.set_failure(&near, 0, trouble("later"));
        assert_eq!(links.by_edge(), []);
    }

    #[test]
    fn the_last_reason_stands_until_there_is_another() {
        let (links, near) = (Links::default(), target("10.0.0.1:7843"));
        for (why, said) in [(None, WAITING), (Some("refused"), "refused"), (None, "refused"), (Some("lost"), "lost")] {
            links.set_joining(&near, why.map(str::to_owned));
            assert_eq!(links.joining(), [(near.clone(), said.to_owned())]);
        }
    }

    fn target(text: &str) -> Target {
        text.parse().expect("a target")
    }
}

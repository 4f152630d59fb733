//! The policy in force, whole, and what becomes of flows that the next one would not permit.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::watch,
    time::{self, Instant},
};

use super::policy::{Permit, Policy};

/// A policy, and how long flows that it does not permit may go on.
#[derive(Debug)]
pub struct Ruling {
    /// What may be dialled.
    pub policy: Policy,
    /// Flows that were permitted before and are not now are cut after this; absent: they go on to their end.
    pub cut_after: Option<Duration>,
}

/// The ruling in force, published whole: whoever opens a stream is judged by one.
#[derive(Debug)]
pub struct Rulings(watch::Sender<Arc<Ruling>>);

impl Rulings {
    /// Begins with this one.
    #[must_use]
    pub fn new(ruling: Ruling) -> Self {
        Self(watch::Sender::new(Arc::new(ruling)))
    }

    /// Puts another in force, for all that is opened from now on.
    pub fn replace(&self, ruling: Ruling) {
        self.0.send_replace(Arc::new(ruling));
    }

    /// The one in force.
    pub(super) fn current(&self) -> Arc<Ruling> {
        self.0.borrow().clone()
    }

    /// Completes when a flow is to be cut: it has not been permitted for as long as such flows may go on.
    pub(super) async fn withdrawn(&self, permit: &Permit) {
        // A flow is polled for every packet, and what tells of rulings is shared by all flows: it is asked only when it has
        // something to tell.
        let mut alone: FuturesUnordered<_> = [self.not_permitted(permit)].into_iter().collect();
        let _ = alone.next().await;
    }

    async fn not_permitted(&self, permit: &Permit) {
        let mut rulings = self.0.subscribe();
        let mut since: Option<Instant> = None;
        loop {
            let ruling = rulings.borrow_and_update().clone();
            let grace = ruling.cut_after.filter(|_| !permit.holds(&ruling.policy));
            // A ruling in between by which it may go on begins its time anew; one more by which it may not does not.
            since = grace.map(|_| since.unwrap_or_else(Instant::now));
            let over = async {
                match grace.zip(since) {
                    Some((grace, since)) => time::sleep_until(since + grace).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                // The sender is ours.
                _ = rulings.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::serve::{Host, Rules};

    const GRACE: Duration = Duration::from_secs(30);

    fn ruling(routes: &[&str], cut_after: Option<Duration>) -> Ruling {
        let route = |cidr: &&str| ("prod".parse().expect("a name"), cidr.parse().expect("a network"));
        let rules = Rules { routes: routes.iter().map(route).collect(), ..Rules::default() };
        Ruling { policy: Policy::new(rules, Host { listening: Vec::new(), is_local: |_| false }), cut_after }
    }

    fn permit() -> Permit {
        let target = "10.1.0.1:80".parse().expect("a target");
        Permit::of(&"prod".parse().expect("a name"), &target, vec!["10.1.0.1:80".parse().expect("an address")])
    }

    #[tokio::test(start_paused = true)]
    async fn a_flow_that_is_not_permitted_any_more_is_cut_after_its_time() {
        let (both, one) = (["10.1.0.0/16", "10.2.0.0/16"], ["10.2.0.0/16"]);
        let rulings = Rulings::new(ruling(&both, Some(GRACE)));
        let permit = permit();
        let mut flow = Box::pin(rulings.withdrawn(&permit));
        assert!((&mut flow).now_or_never().is_none());
        rulings.replace(ruling(&one, Some(GRACE)));
        let began = Instant::now();
        assert!((&mut flow).now_or_never().is_none(), "it has time");
        time::advance(GRACE / 2).await;
        rulings.replace(ruling(&[], Some(GRACE)));
        assert!((&mut flow).now_or_never().is_none(), "half of it is left");
        flow.await;
        assert!(began.elapsed() < GRACE + Duration::from_secs(1), "one more change gives it no more time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flow_goes_on_that_is_permitted_again_or_may_finish() {
        let rulings = Rulings::new(ruling(&[], Some(GRACE)));
        let permit = permit();
        let mut flow = Box::pin(rulings.withdrawn(&permit));
        assert!((&mut flow).now_or_never().is_none());
        time::advance(GRACE / 2).await;
        rulings.replace(ruling(&["10.1.0.0/16"], Some(GRACE)));
        assert!((&mut flow).now_or_never().is_none());
        time::advance(GRACE * 2).await;
        assert!((&mut flow).now_or_never().is_none(), "permitted again");
        rulings.replace(ruling(&[], None));
        assert!((&mut flow).now_or_never().is_none());
        time::advance(GRACE * 2).await;
        assert!((&mut flow).now_or_never().is_none(), "it may finish");
    }
}

//! How a flow of any kind comes to its place: found in the view of the moment, waited for a while, and another one when
//! that failed.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use api::explain::Considered;
use http::{HeaderMap, HeaderValue};
use protocol::{
    error::{Culprit, Reason},
    id::Name,
};
use tokio::time;

use super::{told::Told, weighed::considered};
use crate::listener::{
    flows::{Placement, Seat, Sitting},
    shared::Shared,
};
use crate::{
    balancer::{self, Ask, Budget, Near, NoPlace, Placed, Tried, cookie::Purpose},
    health::{
        Destination, PathKey, Report, Surroundings,
        view::{Health, HealthView, OriginView, PathView, PoolView},
    },
    model::{Affinity, Answers, FlowId, FlowKey, Held, Leads, Listener, LoadBalancer, Origin, Pool},
    offramp::{Opening, Way},
};

/// How long a flow that no origin can take waits for one: long enough for links to come back after an edge's restart or a
/// connector's, short enough that clients do not pile up. Behind links that have been away for longer nobody waits.
const PATIENCE: Duration = Duration::from_secs(3);

/// Steps of a decision that are remembered of a flow without a place.
const WEIGHED_MAX: usize = 32;

/// After this a request that waits for an answer looks what health says about where it waits.
const WATCH_AFTER: Duration = Duration::from_millis(500);
/// And again after this at the soonest, if something has changed.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Where a flow was placed, taken out of the view.
#[derive(Debug)]
pub(in crate::listener) struct Place {
    /// The load balancer that placed it.
    pub(in crate::listener) balancer: Arc<LoadBalancer>,
    /// The pool.
    pub(in crate::listener) pool: Arc<Pool>,
    /// The origin in it.
    pub(in crate::listener) origin: Arc<Origin>,
    /// The path there.
    pub(in crate::listener) path: PathKey,
    /// What leads there.
    way: Way,
    /// It is no pool and no origin of the catalog, but where the flow was for.
    is_destination: bool,
    /// Where its answers are noted.
    pub(in crate::listener) answers: Arc<Answers>,
    /// What pays for trying the flow once more.
    pub(in crate::listener) budget: Arc<Budget>,
    /// The client is to get a cookie that keeps it there, for so long.
    cookie: Option<Duration>,
    /// The flow counts there for as long as it lives.
    pub(in crate::listener) seat: Seat,
    /// And on its link from now on, until its stream does: flows that arrive together must see each other.
    _on_link: Held,
}

/// The search for places of one flow: what was tried in vain, and until when it waits.
#[derive(Debug)]
pub(in crate::listener) struct Search<'a> {
    shared: &'a Shared,
    listener: &'a Arc<Listener>,
    flow: FlowKey<'a>,
    /// What the client sent, where that may have cookies in it.
    headers: Option<&'a HeaderMap>,
    tried: Tried,
    until: time::Instant,
    /// How long it has waited so far.
    waited: Duration,
    /// What was weighed when the last wait was given up.
    weighed: Vec<Considered>,
}

impl Place {
    /// Takes what was placed out of its view.
    fn take(placed: &Placed<'_>, (budget, seat): (Arc<Budget>, Seat)) -> Self {
        Self {
            balancer: placed.balancer.balancer.clone(),
            pool: placed.pool.pool.clone(),
            origin: placed.origin.origin.clone(),
            path: PathKey { pool: placed.pool.pool.name.clone(), origin: placed.origin.key, via: placed.path.via() },
            way: placed.path.way.clone(),
            is_destination: false,
            answers: placed.origin.answers.clone(),
            budget,
            cookie: placed.cookie,
            seat,
            _on_link: placed.path.load.hold(),
        }
    }

    /// The field that keeps the client there, if it is to have one; `tls`: it came over TLS.
    pub(in crate::listener) fn cookie(&self, shared: &Shared, tls: bool) -> Option<HeaderValue> {
        let purpose = Purpose { balancer: &self.balancer.name, now: SystemTime::now() };
        shared.balancer.sealer().write(purpose, self.path.origin, self.cookie?, tls)
    }

    /// What is to be opened for this flow.
    pub(in crate::listener) fn opening(&self, flow: FlowId) -> Opening<'_> {
        let (origin, way, wait) = (&self.origin, &self.way, self.pool.connect_timeout);
        Opening { origin, way, wait, priority: 0, flow: Some(flow) }
    }

    /// The worker of its link. Nothing ties a flow without one to any.
    pub(in crate::listener) fn worker(&self, shared: &Shared) -> usize {
        match &self.way {
            Way::Link(link) => link.worker,
            Way::Direct(_) => rand::random_range(0..shared.workers.count()),
        }
    }

    /// Tells the health room how live traffic fared here.
    pub(in crate::listener) fn report(&self, shared: &Shared, connect: Result<(), Reason>) {
        if self.pool.monitor.is_some() {
            shared.reports.tell(Report { path: self.path.clone(), connect });
        }
    }

    /// Completes when the path is found unhealthy while its load balancer has a better one, in whichever pool; not soon, for
    /// most answers need no such watch.
    pub(in crate::listener) async fn has_better(&self, shared: &Shared) {
        time::sleep(WATCH_AFTER).await;
        let mut views = shared.view.clone();
        loop {
            let view = views.borrow_and_update().clone();
            if is_better_elsewhere(&view, &self.balancer.name, &self.path) {
                return;
            }
            if views.changed().await.is_err() {
                // The edge is ending: whoever waits is told so otherwise.
                std::future::pending().await
            }
            // Many may wait, and views may be many.
            time::sleep(LOOK_AGAIN).await;
        }
    }

    /// As logs name it.
    pub(in crate::listener) fn told(&self) -> Told {
        let (link, connector) = (self.way.link().map(|link| link.id.to_string()), self.way.connector());
        let connector = connector.map(ToString::to_string);
        let Origin { name, address, .. } = &*self.origin;
        let origin = if self.is_destination { address.to_string() } else { name.to_string() };
        Told { pool: self.pool.name.to_string(), origin, link, connector }
    }
}

impl<'a> Search<'a> {
    /// For a flow of which this is known; patience counts from now.
    pub(in crate::listener) fn new(shared: &'a Shared, listener: &'a Arc<Listener>, flow: FlowKey<'a>) -> Self {
        let until = time::Instant::now() + PATIENCE;
        let (waited, weighed) = (Duration::ZERO, Vec::new());
        Self { shared, listener, flow, headers: None, tried: Tried::default(), until, waited, weighed }
    }

    /// For a flow whose client has sent these.
    pub(in crate::listener) fn with_headers(self, headers: &'a HeaderMap) -> Self {
        Self { headers: Some(headers), ..self }
    }

    /// For a flow that has tried these places already.
    pub(in crate::listener) fn after(self, tried: Tried) -> Self {
        Self { tried, ..self }
    }

    /// For a flow that has been here since then.
    pub(in crate::listener) fn since(self, arrived: Instant) -> Self {
        Self { until: time::Instant::from_std(arrived + PATIENCE), ..self }
    }

    /// A place, waited for if there is none and that may change. Dropping it loses nothing.
    pub(in crate::listener) async fn find(&mut self) -> Result<Place, NoPlace> {
        let mut since = None;
        let (mut views, mut links) = (self.shared.view.clone(), self.shared.links.clone());
        loop {
            links.mark_unchanged();
            let view = views.borrow_and_update().clone();
            let no = match self.place(&view, None) {
                Ok(found) => {
                    self.waited += since.map_or(Duration::ZERO, |since: Instant| since.elapsed());
                    return Ok(found);
                }
                Err(no) => no,
            };
            if !is_awaited(&no, self.until.into_std()) {
                return Err(self.given_up(no, &view, since));
            }
            since.get_or_insert_with(Instant::now);
            let changed = async {
                match self.listener.leads {
                    Leads::LoadBalancer(_) => views.changed().await,
                    // No view of health tells of links to where no origin is.
                    Leads::Destination { .. } => tokio::select! {
                        changed = views.changed() => changed,
                        changed = links.changed() => changed,
                    },
                }
            };
            if !matches!(time::timeout_at(self.until, changed).await, Ok(Ok(()))) {
                return Err(self.given_up(no, &view, since));
            }
        }
    }

    /// There is no place: notes what was weighed, by deciding once more about the same, if few have asked for that of late.
    fn given_up(&mut self, no: NoPlace, view: &HealthView, since: Option<Instant>) -> NoPlace {
        let now = Instant::now();
        self.waited += since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if self.shared.recent.may_weigh(now) {
            let balancer = &self.shared.balancer;
            let weighed =
                self.asking(view, None, |ask, _| considered(&balancer.explain(ask, &mut rand::rng()).1, WEIGHED_MAX));
            self.weighed = weighed.unwrap_or_default();
        }
        no
    }

    /// How long it has waited for places so far.
    pub(in crate::listener) fn waited(&self) -> Duration {
        self.waited
    }

    /// What was weighed when there was no place, if that was noted.
    pub(in crate::listener) fn take_weighed(&mut self) -> Vec<Considered> {
        std::mem::take(&mut self.weighed)
    }

    /// A place in the view of this moment, or none.
    pub(in crate::listener) fn look(&self) -> Option<Place> {
        self.place(&self.shared.view.borrow().clone(), None).ok()
    }

    /// A place for a flow that has to leave this one, in the view of this moment: the same origin if another path leads
    /// there.
    pub(in crate::listener) fn look_near(&self, place: &Place) -> Option<Place> {
        let near = Near { pool: &place.pool, origin: &place.origin };
        self.place(&self.shared.view.borrow().clone(), Some(near)).ok()
    }

    fn place(&self, view: &HealthView, near: Option<Near<'_>>) -> Result<Place, NoPlace> {
        let balancer = &self.shared.balancer;
        self.asking(view, near, |ask, leads| {
            let placed = balancer.place(ask, &mut rand::rng())?;
            let (budget, at) = match leads {
                Leads::LoadBalancer(_) => {
                    let lb = placed.balancer.balancer.clone();
                    let (pool, origin) = (placed.pool.pool.clone(), placed.origin.origin.clone());
                    (balancer.budget(view, &lb, ask.now), Some(Placement { balancer: lb, pool, origin }))
                }
                Leads::Destination { .. } => (balancer.budget_of_destinations(ask.now), None),
            };
            let (is_destination, seat) = (at.is_none(), self.seat(&placed, at, ask.now));
            Ok(Place { is_destination, ..Place::take(&placed, (budget, seat)) })
        })?
    }

    fn seat(&self, placed: &Placed<'_>, at: Option<Placement>, since: Instant) -> Seat {
        let (listener, way, count) = (self.listener.clone(), placed.path.way.clone(), OnceLock::new());
        self.shared.flows.seat(Sitting { listener, at, way, since, count }, placed.origin.hold())
    }

    /// Hands on what is to be asked about the flow in a view, whether it is to be placed or only explained.
    pub(in crate::listener) fn asking<T>(
        &self,
        view: &HealthView,
        near: Option<Near<'_>>,
        then: impl FnOnce(&Ask<'_, '_>, &Leads) -> T,
    ) -> Result<T, NoPlace> {
        let listener = self.known_in(view).ok_or(UNKNOWN)?;
        let (flow, headers, tried, now) = (&self.flow, self.headers, &self.tried, Instant::now());
        if let Leads::Destination { vnet } = &listener.leads {
            let view = self.at_destination(view, vnet, now)?;
            let balancer = view.load_balancers.first().ok_or(UNKNOWN)?;
            return Ok(then(
                &Ask { view: &view, balancer, flow, cookie: None, headers, near, tried, now },
                &listener.leads,
            ));
        }
        let balancer = balancer::route(view, listener, flow).ok_or(UNKNOWN)?;
        let lb = &balancer.balancer;
        let cookie = self.headers.filter(|_| matches!(lb.session_affinity, Affinity::Cookie { .. }));
        let purpose = Purpose { balancer: &lb.name, now: SystemTime::now() };
        let cookie = cookie.and_then(|headers| self.shared.balancer.sealer().read(headers, purpose));
        Ok(then(&Ask { view, balancer, flow, cookie, headers, near, tried, now }, &listener.leads))
    }

    /// A view of nothing but where the flow was for.
    fn at_destination(&self, view: &HealthView, vnet: &Name, now: Instant) -> Result<HealthView, NoPlace> {
        let nowhere = |words: &str| NoPlace { detail: Some(words.into()), ..NoPlace::because(Some(Reason::NoRoute)) };
        let address = self.flow.destination.ok_or_else(|| nowhere("nothing has said where the flow was for"))?;
        let destination = Destination::new(vnet, address).ok_or_else(|| nowhere("it was for port 0"))?;
        let (links, grants) = (self.shared.links.borrow().clone(), &view.catalog.grants);
        Ok(destination.view(&Surroundings { links: &links, grants, network: &self.shared.network, now }))
    }

    /// The listener as a view knows it. The view may be of an older or a newer catalog: only the name holds in both, and a
    /// listener accepts before the first view that knows it is published.
    fn known_in<'v>(&self, view: &'v HealthView) -> Option<&'v Listener> {
        view.catalog.listeners.iter().find(|l| l.name == self.listener.name).map(|l| &**l)
    }

    /// The origin has accepted.
    pub(in crate::listener) fn opened(&self, place: &Place) {
        place.report(self.shared, Ok(()));
    }

    /// The way there failed.
    pub(in crate::listener) fn failed(&mut self, place: &Place, reason: Reason) {
        place.report(self.shared, Err(reason));
        self.avoid(place, reason);
    }

    /// Something behind the accept failed: placed elsewhere, and no word on the path's health.
    pub(in crate::listener) fn avoid(&mut self, place: &Place, reason: Reason) {
        let PathKey { origin, via, .. } = place.path;
        match reason.culprit() {
            Culprit::Origin => self.tried.origin(origin, reason),
            Culprit::Path | Culprit::Tunnel => self.tried.path(origin, via, reason),
        }
    }

    /// What was tried so far.
    pub(in crate::listener) fn into_tried(self) -> Tried {
        self.tried
    }

    /// Leaves the place's origin alone, whichever way leads there.
    pub(in crate::listener) fn avoid_origin(&mut self, place: &Place, reason: Reason) {
        self.tried.origin(place.path.origin, reason);
    }

    /// Why the last attempt failed.
    pub(in crate::listener) fn last(&self) -> Option<Reason> {
        self.tried.last()
    }
}

/// Of a listener that the view does not know yet.
const UNKNOWN: NoPlace = NoPlace { reason: Some(Reason::TunnelDown), detail: None, down_since: None };

/// Whether a path is unhealthy, and its load balancer has another one for new flows that is known to be well, or that nobody
/// asks about.
fn is_better_elsewhere(view: &HealthView, balancer: &Name, path: &PathKey) -> bool {
    let Some(lb) = view.balancer(balancer) else { return false };
    let is_own = |way: &Leading<'_>| {
        way.pool.pool.name == path.pool && way.origin.key == path.origin && way.path.via() == path.via
    };
    let own = view.pools.iter().filter(|pool| pool.pool.name == path.pool).flat_map(|pool| ways(pool));
    let usable = lb.pools(view).filter(|pool| pool.serves());
    own.into_iter().any(|way| is_own(&way) && way.path.health == Health::Unhealthy)
        && usable.chain(lb.fallback_pool(view)).flat_map(ways).any(|way| !is_own(&way) && way.takes_new_well())
}

/// A path with what it belongs to.
struct Leading<'v> {
    pool: &'v PoolView,
    origin: &'v OriginView,
    path: &'v PathView,
}

impl Leading<'_> {
    fn takes_new_well(&self) -> bool {
        let health = match self.path.health {
            Health::Healthy => true,
            Health::Unknown => self.pool.pool.monitor.is_none(),
            Health::Unhealthy => false,
        };
        health && self.path.load.is_placeable() && self.origin.takes_new()
    }
}

fn ways(pool: &PoolView) -> impl Iterator<Item = Leading<'_>> {
    pool.origins.iter().flat_map(move |origin| origin.paths.iter().map(move |path| Leading { pool, origin, path }))
}

/// Whether there may be a place until then, for a flow whose patience ends then. Links come back, and so does a view that
/// lags behind; an origin's own refusal is an answer. One that came when all links had been away for as long as it could
/// wait is not made to: as many have waited in vain.
fn is_awaited(no: &NoPlace, until: Instant) -> bool {
    let may_change = no.reason.is_some_and(Reason::may_pass);
    may_change && no.down_since.is_none_or(|since| until <= since + PATIENCE * 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        health::{PathAt, PathReport, Sources},
        model::{Drains, Via},
        routing::RouteTable,
    };

    #[test]
    fn only_what_links_can_bring_back_is_waited_for() {
        let until = Instant::now() + PATIENCE;
        let waited = |reason| is_awaited(&NoPlace::because(reason), until);
        assert!(waited(Some(Reason::TunnelDown)) && waited(Some(Reason::LinkLost)) && is_awaited(&UNKNOWN, until));
        assert!(!waited(Some(Reason::ConnectRefused)), "an answer");
        assert!(!waited(Some(Reason::NoRoute)), "nobody may claim it");
        assert!(!waited(None), "every origin is well and takes nothing new");
    }

    #[test]
    fn a_link_that_has_been_away_for_long_is_not_waited_for() {
        let (lost, moment) = (Instant::now(), Duration::from_millis(1));
        let no = NoPlace { down_since: Some(lost), ..NoPlace::because(Some(Reason::TunnelDown)) };
        let came = |after| is_awaited(&no, lost + after + PATIENCE);
        assert!(came(Duration::ZERO) && came(PATIENCE - moment), "each for as long as any");
        assert!(!came(PATIENCE + moment) && !came(PATIENCE * 100));
    }

    /// Pools `a` and `b`, and the fallback `c`; one direct origin each.
    fn view(healths: [Health; 3]) -> HealthView {
        let pool = |name: &str, host: usize| {
            format!(
                "[[pool]]\nname = \"{name}\"\nmonitor = \"tcp\"\n\
                 [[pool.origin]]\nname = \"{name}\"\naddress = \"192.0.2.{host}:80\"\n"
            )
        };
        let pools: String = ["a", "b", "c"].iter().zip(1..).map(|(name, host)| pool(name, host)).collect();
        let text = format!(
            "name = \"e\"\nstate_dir = \"s\"\n[tunnel]\nlisten = \"127.0.0.1:1\"\n\
             [[monitor]]\nname = \"tcp\"\ntype = \"tcp\"\n{pools}\
             [[load_balancer]]\nname = \"lb\"\npools = [\"a\", \"b\"]\nfallback_pool = \"c\"\n"
        );
        let config = crate::config::parse(&text, std::path::Path::new("/e.toml")).unwrap_or_else(|e| panic!("{e}"));
        let report = |at: PathAt| PathReport {
            health: healths[at.pool],
            reason: None,
            proven: true,
            last: None,
            interval: Duration::from_secs(5),
            since: Instant::now(),
            detail: None,
        };
        HealthView::build(&Sources {
            previous: &HealthView::default(),
            catalog: &Arc::new(config.catalog),
            drains: &Drains::default(),
            routes: &RouteTable::default(),
            link: |_| None,
            network: &(Arc::new(net::Os) as Arc<dyn net::Network>),
            now: Instant::now(),
            path: |at| Some(report(at)),
        })
    }

    #[test]
    fn who_waits_at_an_unhealthy_path_learns_of_any_pool_that_is_well() {
        use Health::{Healthy, Unhealthy, Unknown};
        let better = |healths| {
            let view = view(healths);
            let origin = view.pools[0].origins[0].key;
            let path = PathKey { pool: view.pools[0].pool.name.clone(), origin, via: Via::Direct };
            is_better_elsewhere(&view, &view.load_balancers[0].balancer.name, &path)
        };
        assert!(better([Unhealthy, Healthy, Unhealthy]), "the next pool");
        assert!(better([Unhealthy, Unhealthy, Healthy]), "the fallback pool");
        assert!(!better([Unhealthy, Unknown, Unknown]), "nothing is known to be better");
        assert!(!better([Healthy, Healthy, Healthy]) && !better([Unknown, Healthy, Healthy]), "nothing is wrong here");
    }
}

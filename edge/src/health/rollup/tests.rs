use std::time::{Duration, Instant};

use proptest::prelude::*;
use protocol::id::Target;

use super::*;
use crate::{
    model::{Affinity, Check, Drains, Monitor, PoolSteering, Route, Steering},
    tunnel::tests::link,
};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn origin(text: &str, vnet: Option<&str>, address: &str) -> Arc<Origin> {
    let address: Target = address.parse().expect("a target");
    Arc::new(Origin {
        name: name(text),
        vnet: vnet.map(name),
        address,
        weight: 1.0,
        proxy_protocol: None,
        drain: false,
    })
}

fn monitor() -> Arc<Monitor> {
    Arc::new(Monitor {
        name: name("web"),
        check: Check::Tcp,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        retries: 1,
        consecutive_up: 2,
        consecutive_down: 2,
        passive_failures: 3,
        jitter: 0.1,
    })
}

fn pool(text: &str, monitored: bool, minimum_origins: usize, origins: Vec<Arc<Origin>>) -> Arc<Pool> {
    Arc::new(Pool {
        name: name(text),
        monitor: monitored.then(monitor),
        steering: Steering::Random,
        hash: crate::model::HashBy::default(),
        slow_start: None,
        minimum_origins,
        connect_timeout: Duration::from_secs(5),
        upstream: crate::model::Upstream::Http1,
        response_timeout: Duration::from_secs(60),
        on_unhealthy: crate::model::OnUnhealthy::Move,
        upstream_idle_timeout: None,
        host: None,
        drain: false,
        origins,
    })
}

fn balancer(pools: &[&str], fallback_pool: Option<&str>) -> Arc<LoadBalancer> {
    let (pools, fallback_pool) = (pools.iter().map(|pool| name(pool)).collect(), fallback_pool.map(name));
    let steering = PoolSteering::Off;
    let session_affinity = Affinity::None;
    Arc::new(LoadBalancer {
        name: name("www"),
        pools,
        fallback_pool,
        steering,
        pool_weights: Vec::new(),
        session_affinity,
        drain: false,
    })
}

fn catalog(pools: Vec<Arc<Pool>>, load_balancers: Vec<Arc<LoadBalancer>>) -> Arc<Catalog> {
    Arc::new(Catalog { version: 1, pools, load_balancers, ..Catalog::default() })
}

fn report(health: Health) -> PathReport {
    let reason = (health == Health::Unhealthy).then_some(Reason::ConnectRefused);
    let (interval, since) = (Duration::from_secs(5), Instant::now());
    PathReport { health, reason, proven: true, last: None, interval, since, detail: None }
}

/// Links 1 and 2 lead to 10.0.0.0/8 of `prod`; 172.16.0.0/12 is known and down.
fn routes() -> RouteTable {
    let route = |cidr: &str| Route { vnet: name("prod"), cidr: cidr.parse().expect("a CIDR") };
    RouteTable::build([1, 2].map(|link| (route("10.0.0.0/8"), LinkId(link))), [route("172.16.0.0/12")])
}

struct World {
    links: HashMap<LinkId, Arc<Link>>,
    network: Arc<dyn Network>,
    reports: HashMap<PathAt, PathReport>,
    previous: HealthView,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let links = [1, 2].map(|id| (LinkId(id), link(LinkId(id), &name("dc1")))).into();
        Self {
            links,
            network: Arc::new(net::Os),
            reports: HashMap::new(),
            previous: HealthView::default(),
            now: Instant::now(),
        }
    }

    fn found(mut self, origin: usize, via: u64, health: Health) -> Self {
        self.reports.insert(PathAt { pool: 0, origin, via: Via::Link(LinkId(via)) }, report(health));
        self
    }

    fn view(&self, catalog: &Arc<Catalog>) -> HealthView {
        HealthView::build(&Sources {
            previous: &self.previous,
            catalog,
            drains: &Drains::default(),
            routes: &routes(),
            link: |id| self.links.get(&id).cloned(),
            network: &self.network,
            now: self.now,
            path: |at| self.reports.get(&at).cloned(),
        })
    }
}

fn one_origin(monitored: bool) -> Arc<Catalog> {
    let origins = vec![origin("a", Some("prod"), "10.0.0.1:80")];
    catalog(vec![pool("web", monitored, 1, origins)], vec![balancer(&["web"], None)])
}

#[test]
fn an_origin_is_as_well_as_its_best_path() {
    use Health::{Healthy, Unhealthy, Unknown};
    for (first, second, expected) in [
        (Healthy, Unhealthy, Healthy),
        (Healthy, Unknown, Healthy),
        (Unknown, Unhealthy, Unknown),
        (Unhealthy, Unhealthy, Unhealthy),
    ] {
        let view = World::new().found(0, 1, first).found(0, 2, second).view(&one_origin(true));
        assert_eq!(view.pools[0].origins[0].health, expected, "{first:?} {second:?}");
    }
    assert_eq!(World::new().view(&one_origin(true)).pools[0].origins[0].health, Unknown, "not probed yet");
}

#[test]
fn a_pool_without_a_monitor_is_unknown_and_serves() {
    let view = World::new().found(0, 1, Health::Unhealthy).view(&one_origin(false));
    assert_eq!(view.pools[0].health, PoolHealth::Unknown);
    assert_eq!(view.load_balancers[0].health, BalancerHealth::Healthy);
    assert_eq!(view.load_balancers[0].serving_pool, Some(0));
}

#[test]
fn an_origin_without_a_path_is_unhealthy_and_says_why() {
    let origins = vec![
        origin("a", Some("prod"), "192.168.0.1:80"),
        origin("b", Some("prod"), "172.16.0.1:80"),
        origin("c", Some("other"), "db.internal:80"),
    ];
    for monitored in [true, false] {
        let catalog = catalog(vec![pool("web", monitored, 1, origins.clone())], vec![balancer(&["web"], None)]);
        let view = World::new().view(&catalog);
        let why: Vec<_> = view.pools[0].origins.iter().map(|o| (o.health, o.reason())).collect();
        let unhealthy = |reason| (Health::Unhealthy, Some(reason));
        assert_eq!(why, [Reason::NoRoute, Reason::TunnelDown, Reason::NoRoute].map(unhealthy));
        assert_eq!(view.pools[0].health, PoolHealth::Critical);
        assert_eq!(view.load_balancers[0].health, BalancerHealth::Critical);
        assert_eq!(view.load_balancers[0].serving_pool, None);
    }
}

#[test]
fn a_suspect_link_takes_even_unprobed_paths_out() {
    let world = World::new();
    for load in world.links.values().map(|link| &link.load) {
        load.set_suspect(true);
    }
    let view = world.view(&one_origin(false));
    assert_eq!(view.pools[0].origins[0].reason(), Some(Reason::LinkLost));
    assert_eq!(view.pools[0].health, PoolHealth::Critical);
}

#[test]
fn names_are_tried_on_every_link_and_direct_origins_on_none() {
    let origins = vec![origin("a", Some("prod"), "db.internal:80"), origin("b", None, "192.0.2.1:80")];
    let view = World::new().view(&catalog(vec![pool("web", true, 1, origins)], vec![]));
    let vias = |origin: usize| view.pools[0].origins[origin].paths.iter().map(|path| path.via()).collect::<Vec<_>>();
    assert_eq!(vias(0), [Via::Link(LinkId(1)), Via::Link(LinkId(2))]);
    assert_eq!(vias(1), [Via::Direct]);
}

#[test]
fn pools_fail_over_in_order_and_the_fallback_serves_whatever_its_health() {
    let reachable = |text| vec![origin(text, Some("prod"), "10.0.0.1:80")];
    let pools = vec![pool("a", true, 1, reachable("a")), pool("b", true, 1, reachable("b"))];
    let catalog = catalog(pools, vec![balancer(&["a", "b"], Some("a"))]);
    let serving = |first, second| {
        let mut world = World::new();
        for link in [1, 2] {
            for (pool, health) in [(0, first), (1, second)] {
                world.reports.insert(PathAt { pool, origin: 0, via: Via::Link(LinkId(link)) }, report(health));
            }
        }
        let view = world.view(&catalog);
        (view.load_balancers[0].health, view.load_balancers[0].serving_pool)
    };
    use Health::{Healthy, Unhealthy, Unknown};
    assert_eq!(serving(Unknown, Healthy), (BalancerHealth::Degraded, Some(1)));
    assert_eq!(serving(Unknown, Unhealthy), (BalancerHealth::Degraded, Some(0)));
    assert_eq!(serving(Healthy, Healthy), (BalancerHealth::Healthy, Some(0)));
    assert_eq!(serving(Unhealthy, Healthy), (BalancerHealth::Degraded, Some(1)));
    assert_eq!(serving(Healthy, Unhealthy), (BalancerHealth::Degraded, Some(0)));
    assert_eq!(serving(Unhealthy, Unhealthy), (BalancerHealth::Critical, Some(0)));
}

#[test]
fn open_flows_survive_a_new_view_and_a_new_catalog() {
    let mut world = World::new();
    let old = catalog(
        vec![pool("web", true, 1, vec![origin("a", Some("prod"), "10.0.0.1:80"), origin("b", None, "192.0.2.1:80")])],
        vec![],
    );
    world.previous = world.view(&old);
    let held = [world.previous.pools[0].origins[0].hold(), world.previous.pools[0].origins[1].hold()];
    let direct = world.previous.pools[0].origins[1].paths[0].load.clone();
    world.previous = world.view(&old);
    let new = catalog(
        vec![
            pool("other", true, 1, vec![origin("a", Some("prod"), "10.0.0.1:80")]),
            pool("web", true, 1, vec![origin("b", None, "192.0.2.1:80"), origin("a", Some("prod"), "10.0.0.1:80")]),
        ],
        vec![],
    );
    let view = world.view(&new);
    assert_eq!(view.pools[1].origins().map(OriginView::flows).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(view.pools[0].origins[0].flows(), 0, "another pool counts on its own");
    assert!(Arc::ptr_eq(&view.pools[1].origins[0].paths[0].load, &direct));
    drop(held);
    assert_eq!(view.pools[1].flows(), 0);
}

#[test]
fn a_link_that_is_gone_before_its_routes_is_no_path() {
    let mut world = World::new();
    world.links.remove(&LinkId(1));
    let view = world.view(&one_origin(true));
    assert_eq!(
        view.pools[0].origins[0].paths.iter().map(|path| path.via()).collect::<Vec<_>>(),
        [Via::Link(LinkId(2))]
    );
    world.links.clear();
    assert_eq!(world.view(&one_origin(true)).pools[0].origins[0].unreachable, Some(Reason::TunnelDown));
}

#[test]
fn an_origin_without_links_is_down_since_the_last_was_here() {
    let (mut world, catalog) = (World::new(), one_origin(true));
    let began = world.now;
    let mut down_since = |links: &[u64], after: u64| {
        world.links = links.iter().map(|id| (LinkId(*id), link(LinkId(*id), &name("dc1")))).collect();
        world.now = began + Duration::from_secs(after);
        world.previous = world.view(&catalog);
        world.previous.pools[0].origins[0].down_since.map(|since| since.duration_since(began).as_secs())
    };
    assert_eq!(down_since(&[1], 0), None);
    assert_eq!((down_since(&[], 1), down_since(&[], 5)), (Some(1), Some(1)), "it stays so");
    assert_eq!((down_since(&[2], 6), down_since(&[], 8)), (None, Some(8)), "one was here");
}

/// One pool of `count` origins, each of which links 1 and 2 lead to, and one of two.
fn big(count: usize) -> Arc<Catalog> {
    let origins =
        (0..count).map(|at| origin(&format!("o{at}"), Some("prod"), &format!("10.1.{}.{}:80", at / 250, at % 250)));
    let small = ["a", "b"].map(|text| origin(text, Some("prod"), "10.0.0.1:80"));
    let pools = vec![pool("big", true, 1, origins.collect()), pool("small", true, 1, small.into())];
    catalog(pools, vec![balancer(&["big", "small"], None), balancer(&["small"], None)])
}

/// What a view says, without the counters that it shares.
fn said(view: &HealthView) -> String {
    let origin = |origin: &OriginView| {
        let paths: Vec<_> =
            origin.paths.iter().map(|path| (path.via(), path.health, path.reason, path.proven)).collect();
        format!("{} {:?} {:?} {paths:?}", origin.origin.name, origin.health, origin.unreachable)
    };
    let pool = |pool: &PoolView| format!("{:?} {:?}", pool.health, pool.origins().map(origin).collect::<Vec<_>>());
    let balancer = |lb: &BalancerView| format!("{:?} {:?}", lb.health, lb.serving_pool);
    let pools: Vec<_> = view.pools.iter().map(|p| pool(p)).collect();
    format!("{pools:?} {:?}", view.load_balancers.iter().map(|lb| balancer(lb)).collect::<Vec<_>>())
}

impl World {
    fn renewed(&self, catalog: &Arc<Catalog>, origins: &[At]) -> HealthView {
        let sources = Sources {
            previous: &self.previous,
            catalog,
            drains: &Drains::default(),
            routes: &routes(),
            link: |id| self.links.get(&id).cloned(),
            network: &self.network,
            now: self.now,
            path: |at| self.reports.get(&at).cloned(),
        };
        HealthView::renew(&sources, &origins.iter().copied().collect())
    }
}

#[test]
fn one_path_among_ten_thousand_makes_one_origin_anew_and_costs_less_than_a_millisecond() {
    let catalog = big(5_000);
    let mut world = World::new();
    world.previous = world.view(&catalog);
    let at = At { pool: 0, origin: 1_234 };
    let mut fastest = Duration::MAX;
    for health in [Health::Healthy, Health::Unhealthy].into_iter().cycle().take(50) {
        world = world.found(at.origin, 1, health);
        let began = std::time::Instant::now();
        let view = world.renewed(&catalog, &[at]);
        fastest = fastest.min(began.elapsed());
        let before = &world.previous.pools[0].origins;
        let made = view.pools[0].origins.iter().zip(before).filter(|(now, before)| !Arc::ptr_eq(now, before)).count();
        assert_eq!(made, 1);
        assert!(Arc::ptr_eq(&view.pools[1], &world.previous.pools[1]));
        assert_eq!(view.pools[0].origins[at.origin].paths[0].health, health);
        world.previous = view;
    }
    assert!(fastest < Duration::from_millis(1), "{fastest:?}");
}

fn healths() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Health::Healthy), Just(Health::Unknown), Just(Health::Unhealthy)]
}

proptest! {
    #[test]
    fn a_view_that_is_renewed_says_what_one_made_anew_says(
        changes in prop::collection::vec((0_usize..4, 1_u64..3, healths(), any::<bool>()), 1..40),
    ) {
        let catalog = big(4);
        let mut world = World::new();
        world.previous = world.view(&catalog);
        for (origin, via, health, suspect) in changes {
            world = world.found(origin, via, health);
            world.links[&LinkId(via)].load.set_suspect(suspect);
            // A link's state touches every origin it leads to.
            let all = (0..4).map(|origin| At { pool: 0, origin }).chain((0..2).map(|origin| At { pool: 1, origin }));
            let view = world.renewed(&catalog, &all.collect::<Vec<_>>());
            prop_assert_eq!(said(&view), said(&world.view(&catalog)));
            world.previous = view;
            world.links[&LinkId(via)].load.set_suspect(false);
            let whole = world.view(&catalog);
            world.previous = whole;
            world = world.found(origin, via, Health::Unknown);
            let view = world.renewed(&catalog, &[At { pool: 0, origin }]);
            prop_assert_eq!(said(&view), said(&world.view(&catalog)));
            world.previous = view;
        }
    }

    #[test]
    fn a_pool_is_as_well_as_its_origins(
        paths in prop::collection::vec((healths(), healths()), 1..6),
        minimum in 0_usize..5,
    ) {
        let origins = (0..paths.len()).map(|at| origin(&format!("o{at}"), Some("prod"), "10.0.0.1:80")).collect();
        let catalog = catalog(vec![pool("web", true, minimum, origins)], vec![balancer(&["web"], None)]);
        let mut world = World::new();
        for (at, (first, second)) in paths.iter().enumerate() {
            world = world.found(at, 1, *first).found(at, 2, *second);
        }
        let view = world.view(&catalog);
        let has = |health, (first, second): &(Health, Health)| *first == health || *second == health;
        let healthy = paths.iter().filter(|pair| has(Health::Healthy, pair)).count();
        let hopeless = paths.iter().filter(|pair| **pair == (Health::Unhealthy, Health::Unhealthy)).count();
        let enough = minimum.max(1);
        let expected = match () {
            () if healthy == paths.len() && healthy >= enough => PoolHealth::Healthy,
            () if healthy >= enough => PoolHealth::Degraded,
            () if paths.len() - hopeless >= enough => PoolHealth::Unknown,
            () => PoolHealth::Critical,
        };
        prop_assert_eq!(view.pools[0].health, expected);
        prop_assert_eq!(view.load_balancers[0].serving_pool.is_some(), expected != PoolHealth::Critical);
    }
}

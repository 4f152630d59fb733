mod drained;
mod shares;

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use certs::secret::Secret;
use proptest::prelude::*;
use protocol::{
    error::Reason,
    id::{LinkId, Name},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    health::{
        Destination, PathAt, PathReport, Sources, Surroundings,
        view::{Health, HealthView, OriginView, PathView, PoolHealth, PoolView},
    },
    model::{
        Affinity, Catalog, Check, Drains, FlowKey, HashBy, LoadBalancer, Monitor, Origin, Pool, PoolSteering, Prefix,
        Route, Steering, Via,
    },
    routing::RouteTable,
    tunnel::{LinksView, tests::link},
};

use Health::{Healthy, Unhealthy, Unknown};

const HOUR: Duration = Duration::from_secs(3600);

/// An origin: its weight, and its paths' health. Its name is `o` and its number, its address follows from the number.
#[derive(Debug, Clone)]
struct At {
    number: usize,
    weight: f64,
    paths: Vec<Health>,
}

#[derive(Debug, Clone)]
struct Group {
    steering: Steering,
    minimum: usize,
    monitored: bool,
    hash: HashBy,
    slow_start: Option<Duration>,
    origins: Vec<At>,
}

/// A load balancer over all groups but the last if that is the fallback.
#[derive(Debug, Clone)]
struct World {
    groups: Vec<Group>,
    fallback: bool,
    steering: PoolSteering,
    pool_weights: Vec<f64>,
    affinity: Affinity,
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn at(number: usize, weight: f64, paths: &[Health]) -> At {
    At { number, weight, paths: paths.to_vec() }
}

fn group(steering: Steering, origins: Vec<At>) -> Group {
    Group { steering, minimum: 1, monitored: true, hash: HashBy::default(), slow_start: None, origins }
}

/// Healthy origins with one path each.
fn weighted(steering: Steering, weights: &[f64]) -> Group {
    group(steering, (0..).zip(weights).map(|(number, weight)| at(number, *weight, &[Healthy])).collect())
}

/// One unhealthy origin.
fn one_ill(steering: Steering) -> Group {
    group(steering, vec![at(0, 1.0, &[Unhealthy])])
}

fn world(groups: Vec<Group>) -> World {
    World { groups, fallback: false, steering: PoolSteering::Off, pool_weights: Vec::new(), affinity: Affinity::None }
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

impl Group {
    fn pool(&self, index: usize) -> Arc<Pool> {
        let origin = |at: &At| {
            let address = format!("10.{index}.{}.{}:80", at.number / 250, at.number % 250);
            let address = address.parse().expect("a target");
            let name = name(&format!("o{}", at.number));
            let (vnet, weight) = (Some(self::name("prod")), at.weight);
            Arc::new(Origin { name, vnet, address, weight, proxy_protocol: None, drain: false })
        };
        Arc::new(Pool {
            name: name(&format!("p{index}")),
            monitor: self.monitored.then(monitor),
            steering: self.steering,
            hash: self.hash.clone(),
            slow_start: self.slow_start,
            minimum_origins: self.minimum,
            connect_timeout: Duration::from_secs(5),
            upstream: crate::model::Upstream::Http1,
            response_timeout: Duration::from_secs(60),
            on_unhealthy: crate::model::OnUnhealthy::Move,
            upstream_idle_timeout: None,
            host: None,
            drain: false,
            origins: self.origins.iter().map(origin).collect(),
        })
    }
}

impl World {
    /// Every path has a link of its own.
    fn view(&self) -> HealthView {
        self.view_under(&Drains::default())
    }

    /// The same, under these drains.
    fn view_under(&self, drains: &Drains) -> HealthView {
        let pools: Vec<_> = self.groups.iter().enumerate().map(|(index, group)| group.pool(index)).collect();
        let mut names: Vec<_> = pools.iter().map(|pool| pool.name.clone()).collect();
        let fallback_pool = if self.fallback { names.pop() } else { None };
        let lb = LoadBalancer {
            name: name("www"),
            pools: names,
            fallback_pool,
            steering: self.steering,
            session_affinity: self.affinity,
            pool_weights: self.pool_weights.clone(),
            drain: false,
        };
        let catalog = Catalog { version: 1, pools, load_balancers: vec![Arc::new(lb)], ..Catalog::default() };
        let mut routes = Vec::new();
        let mut healths = HashMap::new();
        for (group, pool) in self.groups.iter().zip(&catalog.pools) {
            for (at, origin) in group.origins.iter().zip(&pool.origins) {
                let host = origin.address.to_string();
                let cidr = host.trim_end_matches(":80").parse().expect("an address");
                for health in &at.paths {
                    let link = LinkId(healths.len() as u64);
                    healths.insert(link, *health);
                    routes.push((Route { vnet: name("prod"), cidr }, link));
                }
            }
        }
        let report = |via| {
            let Via::Link(link) = via else { panic!("no direct paths here") };
            let reason = (healths[&link] == Unhealthy).then_some(Reason::ConnectTimeout);
            Some(PathReport {
                health: healths[&link],
                reason,
                proven: true,
                last: None,
                interval: Duration::from_secs(5),
                since: Instant::now(),
                detail: None,
            })
        };
        HealthView::build(&Sources {
            previous: &HealthView::default(),
            catalog: &Arc::new(catalog),
            drains,
            routes: &RouteTable::build(routes, []),
            link: |id| Some(link(id, &name("dc1"))),
            network: &network(),
            now: Instant::now(),
            path: |at: PathAt| report(at.via),
        })
    }
}

fn network() -> Arc<dyn net::Network> {
    Arc::new(net::Os)
}

fn source(number: u32) -> FlowKey<'static> {
    FlowKey::of(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0xc000_0200 + number)), 40_000))
}

/// About the first load balancer.
fn ask<'v, 'a>(view: &'v HealthView, flow: &'a FlowKey<'a>, (tried, now): (&'a Tried, Instant)) -> Ask<'v, 'a> {
    Ask { view, balancer: &view.load_balancers[0], flow, cookie: None, headers: None, near: None, tried, now }
}

fn sealer() -> Sealer {
    Sealer::new(&Secret::new("known to the tests".to_owned()))
}

/// Pool and origin by name.
fn names(placed: &Placed<'_>) -> (String, String) {
    (placed.pool.pool.name.to_string(), placed.origin.origin.name.to_string())
}

/// What comes of asking for a place.
type Found<'v> = Result<Placed<'v>, NoPlace>;
/// What is said of it.
type Explained<'v> = (Found<'v>, Trace<'v>);

struct Player {
    balancer: Balancer,
    dice: StdRng,
    tried: Tried,
    now: Instant,
}

impl Player {
    fn new() -> Self {
        let dice = StdRng::seed_from_u64(7);
        Self { balancer: Balancer::new(sealer()), dice, tried: Tried::default(), now: Instant::now() }
    }

    /// Why there is no place.
    fn refused(&mut self, view: &HealthView) -> Option<Reason> {
        self.place(view, 0).map(|_| ()).expect_err("no place").reason
    }

    fn place<'v>(&mut self, view: &'v HealthView, number: u32) -> Result<Placed<'v>, NoPlace> {
        let flow = source(number);
        let ask = ask(view, &flow, (&self.tried, self.now));
        self.balancer.place(&ask, &mut self.dice)
    }

    /// Where the next flow of the source goes, and before that what is said of it: with the same dice.
    fn explain_and_place<'v>(&mut self, view: &'v HealthView, number: u32) -> (Explained<'v>, Found<'v>) {
        let (flow, seed) = (source(number), self.dice.random());
        let dice = || StdRng::seed_from_u64(seed);
        let ask = ask(view, &flow, (&self.tried, self.now));
        (self.balancer.explain(&ask, &mut dice()), self.balancer.place(&ask, &mut dice()))
    }

    /// Name of the origin.
    fn origin(&mut self, view: &HealthView, number: u32) -> String {
        names(&self.place(view, number).expect("a place")).1
    }

    /// How often each origin is chosen by as many sources.
    fn counts(&mut self, view: &HealthView, flows: u32) -> Vec<u32> {
        let mut counts = vec![0; view.pools[0].origins.len()];
        for number in 0..flows {
            let placed = self.place(view, number).expect("a place");
            let index = placed.pool.origins().position(|origin| std::ptr::eq(origin, placed.origin));
            counts[index.expect("of the pool")] += 1;
        }
        counts
    }
}

#[test]
fn a_flow_to_its_destination_leaves_links_that_are_suspect_or_tried_in_vain() {
    let [one, two] = [1, 2].map(|id| link(LinkId(id), &name("dc1")));
    let cidr = "10.7.0.0/16".parse().expect("a CIDR");
    let routes = RouteTable::build([&one, &two].map(|link| (Route { vnet: name("prod"), cidr }, link.id)), []);
    let all = [&one, &two].map(|link| (link.id, link.clone())).into();
    let links = LinksView { links: Arc::new(all), routes, tunnels: Vec::new() };
    let destination = Destination::new(&name("prod"), "10.7.0.1:80".parse().expect("an address")).expect("a port");
    // Each flow has a view of its own.
    let view =
        || destination.view(&Surroundings { links: &links, grants: &[], network: &network(), now: Instant::now() });
    let key = view().pools[0].origins[0].key;
    let mut player = Player::new();
    let ways = |player: &mut Player| -> HashSet<Via> {
        (0..50).map(|number| player.place(&view(), number).expect("a place").path.via()).collect()
    };
    assert_eq!(ways(&mut player).len(), 2);
    one.load.set_suspect(true);
    assert_eq!(ways(&mut player), [Via::Link(two.id)].into());
    player.tried.path(key, Via::Link(two.id), Reason::LinkLost);
    assert_eq!(player.refused(&view()), Some(Reason::LinkLost));
    one.load.set_suspect(false);
    assert_eq!(ways(&mut player), [Via::Link(one.id)].into());
    player.tried.origin(key, Reason::ConnectRefused);
    assert_eq!(player.refused(&view()), Some(Reason::ConnectRefused), "that was its own word");
}

/// The chi-square statistic stays below a bound that a right distribution passes all but once in a thousand times.
#[test]
fn a_flow_that_leaves_its_path_stays_on_its_origin_while_another_path_leads_there() {
    let origins = (0..8).map(|number| at(number, 1.0, &[Healthy, Healthy])).collect();
    let view = world(vec![group(Steering::Random, origins)]).view();
    let mut player = Player::new();
    let mut left_for_another = 0;
    for number in 0..50 {
        let before = player.place(&view, number).expect("a place");
        let near = Near { pool: &before.pool.pool, origin: &before.origin.origin };
        let (flow, mut tried) = (source(number), Tried::default());
        let mut again = |tried: &Tried| {
            let ask = Ask { near: Some(near), ..ask(&view, &flow, (tried, player.now)) };
            player.balancer.place(&ask, &mut player.dice).expect("a place")
        };
        tried.path(before.origin.key, before.path.via(), Reason::LinkLost);
        let after = again(&tried);
        assert!(names(&after) == names(&before) && after.path.via() != before.path.via(), "another path");
        tried.path(after.origin.key, after.path.via(), Reason::LinkLost);
        left_for_another += u32::from(names(&again(&tried)) != names(&before));
    }
    assert_eq!(left_for_another, 50, "no path is left there");
}

fn check_shares(counts: &[u32], weights: &[f64]) {
    let (flows, total) = (f64::from(counts.iter().sum::<u32>()), weights.iter().sum::<f64>());
    let expected = weights.iter().map(|weight| flows * weight / total);
    let chi: f64 = counts.iter().zip(expected).map(|(had, due)| (f64::from(*had) - due).powi(2) / due.max(1e-9)).sum();
    assert!(chi < 16.3, "{counts:?} for {weights:?}: {chi}");
}

#[test]
fn random_and_hash_follow_the_weights() {
    for steering in [Steering::Random, Steering::Hash] {
        for weights in [&[1.0, 1.0, 1.0, 1.0][..], &[1.0, 2.0, 3.0, 4.0], &[0.1, 0.9, 0.0, 0.5]] {
            let view = world(vec![weighted(steering, weights)]).view();
            check_shares(&Player::new().counts(&view, 20_000), weights);
        }
    }
}

#[test]
fn round_robin_gives_exact_shares_and_interleaves() {
    let view = world(vec![weighted(Steering::RoundRobin, &[5.0, 1.0, 1.0])]).view();
    let mut player = Player::new();
    let turns: Vec<_> = (0..14).map(|number| player.origin(&view, number)).collect();
    let expected = ["o0", "o0", "o1", "o0", "o2", "o0", "o0"];
    assert_eq!(turns, [expected, expected].concat());
}

#[test]
fn who_only_asks_moves_nothing() {
    for steering in [Steering::RoundRobin, Steering::LeastConnections] {
        let mut world = sticky(vec![weighted(steering, &[1.0, 1.0, 1.0])]);
        world.affinity = Affinity::None;
        let (view, mut player, flow) = (world.view(), Player::new(), source(1));
        let explained = |player: &mut Player| {
            let ask = ask(&view, &flow, (&player.tried, player.now));
            names(&player.balancer.explain(&ask, &mut StdRng::seed_from_u64(5)).0.expect("a place"))
        };
        let first = explained(&mut player);
        assert!((0..10).all(|_| explained(&mut player) == first), "{steering:?}");
    }
    let (world, mut player) = (sticky(vec![weighted(Steering::RoundRobin, &[1.0, 1.0])]), Player::new());
    let (view, flow) = (world.view(), source(1));
    let tried = Tried::default();
    let ask = ask(&view, &flow, (&tried, player.now));
    let told = names(&player.balancer.explain(&ask, &mut player.dice).0.expect("a place"));
    assert_eq!(player.balancer.bindings(), 0, "nobody was bound by a question");
    assert_eq!(names(&player.place(&view, 1).expect("a place")), told, "and the flow goes where it was told to go");
    assert_eq!(player.balancer.bindings(), 1);
}

#[test]
fn round_robin_keeps_its_turns_over_a_reload() {
    let mut reloaded = world(vec![weighted(Steering::RoundRobin, &[1.0, 1.0, 1.0])]);
    let before = reloaded.view();
    let mut player = Player::new();
    assert_eq!(player.origin(&before, 0), "o0");
    reloaded.groups[0].origins.reverse();
    reloaded.groups[0].origins.push(at(3, 1.0, &[Healthy]));
    let after = reloaded.view();
    let turns: HashSet<_> = (0..3).map(|number| player.origin(&after, number)).collect();
    assert_eq!(turns, ["o1", "o2", "o3"].map(str::to_owned).into(), "o0 had its turn");
}

/// The longest run of turns of one origin among so many.
fn longest_run(player: &mut Player, view: &HealthView, turns: u32) -> usize {
    let turns: Vec<_> = (0..turns).map(|number| player.origin(view, number)).collect();
    turns.chunk_by(|one, next| one == next).map(<[String]>::len).max().unwrap_or(0)
}

#[test]
fn round_robin_makes_up_for_nothing_after_weights_or_origins_have_changed() {
    let weights = |weights: &[f64]| world(vec![weighted(Steering::RoundRobin, weights)]);
    for turns in (1..1_001).step_by(9) {
        let mut player = Player::new();
        let before = weights(&[1_000.0, 1.0, 1.0]).view();
        (0..turns).for_each(|number| drop(player.origin(&before, number)));
        let reweighted = weights(&[1.0, 1.0, 1.0]).view();
        let run = longest_run(&mut player, &reweighted, 60);
        assert!(run <= 4, "{run} in a row, weighted anew after {turns}");
    }
    let mut without = weights(&[1_000.0, 1.0, 1.0]);
    without.groups[0].origins[0].paths = vec![Unhealthy];
    let (whole, without) = (weights(&[1_000.0, 1.0, 1.0]).view(), without.view());
    for turns in (1..1_001).step_by(9) {
        let mut player = Player::new();
        (0..turns).for_each(|number| drop(player.origin(&whole, number)));
        let run = longest_run(&mut player, &without, 60);
        assert!(run <= 4, "{run} in a row without one, after {turns}");
    }
}

#[test]
fn least_connections_follows_the_weights_among_few_flows_too() {
    let weights = [1.0, 3.0, 6.0];
    let view = world(vec![weighted(Steering::LeastConnections, &weights)]).view();
    check_shares(&Player::new().counts(&view, 9_000), &weights);
    let _lasting = view.pools[0].origins[2].hold();
    check_shares(&Player::new().counts(&view, 9_000), &weights);
    let _more = view.pools[0].origins[0].hold();
    check_shares(&Player::new().counts(&view, 9_000), &[0.0, 3.0, 6.0]);
}

#[test]
fn least_connections_fills_up_by_weight() {
    let view = world(vec![weighted(Steering::LeastConnections, &[1.0, 2.0, 0.5])]).view();
    let mut player = Player::new();
    let mut held = Vec::new();
    for number in 0..70 {
        held.push(player.place(&view, number).expect("a place").origin.hold());
    }
    let flows: Vec<_> = view.pools[0].origins().map(OriginView::flows).collect();
    assert_eq!(flows, [20, 40, 10]);
}

#[test]
fn least_connections_lets_the_dice_decide_between_equals() {
    let view = world(vec![weighted(Steering::LeastConnections, &[1.0, 1.0, 1.0])]).view();
    check_shares(&Player::new().counts(&view, 9_000), &[1.0, 1.0, 1.0]);
}

#[test]
fn hash_moves_only_the_sources_of_the_origin_that_is_gone() {
    let whole = world(vec![weighted(Steering::Hash, &[1.0, 2.0, 1.0, 0.5, 3.0])]);
    let mut without = whole.clone();
    without.groups[0].origins.remove(1);
    let mut ill = whole.clone();
    ill.groups[0].origins[1].paths = vec![Unhealthy];
    let (whole, without, ill) = (whole.view(), without.view(), ill.view());
    let mut player = Player::new();
    let mut moved = HashSet::new();
    for number in 0..5_000 {
        let before = player.origin(&whole, number);
        let after = player.origin(&without, number);
        assert_eq!(after, player.origin(&ill, number), "gone or ill is the same");
        if before == "o1" {
            moved.insert(after);
        } else {
            assert_eq!(before, after);
        }
    }
    assert_eq!(moved.len(), 4, "the sources spread over all that are left");
}

#[test]
fn hash_goes_by_address_not_by_name() {
    let view = world(vec![weighted(Steering::Hash, &[1.0, 1.0, 1.0])]).view();
    let mut catalog = Catalog::clone(&view.catalog);
    let mut pool = Pool::clone(&catalog.pools[0]);
    for origin in &mut pool.origins {
        *origin = Arc::new(Origin { name: name(&format!("x-{}", origin.name)), ..Origin::clone(origin) });
    }
    catalog.pools[0] = Arc::new(pool);
    let cidr = |origin: &Origin| origin.address.to_string().trim_end_matches(":80").parse().expect("an address");
    let route = |(link, origin): (u64, &Arc<Origin>)| (Route { vnet: name("prod"), cidr: cidr(origin) }, LinkId(link));
    let renamed = HealthView::build(&Sources {
        previous: &view,
        routes: &RouteTable::build((0..).zip(&catalog.pools[0].origins).map(route), []),
        catalog: &Arc::new(catalog.clone()),
        drains: &Drains::default(),
        link: |id| Some(link(id, &name("dc1"))),
        network: &network(),
        now: Instant::now(),
        path: |_| None,
    });
    let mut player = Player::new();
    for number in 0..200 {
        assert_eq!(format!("x-{}", player.origin(&view, number)), player.origin(&renamed, number));
    }
}

#[test]
fn the_less_loaded_of_two_paths_is_taken() {
    let view = world(vec![group(Steering::Random, vec![at(0, 1.0, &[Healthy, Healthy, Healthy, Healthy])])]).view();
    let paths = &view.pools[0].origins[0].paths;
    let mut player = Player::new();
    let _busy: Vec<_> = (0..10).map(|_| paths[2].load.hold()).collect();
    let mut seen = HashSet::new();
    for number in 0..500 {
        let placed = player.place(&view, number).expect("a place");
        assert_ne!(placed.path.via(), paths[2].via(), "of any two, the other is less loaded");
        seen.insert(placed.path.via());
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn pools_are_taken_in_order_at_random_or_by_open_flows() {
    let mut world = world((0..3).map(|_| weighted(Steering::Random, &[1.0, 1.0])).collect());
    let chosen = |world: &World, busy: usize| {
        let view = world.view();
        let _held: Vec<_> = (0..busy).map(|pool| view.pools[pool].origins[0].hold()).collect();
        let mut player = Player::new();
        (0..300).map(|number| names(&player.place(&view, number).expect("a place")).0).collect::<HashSet<_>>()
    };
    assert_eq!(chosen(&world, 0), [String::from("p0")].into());
    world.steering = PoolSteering::Random;
    assert_eq!(chosen(&world, 0).len(), 3);
    world.steering = PoolSteering::LeastConnections;
    assert_eq!(chosen(&world, 2), [String::from("p2")].into());
    assert_eq!(chosen(&world, 0).len(), 3, "the dice decide between equals");
}

#[test]
fn a_pool_below_its_minimum_is_skipped_and_serves_only_as_the_fallback() {
    let mut short = group(Steering::Random, vec![at(0, 1.0, &[Healthy]), at(1, 1.0, &[Unhealthy])]);
    short.minimum = 2;
    let mut world = world(vec![short.clone(), weighted(Steering::Random, &[1.0])]);
    let mut player = Player::new();
    assert_eq!(player.place(&world.view(), 0).map(|p| (names(&p).0, p.by)), Ok(("p1".into(), PlacedBy::Steering)));
    world.groups[1].origins[0].paths = vec![Unhealthy];
    assert_eq!(player.refused(&world.view()), Some(Reason::ConnectTimeout));
    world.groups.push(short);
    world.fallback = true;
    let view = world.view();
    for number in 0..20 {
        let placed = player.place(&view, number).map(|p| (names(&p), p.by));
        assert_eq!(placed, Ok((("p2".into(), "o0".into()), PlacedBy::Fallback)), "the healthy one first");
    }
}

#[test]
fn unknown_origins_serve_only_if_none_is_healthy() {
    let origins = vec![at(0, 1.0, &[Unknown]), at(1, 1.0, &[Unhealthy, Unknown]), at(2, 1.0, &[Unhealthy])];
    let mut world = world(vec![group(Steering::Random, origins)]);
    let mut player = Player::new();
    let chosen = |player: &mut Player, view: &HealthView| {
        (0..50).map(|number| player.origin(view, number)).collect::<HashSet<_>>()
    };
    assert_eq!(chosen(&mut player, &world.view()), ["o0", "o1"].map(str::to_owned).into());
    world.groups[0].origins.push(at(3, 1.0, &[Unknown, Healthy]));
    let view = world.view();
    assert_eq!(chosen(&mut player, &view), [String::from("o3")].into());
    assert_eq!(player.place(&view, 0).map(|p| p.path.health), Ok(Healthy));
    world.groups[0].monitored = false;
    assert_eq!(chosen(&mut player, &world.view()).len(), 4, "without a monitor all serve");
}

#[test]
fn nothing_unknown_is_chosen_before_a_pool_that_is_known_to_be_well() {
    let pools = |first: Health, second: Health| {
        let one = |health| group(Steering::Random, vec![at(0, 1.0, &[health]), at(1, 1.0, &[Unhealthy])]);
        world(vec![one(first), one(second)])
    };
    let pool = |world: &World| names(&Player::new().place(&world.view(), 0).expect("a place")).0;
    for steering in [PoolSteering::Off, PoolSteering::Random, PoolSteering::LeastConnections] {
        let with = |world: World| World { steering, ..world };
        assert_eq!(pool(&with(pools(Unknown, Healthy))), "p1");
        assert_eq!(pool(&with(pools(Unknown, Unhealthy))), "p0", "a hope is better than nothing");
    }
    let mut unasked = pools(Unknown, Healthy);
    unasked.groups[0].monitored = false;
    assert_eq!(pool(&unasked), "p0", "nobody asks about it");
    let mut short = pools(Healthy, Healthy);
    short.groups[0].origins[1].paths = vec![Unknown];
    assert_eq!(pool(&short), "p0");
    short.groups[0].minimum = 2;
    assert_eq!(pool(&short), "p1", "it hangs on an origin without a result");
}

#[test]
fn what_is_only_supposed_of_a_path_serves_where_nothing_better_is_known() {
    let mut view = world(vec![group(Steering::Random, vec![at(0, 1.0, &[Healthy, Healthy])])]).view();
    let pool = Arc::get_mut(&mut view.pools[0]).expect("nobody shares it");
    Arc::get_mut(&mut pool.origins[0]).expect("nobody shares it").paths[1].proven = false;
    let mut player = Player::new();
    for number in 0..20 {
        assert!(player.place(&view, number).expect("a place").path.proven);
    }
    view.pools[0].origins[0].paths[0].load.set_suspect(true);
    assert!(player.place(&view, 0).is_ok_and(|placed| !placed.path.proven));
}

#[test]
fn what_is_only_supposed_to_be_ill_serves_where_nothing_else_is_left() {
    let ill = || one_ill(Steering::Random);
    let supposed = |mut view: HealthView| {
        let pool = Arc::get_mut(&mut view.pools[0]).expect("nobody shares it");
        Arc::get_mut(&mut pool.origins[0]).expect("nobody shares it").paths[0].proven = false;
        view
    };
    let pool = |view: &HealthView| Player::new().place(view, 0).map(|placed| names(&placed).0).ok();
    let alone = world(vec![ill()]);
    assert_eq!((pool(&alone.view()), pool(&supposed(alone.view()))), (None, Some("p0".into())));
    let others = world(vec![ill(), weighted(Steering::Random, &[1.0])]);
    assert_eq!(pool(&supposed(others.view())), Some("p1".into()));
    let fallback = World { fallback: true, ..world(vec![ill(), ill()]) };
    assert_eq!(pool(&supposed(fallback.view())), Some("p1".into()), "that is what it is for");
}

#[test]
fn a_suspect_link_is_passed_over_at_once() {
    let view = world(vec![weighted(Steering::RoundRobin, &[1.0, 1.0])]).view();
    let mut player = Player::new();
    view.pools[0].origins[0].paths[0].load.set_suspect(true);
    for number in 0..4 {
        assert_eq!(player.origin(&view, number), "o1");
    }
    view.pools[0].origins[1].paths[0].load.set_suspect(true);
    assert_eq!(player.refused(&view), Some(Reason::LinkLost));
}

#[test]
fn what_was_tried_is_not_tried_again() {
    let two = |number| at(number, 1.0, &[Healthy, Healthy]);
    let view = world(vec![group(Steering::Random, vec![two(0), two(1)])]).view();
    let mut player = Player::new();
    let first = player.place(&view, 0).expect("a place");
    player.tried.path(first.origin.key, first.path.via(), Reason::PolicyDenied);
    for _ in 0..50 {
        assert_ne!(player.place(&view, 0).expect("a place").path.via(), first.path.via());
    }
    player.tried.origin(first.origin.key, Reason::ConnectRefused);
    let second = player.place(&view, 0).expect("a place");
    assert_ne!(second.origin.key, first.origin.key);
    player.tried.origin(second.origin.key, Reason::ConnectTimeout);
    assert_eq!(player.refused(&view), Some(Reason::ConnectTimeout), "the last attempt tells most");
    assert_eq!(player.tried.count(), 3);
}

#[test]
fn a_flow_is_tried_at_a_bounded_number_of_places() {
    let view = world(vec![weighted(Steering::Random, &[1.0; 40])]).view();
    let mut player = Player::new();
    let mut places = 0;
    while let Ok(placed) = player.place(&view, 0) {
        player.tried.path(placed.origin.key, placed.path.via(), Reason::ConnectRefused);
        places += 1;
    }
    assert_eq!(places, TRIES_MAX);
}

fn sticky(groups: Vec<Group>) -> World {
    World { affinity: Affinity::Source { prefix: Prefix::WHOLE, ttl: HOUR, drain: Duration::ZERO }, ..world(groups) }
}

#[test]
fn a_source_stays_on_its_origin_until_it_is_idle_for_the_ttl() {
    let view = sticky(vec![weighted(Steering::RoundRobin, &[1.0, 1.0])]).view();
    let mut player = Player::new();
    assert_eq!((player.origin(&view, 1), player.origin(&view, 2)), ("o0".into(), "o1".into()));
    for _ in 0..5 {
        player.now += HOUR / 2;
        for (number, origin) in [(1, "o0"), (2, "o1")] {
            let placed = player.place(&view, number).map(|p| (names(&p).1, p.by));
            assert_eq!(placed, Ok((origin.into(), PlacedBy::Affinity)));
        }
    }
    player.now += HOUR;
    assert_eq!(player.place(&view, 2).map(|p| p.by), Ok(PlacedBy::Steering));
}

#[test]
fn a_binding_follows_its_origin_over_reloads_and_drains_at_weight_0() {
    let mut world = sticky(vec![weighted(Steering::RoundRobin, &[1.0, 1.0, 1.0])]);
    let mut player = Player::new();
    assert_eq!(player.origin(&world.view(), 1), "o0");
    world.groups[0].origins.rotate_left(1);
    world.groups[0].origins[2].weight = 0.0;
    world.groups[0].minimum = 4;
    let view = world.view();
    assert_eq!(view.pools[0].health, PoolHealth::Critical);
    assert_eq!(player.origin(&view, 1), "o0", "neither weight nor the pool's health matters to those already there");
    assert_eq!(player.balancer.bindings(), 1);
}

#[test]
fn an_ill_or_refusing_origin_loses_its_sources_for_good() {
    let mut world = sticky(vec![weighted(Steering::RoundRobin, &[1.0, 1.0])]);
    let well = world.view();
    let mut player = Player::new();
    assert_eq!(player.origin(&well, 1), "o0");
    world.groups[0].origins[0].paths = vec![Unhealthy];
    assert_eq!(player.origin(&world.view(), 1), "o1");
    assert_eq!(player.origin(&well, 1), "o1");
    let placed = player.place(&well, 1).expect("a place");
    player.tried.origin(placed.origin.key, Reason::ConnectRefused);
    assert_eq!(player.origin(&well, 1), "o0");
    player.tried = Tried::default();
    assert_eq!(player.origin(&well, 1), "o0");
}

/// Two pools and a fallback pool, and the health of the first two.
fn with_stand_ins(steering: PoolSteering, healths: [Health; 2]) -> World {
    let pool = |number: usize, health| group(Steering::RoundRobin, vec![at(number, 1.0, &[health])]);
    let groups = vec![pool(0, healths[0]), pool(1, healths[1]), pool(2, Healthy)];
    World { steering, fallback: true, ..sticky(groups) }
}

#[test]
fn who_is_bound_to_a_pool_that_stands_in_goes_back_once_another_serves() {
    let at = |steering, healths| with_stand_ins(steering, healths).view();
    for steering in [PoolSteering::Off, PoolSteering::Random, PoolSteering::LeastConnections] {
        let mut player = Player::new();
        let none = at(steering, [Unhealthy, Unhealthy]);
        assert_eq!(player.place(&none, 1).map(|p| (names(&p).1, p.by)), Ok(("o2".into(), PlacedBy::Fallback)));
        assert_eq!(player.place(&none, 1).map(|p| (names(&p).1, p.by)), Ok(("o2".into(), PlacedBy::Affinity)));
        let unsure = at(steering, [Unknown, Unhealthy]);
        assert_eq!(player.origin(&unsure, 1), "o2", "nobody knows yet whether it serves");
        let second = at(steering, [Unhealthy, Healthy]);
        assert_eq!(player.origin(&second, 1), "o1");
        let both = at(steering, [Healthy, Healthy]);
        let expected = if steering == PoolSteering::Off { "o0" } else { "o1" };
        assert_eq!(player.origin(&both, 1), expected, "{steering:?}");
    }
}

#[test]
fn the_word_of_a_client_binds_it_to_no_pool_that_stands_in() {
    let kept = |view: &HealthView, pool: usize| {
        let (player, flow) = (Player::new(), source(1));
        let key = view.pools[pool].origins[0].key;
        let ask = Ask { cookie: Some(key), ..ask(view, &flow, (&player.tried, player.now)) };
        let placed = player.balancer.place(&ask, &mut StdRng::seed_from_u64(1)).expect("a place");
        assert_eq!(placed.by == PlacedBy::Affinity, placed.cookie.is_none(), "who is not there yet gets a cookie");
        placed.by == PlacedBy::Affinity
    };
    let cookie = Affinity::Cookie { ttl: HOUR, drain: Duration::ZERO };
    let view = |steering, healths| World { affinity: cookie, ..with_stand_ins(steering, healths) }.view();
    assert!(kept(&view(PoolSteering::Off, [Unhealthy, Unhealthy]), 2));
    assert!(!kept(&view(PoolSteering::Off, [Unhealthy, Healthy]), 2));
    assert!(!kept(&view(PoolSteering::Off, [Healthy, Healthy]), 1));
    assert!(kept(&view(PoolSteering::Random, [Healthy, Healthy]), 1));
    assert!(kept(&view(PoolSteering::Off, [Healthy, Healthy]), 0));
}

#[test]
fn the_source_longest_without_a_flow_is_forgotten_first_and_counted() {
    let view = sticky(vec![weighted(Steering::Random, &[1.0, 1.0])]).view();
    let mut player = Player { balancer: Balancer::with_bindings(3, sealer()), ..Player::new() };
    for number in [1, 2, 3, 1, 4] {
        player.place(&view, number).expect("a place");
    }
    assert_eq!((player.balancer.bindings(), player.balancer.evicted()), (3, 1));
    let by = |player: &mut Player, number| player.place(&view, number).map(|p| p.by);
    assert_eq!(by(&mut player, 1), Ok(PlacedBy::Affinity));
    assert_eq!(by(&mut player, 2), Ok(PlacedBy::Steering));
    player.now += HOUR;
    assert_eq!(by(&mut player, 9), Ok(PlacedBy::Steering));
    assert_eq!((player.balancer.bindings(), player.balancer.evicted()), (3, 2), "what was over anyway is not counted");
}

#[test]
fn why_there_is_no_place_is_told_by_the_origin_that_got_furthest() {
    let none = |world: &World| Player::new().place(&world.view(), 0).map(|_| ()).map_err(|none| none.reason);
    assert_eq!(none(&world(vec![group(Steering::Hash, vec![at(0, 1.0, &[])])])), Err(Some(Reason::NoRoute)));
    let origins = vec![at(0, 1.0, &[]), at(1, 1.0, &[Unhealthy])];
    assert_eq!(none(&world(vec![group(Steering::Hash, origins)])), Err(Some(Reason::ConnectTimeout)));
    assert_eq!(none(&world(vec![weighted(Steering::Hash, &[0.0])])), Err(None));
}

fn healths() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Healthy), Just(Unknown), Just(Unhealthy)]
}

fn groups() -> impl Strategy<Value = Group> {
    let weight = prop_oneof![1 => Just(0.0), 4 => 0.1..4.0];
    let origin = (weight, prop::collection::vec(healths(), 0..4));
    let steering = prop_oneof![
        Just(Steering::Random),
        Just(Steering::RoundRobin),
        Just(Steering::Hash),
        Just(Steering::LeastConnections),
        Just(Steering::LeastOutstanding)
    ];
    (steering, 0_usize..4, prop::bool::weighted(0.8), prop::collection::vec(origin, 1..5)).prop_map(
        |(steering, minimum, monitored, origins)| {
            let origins = (0..).zip(origins).map(|(number, (weight, paths))| At { number, weight, paths }).collect();
            Group { minimum, monitored, ..group(steering, origins) }
        },
    )
}

fn worlds() -> impl Strategy<Value = World> {
    let steering =
        prop_oneof![Just(PoolSteering::Off), Just(PoolSteering::Random), Just(PoolSteering::LeastConnections)];
    let affinity = prop_oneof![
        Just(Affinity::None),
        Just(Affinity::Source { prefix: Prefix::WHOLE, ttl: HOUR, drain: Duration::ZERO })
    ];
    (prop::collection::vec(groups(), 2..4), any::<bool>(), steering, affinity).prop_map(
        |(groups, fallback, steering, affinity)| World {
            groups,
            fallback,
            steering,
            pool_weights: Vec::new(),
            affinity,
        },
    )
}

/// What the rules leave for a flow: every path that may be taken, by pool, with its origin.
struct Left<'v> {
    view: &'v HealthView,
    tried: HashSet<(u64, Via)>,
}

impl<'v> Left<'v> {
    fn in_pool(&self, pool: usize) -> impl Iterator<Item = (&'v OriginView, &'v PathView)> {
        let origins = self.view.pools[pool].origins().filter(|origin| origin.takes_new());
        let paths = origins.flat_map(|origin| origin.paths.iter().map(move |path| (origin, path)));
        paths.filter(|(origin, path)| path.load.is_placeable() && !self.tried.contains(&(origin.key.0, path.via())))
    }

    fn has(&self, pool: usize, health: Health) -> bool {
        self.in_pool(pool).any(|(_, path)| path.health == health)
    }

    fn sure(&self, pool: usize) -> bool {
        let PoolView { pool: configured, health, .. } = &*self.view.pools[pool];
        self.usable(pool) && (configured.monitor.is_none() || self.has(pool, Healthy) && *health != PoolHealth::Unknown)
    }

    /// What may be chosen among: those that are sure, else all that are usable.
    fn choosable(&self, pools: &[usize]) -> Vec<usize> {
        let some_are_sure = pools.iter().any(|pool| self.sure(*pool));
        let may = |pool: &&usize| if some_are_sure { self.sure(**pool) } else { self.usable(**pool) };
        pools.iter().filter(may).copied().collect()
    }

    fn usable(&self, pool: usize) -> bool {
        self.view.pools[pool].health != PoolHealth::Critical && (self.has(pool, Healthy) || self.has(pool, Unknown))
    }
}

/// A place and its explanation say the same: what was not passed over last is what was chosen, all else has its reason.
fn check_explained(placed: &Found<'_>, (place, Trace(steps)): &Explained<'_>) -> Result<(), TestCaseError> {
    let said = |place: &Found<'_>| place.as_ref().map(|p| (names(p), p.path.via(), p.by)).map_err(Clone::clone);
    prop_assert_eq!(said(placed), said(place));
    let chosen = || steps.iter().rev().filter(|step| step.passed.is_none()).map(|step| step.what);
    let chosen_path = chosen().find_map(|what| if let Weighed::Path(path) = what { Some(path.via()) } else { None });
    let chosen_origin = chosen().find_map(|what| match what {
        Weighed::Origin(origin, _) | Weighed::Bound(_, origin) => Some(origin.key),
        Weighed::Balancer(_) | Weighed::Pool(_) | Weighed::Fallback(_) | Weighed::Hope(_) | Weighed::Path(_) => None,
    });
    let Ok(placed) = placed else {
        prop_assert_eq!(chosen_path, None, "nothing was chosen");
        return Ok(());
    };
    prop_assert_eq!(chosen_path, Some(placed.path.via()));
    prop_assert_eq!(chosen_origin, Some(placed.origin.key));
    let weighed = |pool: &PoolView| {
        steps.iter().any(|step| if let Weighed::Pool(other) = step.what { std::ptr::eq(other, pool) } else { false })
    };
    let by_affinity = placed.by == PlacedBy::Affinity;
    prop_assert!(by_affinity || placed.by == PlacedBy::Fallback || weighed(placed.pool), "its pool was weighed");
    Ok(())
}

/// Places flow after flow, some refused at once, and holds each placement against the rules.
fn check_rules(
    world: &World,
    (suspects, drained): (&[bool], &[bool]),
    seed: u64,
) -> Result<Vec<(String, String)>, TestCaseError> {
    let view = drained::under(world, drained);
    let lb = &view.load_balancers[0];
    let all_paths = view.pools.iter().flat_map(|pool| &pool.origins).flat_map(|origin| &origin.paths);
    for (path, suspect) in all_paths.zip(suspects) {
        path.load.set_suspect(*suspect);
    }
    let mut player = Player { dice: StdRng::seed_from_u64(seed), ..Player::new() };
    let mut fate = StdRng::seed_from_u64(seed ^ 1);
    let mut left = Left { view: &view, tried: HashSet::new() };
    let (mut held, mut journal) = (Vec::new(), Vec::new());
    for number in 0..40 {
        let (explained, placed) = player.explain_and_place(&view, number % 8);
        check_explained(&placed, &explained)?;
        let Ok(placed) = placed else {
            prop_assert!(!lb.pools.iter().any(|pool| left.usable(*pool)), "a usable pool was left");
            let fallback = lb.fallback_pool.is_some_and(|pool| left.in_pool(pool).next().is_some());
            prop_assert!(!fallback || player.tried.count() == TRIES_MAX, "the fallback was left");
            player.tried = Tried::default();
            left.tried.clear();
            continue;
        };
        let pool = view.pools.iter().position(|pool| std::ptr::eq(&**pool, placed.pool)).expect("of the view");
        let (is_last_resort, health) = (placed.by == PlacedBy::Fallback, placed.path.health);
        prop_assert!(placed.path.load.is_placeable(), "on a suspect link");
        prop_assert!(!left.tried.contains(&(placed.origin.key.0, placed.path.via())), "tried before");
        prop_assert!(is_last_resort || health != Unhealthy, "on an unhealthy path");
        match placed.by {
            PlacedBy::Affinity => prop_assert!(placed.origin.drained.is_none(), "bound to what is drained"),
            PlacedBy::Steering => prop_assert!(left.choosable(&lb.pools).contains(&pool)),
            PlacedBy::Fallback => {
                prop_assert_eq!(lb.fallback_pool, Some(pool));
                prop_assert!(!lb.pools.iter().any(|pool| left.usable(*pool)), "a usable pool was left");
            }
        }
        if placed.by == PlacedBy::Affinity {
            let of_origin = left.in_pool(pool).filter(|(origin, _)| std::ptr::eq(*origin, placed.origin));
            prop_assert!(health == Healthy || !of_origin.into_iter().any(|(_, path)| path.health == Healthy));
        } else {
            prop_assert!(placed.origin.takes_new(), "weight 0 takes no new flow, nor what is drained");
            prop_assert!(health == Healthy || !left.has(pool, Healthy), "a healthy path was left");
            prop_assert!(health != Unhealthy || !left.has(pool, Unknown), "an unknown path was left");
            let by_order = world.steering == PoolSteering::Off && !is_last_resort;
            let first = left.choosable(&lb.pools).first() == Some(&pool);
            prop_assert!(!by_order || first, "not the first usable pool");
        }
        journal.push((names(&placed).1, format!("{:?}", placed.path.via())));
        match fate.random_range(0..4) {
            0 => {
                player.tried.path(placed.origin.key, placed.path.via(), Reason::ConnectTimeout);
                left.tried.insert((placed.origin.key.0, placed.path.via()));
            }
            1 => {
                player.tried.origin(placed.origin.key, Reason::ConnectRefused);
                left.tried.extend(placed.origin.paths.iter().map(|path| (placed.origin.key.0, path.via())));
            }
            _ => {
                held.push((placed.origin.hold(), placed.path.load.hold()));
                player.tried = Tried::default();
                left.tried.clear();
            }
        }
    }
    Ok(journal)
}

proptest! {
    #[test]
    fn every_placement_keeps_to_the_rules_and_the_dice_alone_decide(
        world in worlds(),
        suspects in prop::collection::vec(prop::bool::weighted(0.2), 60),
        drained in prop::collection::vec(prop::bool::weighted(0.2), 20),
        seed: u64,
    ) {
        let journal = check_rules(&world, (&suspects, &drained), seed)?;
        prop_assert_eq!(journal, check_rules(&world, (&suspects, &drained), seed)?);
    }

    #[test]
    fn round_robin_never_strays_from_a_share_by_more_than_a_turn_each(
        weights in prop::collection::vec(1_u32..8, 1..6),
        flows in 1_u32..120,
    ) {
        let floats: Vec<_> = weights.iter().map(|weight| f64::from(*weight)).collect();
        let view = world(vec![weighted(Steering::RoundRobin, &floats)]).view();
        let total: f64 = floats.iter().sum();
        for (had, weight) in Player::new().counts(&view, flows).iter().zip(&floats) {
            let due = f64::from(flows) * weight / total;
            prop_assert!((f64::from(*had) - due).abs() <= weights.len() as f64, "{} of {}", had, due);
        }
    }
}

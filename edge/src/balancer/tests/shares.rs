//! How flows are shared out: by keys, within bounds, among origins that have just come, and among pools.

use http::{HeaderMap, HeaderName};

use super::*;
use crate::model::HashOn;

fn hashing(weights: &[f64], on: HashOn, bounded_load: Option<f64>) -> World {
    let group = Group { hash: HashBy { on, bounded_load }, ..weighted(Steering::Hash, weights) };
    world(vec![group])
}

/// The origin of a request with these fields, from a source of its number.
fn origin_of(player: &mut Player, view: &HealthView, number: u32, fields: &HeaderMap) -> String {
    let flow = FlowKey { host: Some("www.example"), ..source(number) };
    let ask = Ask { headers: Some(fields), ..ask(view, &flow, (&player.tried, player.now)) };
    names(&player.balancer.place(&ask, &mut player.dice).expect("a place")).1
}

#[test]
fn a_key_leads_to_one_origin_wherever_it_comes_from_and_keys_follow_the_weights() {
    let user = HeaderName::from_static("x-user");
    for on in [HashOn::Header(user.clone()), HashOn::Cookie("user".to_owned())] {
        let view = hashing(&[1.0, 2.0, 3.0], on.clone(), None).view();
        let mut player = Player::new();
        let mut counts = [0; 3];
        for key in 0..6_000 {
            let mut fields = HeaderMap::new();
            fields.insert(&user, format!("user-{key}").parse().expect("a value"));
            fields.insert("cookie", format!("a=1; user=user-{key}; b=2").parse().expect("a value"));
            let chosen = origin_of(&mut player, &view, 1, &fields);
            assert_eq!(chosen, origin_of(&mut player, &view, 77, &fields), "{on:?}: from elsewhere");
            counts[usize::from(chosen.as_bytes()[1] - b'0')] += 1;
        }
        check_shares(&counts, &[1.0, 2.0, 3.0]);
    }
}

#[test]
fn a_flow_without_the_key_goes_by_its_source() {
    let by_source = hashing(&[1.0; 8], HashOn::Source, None).view();
    let by_field = hashing(&[1.0; 8], HashOn::Header(HeaderName::from_static("x-user")), None).view();
    let (mut player, none) = (Player::new(), HeaderMap::new());
    for number in 0..200 {
        let expected = origin_of(&mut player, &by_source, number, &none);
        assert_eq!(origin_of(&mut player, &by_field, number, &none), expected);
    }
}

#[test]
fn a_network_stays_together_where_its_prefix_is_the_key() {
    let view = hashing(&[1.0; 8], HashOn::SourcePrefix(Prefix { v4: 24, v6: 56 }), None).view();
    let mut player = Player::new();
    let all: HashSet<String> = (0..200).map(|number| player.origin(&view, number)).collect();
    assert_eq!(all.len(), 1, "192.0.2.0/24 is one");
    let many: HashSet<String> = (0..200).map(|net| player.origin(&view, net << 8)).collect();
    assert_eq!(many.len(), 8, "others are not");
}

#[test]
fn no_origin_has_more_than_its_bound_of_all_flows_and_few_keys_move() {
    // One key alone would have all of its flows at one origin.
    let bound = 1.25;
    let view = hashing(&[1.0; 10], HashOn::Host, Some(bound)).view();
    let (mut player, none) = (Player::new(), HeaderMap::new());
    let mut held = Vec::new();
    for flows in 0..500_usize {
        let chosen = origin_of(&mut player, &view, 1, &none);
        let origin = view.pools[0].origins().find(|origin| origin.origin.name.as_str() == chosen).expect("of the pool");
        held.push(origin.hold());
        let due = ((flows + 1) as f64 * bound / 10.0).ceil();
        assert!(origin.flows() as f64 <= due, "{chosen} has {} of {}", origin.flows(), flows + 1);
    }
    // Where nobody is full, the bound changes nothing.
    drop(held);
    let unbounded = hashing(&[1.0; 10], HashOn::Source, None).view();
    let bounded = hashing(&[1.0; 10], HashOn::Source, Some(bound)).view();
    assert!((0..500).all(|number| player.origin(&unbounded, number) == player.origin(&bounded, number)));
}

#[test]
fn of_two_origins_drawn_the_one_with_fewer_flows_for_its_weight_is_taken() {
    let view = world(vec![weighted(Steering::LeastOutstanding, &[1.0, 1.0, 2.0])]).view();
    let mut player = Player::new();
    let mut held = Vec::new();
    for number in 0..400 {
        held.push(player.place(&view, number).expect("a place").origin.hold());
    }
    let flows: Vec<usize> = view.pools[0].origins().map(OriginView::flows).collect();
    for (had, due) in flows.iter().zip([100, 100, 200]) {
        assert!(had.abs_diff(due) <= 10, "{flows:?}");
    }
}

#[test]
fn an_origin_that_has_just_come_is_given_its_share_little_by_little() {
    for steering in [Steering::Random, Steering::RoundRobin, Steering::Hash, Steering::LeastConnections] {
        let group = Group { slow_start: Some(Duration::from_secs(30)), ..weighted(steering, &[1.0, 1.0]) };
        let mut view = world(vec![group]).view();
        let begun = Instant::now();
        // The first has been there for long.
        let pool = Arc::get_mut(&mut view.pools[0]).expect("nobody else has it");
        Arc::get_mut(&mut pool.origins[0]).expect("nobody else has it").since = begun - HOUR;
        Arc::get_mut(&mut pool.origins[1]).expect("nobody else has it").since = begun;
        for (after, weight) in [(0, 0.1), (15, 0.5), (30, 1.0)] {
            let mut player = Player { now: begun + Duration::from_secs(after), ..Player::new() };
            check_shares(&player.counts(&view, 10_000), &[1.0, weight]);
        }
    }
}

#[test]
fn pools_have_their_shares_by_chance_and_by_load() {
    let groups = || (0..2).map(|_| weighted(Steering::Random, &[1.0, 1.0])).collect();
    let weights = vec![3.0, 1.0];
    let chance = World { steering: PoolSteering::Random, pool_weights: weights.clone(), ..world(groups()) }.view();
    let mut player = Player::new();
    let mut counts = [0, 0];
    for number in 0..20_000 {
        counts[usize::from(names(&player.place(&chance, number).expect("a place")).0 == "p1")] += 1;
    }
    check_shares(&counts, &weights);
    let load = World { steering: PoolSteering::LeastConnections, pool_weights: weights, ..world(groups()) }.view();
    let held: Vec<_> = (0..400).map(|number| player.place(&load, number).expect("a place").origin.hold()).collect();
    assert!(load.pools[0].flows().abs_diff(300) <= 2, "{} of {}", load.pools[0].flows(), held.len());
}

#[test]
fn a_network_is_bound_to_one_origin_where_its_prefix_counts() {
    let affinity = Affinity::Source { prefix: Prefix { v4: 24, v6: 56 }, ttl: HOUR, drain: Duration::ZERO };
    let view = World { affinity, ..world(vec![weighted(Steering::Random, &[1.0; 8])]) }.view();
    let mut player = Player::new();
    let first = player.origin(&view, 0);
    assert!((1..200).all(|number| player.origin(&view, number) == first));
    assert_eq!(player.balancer.bindings(), 1);
}

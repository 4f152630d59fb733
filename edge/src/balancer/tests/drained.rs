//! What is drained takes nothing new, and who is bound there stays for as long as is said.

use std::time::SystemTime;

use super::*;
use crate::model::{Drain, Subject};

/// These drains, begun at this moment.
fn drains(subjects: &[(&str, &str)], begun: Instant) -> Drains {
    let drain = Drain { who: None, since: SystemTime::now(), begun };
    let subject = |(kind, name): &(&str, &str)| Subject::read(kind, name).expect("right");
    Drains::kept(subjects.iter().map(|named| (subject(named), drain.clone())).collect())
}

/// The world's view with these of its origins drained.
pub(super) fn under(world: &World, drained: &[bool]) -> HealthView {
    let of_group = |(pool, group): (usize, &Group)| {
        (0..group.origins.len()).map(|at| format!("p{pool}/o{at}")).collect::<Vec<_>>()
    };
    let all: Vec<String> = world.groups.iter().enumerate().flat_map(of_group).collect();
    let drained = all.iter().zip(drained).filter(|(_, is_drained)| **is_drained);
    let drained: Vec<_> = drained.map(|(name, _)| ("origin", &name[..])).collect();
    world.view_under(&drains(&drained, Instant::now()))
}

/// Why each of this kind was passed over.
fn passed(trace: &Trace<'_>, is_kind: impl Fn(&Weighed<'_>) -> bool) -> Vec<Option<PassedOver>> {
    trace.0.iter().filter(|step| is_kind(&step.what)).map(|step| step.passed).collect()
}

#[test]
fn a_drained_origin_takes_nothing_new_whatever_the_steering() {
    for steering in [Steering::Random, Steering::RoundRobin, Steering::Hash, Steering::LeastConnections] {
        let mut player = Player::new();
        let view =
            world(vec![weighted(steering, &[1.0, 5.0, 1.0])]).view_under(&drains(&[("origin", "p0/o1")], player.now));
        let counts = player.counts(&view, 60);
        assert!(counts[0] > 0 && counts[1] == 0 && counts[2] > 0, "{steering:?}: {counts:?}");
        let ((_, trace), _) = player.explain_and_place(&view, 1);
        let origins = passed(&trace, |what| matches!(what, Weighed::Origin(..)));
        assert_eq!(origins[1], Some(PassedOver::Draining), "{steering:?}");
    }
}

#[test]
fn a_drained_pool_is_passed_over_and_so_is_the_fallback() {
    let mut player = Player::new();
    let pool = |number| group(Steering::Random, vec![at(number, 1.0, &[Healthy])]);
    let worlds = World { fallback: true, ..world(vec![pool(0), pool(1), pool(2)]) };
    let mut under = |subjects: &[(&str, &str)]| {
        let view = worlds.view_under(&drains(subjects, player.now));
        let ((_, trace), placed) = player.explain_and_place(&view, 1);
        let pools = passed(&trace, |what| matches!(what, Weighed::Pool(_) | Weighed::Fallback(_)));
        (placed.map(|placed| names(&placed).1).map_err(|no| no.detail.map(|words| words.to_string())), pools)
    };
    assert_eq!(under(&[("pool", "p0")]).0, Ok("o1".to_owned()));
    assert_eq!(under(&[("pool", "p0")]).1, [Some(PassedOver::Draining), None]);
    assert_eq!(under(&[("pool", "p0"), ("pool", "p1")]).0, Ok("o2".to_owned()));
    assert_eq!(under(&[("origin", "p0/o0"), ("pool", "p1")]).0, Ok("o2".to_owned()), "every origin of the first");
    let (none, pools) = under(&[("pool", "p0"), ("pool", "p1"), ("pool", "p2")]);
    assert_eq!(none, Err(Some("every origin is drained".to_owned())));
    assert!(pools.iter().all(|passed| *passed == Some(PassedOver::Draining)), "{pools:?}");
}

#[test]
fn a_drained_pool_does_not_serve_and_is_as_well_as_it_was() {
    let now = Instant::now();
    let pools = vec![weighted(Steering::Random, &[1.0]), weighted(Steering::Random, &[1.0])];
    let view = world(pools).view_under(&drains(&[("pool", "p0")], now));
    assert_eq!(view.pools[0].health, PoolHealth::Healthy, "its probes go on");
    assert!(!view.pools[0].serves() && !view.pools[0].can_be_tried());
    assert_eq!(view.load_balancers[0].serving_pool, Some(1));
}

#[test]
fn a_drained_load_balancer_takes_nothing_but_keeps_what_has_to_leave_its_path() {
    let origins = (0..2).map(|number| at(number, 1.0, &[Healthy, Healthy])).collect();
    let well = world(vec![group(Steering::Random, origins)]);
    let mut player = Player::new();
    let view = well.view_under(&drains(&[("load_balancer", "www"), ("origin", "p0/o1")], player.now));
    let no = player.place(&view, 1).map(|_| ()).expect_err("no place");
    assert_eq!((no.reason, no.detail.as_deref()), (None, Some("the load balancer takes nothing new: it is drained")));
    let ((_, trace), _) = player.explain_and_place(&view, 1);
    assert_eq!(passed(&trace, |what| matches!(what, Weighed::Balancer(_))), [Some(PassedOver::Draining)]);

    let there = &view.pools[0].origins[1];
    let near = Near { pool: &view.pools[0].pool, origin: &there.origin };
    let (flow, mut tried) = (source(1), Tried::default());
    tried.path(there.key, there.paths[0].via(), Reason::LinkLost);
    let ask = Ask { near: Some(near), ..ask(&view, &flow, (&tried, player.now)) };
    let again = player.balancer.place(&ask, &mut player.dice).expect("another path");
    assert_eq!((names(&again).1, again.path.via()), ("o1".to_owned(), there.paths[1].via()));
}

#[test]
fn who_is_bound_stays_for_the_drain_duration_and_new_ones_go_elsewhere() {
    const STAY: Duration = Duration::from_secs(60);
    for (what, name) in [("origin", "p0/o0"), ("pool", "p0")] {
        let groups = vec![weighted(Steering::RoundRobin, &[1.0]), weighted(Steering::RoundRobin, &[1.0])];
        let sticky =
            World { affinity: Affinity::Source { prefix: Prefix::WHOLE, ttl: HOUR, drain: STAY }, ..world(groups) };
        let mut player = Player::new();
        let placed = |player: &mut Player, view: &HealthView, number| {
            player.place(view, number).map(|placed| names(&placed).0).expect("a place")
        };
        assert_eq!(placed(&mut player, &sticky.view(), 1), "p0");
        let view = sticky.view_under(&drains(&[(what, name)], player.now));
        player.now += STAY - Duration::from_millis(1);
        assert_eq!((placed(&mut player, &view, 1), placed(&mut player, &view, 2)), ("p0".into(), "p1".into()));
        player.now += Duration::from_millis(1);
        let ((_, trace), _) = player.explain_and_place(&view, 1);
        assert_eq!(passed(&trace, |what| matches!(what, Weighed::Bound(..))), [Some(PassedOver::Draining)]);
        assert_eq!(placed(&mut player, &view, 1), "p1", "its time is over");
    }
}

#[test]
fn the_word_of_a_client_binds_it_for_the_drain_duration() {
    let groups = vec![weighted(Steering::Random, &[1.0, 1.0])];
    for (drain, stays) in [(Duration::ZERO, false), (Duration::from_secs(60), true)] {
        let world = World { affinity: Affinity::Cookie { ttl: HOUR, drain }, ..world(groups.clone()) };
        let player = Player::new();
        let view = world.view_under(&drains(&[("origin", "p0/o0")], player.now));
        let (flow, key) = (source(1), view.pools[0].origins[0].key);
        let ask = Ask { cookie: Some(key), ..ask(&view, &flow, (&player.tried, player.now)) };
        let placed = player.balancer.place(&ask, &mut StdRng::seed_from_u64(1)).expect("a place");
        assert_eq!(
            (names(&placed).1 == "o0", placed.cookie.is_none()),
            (stays, stays),
            "who moves gets another cookie"
        );
    }
}

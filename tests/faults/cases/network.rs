//! Networks that break: cut, lossy, slow, out of order, too narrow; and a connector that moves.

use std::time::Duration;

use rig::judge::LINK_LEAVES;
use underpass_tests::harness::wait;

use super::{Case, Stage};
use crate::{
    lab::{Replica, route_out, uplink},
    netns::Netns,
    shim::{Shim, Weather},
};

/// Which way nothing passes, as the connector sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
    Both,
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("network-gone", "network of a connector disconnected, and back")
            .hold(Duration::from_secs(5))
            .leaves(LINK_LEAVES)
            .strike(|stage| {
                ["wan", "lan"].iter().for_each(|dev| first(stage).netns.ip(&format!("link set {dev} down")))
            })
            .heal(|stage| {
                let replica = first(stage);
                ["wan", "lan"].iter().for_each(|dev| replica.netns.ip(&format!("link set {dev} up")));
                route_out(&replica.netns, replica.number);
            }),
        cut("cut-in-1s", "link cut towards the connector for 1 s", Direction::In, 1),
        cut("cut-in-10s", "link cut towards the connector for 10 s", Direction::In, 10),
        cut("cut-in-60s", "link cut towards the connector for 60 s", Direction::In, 60),
        cut("cut-out-1s", "link cut from the connector for 1 s", Direction::Out, 1),
        cut("cut-out-10s", "link cut from the connector for 10 s", Direction::Out, 10),
        cut("cut-out-60s", "link cut from the connector for 60 s", Direction::Out, 60),
        cut("cut-both-1s", "link cut both ways for 1 s", Direction::Both, 1),
        cut("cut-both-10s", "link cut both ways for 10 s", Direction::Both, 10).quick(),
        cut("cut-both-60s", "link cut both ways for 60 s", Direction::Both, 60),
        cut("cut-in-light", "link cut towards the connector for 10 s, under light load", Direction::In, 10).light(),
        cut("cut-out-light", "link cut from the connector for 10 s, under light load", Direction::Out, 10).light(),
        degraded("loss-1", "loss of 1 % on a connector's link", |stage| lose(stage, 1)),
        degraded("loss-5", "loss of 5 % on a connector's link", |stage| lose(stage, 5)),
        degraded("loss-20", "loss of 20 % on a connector's link", |stage| lose(stage, 20)),
    ];
    cases.iter_mut().filter(|case| case.name.starts_with("loss")).for_each(|case| case.heal = Box::new(mend));
    cases.extend([
        degraded("rate", "rate limit of 4 Mbit/s (tbf) on a connector's link", |stage| {
            ends(stage, |netns, dev| {
                netns.tc(&format!("qdisc add dev {dev} root tbf rate 4mbit burst 16k latency 60ms"))
            });
        })
        .heal(|stage| ends(stage, |netns, dev| netns.tc(&format!("qdisc del dev {dev} root")))),
        weather("delay", "delay of 80 ms each way on a connector's link", Weather { delay: ms(80), ..CLEAR }),
        weather("reordering", "reordering (up to 20 ms) on a connector's link", Weather { jitter: ms(20), ..CLEAR }),
        weather("mtu-hole", "MTU hole (over 1,280 bytes lost silently)", Weather { largest: 1_280, ..CLEAR }),
        Case::new("migration", "the connector's address changes, and back")
            .cuts_nothing()
            .hold(Duration::from_secs(4))
            .strike(|stage| move_address(first(stage), 2, 3))
            .heal(|stage| move_address(first(stage), 3, 2)),
        Case::new("two-claim", "two connectors claim one prefix; one has no way there, then has, then dies")
            .hold(Duration::from_secs(3))
            .recovers_in_its_time()
            .strike(guest)
            .heal(|stage| stage.guest = None),
    ]);
    cases
}

const CLEAR: Weather = Weather { delay: Duration::ZERO, jitter: Duration::ZERO, largest: 1_500 };

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn first(stage: &Stage) -> &Replica {
    &stage.lab.replicas[0]
}

fn cut(name: &'static str, title: &'static str, way: Direction, seconds: u64) -> Case {
    Case::new(name, title)
        .hold(Duration::from_secs(seconds))
        .leaves(LINK_LEAVES)
        .strike(move |stage| {
            if way != Direction::Out {
                drop_at(&first(stage).netns, "wan", "");
            }
            if way != Direction::In {
                drop_at(&stage.lab.core, "up0", "");
            }
        })
        .heal(mend)
}

/// A link that is worse and stays in rotation.
fn degraded(name: &'static str, title: &'static str, strike: impl Fn(&mut Stage) + 'static) -> Case {
    Case::new(name, title).hold(Duration::from_secs(8)).strike(strike)
}

fn weather(name: &'static str, title: &'static str, weather: Weather) -> Case {
    degraded(name, title, move |stage| stage.shim = Some(Shim::raise(first(stage), &stage.lab.core, weather))).heal(
        |stage| {
            if let Some(shim) = stage.shim.take() {
                shim.lower(first(stage), &stage.lab.core);
            }
        },
    )
}

/// Does something at both ends of the first replica's cable.
fn ends(stage: &Stage, act: impl Fn(&Netns, &str)) {
    act(&first(stage).netns, "wan");
    act(&stage.lab.core, "up0");
}

fn lose(stage: &Stage, percent: u32) {
    ends(stage, |netns, dev| drop_at(netns, dev, &format!("numgen random mod 100 < {percent} ")));
}

/// Loses IP packets that come in at a device. Going out, the sender would be told.
fn drop_at(netns: &Netns, device: &str, which: &str) {
    netns.nft(&format!(
        "add table netdev fault; add chain netdev fault in {{ type filter hook ingress device {device} priority 0; }}; \
         add rule netdev fault in meta protocol ip {which}drop"
    ));
}

/// Takes away whatever [`drop_at`] did at either end.
fn mend(stage: &mut Stage) {
    ends(stage, |netns, _| netns.nft("add table netdev fault; delete table netdev fault"));
}

fn move_address(replica: &Replica, from: u8, to: u8) {
    let address = |host| uplink(replica.number, host);
    replica.netns.ip(&format!("addr del {}/28 dev wan", address(from)));
    replica.netns.ip(&format!("addr add {}/28 dev wan", address(to)));
    route_out(&replica.netns, replica.number);
}

/// A second connector claims the first one's prefix: without a way to its site, then with one.
fn guest(stage: &mut Stage) {
    let guest = stage.lab.start_replica(4, "dc-c");
    guest.netns.ip("link set lan down");
    let both = |stage: &Stage| {
        stage.lab.edges.iter().for_each(|host| host.netns.inside(|| host.edge.wait_links("dc-c", 2)));
    };
    both(stage);
    wait::pass(Duration::from_secs(3));
    guest.netns.ip("link set lan up");
    wait::pass(Duration::from_secs(3));
    stage.guest = Some(guest);
}

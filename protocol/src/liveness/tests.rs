use std::sync::Arc;

use tokio::{io::AsyncWriteExt, task, time};

use super::*;
use crate::{
    pair::Pair,
    switch::{Drops, Switch},
};

const RTT: Duration = Duration::from_millis(1);

fn at(start: Instant, ms: u64) -> Instant {
    start + Duration::from_millis(ms)
}

/// A link without flows, and when it was made.
struct Link {
    start: Instant,
    liveness: Liveness,
}

impl Link {
    fn new() -> Self {
        let start = Instant::now();
        Self { start, liveness: Liveness::new(Side::Edge, made(start)) }
    }

    fn look(&mut self, ms: u64, traffic: Traffic, flows: usize) -> LinkState {
        self.liveness.observe(Look { now: at(self.start, ms), traffic, rtt: RTT, flows })
    }
}

fn made(now: Instant) -> Look {
    Look { now, traffic: Traffic::default(), rtt: RTT, flows: 0 }
}

fn sent(demanding: u64, acknowledged: u64) -> Traffic {
    Traffic { demanding, acknowledged, ..Traffic::default() }
}

/// Looks every 100 ms over (demanding, acknowledged) counters; returns the states seen.
fn watch(looks: &[(u64, u64)], rtt: Duration) -> Vec<LinkState> {
    let start = Instant::now();
    let mut liveness = Liveness::new(Side::Edge, made(start));
    let look = |(i, (demanding, acknowledged)): (usize, &(u64, u64))| {
        let now = at(start, 100 * (i as u64 + 1));
        liveness.observe(Look { now, traffic: sent(*demanding, *acknowledged), rtt, flows: 0 })
    };
    looks.iter().enumerate().map(look).collect()
}

#[test]
fn an_idle_link_stays_up() {
    assert!(watch(&[(0, 0); 100], RTT).iter().all(|s| *s == LinkState::Up));
}

#[test]
fn a_link_that_answers_stays_up() {
    let looks: Vec<_> = (1..100).map(|n| (n, n / 2)).collect();
    assert!(watch(&looks, RTT).iter().all(|s| *s == LinkState::Up));
}

#[test]
fn a_question_answered_between_two_looks_leaves_nothing_open() {
    assert!(watch(&[(1, 1); 100], RTT).iter().all(|s| *s == LinkState::Up));
}

#[test]
fn silence_makes_it_suspect_after_300_ms_and_dead_after_3_s() {
    let states = watch(&[(1, 0); 40], RTT);
    assert_eq!(states[2], LinkState::Up, "200 ms after the look that saw it sent");
    assert_eq!(states[3], LinkState::Suspect);
    assert_eq!(states[29], LinkState::Suspect);
    assert_eq!(states[30], LinkState::Dead);
}

#[test]
fn a_long_round_trip_gets_four_of_them() {
    let states = watch(&[(1, 0); 12], Duration::from_millis(200));
    assert_eq!(states[7], LinkState::Up);
    assert_eq!(states[8], LinkState::Suspect);
}

#[test]
fn an_acknowledgement_clears_suspicion() {
    assert_eq!(watch(&[(1, 0), (1, 0), (1, 0), (1, 0), (1, 1)], RTT)[3..], [LinkState::Suspect, LinkState::Up]);
}

#[test]
fn an_idle_link_is_looked_at_seldom_until_something_is_sent() {
    let mut link = Link::new();
    let mut wait_after = |ms, demanding, acknowledged| {
        link.look(ms, sent(demanding, acknowledged), 0);
        link.liveness.wait()
    };
    assert_eq!(wait_after(50, 0, 0), LOOK_IDLE);
    assert_eq!(wait_after(300, 1, 0), LOOK_EVERY, "sent, not answered yet");
    assert_eq!(wait_after(350, 1, 0), LOOK_EVERY);
    assert_eq!(wait_after(400, 2, 1), LOOK_EVERY, "answered, and more was sent");
    assert_eq!(wait_after(450, 2, 2), LOOK_IDLE);
}

#[test]
fn a_pause_of_our_own_is_not_held_against_the_link() {
    let mut link = Link::new();
    assert_eq!(link.look(100, sent(1, 0), 0), LinkState::Up);
    assert_eq!(link.look(9_000, sent(1, 0), 0), LinkState::Up, "nobody looked for nine seconds");
    assert_eq!(link.look(9_100, sent(1, 1), 0), LinkState::Up);
}

#[test]
fn what_a_host_says_ends_a_link_that_does_not_answer_either() {
    let mut link = Link::new();
    let refused = Traffic { refused: 1, ..sent(1, 0) };
    assert_eq!(link.look(50, sent(1, 0), 1), LinkState::Up);
    assert_eq!(link.look(100, refused, 1), LinkState::Up);
    assert_eq!(link.look(200, refused, 1), LinkState::Up);
    assert_eq!(link.look(250, refused, 1), LinkState::Dead);
    assert_eq!(link.liveness.death(), Death::Gone);
}

#[test]
fn a_long_round_trip_gets_four_of_them_before_its_host_is_believed() {
    let mut link = Link::new();
    let refused = Traffic { refused: 1, ..sent(1, 0) };
    let mut look = |ms| {
        link.liveness.observe(Look {
            now: at(link.start, ms),
            traffic: refused,
            rtt: Duration::from_millis(100),
            flows: 1,
        })
    };
    let states: Vec<_> = (1..=10).map(|n| look(n * 50)).collect();
    assert_eq!((states[7], states[8]), (LinkState::Up, LinkState::Dead));
}

#[test]
fn no_word_of_a_host_harms_a_link_that_answers() {
    let mut link = Link::new();
    let mut asked = 0;
    for n in 1..1_000 {
        let traffic = Traffic { refused: 10 * n, received: n, ..sent(asked, asked) };
        assert_eq!(link.look(50 * n, traffic, 1), LinkState::Up, "look {n}");
        asked += u64::from(link.liveness.asks());
    }
    assert!(asked > 400, "it was asked each time: {asked}");
}

#[test]
fn a_word_of_before_the_last_answer_is_forgotten() {
    let mut link = Link::new();
    let mut look =
        |ms, demanding, acknowledged| link.look(ms, Traffic { refused: 1, ..sent(demanding, acknowledged) }, 0);
    look(50, 1, 0);
    look(100, 1, 1);
    let states: Vec<_> = (3..=9).map(|n| look(n * 50, 2, 1)).collect();
    assert_eq!(states[5..], [LinkState::Up, LinkState::Suspect]);
}

#[test]
fn a_silent_peer_is_asked_while_there_are_flows_and_its_answer_is_awaited() {
    let mut link = Link::new();
    let mut asks_after = |ms, received, flows| {
        let state = link.look(ms, Traffic { received, ..sent(0, received) }, flows);
        (link.liveness.asks(), link.liveness.wait(), state)
    };
    assert_eq!(asks_after(50, 1, 0), (false, LOOK_IDLE, LinkState::Up));
    assert_eq!(asks_after(300, 1, 0), (false, LOOK_IDLE, LinkState::Up), "nobody waits for anything");
    assert_eq!(asks_after(350, 2, 1), (false, LOOK_EVERY, LinkState::Up));
    assert_eq!(asks_after(400, 2, 1), (false, LOOK_EVERY, LinkState::Up));
    assert_eq!(asks_after(450, 2, 1), (true, LOOK_EVERY, LinkState::Up));
    assert_eq!(asks_after(500, 2, 1), (false, LOOK_EVERY, LinkState::Up), "asked already");
    assert_eq!(asks_after(550, 3, 1), (false, LOOK_EVERY, LinkState::Up), "and answered");
    assert_eq!(asks_after(650, 3, 1), (true, LOOK_EVERY, LinkState::Up));
    let states: Vec<_> = [750, 850, 950].into_iter().map(|ms| asks_after(ms, 3, 1).2).collect();
    assert_eq!(states, [LinkState::Up, LinkState::Up, LinkState::Suspect], "not answered");
}

fn acknowledged(pair: &Pair) -> u64 {
    Look::at(&pair.edge, Instant::now(), 0, 0).traffic.acknowledged
}

#[tokio::test]
async fn a_sign_of_life_is_given_where_no_stream_has_room() {
    let pair = Pair::new().await;
    let drops = Drops::default();
    task::spawn(Arc::new(Switch::default()).run(pair.connector.clone(), drops.clone()));
    let (mut held, block) = (Vec::new(), vec![0; 1 << 20]);
    for _ in 0..20 {
        let (mut send, recv) = pair.edge.open_stream().await.expect("a live link");
        while time::timeout(Duration::from_millis(50), send.write_all(&block)).await.is_ok() {}
        held.push((send, recv));
    }
    for _ in 0..3 {
        let before = acknowledged(&pair);
        pair.edge.nudge();
        let answered = async {
            while acknowledged(&pair) == before {
                task::yield_now().await;
            }
        };
        time::timeout(Duration::from_secs(5), answered).await.expect("a sign of life");
    }
    assert_eq!(drops.readings().map(|(_, count)| count).sum::<u64>(), 0);
}

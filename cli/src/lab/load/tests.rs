use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::Ipv4Addr,
    thread,
};

use rig::{
    origin::Ending,
    sample::{Kind, Outcome, Placed, Sample},
};

use super::*;
use crate::lab::{
    origin::Origin,
    plan::{REPLICAS, SERVERS, Speech},
};

/// The servers on the first ground that is free, and where `red-1` is reached by this speech.
fn servers(speech: Speech) -> (Vec<Origin>, Ground, SocketAddr) {
    for ground in Ground::all() {
        // From the last to the first: a ground on which somebody's first server is killed is left before its place is taken.
        let started: Result<Vec<_>, _> = SERVERS.iter().rev().map(|server| Origin::start(ground, server)).collect();
        if let Ok(mut origins) = started {
            origins.reverse();
            return (origins, ground, ground.real(&SERVERS[0], &REPLICAS[0], speech));
        }
    }
    panic!("some ground is free");
}

/// Runs clients upon one address until enough has happened.
fn samples(goal: Goal, enough: impl Fn(&[Sample]) -> bool) -> Vec<Sample> {
    let mut load = Load::upon([goal]).expect("there are threads");
    let (mut all, began) = (Vec::new(), Instant::now());
    while !enough(&all) {
        assert!(began.elapsed() < Duration::from_secs(20), "enough happens in time");
        thread::park_timeout(Duration::from_millis(5));
        all.extend(load.take().samples);
    }
    load.clients.stop().wait().expect("no client panics");
    let rest = load.take();
    assert_eq!(rest.lost, 0);
    all.extend(rest.samples);
    all
}

fn goal(service: usize, ground: Ground, at: SocketAddr) -> Goal {
    Goal { at, edge: 0, service: &SERVICES[service], ground }
}

/// Three of this kind, on such connections, came to this.
fn has(kind: Kind, on: fn(&Sample) -> bool, outcome: fn(&Outcome) -> bool) -> impl Fn(&[Sample]) -> bool {
    move |samples| samples.iter().filter(|s| s.kind == kind && on(s) && outcome(&s.outcome)).count() >= 3
}

fn is_further(sample: &Sample) -> bool {
    !sample.is_first()
}

fn is_served(outcome: &Outcome) -> bool {
    *outcome == Outcome::Served
}

fn is_wrong(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Wrong(_))
}

fn is_failed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(_))
}

#[test]
fn honest_origins_give_served_samples_of_every_kind() {
    let all = [
        (0, Speech::Http, Kind::GetNew, Kind::GetKept),
        (2, Speech::Echo, Kind::Connect, Kind::Block),
        (3, Speech::Dns, Kind::Question, Kind::Question),
    ];
    for (service, speech, first, further) in all {
        let (_origins, ground, at) = servers(speech);
        let (new, kept) = (has(first, Sample::is_first, is_served), has(further, is_further, is_served));
        let samples = samples(goal(service, ground, at), |s| new(s) && kept(s));
        for sample in &samples {
            assert_eq!(sample.outcome, Outcome::Served, "{sample}");
            assert_eq!(sample.placed, Some(Placed { origin: "red-1".to_owned(), via: "connector-1".to_owned() }));
            assert!(sample.connection.opened <= sample.began && sample.began <= sample.ended);
        }
        let new = samples.iter().filter(|s| s.is_first());
        let connections: BTreeSet<u64> = new.clone().map(|s| s.connection.number).collect();
        assert_eq!(connections.len(), new.count(), "a new connection is new");
    }
}

#[test]
fn another_vnets_answer_is_wrong() {
    let (_origins, ground, at) = servers(Speech::Http);
    let samples = samples(goal(1, ground, at), has(Kind::GetNew, Sample::is_first, is_wrong));
    assert!(samples.iter().all(|s| is_wrong(&s.outcome)), "red answered for blue");
}

#[test]
fn a_refused_connection_is_a_failure() {
    let (mut origins, ground, at) = servers(Speech::Echo);
    origins[0].kill();
    let samples = samples(goal(2, ground, at), has(Kind::Connect, Sample::is_first, is_failed));
    assert!(samples.iter().all(|s| is_failed(&s.outcome) && s.placed.is_none()));
}

#[test]
fn a_changed_byte_is_wrong() {
    let ground = Ground::all().next().expect("there are grounds");
    let says = crate::lab::plan::Saying::of(ground, &SERVERS[0], &REPLICAS[0], Speech::Echo).to_string();
    let mut bad = rig::origin::Origin::idle((Ipv4Addr::LOCALHOST, 0).into(), move |mut stream| {
        let mut block = vec![0; 4096];
        stream.write_all(says.as_bytes())?;
        stream.read_exact(&mut block)?;
        block[17] ^= 1;
        stream.write_all(&block).map(|()| Ending::Clean)
    });
    bad.resume().expect("some port is free");
    let samples = samples(goal(2, ground, bad.address()), has(Kind::Block, is_further, is_wrong));
    let says = |s: &Sample| s.outcome == Outcome::Wrong("byte 17 of 4096 came back changed".to_owned());
    assert!(samples.iter().any(says));
}

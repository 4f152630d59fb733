//! It is known who answered, and every answer is held to a second.

use proptest::prelude::*;

use super::*;

const RED: Network = Network("red");
const BLUE: Network = Network("blue");

/// A TCP connection at edge 0 to red, `red-1` via `connector-1`, opened and begun at 900, ended at 1,100, served.
fn sample() -> Sample {
    Sample {
        kind: Kind::Connect,
        edge: 0,
        network: RED,
        connection: opened(900),
        began: ms(900),
        ended: ms(1100),
        placed: placed("red-1", "connector-1"),
        outcome: Outcome::Served,
        repeats: 0,
    }
}

fn failed() -> Outcome {
    Outcome::Failed("connection reset".to_owned())
}

fn wrong() -> Outcome {
    Outcome::Wrong("red was answered by blue".to_owned())
}

fn killed(gone: Gone, cuts: Cuts) -> Fault {
    let bounds = Bounds { gone, cuts, leaves: None, told: None, recovers: false };
    Fault { bounds, times: Times { at: ms(1000), struck: ms(1010), healed: None, whole: None } }
}

fn part(which: Which) -> Fault {
    killed(Gone::Nobody, Cuts::On(Part { network: RED, which }))
}

fn connector() -> Fault {
    part(Which::Connector("connector-1"))
}

fn origin(name: &'static str) -> Fault {
    part(Which::Origin(name))
}

fn edge(number: usize) -> Fault {
    killed(Gone::Edge(number), Cuts::Nothing)
}

fn back(fault: Fault, healed: Option<Duration>) -> Fault {
    Fault { times: Times { healed, ..fault.times }, ..fault }
}

fn seen<'a>(samples: &'a [Sample], stalls: &'a Spans) -> Seen<'a> {
    Seen { samples, stalls, crowded: stalls, clock: Clock::Trusted, prompt: Some(ms(1000)) }
}

fn found(samples: &[Sample], faults: &[Fault]) -> Findings {
    judge(&seen(samples, &Spans::default()), faults, &Beside::default())
}

fn verdict(sample: &Sample, faults: &[Fault], stalls: &Spans) -> Verdict {
    Judging { seen: &seen(&[], stalls), faults }.verdict(sample)
}

fn check_stalled(sample: &Sample, fault: Fault, stalls: Spans, expected: Verdict) {
    assert_eq!(verdict(sample, &[fault], &stalls), expected, "{fault:?} and {sample}");
}

fn check(sample: &Sample, fault: Fault, expected: Verdict) {
    check_stalled(sample, fault, Spans::default(), expected);
}

#[test]
fn what_was_on_the_killed_connector_is_cut() {
    let on_it = Sample { outcome: failed(), ..sample() };
    check(&on_it, connector(), Verdict::Cut);
    check(&Sample { connection: opened(1010), began: ms(1010), ..on_it.clone() }, connector(), Verdict::Cut);
    let idle = Sample { kind: Kind::Block, began: ms(2000), ended: ms(4000), ..on_it.clone() };
    check(&idle, connector(), Verdict::Cut);
    let unanswered = Sample { placed: None, ..on_it };
    check(&unanswered, connector(), Verdict::Cut);
    let of_another_network = Sample { network: BLUE, ..unanswered };
    check(&of_another_network, connector(), Verdict::Failed);
}

#[test]
fn neither_http_nor_udp_may_fail_or_wait_with_a_connector_or_an_origin() {
    for (kind, network) in [(Kind::GetNew, RED), (Kind::GetKept, RED), (Kind::GetNew, BLUE), (Kind::Question, RED)] {
        let sample = || Sample { kind, network, ..sample() };
        for fault in [connector(), origin("red-1")] {
            let broken = Sample { outcome: failed(), ..sample() };
            check(&broken, fault, Verdict::Failed);
            check(&Sample { placed: None, ..broken }, fault, Verdict::Failed);
            check(&Sample { ended: ms(1901), ..sample() }, fault, Verdict::Late);
            check(&Sample { ended: ms(1900), ..sample() }, fault, Verdict::Fine);
        }
        let to_a_dead_edge = Sample { outcome: failed(), ..sample() };
        check(&to_a_dead_edge, edge(0), Verdict::Cut);
        check(&to_a_dead_edge, edge(1), Verdict::Failed);
    }
}

#[test]
fn time_in_which_its_client_was_not_let_run_is_not_the_products() {
    let stalled = |span: u64| Spans::from_iter([ms(1000)..ms(1000 + span)]);
    let late = Sample { ended: ms(2500), placed: placed("red-1", "connector-2"), ..sample() };
    check(&late, connector(), Verdict::Late);
    check_stalled(&late, connector(), stalled(599), Verdict::Late);
    check_stalled(&late, connector(), stalled(600), Verdict::Fine);
    check_stalled(&Sample { outcome: failed(), ..late }, connector(), stalled(1600), Verdict::Failed);
}

#[test]
fn what_was_elsewhere_or_came_later_is_not_cut() {
    let elsewhere = Sample { placed: placed("red-1", "connector-2"), outcome: failed(), ..sample() };
    check(&elsewhere, connector(), Verdict::Failed);
    let later = Sample { connection: opened(1011), began: ms(1011), outcome: failed(), ..sample() };
    check(&later, connector(), Verdict::Failed);
    let unanswered = Sample { placed: None, ..later };
    check(&unanswered, connector(), Verdict::Failed);
    let before = Sample { ended: ms(999), outcome: failed(), ..sample() };
    check(&before, connector(), Verdict::Failed);
}

#[test]
fn an_origins_death_excuses_its_own_connections_only() {
    let broken = Sample { outcome: failed(), ..sample() };
    check(&broken, origin("red-1"), Verdict::Cut);
    check(&broken, origin("red-2"), Verdict::Failed);
}

#[test]
fn an_edge_may_fail_its_own_clients_until_it_has_to_be_back() {
    let refused = |at| Sample {
        connection: opened(at),
        began: ms(at),
        ended: ms(at + 300),
        placed: None,
        outcome: failed(),
        ..sample()
    };
    check(&refused(5000), edge(0), Verdict::Cut);
    check(&refused(4999), back(edge(0), Some(ms(3000))), Verdict::Cut);
    check(&refused(5000), back(edge(0), Some(ms(3000))), Verdict::Failed);
    let stalls = Spans::from_iter([ms(3000)..ms(4000)]);
    check_stalled(&refused(5000), back(edge(0), Some(ms(3000))), stalls, Verdict::Failed);
    let hung = Sample { ended: ms(6001), ..refused(3100) };
    check(&hung, back(edge(0), Some(ms(3000))), Verdict::Failed);
    check(&Sample { edge: 1, ..refused(1500) }, edge(0), Verdict::Failed);
}

#[test]
fn late_is_a_failure_unless_excused() {
    let late = |via| Sample { ended: ms(1901), placed: placed("red-1", via), ..sample() };
    check(&Sample { ended: ms(1900), ..late("connector-2") }, connector(), Verdict::Fine);
    check(&late("connector-2"), connector(), Verdict::Late);
    check(&late("connector-1"), connector(), Verdict::Fine);
    let promises = found(&[late("connector-2")], &[connector()]).broken;
    assert!(promises.iter().map(|(promise, _)| *promise).eq([Promise::Prompt]), "{promises:?}");
}

#[test]
fn an_earlier_fault_still_excuses_what_took_long_to_end() {
    let broken = Sample { ended: ms(9000), outcome: failed(), ..sample() };
    let later = Fault { times: Times { at: ms(8000), struck: ms(8010), ..edge(1).times }, ..edge(1) };
    assert_eq!(found(std::slice::from_ref(&broken), &[connector(), later]).total.cut, 1);
    assert_eq!(found(&[broken], &[later]).total.failed, 1);
}

#[test]
fn findings_count_what_was_sent_and_what_became_of_it() {
    let block = |number, via, outcome| Sample {
        kind: Kind::Block,
        connection: Connection { number, opened: ms(900) },
        placed: placed("red-1", via),
        outcome,
        ..sample()
    };
    let samples = [
        sample(),
        Sample { kind: Kind::GetKept, connection: Connection { number: 2, opened: ms(900) }, ..sample() },
        Sample { kind: Kind::Question, repeats: 3, ..sample() },
        block(3, "connector-1", Outcome::Served),
        block(3, "connector-1", failed()),
        block(4, "connector-2", Outcome::Served),
        block(5, "connector-2", failed()),
        Sample { outcome: wrong(), ..sample() },
    ];
    let findings = found(&samples, &[connector()]);
    let total = &findings.total;
    let counts = (total.requests, total.blocks, total.failed, total.late, total.wrong, total.cut);
    assert_eq!(counts, (4, 4, 1, 0, 1, 1));
    assert_eq!((findings.http.requests, findings.tcp.requests, findings.udp.requests), (1, 2, 1));
    assert_eq!((findings.tcp.failed, findings.tcp.cut, findings.tcp.wrong), (1, 1, 1));
    assert_eq!((findings.udp.repeats, total.repeats), (3, 3));
    assert_eq!((findings.flows_cut, findings.flows_unharmed), (2, 1));
    assert_eq!(findings.broken.len(), 2);
}

#[test]
fn a_fault_is_felt_until_the_last_that_felt_it() {
    let new =
        |at, ended, outcome| Sample { connection: opened(at), began: ms(at), ended: ms(ended), outcome, ..sample() };
    let check = |samples: &[Sample], fault: Fault, expected| {
        assert_eq!(found(samples, &[fault]).total.felt, ms(expected), "{samples:#?}");
    };
    check(&[new(1010, 1020, Outcome::Served)], connector(), 0);
    check(&[new(1010, 1400, Outcome::Served), new(1100, 1110, Outcome::Served)], connector(), 400);
    check(&[new(1010, 1400, Outcome::Served), new(1500, 1510, failed())], connector(), 510);
    check(&[new(1010, 1400, failed()), new(2000, 2400, failed()), new(3401, 3402, failed())], connector(), 1400);
    check(&[Sample { kind: Kind::Block, ..new(1010, 1900, failed()) }], connector(), 0);
    let question = Sample { kind: Kind::Question, began: ms(900), ..new(500, 1290, Outcome::Served) };
    check(std::slice::from_ref(&question), connector(), 290);
    let udp_alone = found(&[question, new(1010, 1020, Outcome::Served)], &[connector()]);
    assert_eq!((udp_alone.udp.felt, udp_alone.tcp.felt), (ms(290), ms(0)));
    let edge = back(edge(0), Some(ms(2000)));
    check(&[new(1500, 1501, failed()), new(2100, 2101, failed())], edge, 101);
    check(&[Sample { edge: 1, ..new(2100, 2900, failed()) }], edge, 0);
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let kind = prop_oneof![
        Just(Kind::GetNew),
        Just(Kind::GetKept),
        Just(Kind::Post),
        Just(Kind::Connect),
        Just(Kind::Block),
        Just(Kind::Transactions),
        Just(Kind::Question),
    ];
    let outcome = prop_oneof![3 => Just(Outcome::Served), 1 => Just(failed()), 1 => Just(wrong())];
    let who = (0..2_usize, 0..3_u8, 0..4_u8, 0..9_u64);
    (kind, outcome, who, 0..3000_u64, 0..500_u64, 0..2000_u64).prop_map(
        |(kind, outcome, (edge, via, origin, number), opened, wait, took)| Sample {
            kind,
            edge,
            network: if via == 0 { BLUE } else { RED },
            connection: Connection { number, opened: ms(opened) },
            began: ms(opened + wait),
            ended: ms(opened + wait + took),
            placed: (origin > 0).then(|| placed(&format!("red-{origin}"), &format!("connector-{via}"))).flatten(),
            outcome,
            ..sample()
        },
    )
}

fn any_fault() -> impl Strategy<Value = Fault> {
    let fault = prop_oneof![Just(connector()), Just(origin("red-1")), Just(edge(0))];
    (fault, 0..3000_u64, proptest::option::of(0..1000_u64)).prop_map(|(fault, at, back)| {
        let healed = back.map(|back| ms(at + back));
        Fault { times: Times { at: ms(at), struck: ms(at + 5), healed, whole: None }, ..fault }
    })
}

proptest! {
    #[test]
    fn every_failure_is_either_cut_or_told(
        samples in proptest::collection::vec(any_sample(), 0..40),
        faults in proptest::collection::vec(any_fault(), 0..3),
    ) {
        let findings = found(&samples, &faults);
        let of = |outcome: fn(&Outcome) -> bool| samples.iter().filter(|s| outcome(&s.outcome)).count();
        let total = &findings.total;
        prop_assert_eq!(total.failed + total.cut, of(|o| matches!(o, Outcome::Failed(_))));
        prop_assert_eq!(total.wrong, of(|o| matches!(o, Outcome::Wrong(_))), "no fault excuses a wrong byte");
        prop_assert_eq!(total.sent(), samples.len());
        if faults.is_empty() {
            prop_assert_eq!(total.cut, 0);
        }
        prop_assert_eq!(total.failed + total.late + total.wrong > 0, findings.broken.iter().any(|(promise, _)| *promise != Promise::Alone));
    }

    #[test]
    fn a_survivor_is_never_excused(sample in any_sample(), fault in any_fault()) {
        let on_it = match (fault.bounds.gone, fault.bounds.cuts) {
            (Gone::Nobody, _) if sample.kind.may_be_done_twice() => false,
            (Gone::Nobody, Cuts::On(part)) => sample.network == part.network && part.may_carry(&sample),
            (Gone::Edge(edge), _) => sample.edge == edge,
            (Gone::Nobody | Gone::Network(_), _) => unreachable!("no such fault is drawn"),
        };
        prop_assert!(on_it || verdict(&sample, &[fault], &Spans::default()) != Verdict::Cut);
    }
}

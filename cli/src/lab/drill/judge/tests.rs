use proptest::prelude::*;

use super::*;
use crate::lab::plan::{REPLICAS, SERVERS, SERVICES};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const HTTP: &Service = &SERVICES[0];
const BLUE: &Service = &SERVICES[1];
const ECHO: &Service = &SERVICES[2];
const BLUE_ECHO: &Service = &Service { name: "blue-echo", vnet: Vnet::Blue, speech: Speech::Echo };
const DNS: &Service = &SERVICES[3];

/// Over TCP at edge 0, `red-1` via `connector-1`, new, opened and begun at 900, ended at 1,100, served.
fn sample() -> Sample {
    Sample {
        edge: 0,
        service: ECHO,
        kind: Kind::New,
        connection: 1,
        opened: ms(900),
        began: ms(900),
        ended: ms(1100),
        placed: placed("red-1", "connector-1"),
        outcome: Outcome::Served,
        repeats: 0,
        stalled: Duration::ZERO,
    }
}

fn placed(origin: &str, via: &str) -> Option<Placed> {
    Some(Placed { origin: origin.to_owned(), via: via.to_owned() })
}

fn failed() -> Outcome {
    Outcome::Failed("connection reset".to_owned())
}

fn wrong() -> Outcome {
    Outcome::Wrong("red was answered by blue".to_owned())
}

fn killed(part: Part) -> Fault {
    Fault { part, at: ms(1000), struck: ms(1010), back: None }
}

fn connector() -> Fault {
    killed(Part::Connector(&REPLICAS[0]))
}

fn check(sample: &Sample, fault: Fault, expected: Verdict) {
    assert_eq!(verdict(sample, std::slice::from_ref(&fault)), expected, "{fault:?} and {sample}");
}

#[test]
fn what_was_on_the_killed_connector_is_cut() {
    let on_it = Sample { outcome: failed(), ..sample() };
    check(&on_it, connector(), Verdict::Cut);
    check(&Sample { opened: ms(1010), began: ms(1010), ..on_it.clone() }, connector(), Verdict::Cut);
    let idle = Sample { kind: Kind::Kept, began: ms(2000), ended: ms(4000), ..on_it.clone() };
    check(&idle, connector(), Verdict::Cut);
    let unanswered = Sample { placed: None, ..on_it };
    check(&unanswered, connector(), Verdict::Cut);
    let of_another_vnet = Sample { service: BLUE_ECHO, ..unanswered };
    check(&of_another_vnet, connector(), Verdict::Failed);
}

#[test]
fn neither_http_nor_udp_may_fail_or_wait_with_a_connector_or_an_origin() {
    for service in [HTTP, BLUE, DNS] {
        for fault in [connector(), killed(Part::Origin(&SERVERS[0]))] {
            let broken = Sample { service, outcome: failed(), ..sample() };
            check(&broken, fault.clone(), Verdict::Failed);
            check(&Sample { placed: None, ..broken }, fault.clone(), Verdict::Failed);
            check(&Sample { service, ended: ms(1901), ..sample() }, fault.clone(), Verdict::Late);
            check(&Sample { service, ended: ms(1900), ..sample() }, fault, Verdict::Fine);
        }
        let to_a_dead_edge = Sample { service, outcome: failed(), ..sample() };
        check(&to_a_dead_edge, killed(Part::Edge(0)), Verdict::Cut);
        check(&to_a_dead_edge, killed(Part::Edge(1)), Verdict::Failed);
    }
}

#[test]
fn time_in_which_its_client_was_not_let_run_is_not_the_products() {
    let late = Sample { ended: ms(2500), placed: placed("red-1", "connector-2"), ..sample() };
    check(&late, connector(), Verdict::Late);
    check(&Sample { stalled: ms(599), ..late.clone() }, connector(), Verdict::Late);
    check(&Sample { stalled: ms(600), ..late.clone() }, connector(), Verdict::Fine);
    check(&Sample { outcome: failed(), stalled: ms(1600), ..late }, connector(), Verdict::Failed);
}

#[test]
fn what_was_elsewhere_or_came_later_is_not_cut() {
    let elsewhere = Sample { placed: placed("red-1", "connector-2"), outcome: failed(), ..sample() };
    check(&elsewhere, connector(), Verdict::Failed);
    let later = Sample { opened: ms(1011), began: ms(1011), outcome: failed(), ..sample() };
    check(&later, connector(), Verdict::Failed);
    let unanswered = Sample { placed: None, ..later };
    check(&unanswered, connector(), Verdict::Failed);
    let before = Sample { ended: ms(999), outcome: failed(), ..sample() };
    check(&before, connector(), Verdict::Failed);
}

#[test]
fn an_origins_death_excuses_its_own_connections_only() {
    let origin = |server| killed(Part::Origin(&SERVERS[server]));
    let broken = Sample { outcome: failed(), ..sample() };
    check(&broken, origin(0), Verdict::Cut);
    check(&broken, origin(1), Verdict::Failed);
}

#[test]
fn an_edge_may_fail_its_own_clients_until_it_has_to_be_back() {
    let edge = |back| Fault { back, ..killed(Part::Edge(0)) };
    let refused = |opened| Sample {
        opened: ms(opened),
        began: ms(opened),
        ended: ms(opened + 300),
        placed: None,
        outcome: failed(),
        ..sample()
    };
    check(&refused(5000), edge(None), Verdict::Cut);
    check(&refused(4999), edge(Some(ms(3000))), Verdict::Cut);
    check(&refused(5000), edge(Some(ms(3000))), Verdict::Failed);
    let hung = Sample { ended: ms(6001), ..refused(3100) };
    check(&hung, edge(Some(ms(3000))), Verdict::Failed);
    check(&Sample { edge: 1, ..refused(1500) }, edge(None), Verdict::Failed);
}

#[test]
fn late_is_a_failure_unless_excused() {
    let late = |via| Sample { ended: ms(1901), placed: placed("red-1", via), ..sample() };
    check(&Sample { ended: ms(1900), ..late("connector-2") }, connector(), Verdict::Fine);
    check(&late("connector-2"), connector(), Verdict::Late);
    check(&late("connector-1"), connector(), Verdict::Fine);
}

#[test]
fn findings_count_what_was_sent_and_what_became_of_it() {
    let block = |connection, via, outcome| Sample {
        kind: Kind::Block,
        connection,
        placed: placed("red-1", via),
        outcome,
        ..sample()
    };
    let samples = [
        sample(),
        Sample { service: HTTP, kind: Kind::Kept, connection: 2, ..sample() },
        Sample { service: DNS, repeats: 3, ..sample() },
        block(3, "connector-1", Outcome::Served),
        block(3, "connector-1", failed()),
        block(4, "connector-2", Outcome::Served),
        block(5, "connector-2", failed()),
        Sample { outcome: wrong(), ..sample() },
    ];
    let findings = judge(&samples, &[connector()]);
    let total = &findings.total;
    let counts = (total.requests, total.blocks, total.failed, total.late, total.wrong, total.cut);
    assert_eq!(counts, (4, 4, 1, 0, 1, 1));
    assert_eq!((findings.http.requests, findings.tcp.requests, findings.udp.requests), (1, 2, 1));
    assert_eq!((findings.tcp.failed, findings.tcp.cut, findings.tcp.wrong), (1, 1, 1));
    assert_eq!((findings.udp.repeats, total.repeats), (3, 3));
    assert_eq!((findings.flows_cut, findings.flows_unharmed), (2, 1));
    assert_eq!(findings.examples.len(), 2);
}

#[test]
fn recovery_lasts_until_the_last_that_felt_it() {
    let new = |opened, ended, outcome| Sample {
        opened: ms(opened),
        began: ms(opened),
        ended: ms(ended),
        outcome,
        ..sample()
    };
    let check = |samples: &[Sample], fault: &Fault, expected| {
        assert_eq!(judge(samples, std::slice::from_ref(fault)).total.recovered_ms, expected, "{samples:#?}");
    };
    check(&[new(1010, 1020, Outcome::Served)], &connector(), 0);
    check(&[new(1010, 1400, Outcome::Served), new(1100, 1110, Outcome::Served)], &connector(), 400);
    check(&[new(1010, 1400, Outcome::Served), new(1500, 1510, failed())], &connector(), 510);
    check(&[new(1010, 1400, failed()), new(2000, 2400, failed()), new(3401, 3402, failed())], &connector(), 1400);
    check(&[Sample { kind: Kind::Block, ..new(1010, 1900, failed()) }], &connector(), 0);
    let question = Sample { service: DNS, kind: Kind::Kept, began: ms(900), ..new(500, 1290, Outcome::Served) };
    check(std::slice::from_ref(&question), &connector(), 290);
    let udp_alone = judge(&[question, new(1010, 1020, Outcome::Served)], &[connector()]);
    assert_eq!((udp_alone.udp.recovered_ms, udp_alone.tcp.recovered_ms), (290, 0));
    let edge = Fault { back: Some(ms(2000)), ..killed(Part::Edge(0)) };
    check(&[new(1500, 1501, failed()), new(2100, 2101, failed())], &edge, 101);
    check(&[Sample { edge: 1, ..new(2100, 2900, failed()) }], &edge, 0);
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let kind = prop_oneof![Just(Kind::New), Just(Kind::Kept), Just(Kind::Block)];
    let outcome = prop_oneof![3 => Just(Outcome::Served), 1 => Just(failed()), 1 => Just(wrong())];
    let who = (0..2_usize, 0..3_u8, 0..4_u8, 0..9_u64);
    (kind, outcome, who, 0..3000_u64, 0..500_u64, 0..2000_u64).prop_map(
        |(kind, outcome, (edge, via, origin, connection), opened, wait, took)| Sample {
            edge,
            service: &SERVICES[usize::from(via + origin) % SERVICES.len()],
            kind,
            connection,
            opened: ms(opened),
            began: ms(opened + wait),
            ended: ms(opened + wait + took),
            placed: (origin > 0).then(|| placed(&format!("red-{origin}"), &format!("connector-{via}"))).flatten(),
            outcome,
            ..sample()
        },
    )
}

fn any_fault() -> impl Strategy<Value = Fault> {
    let part = prop_oneof![Just(Part::Connector(&REPLICAS[0])), Just(Part::Origin(&SERVERS[0])), Just(Part::Edge(0))];
    (part, 0..3000_u64, proptest::option::of(0..1000_u64)).prop_map(|(part, at, back)| Fault {
        part,
        at: ms(at),
        struck: ms(at + 5),
        back: back.map(|back| ms(at + back)),
    })
}

proptest! {
    #[test]
    fn every_failure_is_either_cut_or_told(
        samples in proptest::collection::vec(any_sample(), 0..40),
        faults in proptest::collection::vec(any_fault(), 0..3),
    ) {
        let findings = judge(&samples, &faults);
        let of = |outcome: fn(&Outcome) -> bool| samples.iter().filter(|s| outcome(&s.outcome)).count();
        let total = &findings.total;
        prop_assert_eq!(total.failed + total.cut, of(|o| matches!(o, Outcome::Failed(_))));
        prop_assert_eq!(total.wrong, of(|o| matches!(o, Outcome::Wrong(_))), "no fault excuses a wrong byte");
        prop_assert_eq!(total.sent(), samples.len());
        if faults.is_empty() {
            prop_assert_eq!(total.cut, 0);
        }
    }

    #[test]
    fn a_survivor_is_never_excused(sample in any_sample(), fault in any_fault()) {
        let on_it = match fault.part {
            Part::Connector(_) | Part::Origin(_) if sample.service.speech != Speech::Echo => false,
            Part::Connector(killed) => sample.placed.as_ref().is_none_or(|placed| placed.via == killed.name),
            Part::Origin(killed) => sample.placed.as_ref().is_none_or(|placed| placed.origin == killed.name),
            Part::Edge(edge) => sample.edge == edge,
        };
        prop_assert!(on_it || verdict(&sample, &[fault]) != Verdict::Cut);
    }
}

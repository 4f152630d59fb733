use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::model::Check;

fn monitor(consecutive_up: u32, consecutive_down: u32, passive_failures: u32) -> Monitor {
    Monitor {
        name: "web".parse().expect("a name"),
        check: Check::Tcp,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        retries: 1,
        consecutive_up,
        consecutive_down,
        passive_failures,
        jitter: 0.1,
    }
}

fn times() -> ProbeTimes {
    ProbeTimes {
        checked_at: SystemTime::UNIX_EPOCH,
        total: Duration::from_millis(2),
        connect: None,
        tls: None,
        first_byte: None,
    }
}

/// A letter an event, a second apart: `+` good probe, `k` one over a kept connection, `-` bad probe, `t` probe lost with the tunnel, `<` and `>` good and
/// bad probe that began 1.9 seconds ago, `L` link lost, `B` link back, `p` live connect failed, `x` with the tunnel, `o` live connect worked.
fn play(state: &mut PathState, events: &str, monitor: &Monitor) {
    let begin = Instant::now();
    for (second, event) in (10..).zip(events.chars()) {
        let now = begin + Duration::from_secs(second);
        let early = now - Duration::from_millis(1900);
        let bad = Outcome::Failure(Reason::ConnectRefused, times());
        let before = state.health();
        let change = match event {
            '+' => state.observe(now, Outcome::Success(times()), monitor),
            'k' => state.observe(now, Outcome::StillAnswers(times()), monitor),
            '<' => state.observe(early, Outcome::Success(times()), monitor),
            '-' => state.observe(now, bad, monitor),
            '>' => state.observe(early, bad, monitor),
            't' => state.observe(now, Outcome::Failure(Reason::LinkLost, times()), monitor),
            'L' => state.link_lost(now),
            'B' => state.link_back(now),
            'p' => state.passive(now, Err(Reason::ConnectTimeout), monitor),
            'x' => state.passive(now, Err(Reason::LinkLost), monitor),
            'o' => state.passive(now, Ok(()), monitor),
            other => panic!("no event {other}"),
        };
        assert_eq!(change.map(|c| (c.from, c.to)), (before != state.health()).then(|| (before, state.health())));
    }
}

/// Two up, two down, three failed connects.
fn check(cases: &[(&str, Health, Option<Reason>)]) {
    for (events, health, reason) in cases {
        let mut state = PathState::new();
        play(&mut state, events, &monitor(2, 2, 3));
        assert_eq!((state.health(), state.reason()), (*health, *reason), "{events:?}");
    }
}

const UP: Health = Health::Healthy;
const DOWN: Health = Health::Unhealthy;
const REFUSED: Option<Reason> = Some(Reason::ConnectRefused);
const LOST: Option<Reason> = Some(Reason::LinkLost);
const PASSIVE: Option<Reason> = Some(Reason::PassiveFailures);

#[test]
fn the_first_probe_decides_and_the_first_success_ever_is_enough() {
    check(&[("", Health::Unknown, None), ("+", UP, None), ("-", DOWN, REFUSED), ("---+", UP, None)]);
}

#[test]
fn verdicts_flip_after_enough_results_in_a_row() {
    check(&[
        ("+-", UP, None),
        ("+-+-", UP, None),
        ("+--", DOWN, REFUSED),
        ("+--+", DOWN, REFUSED),
        ("+--+-+", DOWN, REFUSED),
        ("+--++", UP, None),
        ("+--++-", UP, None),
    ]);
}

#[test]
fn a_lost_link_takes_its_path_out_at_once_and_one_good_probe_readmits_it() {
    check(&[
        ("L", DOWN, LOST),
        ("LB", Health::Unknown, None),
        ("+L", DOWN, LOST),
        ("+LB", DOWN, LOST),
        ("+LB+", UP, None),
        ("+L+", UP, None),
        ("+L---B+", UP, None),
        ("+LB-+", UP, None),
        ("+LB--", DOWN, REFUSED),
        ("+LB--+", DOWN, REFUSED),
        ("+t", DOWN, LOST),
        ("+t+", UP, None),
    ]);
}

#[test]
fn a_lost_link_does_not_excuse_a_path_that_was_down_already() {
    check(&[("+--L", DOWN, LOST), ("+--LB", DOWN, REFUSED), ("+--LB+", DOWN, REFUSED), ("+--LB++", UP, None)]);
}

#[test]
fn probes_from_before_an_outage_say_nothing_about_the_time_after() {
    check(&[
        ("+L<", DOWN, LOST),
        ("+LB<", UP, None),
        ("+LB>>", DOWN, LOST),
        ("LB>", Health::Unknown, None),
        ("+ppp<<", DOWN, PASSIVE),
    ]);
}

#[test]
fn failed_live_connects_in_a_row_take_a_path_out() {
    check(&[
        ("+pp", UP, None),
        ("+ppopp", UP, None),
        ("+pp+p", DOWN, PASSIVE),
        ("+pppo", DOWN, PASSIVE),
        ("+ppp+", DOWN, PASSIVE),
        ("+ppp++", UP, None),
        ("+ppp++pp", UP, None),
        ("ppp", DOWN, PASSIVE),
        ("+pppkkkk", DOWN, PASSIVE),
        ("+pppk+k+", UP, None),
        ("+ppp-k", DOWN, REFUSED),
        ("+ppp-kk", UP, None),
        ("k--kk", UP, None),
        ("+pppLBk", DOWN, PASSIVE),
        ("+xxxxx", UP, None),
        ("+LpppB+", UP, None),
    ]);
    let mut state = PathState::new();
    play(&mut state, "+ppppp", &monitor(2, 2, 0));
    assert_eq!(state.health(), UP, "0 counts none");
}

#[test]
fn a_new_path_is_supposed_to_be_what_its_origin_was_until_its_first_probe() {
    let (well, ill) = (Standing::Well, Standing::Ill(Reason::CodeMismatch));
    for (standing, events, health, reason, proven) in [
        (ill, "", DOWN, Some(Reason::CodeMismatch), false),
        (ill, "+", UP, None, true),
        (ill, "-", DOWN, REFUSED, true),
        (ill, "-+", UP, None, true),
        (ill, "LB", DOWN, Some(Reason::CodeMismatch), false),
        (ill, "ppp", DOWN, Some(Reason::CodeMismatch), false),
        (well, "", UP, None, false),
        (well, "-", DOWN, REFUSED, true),
        (well, "L", DOWN, LOST, false),
        (well, "LB", DOWN, LOST, false),
        (well, "LB+", UP, None, true),
        (well, "t", DOWN, LOST, false),
        (well, "ppp", DOWN, PASSIVE, true),
    ] {
        let mut state = PathState::supposing(Some(standing));
        play(&mut state, events, &monitor(2, 2, 3));
        let report = state.report(Duration::from_secs(5), Instant::now());
        assert_eq!((report.health, report.reason, report.proven), (health, reason, proven), "{standing:?} {events:?}");
    }
}

#[test]
fn what_was_found_of_an_origin_outlives_its_link() {
    let mut state = PathState::new();
    assert_eq!(state.standing(), None);
    play(&mut state, "+L", &monitor(2, 2, 3));
    assert_eq!(state.standing(), Some(Standing::Well));
    play(&mut state, "B--", &monitor(2, 2, 3));
    assert_eq!(state.standing(), Some(Standing::Ill(Reason::ConnectRefused)));
    let ill = |reason| Standing::Ill(reason);
    assert_eq!(ill(Reason::ConnectTimeout).together(Standing::Well), Standing::Well);
    let furthest = ill(Reason::PolicyDenied).together(ill(Reason::CodeMismatch));
    assert_eq!(furthest, ill(Reason::CodeMismatch));
}

#[test]
fn the_report_shows_the_last_probe_that_counted() {
    let mut state = PathState::new();
    let interval = Duration::from_secs(7);
    assert_eq!(state.report(interval, Instant::now()).last, None);
    play(&mut state, "-", &monitor(1, 1, 0));
    let report = state.report(interval, Instant::now());
    assert_eq!((report.health, report.reason, report.last, report.interval), (DOWN, REFUSED, Some(times()), interval));
}

/// What counts of the history; the naive model keeps all of it and looks back as far as it takes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Seen {
    Good,
    /// Over a kept connection, where only a new one counts.
    Kept,
    Bad,
    Tunnel,
    Lost,
    Back,
    Ejected,
}

#[derive(Debug, Default)]
struct Model {
    seen: Vec<(u64, Seen)>,
    connects: Vec<bool>,
}

impl Model {
    /// Link out?, link waiting for a probe?, probes' verdict (`None`: unknown).
    fn read(&self, monitor: &Monitor) -> (bool, bool, Option<bool>) {
        let (mut out, mut waiting, mut verdict) = (false, false, None);
        for (index, (_, seen)) in self.seen.iter().enumerate() {
            let past = || {
                self.seen[..=index]
                    .iter()
                    .rev()
                    .map(|(_, seen)| *seen)
                    .filter(|seen| !matches!(seen, Seen::Back | Seen::Kept))
            };
            let row = |what: Seen| past().take_while(|seen| *seen == what).count() as u32;
            let was_up = self.seen[..index].iter().any(|(_, seen)| *seen == Seen::Good);
            let was_ejected = self.seen[..index].iter().any(|(_, seen)| *seen == Seen::Ejected);
            match seen {
                Seen::Good => {
                    (out, waiting) = (false, false);
                    let first_ever = !was_up && !was_ejected;
                    if verdict != Some(false) || first_ever || row(Seen::Good) >= monitor.consecutive_up {
                        verdict = Some(true);
                    }
                }
                Seen::Bad => {
                    if verdict != Some(true) || row(Seen::Bad) >= monitor.consecutive_down {
                        (verdict, waiting) = (Some(false), false);
                    }
                }
                Seen::Ejected => (verdict, waiting) = (Some(false), false),
                Seen::Kept => (out, waiting) = (false, false),
                Seen::Tunnel => waiting = true,
                Seen::Lost => (out, waiting) = (true, false),
                Seen::Back => (out, waiting) = (false, waiting || out),
            }
        }
        (out, waiting, verdict)
    }

    fn health(&self, monitor: &Monitor) -> Health {
        match self.read(monitor) {
            (true, _, _) | (_, _, Some(false)) | (_, true, Some(true)) => Health::Unhealthy,
            (false, false, Some(true)) => Health::Healthy,
            (false, _, None) => Health::Unknown,
        }
    }

    /// True if live traffic has taken it out and no probe has said anything bad since.
    fn is_ejected(&self, monitor: &Monitor) -> bool {
        let last = self.seen.iter().rev().find(|(_, seen)| matches!(seen, Seen::Bad | Seen::Ejected));
        self.read(monitor).2 == Some(false) && last.is_some_and(|(_, seen)| *seen == Seen::Ejected)
    }

    fn since(&self, started: u64, kinds: &[Seen]) -> bool {
        self.seen.iter().any(|(at, seen)| *at > started && kinds.contains(seen))
    }

    fn step(&mut self, now: u64, event: Event, monitor: &Monitor) {
        let (out, _, verdict) = self.read(monitor);
        match event {
            Event::Good(age) | Event::Kept(age) if self.since(now - age, &[Seen::Lost, Seen::Ejected]) => {}
            Event::Kept(_) if self.is_ejected(monitor) => self.seen.push((now, Seen::Kept)),
            Event::Good(_) | Event::Kept(_) => self.seen.push((now, Seen::Good)),
            Event::Bad(age) | Event::Tunnel(age)
                if out || self.since(now - age, &[Seen::Lost, Seen::Back, Seen::Ejected]) => {}
            Event::Bad(_) => self.seen.push((now, Seen::Bad)),
            Event::Tunnel(_) => self.seen.push((now, Seen::Tunnel)),
            Event::Lost => self.seen.push((now, Seen::Lost)),
            Event::Back if out => self.seen.push((now, Seen::Back)),
            Event::Connected => self.connects.push(true),
            Event::NotConnected if !out && verdict != Some(false) => {
                self.connects.push(false);
                let row = self.connects.iter().rev().take_while(|worked| !**worked).count() as u32;
                if row >= monitor.passive_failures {
                    self.seen.push((now, Seen::Ejected));
                }
            }
            Event::Back | Event::NotConnected => {}
        }
        if self.read(monitor).2 == Some(false) {
            self.connects.clear();
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Good(u64),
    Kept(u64),
    Bad(u64),
    Tunnel(u64),
    Lost,
    Back,
    Connected,
    NotConnected,
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0_u64..4).prop_map(Event::Good),
        2 => (0_u64..4).prop_map(Event::Kept),
        6 => (0_u64..4).prop_map(Event::Bad),
        1 => (0_u64..4).prop_map(Event::Tunnel),
        2 => Just(Event::Lost),
        2 => Just(Event::Back),
        1 => Just(Event::Connected),
        3 => Just(Event::NotConnected),
    ]
}

proptest! {
    #[test]
    fn the_state_agrees_with_looking_back_at_everything(
        events in prop::collection::vec(events(), 0..60),
        up in 1_u32..4,
        down in 1_u32..4,
        passive in 1_u32..4,
    ) {
        let monitor = monitor(up, down, passive);
        let begin = Instant::now();
        let at = |tick: u64| begin + Duration::from_secs(tick);
        let (mut state, mut model) = (PathState::new(), Model::default());
        for (now, event) in (10..).zip(events) {
            model.step(now, event, &monitor);
            match event {
                Event::Good(age) => state.observe(at(now - age), Outcome::Success(times()), &monitor),
                Event::Kept(age) => state.observe(at(now - age), Outcome::StillAnswers(times()), &monitor),
                Event::Bad(age) => {
                    state.observe(at(now - age), Outcome::Failure(Reason::ConnectRefused, times()), &monitor)
                }
                Event::Tunnel(age) => {
                    state.observe(at(now - age), Outcome::Failure(Reason::LinkLost, times()), &monitor)
                }
                Event::Lost => state.link_lost(at(now)),
                Event::Back => state.link_back(at(now)),
                Event::Connected => state.passive(at(now), Ok(()), &monitor),
                Event::NotConnected => state.passive(at(now), Err(Reason::ConnectRefused), &monitor),
            };
            prop_assert_eq!(state.health(), model.health(&monitor), "{:?} {:?}", event, state);
        }
    }
}

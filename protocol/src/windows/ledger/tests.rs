use std::{
    collections::HashSet,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use proptest::{collection::vec, prelude::*};

use super::*;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const FIRST: u64 = FLOW_WINDOW as u64;
const RTT: Duration = Duration::from_millis(50);

/// A ledger whose victims are noted, and a clock.
struct Books {
    ledger: Ledger,
    now: Instant,
    gone: Arc<Mutex<HashSet<u64>>>,
}

fn source(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

impl Books {
    fn new(bounds: Bounds) -> Self {
        Self { ledger: Ledger::new(bounds), now: Instant::now(), gone: Arc::default() }
    }

    fn open(&mut self, stream: u64, of: u8) {
        let gone = self.gone.clone();
        let sacrifice = move || {
            gone.lock().expect("no panic").insert(stream);
        };
        self.ledger.open(stream, source(of), self.now, Box::new(sacrifice));
    }

    fn after(&mut self, time: Duration) {
        self.now += time;
    }

    fn take(&mut self, stream: u64, bytes: u64) {
        self.ledger.take(stream, bytes, Moment { now: self.now, rtt: RTT });
    }

    fn pause(&mut self, stream: u64) {
        self.ledger.pause(stream, self.now);
    }

    /// What its writer may have on the way.
    fn window(&self, stream: u64) -> u64 {
        let flow = &self.ledger.flows[&stream];
        flow.limit - flow.taken
    }

    /// A reader that takes what comes as fast as a long path brings it, until it has taken so much.
    fn read_fast(&mut self, stream: u64, bytes: u64) {
        for _ in 0..bytes / (16 * KIB) {
            self.take(stream, 16 * KIB);
            self.after(RTT / 1000);
        }
    }

    /// Looks, and says who is gone since the beginning.
    fn look(&mut self) -> Vec<u64> {
        self.ledger.look(self.now).into_iter().for_each(|sacrifice| sacrifice());
        let mut gone: Vec<u64> = self.gone.lock().expect("no panic").iter().copied().collect();
        gone.sort_unstable();
        gone
    }
}

#[test]
fn a_window_is_told_anew_when_half_of_it_is_taken() {
    let mut books = Books::new(Bounds::AGREED);
    books.open(3, 1);
    books.take(3, FIRST / 2 - 1);
    assert_eq!(books.ledger.untold(9), vec![], "not for every byte");
    books.take(3, 1);
    assert_eq!(books.ledger.untold(9), vec![(3, FIRST / 2 + FIRST)]);
    assert_eq!(books.ledger.untold(9), vec![], "once");
}

#[test]
fn a_reader_that_takes_what_comes_gets_a_whole_streams_window() {
    let mut books = Books::new(Bounds::AGREED);
    books.open(0, 1);
    books.read_fast(0, FLOW_PROVEN - 16 * KIB);
    assert!(books.window(0) <= FIRST, "a socket swallows that much of what nobody reads");
    books.read_fast(0, 4 * MIB);
    assert!(books.window(0) > u64::from(STREAM_WINDOW) / 2, "{}", books.window(0));
    assert!(books.window(0) <= u64::from(STREAM_WINDOW));
}

#[test]
fn a_slow_reader_keeps_its_first_window_and_a_grown_one_shrinks() {
    let mut books = Books::new(Bounds::AGREED);
    books.open(0, 1);
    for _ in 0..100 {
        books.take(0, 16 * KIB);
        books.pause(0);
        books.after(Duration::from_secs(5));
        books.ledger.resume(0);
    }
    assert!(books.window(0) <= FIRST);
    books.open(1, 1);
    books.read_fast(1, 8 * MIB);
    for _ in 0..2000 {
        books.take(1, 16 * KIB);
        books.pause(1);
        books.after(Duration::from_secs(1));
        books.ledger.resume(1);
    }
    assert!(books.window(1) <= FIRST, "{}", books.window(1));
}

#[test]
fn one_source_gets_half_of_what_windows_may_grow() {
    let mut books = Books::new(Bounds::AGREED);
    for stream in 0..40 {
        books.open(stream, 1);
        books.read_fast(stream, 8 * MIB);
    }
    assert!(books.ledger.all.grown <= GROWN_MAX / 2);
    books.open(100, 2);
    books.read_fast(100, 8 * MIB);
    assert!(books.window(100) > u64::from(STREAM_WINDOW) / 2, "another source has room");
}

#[test]
fn windows_of_many_become_alike() {
    let mut books = Books::new(Bounds::AGREED);
    (0..30u8).for_each(|stream| books.open(stream.into(), stream));
    for _ in 0..400 {
        for stream in 0..30 {
            let half = books.ledger.flows[&stream].window / 2;
            books.take(stream, half);
        }
        books.after(RTT);
    }
    let windows: Vec<u64> = books.ledger.flows.values().map(|flow| flow.window).collect();
    let (least, most) = (windows.iter().min().expect("some"), windows.iter().max().expect("some"));
    assert!(*least > 2 * FIRST && *most < 8 * least, "{windows:?}");
}

#[test]
fn many_slow_readers_hold_little_and_nobody_is_reset() {
    let mut books = Books::new(Bounds::AGREED);
    for stream in 0..1000 {
        books.open(stream, u8::try_from(stream % 250).expect("small"));
        books.pause(stream);
    }
    books.after(Duration::from_secs(60));
    assert_eq!(books.look(), Vec::<u64>::new());
    assert!(books.ledger.held() < HELD_MAX);
}

#[test]
fn where_many_wait_windows_become_small() {
    let mut books = Books::new(Bounds::AGREED);
    for stream in 0..600 {
        books.open(stream, 1);
        books.pause(stream);
    }
    books.open(1000, 2);
    for _ in 0..40 {
        books.take(1000, 16 * KIB);
        books.pause(1000);
        books.ledger.resume(1000);
    }
    assert!(books.window(1000) <= 2 * u64::from(FLOW_WINDOW_MIN), "{}", books.window(1000));
    (0..600).for_each(|stream| drop(books.ledger.close(stream)));
    books.read_fast(1000, 64 * KIB);
    assert!(books.window(1000) > FIRST / 2, "and large again when they are gone");
}

#[test]
fn the_source_that_holds_most_loses_the_flow_that_took_least_for_longest() {
    let mut books = Books::new(Bounds { held_max: 4 * FIRST, ..Bounds::AGREED });
    books.open(0, 2);
    books.pause(0);
    for stream in 1..=4 {
        books.after(Duration::from_millis(10));
        books.open(stream, 1);
        books.pause(stream);
    }
    assert_eq!(books.look(), Vec::<u64>::new(), "too early to call anybody slow");
    books.after(SLOW_AFTER);
    assert_eq!(books.look(), vec![1], "not the oldest, who holds little, and no more than must be");
    books.open(5, 1);
    books.pause(5);
    books.after(SLOW_AFTER);
    assert_eq!(books.look(), vec![1, 2], "who comes again takes nothing from others");
}

#[test]
fn a_reader_at_work_is_spared() {
    let mut books = Books::new(Bounds { held_max: 2 * FIRST, ..Bounds::AGREED });
    (0..3).for_each(|stream| books.open(stream, 1));
    books.after(Duration::from_secs(60));
    // Idle for a minute, then all at once: they pause for a moment only.
    (0..3).for_each(|stream| books.pause(stream));
    assert_eq!(books.look(), Vec::<u64>::new());
    books.after(PAUSE_MIN);
    assert_eq!(books.look().len(), 1);
}

#[test]
fn at_the_brim_nobody_is_spared() {
    let mut books = Books::new(Bounds::AGREED);
    let many = (u64::from(LINK_WINDOW) - (u64::from(LINK_WINDOW) - HELD_MAX) / 2) / FIRST + 1;
    for stream in 0..many {
        books.open(stream, 1);
        books.pause(stream);
    }
    assert!(!books.look().is_empty());
    assert!(books.ledger.held() <= u64::from(LINK_WINDOW) - (u64::from(LINK_WINDOW) - HELD_MAX) / 2);
}

#[test]
fn grown_flows_that_stall_give_way_to_those_who_could_grow() {
    let mut books = Books::new(Bounds::AGREED);
    for stream in 0..30 {
        books.open(stream, u8::try_from(stream).expect("small"));
        books.read_fast(stream, 8 * MIB);
        books.pause(stream);
    }
    assert_eq!(books.look(), Vec::<u64>::new(), "too early to call anybody stalled");
    books.after(STALL_AFTER);
    assert_eq!(books.look(), Vec::<u64>::new(), "nobody wants for anything");
    for round in 1..=3 {
        books.open(100 + round, 200);
        books.read_fast(100 + round, 8 * MIB);
        let gone = books.look();
        assert!(
            gone.len() <= usize::try_from(round).expect("small") && gone.iter().all(|stream| *stream < 30),
            "{gone:?}"
        );
    }
    assert!(!books.look().is_empty());
}

#[test]
fn an_older_peer_is_told_nothing_and_counted_for_all_it_may_send() {
    let mut books = Books::new(Bounds::ALONE);
    books.open(0, 1);
    books.read_fast(0, 64 * MIB);
    assert_eq!(books.ledger.untold(9), vec![]);
    assert!(books.window(0) > u64::from(STREAM_WINDOW) / 2);
    books.pause(0);
    assert!(books.ledger.held() > u64::from(STREAM_WINDOW) / 2);
}

#[test]
fn a_kept_connection_counts_for_whom_it_serves() {
    let mut books = Books::new(Bounds::AGREED);
    books.open(0, 1);
    books.pause(0);
    books.ledger.pass(0, source(2));
    assert_eq!(books.ledger.sources.keys().collect::<Vec<_>>(), vec![&source(2)]);
    assert_eq!(books.ledger.sources[&source(2)].held, FIRST);
}

#[derive(Debug, Clone)]
enum Step {
    Open(u64, u8),
    Take(u64, u64),
    Pause(u64),
    Resume(u64),
    Pass(u64, u8),
    Close(u64),
    Wait(u64),
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let stream = 0..12u64;
    vec(
        prop_oneof![
            (stream.clone(), 0..3u8).prop_map(|(s, of)| Step::Open(s, of)),
            (stream.clone(), 0..256 * KIB).prop_map(|(s, bytes)| Step::Take(s, bytes)),
            stream.clone().prop_map(Step::Pause),
            stream.clone().prop_map(Step::Resume),
            (stream.clone(), 0..3u8).prop_map(|(s, of)| Step::Pass(s, of)),
            stream.prop_map(Step::Close),
            (0..2000u64).prop_map(Step::Wait),
            Just(Step::Look),
        ],
        0..300,
    )
}

proptest! {
    #[test]
    fn the_sums_are_those_of_the_flows_and_bounds_hold(steps in steps()) {
        let mut books = Books::new(Bounds { held_max: 6 * FIRST, grown_max: 4 * MIB, ..Bounds::AGREED });
        for step in steps {
            match step {
                Step::Open(stream, of) if !books.ledger.flows.contains_key(&stream) => books.open(stream, of),
                Step::Open(..) => {}
                // A writer keeps to its limit, so nobody takes more.
                Step::Take(stream, bytes) if books.ledger.flows.contains_key(&stream) => {
                    let may = books.window(stream);
                    books.take(stream, bytes.min(may));
                }
                Step::Take(..) => {}
                Step::Pause(stream) => books.pause(stream),
                Step::Resume(stream) => {
                    let _ = books.ledger.resume(stream);
                }
                Step::Pass(stream, of) => books.ledger.pass(stream, source(of)),
                Step::Close(stream) => drop(books.ledger.close(stream)),
                Step::Wait(millis) => books.after(Duration::from_millis(millis)),
                Step::Look => drop(books.look()),
            }
            let ledger = &books.ledger;
            let mut all = Share::default();
            ledger.flows.values().for_each(|flow| all.add(flow.share(FIRST)));
            prop_assert_eq!(ledger.all, all);
            for (of, share) in &ledger.sources {
                let mut sum = Share::default();
                let own = ledger.flows.values().filter(|flow| flow.source == *of);
                own.for_each(|flow| sum.add(flow.share(FIRST)));
                prop_assert_eq!(*share, sum);
                prop_assert!(share.flows > 0);
            }
            prop_assert!(all.grown <= 4 * MIB);
            prop_assert!(ledger.flows.values().all(|flow| flow.limit > flow.taken), "somebody may always send");
        }
    }
}

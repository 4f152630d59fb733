use std::{cell::Cell, net::SocketAddr, rc::Rc};

use proptest::{collection::vec, prelude::*};

use super::*;

/// A session that knows when its origin last answered.
#[derive(Debug, Clone)]
struct Answered(Rc<Cell<Instant>>);

impl InUse for Answered {
    fn last_used(&self) -> Instant {
        self.0.get()
    }
}

fn source(number: u16) -> SocketAddr {
    ([192, 0, 2, 1], number).into()
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[test]
fn the_longest_idle_goes_first_and_only_once_it_is_idle_enough() {
    let start = Instant::now();
    let at = |s| start + seconds(s);
    let mut table = Table::new();
    for number in 0..3 {
        table.insert(source(number), Answered(Rc::new(Cell::new(start))), at(number.into()));
    }
    assert!(table.touch(&source(0), at(5)).is_some());
    assert!(table.take_idle(at(6), seconds(10)).is_none(), "all in use lately");
    table.take_idle(at(11), seconds(10)).expect("the second is idle for ten seconds");
    assert!(table.peek(&source(1)).is_none() && table.peek(&source(0)).is_some());
    table.take_idle(at(12), seconds(10)).expect("and then the third");
    assert!(table.take_idle(at(14), seconds(10)).is_none());
    table.take_idle(at(15), seconds(10)).expect("the first was used last");
    assert!(table.is_empty());
}

#[test]
fn answers_keep_a_session_alive() {
    let start = Instant::now();
    let answered = Rc::new(Cell::new(start));
    let mut table = Table::new();
    table.insert(source(1), Answered(answered.clone()), start);
    answered.set(start + seconds(9));
    assert!(table.take_idle(start + seconds(18), seconds(10)).is_none());
    assert!(table.take_idle(start + seconds(19), seconds(10)).is_some());
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u16),
    Touch(u16),
    Answer(u16),
    Remove(u16),
    Take(u64),
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![
        (0..8_u16).prop_map(Step::Insert),
        (0..8_u16).prop_map(Step::Touch),
        (0..8_u16).prop_map(Step::Answer),
        (0..8_u16).prop_map(Step::Remove),
        (0..20_u64).prop_map(Step::Take),
    ];
    vec((0..4_u64, step), 0..80)
}

proptest! {
    /// Against the plainest table there is: a list that is searched.
    #[test]
    fn it_does_what_a_searched_list_does(steps in steps()) {
        let mut now = Instant::now();
        let mut table: Table<SocketAddr, Answered> = Table::new();
        let mut list: Vec<(u16, Instant, Rc<Cell<Instant>>)> = Vec::new();
        for (wait, step) in steps {
            now += seconds(wait);
            match step {
                Step::Insert(n) => {
                    let cell = Rc::new(Cell::new(now));
                    list.retain(|(other, ..)| *other != n);
                    list.push((n, now, cell.clone()));
                    table.insert(source(n), Answered(cell), now);
                }
                Step::Touch(n) => {
                    let known = list.iter_mut().find(|(other, ..)| *other == n);
                    prop_assert_eq!(table.touch(&source(n), now).is_some(), known.is_some());
                    if let Some(known) = known { known.1 = now; }
                }
                Step::Answer(n) => {
                    if let Some((.., cell)) = list.iter().find(|(other, ..)| *other == n) { cell.set(now); }
                }
                Step::Remove(n) => {
                    let before = list.len();
                    list.retain(|(other, ..)| *other != n);
                    prop_assert_eq!(table.remove(&source(n)).is_some(), list.len() < before);
                }
                Step::Take(idle) => {
                    let oldest = list.iter().map(|(_, used, cell)| (*used).max(cell.get())).min();
                    let expected = oldest.filter(|used| now.duration_since(*used) >= seconds(idle));
                    let taken = table.take_idle(now, seconds(idle)).map(|value| value.0);
                    prop_assert_eq!(taken.is_some(), expected.is_some());
                    if let (Some(taken), Some(expected)) = (taken, expected) {
                        let at = list.iter().position(|(.., cell)| Rc::ptr_eq(cell, &taken)).expect("listed");
                        let (_, used, cell) = list.remove(at);
                        prop_assert_eq!(used.max(cell.get()), expected);
                    }
                }
            }
            prop_assert_eq!(table.len(), list.len());
        }
    }
}

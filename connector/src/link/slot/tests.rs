use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;

const SLOT: u16 = 1;
const NUMBERS: [u16; 2] = [2, 3];

#[test]
fn a_late_end_is_not_taken_for_that_of_a_later_link_with_the_same_number() {
    let start = Instant::now();
    let mut slot = Slot::new(SLOT, Turn::First, start);
    let mut stand_in = || {
        let number = slot.wanted().expect("there is none, or a suspect one").number;
        let come = slot.come((number, Backoff::new(start)), start, 0.0);
        assert!(slot.suspect(come.serial, true));
        (number, come.serial)
    };
    let (first, second, third) = (stand_in(), stand_in(), stand_in());
    assert_eq!([first.0, second.0, third.0], [2, 3, 2]);
    assert!(!slot.ended(first.1, start, 0.0));
    assert_eq!(slot.current(), Some(third.1));
}

#[test]
fn a_link_that_came_to_stay_is_dialled_again_at_once_and_others_ever_later() {
    let mut now = Instant::now();
    let mut slot = Slot::new(SLOT, Turn::First, now);
    let mut wait_after = |lived| {
        let reached = slot.wanted().and_then(|wanted| wanted.flapping).unwrap_or_else(|| Backoff::new(now));
        let serial = slot.come((NUMBERS[0], reached), now, 0.999).serial;
        now += lived;
        slot.ended(serial, now, 0.999);
        slot.wanted().expect("there is none").not_before - now
    };
    assert_eq!(wait_after(SETTLED), Duration::ZERO);
    let waits: Vec<u128> = (0..6).map(|_| wait_after(Duration::ZERO).as_millis()).collect();
    assert_eq!(waits, [99, 199, 399, 799, 999, 999]);
    assert_eq!(wait_after(SETTLED), Duration::ZERO);
    assert_eq!(wait_after(Duration::ZERO).as_millis(), 99);
}

#[test]
fn dials_that_fail_between_links_that_come_and_go_are_part_of_the_same_outage() {
    let now = Instant::now();
    let mut slot = Slot::new(SLOT, Turn::First, now);
    let mut waits = Vec::new();
    for failures in [0, 1, 1, 1] {
        let wanted = slot.wanted().expect("there is none");
        let mut reached = wanted.flapping.unwrap_or_else(|| Backoff::new(now));
        waits.extend((0..failures).map(|_| reached.next(now, 0.999).as_millis()));
        let serial = slot.come((NUMBERS[0], reached), now, 0.999).serial;
        slot.ended(serial, now, 0.999);
        waits.push((slot.wanted().expect("there is none").not_before - now).as_millis());
    }
    assert_eq!(waits, [99, 199, 399, 799, 999, 999, 999]);
}

#[test]
fn a_link_that_is_out_of_date_is_replaced_at_once_and_is_no_outage() {
    let now = Instant::now();
    let mut slot = Slot::new(SLOT, Turn::Second, now);
    let number = slot.wanted().expect("there is none").number;
    let first = slot.come((number, Backoff::new(now)), now, 0.999);
    assert_eq!(slot.wanted(), None);
    slot.outdated(first.serial);
    let wanted = slot.wanted().expect("it is out of date");
    assert_eq!((number, wanted.number, wanted.not_before), (3, 2, now));
    let second = slot.come((wanted.number, Backoff::new(now)), now, 0.999);
    assert_eq!((second.replaced, slot.wanted()), (Some(first.serial), None));
    slot.outdated(first.serial);
    assert_eq!(slot.wanted(), None, "it was about another");
    slot.outdated(second.serial);
    assert_eq!(slot.wanted().expect("it is out of date").not_before, now, "the first was good all the same");
}

#[derive(Debug, Clone)]
enum Step {
    Come,
    Suspect(usize, bool),
    Outdate(usize),
    End(usize),
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![
        Just(Step::Come),
        (any::<usize>(), any::<bool>()).prop_map(|(which, suspect)| Step::Suspect(which, suspect)),
        any::<usize>().prop_map(Step::Outdate),
        any::<usize>().prop_map(Step::End),
    ];
    vec((0..12_000_u64, step), 0..80)
}

proptest! {
    /// Against an edge that closes a link when another registers with its number, and word of it that comes late.
    #[test]
    fn no_live_link_is_forgotten_or_superseded_by_its_own_stand_in(steps in steps()) {
        let mut now = Instant::now();
        let mut slot = Slot::new(SLOT, Turn::First, now);
        let mut at_edge: BTreeMap<u16, Serial> = BTreeMap::new();
        // Links whose end was not heard of yet, those that the edge has closed among them.
        let mut running: Vec<(Serial, u16)> = Vec::new();
        for (wait, step) in steps {
            now += Duration::from_millis(wait);
            let before = slot.current();
            match step {
                Step::Come => {
                    let Some(wanted) = slot.wanted() else { continue };
                    prop_assert!(NUMBERS.contains(&wanted.number));
                    prop_assert!(wanted.not_before <= now + Duration::from_secs(10));
                    let come = slot.come((wanted.number, wanted.flapping.unwrap_or_else(|| Backoff::new(now))), now, 0.5);
                    let superseded = at_edge.insert(wanted.number, come.serial);
                    prop_assert!(superseded.is_none() || superseded != before, "it closes what it stands in for");
                    prop_assert_eq!(come.replaced, before);
                    prop_assert!(running.iter().all(|(known, _)| *known != come.serial), "a serial comes twice");
                    running.push((come.serial, wanted.number));
                    prop_assert_eq!(slot.current(), Some(come.serial));
                }
                Step::Suspect(which, is_suspect) => {
                    let Some((serial, _)) = running.get(which % running.len().max(1)) else { continue };
                    let told = slot.suspect(*serial, is_suspect);
                    prop_assert!(!told || before == Some(*serial));
                    prop_assert_eq!(slot.current(), before);
                }
                Step::Outdate(which) => {
                    let Some((serial, _)) = running.get(which % running.len().max(1)) else { continue };
                    let was_current = before == Some(*serial);
                    prop_assert!(was_current || !slot.outdated(*serial));
                    slot.outdated(*serial);
                    prop_assert_eq!(slot.current(), before);
                    prop_assert!(before != Some(*serial) || slot.wanted().is_some(), "another is wanted beside it");
                }
                Step::End(which) => {
                    if running.is_empty() { continue }
                    let (serial, number) = running.swap_remove(which % running.len());
                    if at_edge.get(&number) == Some(&serial) { at_edge.remove(&number); }
                    let was_current = slot.ended(serial, now, 0.5);
                    prop_assert_eq!(was_current, before == Some(serial));
                    prop_assert_eq!(slot.current(), before.filter(|current| *current != serial));
                }
            }
            let current = slot.current();
            prop_assert!(current.is_some() || slot.wanted().is_some());
            prop_assert!(current.is_none_or(|current| at_edge.values().any(|live| *live == current)));
        }
    }
}

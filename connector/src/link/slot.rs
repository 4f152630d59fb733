//! The links of one slot: which one it has, what the next one is called, and when it may be dialled. Pure: callers bring the
//! time and the dice.
//!
//! A link is known by its serial, which no other link of the slot ever had. The number it registers with says nothing about
//! that: there are two, and they take turns.

use std::time::{Duration, Instant};

use super::backoff::Backoff;

/// A link that lives for this long has come to stay.
const SETTLED: Duration = Duration::from_secs(10);

/// Which link of a slot, of all that it ever had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Serial(u64);

/// A link that is to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The number it registers with: another one than the link it stands in for has, which it would supersede.
    pub(super) number: u16,
    /// It is not dialled before.
    pub(super) not_before: Instant,
    /// Dials that fail go on from here, while links come and go at once: both are one outage.
    pub(super) flapping: Option<Backoff>,
}

/// A link has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Come {
    /// The new link.
    pub(super) serial: Serial,
    /// The one that it stands in for.
    pub(super) replaced: Option<Serial>,
}

/// One slot.
#[derive(Debug)]
pub(super) struct Slot {
    numbers: [u16; 2],
    last: Serial,
    current: Option<Current>,
    /// The number of the latest link. It is taken again, so that an edge which has not noticed the end does now.
    number: u16,
    /// While links come and go at once.
    flapping: Option<Backoff>,
    not_before: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    serial: Serial,
    number: u16,
    since: Instant,
    is_suspect: bool,
    is_outdated: bool,
}

/// Which of a slot's two numbers its first link has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Turn {
    /// The lower.
    #[default]
    First,
    /// The higher: a link that leaves may still have the other.
    Second,
}

impl Slot {
    /// A slot without a link. Its numbers are its own however many slots there are to its edge, now and later.
    pub(super) fn new(slot: u16, turn: Turn, now: Instant) -> Self {
        let first = slot.saturating_mul(2);
        let numbers = [first, first.saturating_add(1)];
        let number = match turn {
            Turn::First => numbers[0],
            Turn::Second => numbers[1],
        };
        Self { numbers, last: Serial(0), current: None, number, flapping: None, not_before: now }
    }

    /// The link to be had now, if one is: there is none, or the one there is leaves packets unanswered, or claims what is not
    /// claimed any more and cannot say otherwise.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        let number = match self.current {
            None => self.number,
            Some(current) if current.is_suspect || current.is_outdated => {
                self.numbers[usize::from(current.number == self.numbers[0])]
            }
            Some(_) => return None,
        };
        Some(Wanted { number, not_before: self.not_before, flapping: self.flapping })
    }

    /// The link that new flows go over.
    pub(super) fn current(&self) -> Option<Serial> {
        self.current.map(|current| current.serial)
    }

    /// A link that was wanted has registered with this number; dials that failed meanwhile have got to `reached`. Where links come
    /// and go at once, that is where their waits go on from: else each link that comes would begin them anew.
    pub(super) fn come(&mut self, (number, reached): (u16, Backoff), now: Instant, dice: f64) -> Come {
        self.flapping = self.flapping.map(|_| reached);
        self.last = Serial(self.last.0 + 1);
        let new = Current { serial: self.last, number, since: now, is_suspect: false, is_outdated: false };
        let replaced = self.current.replace(new);
        self.number = number;
        // One that was good, and only out of date, says nothing of how long others last.
        if let Some(replaced) = replaced.filter(|replaced| replaced.is_suspect || !replaced.is_outdated) {
            self.space_out(replaced, now, dice);
        }
        Come { serial: new.serial, replaced: replaced.map(|replaced| replaced.serial) }
    }

    /// A link leaves packets unanswered, or no longer does; true if that is news about the current one.
    pub(super) fn suspect(&mut self, serial: Serial, is_suspect: bool) -> bool {
        match &mut self.current {
            Some(current) if current.serial == serial => {
                std::mem::replace(&mut current.is_suspect, is_suspect) != is_suspect
            }
            Some(_) | None => false,
        }
    }

    /// A link claims what is not claimed any more, and its edge cannot be told otherwise over it.
    pub(super) fn outdated(&mut self, serial: Serial) {
        if let Some(current) = self.current.as_mut().filter(|current| current.serial == serial) {
            current.is_outdated = true;
        }
    }

    /// A link has ended; true if it was the current one. It may be one that was replaced long ago.
    pub(super) fn ended(&mut self, serial: Serial, now: Instant, dice: f64) -> bool {
        let Some(ended) = self.current.take_if(|current| current.serial == serial) else { return false };
        self.space_out(ended, now, dice);
        true
    }

    /// When the next link may be dialled: at once, unless this one was lost as soon as it was had. An edge that welcomes
    /// links and drops them would else be dialled without end.
    fn space_out(&mut self, lost: Current, now: Instant, dice: f64) {
        if now.duration_since(lost.since) >= SETTLED {
            self.flapping = None;
            self.not_before = now;
        } else {
            self.not_before = now + self.flapping.get_or_insert_with(|| Backoff::new(now)).next(now, dice);
        }
    }
}

#[cfg(test)]
mod tests {
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
}

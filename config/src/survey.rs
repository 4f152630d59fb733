//! What checks ask of settings: every key, of which table, and what it may hold. Noted while settings are read that have every key,
//! so that documents and schemas say what the checks do.
//!
//! It judges nothing, and nothing is noted unless somebody wants to know.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A text; in which form.
    Text(String),
    /// One of these words.
    Words(Vec<&'static str>),
    /// `true` or `false`.
    Boolean,
    /// A whole number from one to the other.
    Integer(u64, u64),
    /// A number from one to the other.
    Float(f64, f64),
    /// A duration from one to the other.
    Duration(Duration, Duration),
    /// A table.
    Table,
    /// A list of tables.
    Tables,
}

/// One key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Key {
    /// What it may hold, or the items of its list.
    pub kinds: Vec<Kind>,
    /// Whether it holds a list.
    pub list: bool,
    /// In how many tables it had to be.
    required: usize,
}

/// The keys of a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Keys {
    /// By name.
    pub keys: BTreeMap<&'static str, Key>,
    /// Whether its keys are the user's own.
    pub open: bool,
    /// What may stand behind keys of the user's own; empty: any text.
    pub entries: Vec<Kind>,
    /// How many of it were read.
    read: usize,
}

/// All tables, by their title; the whole has none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Survey(pub BTreeMap<String, Keys>);

impl Keys {
    /// Whether a key must be there, whatever else is.
    #[must_use]
    pub fn requires(&self, key: &str) -> bool {
        self.keys.get(key).is_some_and(|key| key.required > 0 && key.required == self.read)
    }
}

impl Survey {
    /// Both as one, as if all of it had been read from one text.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (title, found) in other.0 {
            let table = self.0.entry(title).or_default();
            table.open |= found.open;
            add(&mut table.entries, found.entries);
            table.read += found.read;
            for (name, more) in found.keys {
                let key = table.keys.entry(name).or_default();
                key.list |= more.list;
                key.required += more.required;
                add(&mut key.kinds, more.kinds);
            }
        }
        self
    }
}

/// Adds those that are not there.
fn add(kinds: &mut Vec<Kind>, more: impl IntoIterator<Item = Kind>) {
    for kind in more {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
}

/// A survey under way. Values are known by their places.
#[derive(Debug, Default)]
pub(crate) struct Surveyor {
    survey: RefCell<Survey>,
    places: RefCell<BTreeMap<usize, (String, &'static str)>>,
    /// Values behind keys of the user's own, with the table that they are in.
    entries: RefCell<BTreeMap<usize, String>>,
}

impl Surveyor {
    pub(crate) fn found(self) -> Survey {
        self.survey.into_inner()
    }

    pub(crate) fn begun(&self, title: &str) {
        self.survey.borrow_mut().0.entry(title.to_owned()).or_default().read += 1;
    }

    /// Every key of a table was taken, and their values are at these places.
    pub(crate) fn opened(&self, title: &str, entries: impl Iterator<Item = usize>) {
        self.survey.borrow_mut().0.entry(title.to_owned()).or_default().open = true;
        self.entries.borrow_mut().extend(entries.map(|entry| (entry, title.to_owned())));
    }

    /// A key was asked for, and its value is at that place if it is there.
    pub(crate) fn asked(&self, title: &str, key: &'static str, place: Option<usize>) {
        self.of(title, key, |_| {});
        if let Some(place) = place {
            self.places.borrow_mut().insert(place, (title.to_owned(), key));
        }
    }

    pub(crate) fn required(&self, title: &str, key: &'static str) {
        self.of(title, key, |key| key.required += 1);
    }

    /// Items of the list at that place.
    pub(crate) fn listed(&self, place: usize, items: impl Iterator<Item = usize>) {
        let Some((title, key)) = self.places.borrow().get(&place).cloned() else { return };
        // A list of tables may be counted, too.
        self.of(&title, key, |key| key.list |= !key.kinds.contains(&Kind::Tables));
        self.places.borrow_mut().extend(items.map(|item| (item, (title.clone(), key))));
    }

    /// A value at that place was taken for something.
    pub(crate) fn taken(&self, place: usize, kind: Kind) {
        if let Some(title) = self.entries.borrow().get(&place) {
            return add(&mut self.survey.borrow_mut().0.entry(title.clone()).or_default().entries, [kind]);
        }
        let Some((title, key)) = self.places.borrow().get(&place).cloned() else { return };
        self.of(&title, key, |key| add(&mut key.kinds, [kind]));
    }

    fn of(&self, title: &str, key: &'static str, note: impl FnOnce(&mut Key)) {
        let mut survey = self.survey.borrow_mut();
        note(survey.0.entry(title.to_owned()).or_default().keys.entry(key).or_default());
    }
}

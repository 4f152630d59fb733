//! A table of the tree: getters by key, and a mistake for every key that nobody asked for.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

use crate::{
    near::hint_quoted,
    notes::Notes,
    survey::Kind,
    tree::{Entries, Entry, Word},
    value::{Later, Value},
};

/// One table while it is read. Keys that were asked for are the known ones.
#[derive(Debug)]
pub struct Table<'a> {
    notes: &'a Notes<'a>,
    title: String,
    place: usize,
    entries: &'a Entries,
    known: RefCell<BTreeSet<&'static str>>,
    refused: RefCell<BTreeSet<&'static str>>,
    /// Its keys are the user's own.
    open: Cell<bool>,
}

impl<'a> Table<'a> {
    pub(crate) fn root(notes: &'a Notes<'a>, entries: &'a Entries) -> Self {
        Self::new(notes, String::new(), 0, entries)
    }

    fn new(notes: &'a Notes<'a>, title: String, place: usize, entries: &'a Entries) -> Self {
        Self {
            notes,
            title,
            place,
            entries,
            known: RefCell::default(),
            refused: RefCell::default(),
            open: Cell::new(false),
        }
    }

    /// Reads the table, then notes the keys that were not asked for.
    pub(crate) fn read<T>(self, read: impl FnOnce(&Self) -> T) -> T {
        if let Some(surveyor) = self.notes.surveyor() {
            surveyor.begun(&self.title);
        }
        let result = read(&self);
        self.note_unknown();
        result
    }

    fn note_unknown(&self) {
        if self.open.get() {
            return;
        }
        let known = self.known.borrow();
        let refused = self.refused.borrow();
        for Entry { place, key, .. } in &self.entries.0 {
            let word = key.as_str();
            if known.contains(word) || refused.contains(word) {
                continue;
            }
            let hint = hint_quoted(word, known.iter().copied(), '`');
            let message = format!("unknown key `{}`{}{hint}", word.escape_debug(), self.within());
            self.notes.wrong(place.0, message);
        }
    }

    fn within(&self) -> String {
        if self.title.is_empty() { String::new() } else { format!(" in `{}`", self.title) }
    }

    /// Where the table begins.
    #[must_use]
    pub fn place(&self) -> usize {
        self.place
    }

    /// A place in words, for messages that point back: `line 4`.
    #[must_use]
    pub fn words(&self, place: usize) -> String {
        self.notes.words(place)
    }

    /// Notes a mistake that stands whatever else the settings say.
    pub fn wrong(&self, place: usize, message: impl Into<String>) {
        self.notes.wrong(place, message.into());
    }

    /// Notes a mistake that would vanish if the settings said more.
    pub fn lacking(&self, place: usize, message: impl Into<String>) {
        self.notes.lacking(place, message.into());
    }

    fn entry(&self, key: &'static str) -> Option<&'a Entry> {
        self.known.borrow_mut().insert(key);
        let entry = self.entries.get(key);
        if let Some(surveyor) = self.notes.surveyor() {
            surveyor.asked(&self.title, key, entry.map(|entry| entry.node.place.0));
        }
        entry
    }

    /// A key that may be absent.
    pub fn optional(&self, key: &'static str) -> Option<Value<'a>> {
        self.entry(key).map(|entry| Value::new(self.notes, key, &entry.node))
    }

    /// A key that must be there; `expects` says what it would hold.
    pub fn required(&self, key: &'static str, expects: &str) -> Option<Value<'a>> {
        if let Some(surveyor) = self.notes.surveyor() {
            surveyor.required(&self.title, key);
        }
        let value = self.optional(key);
        if value.is_none() {
            self.lacking(self.place, format!("`{key}` is missing{}: {expects}", self.within()));
        }
        value
    }

    /// A key that may be absent, with the value it then has. A mistake in it is noted, and the default goes on in its
    /// place.
    pub fn or<T>(&self, key: &'static str, default: T, read: impl FnOnce(Value<'a>) -> Option<T>) -> T {
        self.optional(key).and_then(read).unwrap_or(default)
    }

    /// A key that has no business here although it is spelt right, and why.
    pub fn refuse(&self, key: &'static str, why: &str) {
        self.refused.borrow_mut().insert(key);
        if let Some(found) = self.entries.get(key) {
            self.wrong(found.place.0, format!("`{key}` {why}"));
        }
    }

    /// Keys that a later version will know.
    pub fn not_yet(&self, later: &[Later]) {
        for Later { key, instead } in later {
            self.refuse(key, &format!("is not supported by this version; supported: {instead}"));
        }
    }

    /// Whether the key is there, whatever it holds.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.entries.get(key).is_some()
    }

    /// A table under a key. Absent: `None`.
    pub fn table<T>(&self, key: &'static str, read: impl FnOnce(&Table<'a>) -> T) -> Option<T> {
        let node = &self.entry(key)?.node;
        let place = node.place.0;
        let title = self.child(key);
        self.taken(place, Kind::Table);
        if let Word::Table(entries) = &node.word {
            return Some(Table::new(self.notes, title, place, entries).read(read));
        }
        let found = Value::new(self.notes, key, node).found();
        self.wrong(place, format!("`{key}` must be one table, [{title}] or {key} = {{ … }}, found {found}"));
        None
    }

    /// A list of tables under a key. Absent: empty.
    pub fn tables<T>(&self, key: &'static str, mut read: impl FnMut(&Table<'a>) -> T) -> Vec<T> {
        let Some(Entry { node, .. }) = self.entry(key) else { return Vec::new() };
        self.taken(node.place.0, Kind::Tables);
        let title = self.child(key);
        let expected = format!("`{key}` must be a list of tables, [[{title}]] or {key} = [{{ … }}], found");
        let Word::List(items) = &node.word else {
            let found = Value::new(self.notes, key, node).found();
            self.wrong(node.place.0, format!("{expected} {found}"));
            return Vec::new();
        };
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            let place = item.place.0;
            if let Word::Table(entries) = &item.word {
                list.push(Table::new(self.notes, title.clone(), place, entries).read(&mut read));
            } else {
                self.wrong(place, format!("{expected} {} in it", Value::new(self.notes, key, item).found()));
            }
        }
        list
    }

    /// Every key and value in their own order, for tables whose keys are the user's own.
    pub fn entries(&self) -> Vec<(usize, &'a str, Value<'a>)> {
        self.open.set(true);
        if let Some(surveyor) = self.notes.surveyor() {
            surveyor.opened(&self.title, self.entries.0.iter().map(|entry| entry.node.place.0));
        }
        let entry = |Entry { place, key, node }: &'a Entry| (place.0, key.as_str(), Value::new(self.notes, key, node));
        self.entries.0.iter().map(entry).collect()
    }

    fn taken(&self, place: usize, kind: Kind) {
        if let Some(surveyor) = self.notes.surveyor() {
            surveyor.taken(place, kind);
        }
    }

    fn child(&self, key: &str) -> String {
        if self.title.is_empty() { key.to_owned() } else { format!("{}.{key}", self.title) }
    }
}

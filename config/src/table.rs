//! A table of the tree: getters by key, and a mistake for every key that nobody asked for.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    near::hint_quoted,
    notes::Notes,
    value::{Later, Value},
};

/// One table while it is read. Keys that were asked for are the known ones.
#[derive(Debug)]
pub struct Table<'a> {
    notes: &'a Notes<'a>,
    title: String,
    place: usize,
    entries: &'a DeTable<'a>,
    known: RefCell<BTreeSet<&'static str>>,
    refused: RefCell<BTreeSet<&'static str>>,
    /// Its keys are the user's own.
    open: Cell<bool>,
}

impl<'a> Table<'a> {
    pub(crate) fn root(notes: &'a Notes<'a>, entries: &'a DeTable<'a>) -> Self {
        Self::new(notes, String::new(), 0, entries)
    }

    fn new(notes: &'a Notes<'a>, title: String, place: usize, entries: &'a DeTable<'a>) -> Self {
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
        for key in self.entries.keys() {
            let word: &str = key.get_ref();
            if known.contains(word) || refused.contains(word) {
                continue;
            }
            let hint = hint_quoted(word, known.iter().copied(), '`');
            let message = format!("unknown key `{}`{}{hint}", word.escape_debug(), self.within());
            self.notes.wrong(key.span().start, message);
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

    /// The line of a place, for messages that point back.
    #[must_use]
    pub fn line(&self, place: usize) -> usize {
        self.notes.line(place)
    }

    /// Notes a mistake that stands whatever else the file says.
    pub fn wrong(&self, place: usize, message: impl Into<String>) {
        self.notes.wrong(place, message.into());
    }

    /// Notes a mistake that would vanish if the file said more.
    pub fn lacking(&self, place: usize, message: impl Into<String>) {
        self.notes.lacking(place, message.into());
    }

    fn entry(&self, key: &'static str) -> Option<(usize, &'a Spanned<DeValue<'a>>)> {
        self.known.borrow_mut().insert(key);
        self.entries.get_key_value(key).map(|(k, v)| (k.span().start, v))
    }

    /// A key that may be absent.
    pub fn optional(&self, key: &'static str) -> Option<Value<'a>> {
        self.entry(key).map(|(_, value)| Value::new(self.notes, key, value))
    }

    /// A key that must be there; `expects` says what it would hold.
    pub fn required(&self, key: &'static str, expects: &str) -> Option<Value<'a>> {
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
        if let Some((found, _)) = self.entries.get_key_value(key) {
            self.wrong(found.span().start, format!("`{key}` {why}"));
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
        self.entries.contains_key(key)
    }

    /// A table under a key. Absent: `None`.
    pub fn table<T>(&self, key: &'static str, read: impl FnOnce(&Table<'a>) -> T) -> Option<T> {
        let (_, value) = self.entry(key)?;
        let place = value.span().start;
        let title = self.child(key);
        if let DeValue::Table(entries) = value.get_ref() {
            return Some(Table::new(self.notes, title, place, entries).read(read));
        }
        let list = matches!(value.get_ref(), DeValue::Array(_));
        let found = if list { "a list".to_owned() } else { Value::new(self.notes, key, value).found() };
        self.wrong(place, format!("`{key}` must be one table, [{title}] or {key} = {{ … }}, found {found}"));
        None
    }

    /// A list of tables under a key. Absent: empty.
    pub fn tables<T>(&self, key: &'static str, mut read: impl FnMut(&Table<'a>) -> T) -> Vec<T> {
        let Some((_, value)) = self.entry(key) else { return Vec::new() };
        let title = self.child(key);
        let expected = format!("`{key}` must be a list of tables, [[{title}]] or {key} = [{{ … }}], found");
        let DeValue::Array(items) = value.get_ref() else {
            let found = Value::new(self.notes, key, value).found();
            self.wrong(value.span().start, format!("{expected} {found}"));
            return Vec::new();
        };
        let mut list = Vec::with_capacity(items.len());
        for item in items.iter() {
            let place = item.span().start;
            if let DeValue::Table(entries) = item.get_ref() {
                list.push(Table::new(self.notes, title.clone(), place, entries).read(&mut read));
            } else {
                self.wrong(place, format!("{expected} {} in it", Value::new(self.notes, key, item).found()));
            }
        }
        list
    }

    /// Every key and value in the order of the file, for tables whose keys are the user's own.
    pub fn entries(&self) -> Vec<(usize, &'a str, Value<'a>)> {
        self.open.set(true);
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .map(|(key, value)| {
                let word: &'a str = key.get_ref();
                (key.span().start, word, Value::new(self.notes, word, value))
            })
            .collect();
        entries.sort_by_key(|(place, ..)| *place);
        entries
    }

    fn child(&self, key: &str) -> String {
        if self.title.is_empty() { key.to_owned() } else { format!("{}.{key}", self.title) }
    }
}

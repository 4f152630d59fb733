//! Settings as they were given, not checked yet: from a file, from objects of an interface, or from both.
//!
//! A spec says its settings in their own words, so what can be written in a file can be written as JSON, and one check reads both.

use std::path::Path;

use serde::{Serialize, Serializer};
use toml::de::DeTable;

use crate::{
    document,
    mistakes::{Mistake, Mistakes},
    notes::{Notes, SyntaxError},
    source::Source,
    survey::Survey,
    table::Table,
    tree::{At, Entries, Entry, Node, Word},
};

/// Settings, not checked. Two are equal that say the same, wherever and in whatever order of keys. What could not be read of a
/// text is told by whoever checks it.
#[derive(Debug, Clone)]
pub struct Spec {
    pub(crate) root: Entries,
    /// In the order of their places; never empty.
    sources: Vec<Source>,
    unread: Vec<SyntaxError>,
    twice: Vec<Twice>,
}

/// A key that cannot be in two sources, and is.
#[derive(Debug, Clone)]
struct Twice {
    key: String,
    first: At,
    again: At,
}

impl Spec {
    /// What a file of TOML says.
    ///
    /// # Errors
    /// One mistake if the file cannot be read, is longer than [`crate::SIZE_MAX`], or is not UTF-8.
    pub fn read(file: &Path) -> Result<Self, Mistakes> {
        document::read(file).map(|text| Self::of_toml(&text, file))
    }

    /// What a text of TOML from this file says.
    #[must_use]
    pub fn of_toml(text: &str, file: &Path) -> Self {
        let (tree, errors) = DeTable::parse_recoverable(text);
        let root = Entries::of_toml(tree.get_ref());
        let unread = document::syntax_errors(text, tree.get_ref(), &errors);
        Self { root, unread, ..Self::of(Source::text(file.display().to_string(), text.to_owned())) }
    }

    /// What an object in JSON says; `whose` it is goes before each mistake.
    #[must_use]
    pub fn of_json(text: &str, whose: &str) -> Self {
        if text.len() as u64 > document::SIZE_MAX {
            return Self::unreadable("", (0, document::TOO_LONG.to_owned()), whose);
        }
        match serde_json::from_str(text) {
            Ok(Word::Table(root)) => Self::of_object(root, whose),
            Ok(_) => Self::unreadable(text, (0, "must be an object in { }".to_owned()), whose),
            Err(error) => {
                let before =
                    text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
                let place = (before + error.column().saturating_sub(1)).min(text.len());
                let told = error.to_string();
                let told = told.rsplit_once(" at line ").map_or(told.as_str(), |(told, _)| told);
                Self::unreadable(text, (place, format!("not JSON: {told}")), whose)
            }
        }
    }

    /// One object of a kind, such as a `pool`; mistakes in it are told by its own pointers.
    #[must_use]
    pub fn of_one(kind: &str, text: &str, whose: &str) -> Self {
        let Self { root, sources, unread, twice } = Self::of_json(text, whose);
        if !unread.is_empty() {
            return Self { root, sources, unread, twice };
        }
        let whole = |word| Node { place: At(0), word };
        let list = whole(Word::List(vec![whole(Word::Table(root))]));
        let root = Entries(vec![Entry { place: At(0), key: kind.to_owned(), node: list }]);
        Self { root, sources, unread, twice }
    }

    fn of_object(mut root: Entries, whose: &str) -> Self {
        let steps = root.number();
        Self { root, ..Self::of(Source::object(whose.to_owned(), steps)) }
    }

    fn unreadable(text: &str, (place, message): (usize, String), whose: &str) -> Self {
        let torn = SyntaxError { span: place..place, contained: false, message };
        Self { unread: vec![torn], ..Self::of(Source::text(whose.to_owned(), text.to_owned())) }
    }

    fn of(source: Source) -> Self {
        Self { root: Entries::default(), sources: vec![source], unread: Vec::new(), twice: Vec::new() }
    }

    /// Both as one: lists of objects one behind the other, everything else from the one that says it. Where both do, that is a
    /// mistake, and so is a name that is taken in both.
    #[must_use]
    pub fn and(mut self, mut other: Self) -> Self {
        let by = self.sources.last().map_or(0, Source::end);
        other.shift(by);
        for entry in other.root.0 {
            match self.root.0.iter_mut().find(|there| there.key == entry.key) {
                None => self.root.0.push(entry),
                Some(there) => match (&mut there.node.word, entry.node.word) {
                    (Word::List(all), Word::List(more)) if objects(all) && objects(&more) => all.extend(more),
                    _ => self.twice.push(Twice { key: entry.key, first: there.place, again: entry.place }),
                },
            }
        }
        self.sources.extend(other.sources);
        self.unread.extend(other.unread);
        self.twice.extend(other.twice);
        self
    }

    fn shift(&mut self, by: usize) {
        self.root.shift(by);
        self.sources.iter_mut().for_each(|source| source.start += by);
        for SyntaxError { span, .. } in &mut self.unread {
            *span = span.start + by..span.end + by;
        }
        for Twice { first, again, .. } in &mut self.twice {
            *first = At(first.0 + by);
            *again = At(again.0 + by);
        }
    }

    /// Walks the settings with a room's checks.
    ///
    /// `check` returns `None` only after it noted a mistake. What it did not ask for is an unknown key.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn check<T>(&self, check: impl FnOnce(&Table<'_>) -> Option<T>) -> Result<T, Mistakes> {
        let notes = Notes::new(&self.sources);
        for Twice { key, first, again } in &self.twice {
            let first = notes.words(first.0);
            notes.wrong(again.0, format!("`{}` is given twice, first in {first}", key.escape_debug()));
        }
        let checked = Table::root(&notes, &self.root).read(check);
        match notes.finish(&self.unread) {
            Some(mistakes) => Err(mistakes),
            None => Ok(checked.expect("a part is left out only where a mistake was noted")),
        }
    }

    /// What checks ask of these settings, and the mistakes that they find.
    pub fn survey<T>(&self, check: impl FnOnce(&Table<'_>) -> Option<T>) -> (Survey, Option<Mistakes>) {
        let mut notes = Notes::surveying(&self.sources);
        let _ = Table::root(&notes, &self.root).read(check);
        (notes.surveyed(), notes.finish(&self.unread))
    }

    /// Reads a part of the settings, whatever is wrong with others; `None` if they are torn, or that part is wrong.
    pub fn glance<T>(&self, read: impl FnOnce(&Table<'_>) -> Option<T>) -> Option<T> {
        let notes = Notes::new(&self.sources);
        let part = Table::root(&notes, &self.root).read(read);
        part.filter(|_| self.unread.is_empty())
    }

    /// Of settings that no room knows as its own: what cannot be read of them and, unless that may be why, `whose`.
    #[must_use]
    pub fn of_nobody(&self, whose: String) -> Mistakes {
        let notes = Notes::new(&self.sources);
        notes.lacking(0, whose);
        notes.finish(&self.unread).expect("with no other mistake, the one that was noted stays")
    }

    /// A mistake at the first string that `is_it` knows; at the beginning if there is none.
    #[must_use]
    pub fn at_string(&self, is_it: impl Fn(&str) -> bool, message: String) -> Mistake {
        let mut place: Option<usize> = None;
        self.root.visit(&mut |node: &Node| {
            if let Word::Text(text) = &node.word
                && is_it(text)
            {
                place = Some(place.map_or(node.place.0, |first| first.min(node.place.0)));
            }
        });
        Notes::new(&self.sources).mistake(place.unwrap_or(0), message)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.root.0.iter().map(|entry| entry.key.as_str())
    }

    /// The settings as a file would have them.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("what TOML cannot say is written as text, or left out")
    }

    /// The settings as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("keys are texts")
    }
}

/// True of a list that may be in two sources.
fn objects(list: &[Node]) -> bool {
    list.iter().all(|node| matches!(node.word, Word::Table(_)))
}

impl Default for Spec {
    /// Nothing, from nowhere.
    fn default() -> Self {
        Self::of(Source::text(String::new(), String::new()))
    }
}

impl PartialEq for Spec {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root
    }
}

impl Serialize for Spec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.root.serialize(serializer)
    }
}

#[cfg(test)]
mod tests;

//! Objects with names: unique per kind, found by reference, with a suggestion when none fits.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use crate::{near::hint, table::Table, value::At};

/// Things that may occur once, and where each occurred first.
#[derive(Debug)]
pub struct Seen<K>(BTreeMap<K, usize>);

impl<K: Ord> Default for Seen<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Seen<K> {
    /// Remembers the thing; if it was there before, where.
    pub fn insert(&mut self, place: usize, thing: K) -> Option<usize> {
        let first = *self.0.entry(thing).or_insert(place);
        (first != place).then_some(first)
    }
}

/// The objects of one kind, in the order of the settings.
#[derive(Debug)]
pub struct Named<N, T> {
    what: &'static str,
    index: BTreeMap<N, usize>,
    objects: Vec<Option<T>>,
}

impl<N, T> Named<N, T>
where
    N: FromStr<Err: Display> + Ord + Display,
{
    /// Reads the tables under a key; each has a `name`. `read` gets the name unless something is wrong with it, and
    /// returns `None` only after a mistake was noted.
    pub fn read<'a>(
        parent: &Table<'a>,
        key: &'static str,
        what: &'static str,
        mut read: impl FnMut(&Table<'a>, Option<&N>) -> Option<T>,
    ) -> Self {
        let mut seen: BTreeMap<N, (usize, usize)> = BTreeMap::new();
        let mut position = 0;
        let objects = parent.tables(key, |table| {
            let name: Option<At<N>> = table.required("name", "what others call it").and_then(|v| v.parsed());
            let object = read(table, name.as_ref().map(|n| &n.value));
            if let Some(At { place, value }) = name {
                if let Some((_, first)) = seen.get(&value) {
                    let there = table.words(*first);
                    table.wrong(place, format!("`name` \"{value}\" is taken by the {what} of {there}"));
                } else {
                    seen.insert(value, (position, place));
                }
            }
            position += 1;
            object
        });
        let index = seen.into_iter().map(|(name, (position, _))| (name, position)).collect();
        Self { what, index, objects }
    }

    /// The name, if an object bears it, whether or not something is wrong with that; a name that nothing bears is a mistake.
    pub fn known(&self, table: &Table<'_>, name: At<N>) -> Option<N> {
        let is_known = self.index.contains_key(&name.value);
        if !is_known {
            let word = name.value.to_string();
            let known: Vec<String> = self.index.keys().map(ToString::to_string).collect();
            let hint = hint(&word, known.iter().map(String::as_str));
            table.lacking(name.place, format!("no {} is named \"{word}\"{hint}", self.what));
        }
        is_known.then_some(name.value)
    }

    /// The object of this name, unless something was wrong with it.
    #[must_use]
    pub fn get(&self, name: &N) -> Option<&T> {
        self.index.get(name).and_then(|position| self.objects[*position].as_ref())
    }

    /// How many tables there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.objects.len()
    }

    /// All objects, unless something was wrong with one.
    #[must_use]
    pub fn all(self) -> Option<Vec<T>> {
        self.objects.into_iter().collect()
    }
}

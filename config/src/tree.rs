//! Settings as a tree of words in which every value knows its place, whatever they were written in.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::source::{By, Step};

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: At,
    pub(crate) word: Word,
}

/// A place, which is no part of what a value says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct At(pub(crate) usize);

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// What a value says. Numbers are spelt in one way, however they were written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Word {
    Text(String),
    Integer(String),
    Float(String),
    Truth(bool),
    /// No setting takes one.
    Date(String),
    /// Nor this, which JSON has.
    Nothing,
    List(Vec<Node>),
    Table(Entries),
}

/// A table's keys and values, in their own order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entries(pub(crate) Vec<Entry>);

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) place: At,
    pub(crate) key: String,
    pub(crate) node: Node,
}

impl PartialEq for Entries {
    /// In whatever order.
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().all(|entry| other.get(&entry.key).is_some_and(|there| entry.node == there.node))
    }
}

impl Entries {
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key == key)
    }

    /// What TOML says, at its byte offsets.
    pub(crate) fn of_toml(table: &DeTable<'_>) -> Self {
        let entry = |(key, value): (&Spanned<_>, &Spanned<_>)| Entry {
            place: At(key.span().start),
            key: String::from(AsRef::<str>::as_ref(key.get_ref())),
            node: Node::of_toml(value),
        };
        let mut entries: Vec<Entry> = table.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.place.0);
        Self(entries)
    }

    /// Numbers the values of an object, itself first.
    pub(crate) fn number(&mut self) -> Vec<Step> {
        let mut steps = vec![Step { from: 0, by: By::Item(0) }];
        number_entries(self, 0, &mut steps);
        steps
    }

    /// The same places behind others.
    pub(crate) fn shift(&mut self, by: usize) {
        for entry in &mut self.0 {
            entry.place.0 += by;
            entry.node.shift(by);
        }
    }

    /// Every value that holds no others, in order.
    pub(crate) fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a Node)) {
        self.0.iter().for_each(|entry| entry.node.visit(visit));
    }
}

impl Node {
    fn of_toml(value: &Spanned<DeValue<'_>>) -> Self {
        let word = match value.get_ref() {
            DeValue::String(text) => Word::Text(text.to_string()),
            DeValue::Integer(number) => {
                let whole = i128::from_str_radix(number.as_str(), number.radix());
                Word::Integer(whole.map_or_else(|_| number.to_string(), |number| number.to_string()))
            }
            DeValue::Float(number) => Word::float(number.as_str()),
            DeValue::Boolean(truth) => Word::Truth(*truth),
            DeValue::Datetime(date) => Word::Date(date.to_string()),
            DeValue::Array(items) => Word::List(items.iter().map(Self::of_toml).collect()),
            DeValue::Table(table) => Word::Table(Entries::of_toml(table)),
        };
        Self { place: At(value.span().start), word }
    }

    fn shift(&mut self, by: usize) {
        self.place.0 += by;
        match &mut self.word {
            Word::List(items) => items.iter_mut().for_each(|item| item.shift(by)),
            Word::Table(entries) => entries.shift(by),
            Word::Text(_) | Word::Integer(_) | Word::Float(_) | Word::Truth(_) | Word::Date(_) | Word::Nothing => {}
        }
    }

    fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        match &self.word {
            Word::List(items) => items.iter().for_each(|item| item.visit(visit)),
            Word::Table(entries) => entries.visit(visit),
            Word::Text(_) | Word::Integer(_) | Word::Float(_) | Word::Truth(_) | Word::Date(_) | Word::Nothing => {
                visit(self);
            }
        }
    }
}

impl Word {
    /// A number with a point, spelt as JSON would; one that has no such spelling as it is.
    pub(crate) fn float(text: &str) -> Self {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        Self::Float(number.map_or_else(|| text.to_owned(), |number| format!("{number:?}")))
    }
}

fn number_entries(entries: &mut Entries, from: usize, steps: &mut Vec<Step>) {
    for Entry { place, key, node } in &mut entries.0 {
        *place = At(steps.len());
        number_node(node, Step { from, by: By::Key(key.clone()) }, steps);
    }
}

fn number_node(node: &mut Node, step: Step, steps: &mut Vec<Step>) {
    let own = steps.len();
    node.place = At(own);
    steps.push(step);
    match &mut node.word {
        Word::List(items) => {
            for (number, item) in items.iter_mut().enumerate() {
                number_node(item, Step { from: own, by: By::Item(number) }, steps);
            }
        }
        Word::Table(entries) => number_entries(entries, own, steps),
        Word::Text(_) | Word::Integer(_) | Word::Float(_) | Word::Truth(_) | Word::Date(_) | Word::Nothing => {}
    }
}

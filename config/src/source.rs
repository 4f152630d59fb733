//! What settings were read from, and the way from the number of a place to words that people find it by.
//!
//! Every value has a number. In a text it is the byte offset, in an object the count of values before it; those of a second
//! source begin where those of the first end.

use crate::mistakes::{Mistake, Place};

/// One file, or one object.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    name: String,
    /// The number of its first place.
    pub(crate) start: usize,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Text { text: String, line_starts: Vec<usize> },
    Object(Vec<Step>),
}

/// The last step on the way to a value of an object.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The number of the value that it is in; that of the object itself is its own.
    pub(crate) from: usize,
    pub(crate) by: By,
}

/// How a value is called in what it is in.
#[derive(Debug, Clone)]
pub(crate) enum By {
    Key(String),
    Item(usize),
}

impl Source {
    pub(crate) fn text(name: String, text: String) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name, start: 0, form: Form::Text { text, line_starts } }
    }

    /// An object by its values' steps; the first is the object's own.
    pub(crate) fn object(name: String, steps: Vec<Step>) -> Self {
        Self { name, start: 0, form: Form::Object(steps) }
    }

    /// The number of the first place behind it.
    pub(crate) fn end(&self) -> usize {
        let places = match &self.form {
            Form::Text { text, .. } => text.len() + 1,
            Form::Object(steps) => steps.len(),
        };
        self.start + places
    }

    /// A place in it.
    pub(crate) fn place(&self, place: usize) -> Place {
        let place = place - self.start;
        match &self.form {
            Form::Text { text, line_starts } => {
                let line = line_starts.partition_point(|start| *start <= place);
                let before = text.get(line_starts[line - 1]..place).unwrap_or_default();
                // A byte order mark takes no column.
                let column = before.chars().filter(|c| *c != '\u{feff}').count() + 1;
                Place::Text { line, column }
            }
            Form::Object(steps) => Place::Object(pointer(steps, place)),
        }
    }

    /// What is on one line with a place: in an object, itself alone.
    pub(crate) fn line(&self, place: usize) -> usize {
        match &self.form {
            Form::Text { line_starts, .. } => line_starts.partition_point(|start| *start <= place - self.start),
            Form::Object(_) => place,
        }
    }

    /// A place, for messages that point back to it.
    pub(crate) fn words(&self, place: usize) -> String {
        match self.place(place) {
            Place::Text { line, .. } => format!("line {line}"),
            Place::Object(pointer) => pointer,
        }
    }

    /// The same, where there are others.
    pub(crate) fn words_among_others(&self, place: usize) -> String {
        match self.place(place) {
            Place::Text { line, .. } => format!("{}, line {line}", self.name),
            Place::Object(pointer) => format!("{}#{pointer}", self.name),
        }
    }

    pub(crate) fn mistake(&self, place: usize, message: String) -> Mistake {
        Mistake { source: self.name.clone(), place: self.place(place), message }
    }
}

fn pointer(steps: &[Step], place: usize) -> String {
    let mut parts = Vec::new();
    let mut at = place.min(steps.len() - 1);
    while steps[at].from != at {
        parts.push(match &steps[at].by {
            By::Key(key) => key.replace('~', "~0").replace('/', "~1"),
            By::Item(number) => number.to_string(),
        });
        at = steps[at].from;
    }
    parts.iter().rev().map(|part| format!("/{part}")).collect()
}

//! The mistakes found so far, by byte offset, and the way from an offset to line and column.

use std::{cell::RefCell, ops::Range, path::PathBuf};

use crate::mistakes::{Mistake, Mistakes};

/// Collects while a document is read; getters share it by reference.
#[derive(Debug)]
pub(crate) struct Notes<'a> {
    text: &'a str,
    line_starts: Vec<usize>,
    list: RefCell<Vec<Note>>,
}

#[derive(Debug)]
struct Note {
    place: usize,
    /// Would it hold whatever else the file said?
    alone: bool,
    message: String,
}

/// What the TOML parser could not read.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) span: Range<usize>,
    /// The value or key is wrong by itself; the tree around it stands.
    pub(crate) contained: bool,
    pub(crate) message: String,
}

impl<'a> Notes<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, line_starts, list: RefCell::default() }
    }

    /// Notes a mistake that stands whatever else the file says.
    pub(crate) fn wrong(&self, place: usize, message: String) {
        self.list.borrow_mut().push(Note { place, alone: true, message });
    }

    /// Notes a mistake that would vanish if the file said more: something absent, a name that nothing bears.
    pub(crate) fn lacking(&self, place: usize, message: String) {
        self.list.borrow_mut().push(Note { place, alone: false, message });
    }

    /// The line of a byte offset, from 1.
    pub(crate) fn line(&self, place: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= place)
    }

    /// A mistake at a byte offset, with line and column.
    pub(crate) fn mistake(&self, place: usize, message: String) -> Mistake {
        let line = self.line(place);
        let start = self.line_starts[line - 1];
        let before = self.text.get(start..place).unwrap_or_default();
        // A byte order mark takes no column.
        let column = before.chars().filter(|c| *c != '\u{feff}').count() + 1;
        Mistake { line, column, message }
    }

    /// Everything noted. Where the text could not be read, what followed from that is left out: each line with a syntax
    /// error speaks for itself, and behind the first one that breaks the tree nothing is certain any more.
    pub(crate) fn finish(self, file: PathBuf, syntax: Vec<SyntaxError>) -> Option<Mistakes> {
        let torn = syntax.iter().filter(|e| !e.contained).map(|e| e.span.start).min();
        let unread: Vec<usize> = syntax.iter().map(|e| self.line(e.span.start)).collect();
        let certain = |note: &Note| {
            torn.is_none_or(|torn| note.alone && note.place < torn) && !unread.contains(&self.line(note.place))
        };
        let notes = self.list.take();
        let mut list: Vec<Mistake> = notes
            .into_iter()
            .filter(certain)
            .map(|note| (note.place, note.message))
            .chain(syntax.into_iter().map(|e| (e.span.start, e.message)))
            .map(|(place, message)| self.mistake(place, message))
            .collect();
        list.sort();
        list.dedup();
        (!list.is_empty()).then_some(Mistakes { file, list })
    }
}

//! The mistakes found so far, by the numbers of their places.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use crate::{
    mistakes::{Mistake, Mistakes},
    source::Source,
    survey::{Survey, Surveyor},
};

/// Collects while settings are read; getters share it by reference.
#[derive(Debug)]
pub(crate) struct Notes<'a> {
    /// In the order of their places; never empty.
    sources: &'a [Source],
    list: RefCell<Vec<Note>>,
    /// Who wants to know what is asked.
    surveyor: Option<Surveyor>,
}

#[derive(Debug)]
struct Note {
    place: usize,
    /// Would it hold whatever else the settings said?
    alone: bool,
    message: String,
}

/// What a parser could not read.
#[derive(Debug, Clone)]
pub(crate) struct SyntaxError {
    pub(crate) span: Range<usize>,
    /// The value or key is wrong by itself; the tree around it stands.
    pub(crate) contained: bool,
    pub(crate) message: String,
}

impl<'a> Notes<'a> {
    pub(crate) fn new(sources: &'a [Source]) -> Self {
        Self { sources, list: RefCell::default(), surveyor: None }
    }

    /// The same, with what is asked noted too.
    pub(crate) fn surveying(sources: &'a [Source]) -> Self {
        Self { surveyor: Some(Surveyor::default()), ..Self::new(sources) }
    }

    pub(crate) fn surveyor(&self) -> Option<&Surveyor> {
        self.surveyor.as_ref()
    }

    pub(crate) fn surveyed(&mut self) -> Survey {
        self.surveyor.take().map(Surveyor::found).unwrap_or_default()
    }

    /// Notes a mistake that stands whatever else the settings say.
    pub(crate) fn wrong(&self, place: usize, message: String) {
        self.list.borrow_mut().push(Note { place, alone: true, message });
    }

    /// Notes a mistake that would vanish if the settings said more: something absent, a name that nothing bears.
    pub(crate) fn lacking(&self, place: usize, message: String) {
        self.list.borrow_mut().push(Note { place, alone: false, message });
    }

    fn source(&self, place: usize) -> &'a Source {
        let before = self.sources.partition_point(|source| source.start <= place);
        &self.sources[before.saturating_sub(1)]
    }

    /// A place, for messages that point back to it.
    pub(crate) fn words(&self, place: usize) -> String {
        let source = self.source(place);
        if self.sources.len() == 1 { source.words(place) } else { source.words_among_others(place) }
    }

    /// A mistake at a place, in words that people find it by.
    pub(crate) fn mistake(&self, place: usize, message: String) -> Mistake {
        self.source(place).mistake(place, message)
    }

    /// Source and line.
    fn line(&self, place: usize) -> (usize, usize) {
        let source = self.source(place);
        (source.start, source.line(place))
    }

    /// Everything noted. Where a text could not be read, what followed from that is left out: each line with a syntax
    /// error speaks for itself, and behind the first one that breaks the tree nothing is certain any more.
    pub(crate) fn finish(self, syntax: &[SyntaxError]) -> Option<Mistakes> {
        let mut torn: BTreeMap<usize, usize> = BTreeMap::new();
        for error in syntax.iter().filter(|e| !e.contained) {
            let first = torn.entry(self.source(error.span.start).start).or_insert(error.span.start);
            *first = error.span.start.min(*first);
        }
        let unread: BTreeSet<_> = syntax.iter().map(|e| self.line(e.span.start)).collect();
        let stands = |note: &Note| {
            let torn = torn.get(&self.source(note.place).start);
            note.alone && torn.is_none_or(|torn| note.place < *torn)
        };
        let certain = |note: &Note| (torn.is_empty() || stands(note)) && !unread.contains(&self.line(note.place));
        let mut list: Vec<(usize, String)> = self
            .list
            .take()
            .into_iter()
            .filter(certain)
            .map(|note| (note.place, note.message))
            .chain(syntax.iter().map(|e| (e.span.start, e.message.clone())))
            .collect();
        list.sort();
        list.dedup();
        let list: Vec<Mistake> = list.into_iter().map(|(place, message)| self.mistake(place, message)).collect();
        (!list.is_empty()).then_some(Mistakes { list })
    }
}

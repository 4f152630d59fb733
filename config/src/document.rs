//! A whole file: read under a size limit, parsed with recovery, handed to the room's checks as a tree.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    path::Path,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    mistakes::{Mistake, Mistakes},
    notes::{Notes, SyntaxError},
    table::Table,
};

/// Largest file that is read, bytes; a longer one is a mistake, not a wait.
pub const SIZE_MAX: u64 = 1024 * 1024;

/// The text of a file.
///
/// # Errors
/// One mistake if the file cannot be read, is longer than [`SIZE_MAX`], or is not UTF-8.
pub fn read(path: &Path) -> Result<String, Mistakes> {
    let whole = |message: String| Mistakes::of_file(path.to_owned(), message);
    let bytes = bytes(path).map_err(|e| whole(format!("cannot be read: {e}")))?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(whole("is longer than 1 MiB, the most a configuration may have".to_owned()));
    }
    String::from_utf8(bytes).map_err(|e| {
        let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let notes_text = String::from_utf8_lossy(good);
        let notes = Notes::new(&notes_text);
        notes.wrong(good.len(), "is not UTF-8 from here on; save the file as UTF-8".to_owned());
        notes.finish(path.to_owned(), Vec::new()).expect("one mistake was noted")
    })
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Walks a text with a room's checks.
///
/// `check` returns `None` only after it noted a mistake. What it did not ask for is an unknown key.
///
/// # Errors
/// Every mistake of the text.
pub fn check<T>(text: &str, path: &Path, check: impl FnOnce(&Table<'_>) -> Option<T>) -> Result<T, Mistakes> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let tree = tree.into_inner();
    let syntax = syntax_errors(text, &tree, &errors);
    let notes = Notes::new(text);
    let checked = Table::root(&notes, &tree).read(check);
    match notes.finish(path.to_owned(), syntax) {
        Some(mistakes) => Err(mistakes),
        None => Ok(checked.expect("a part is left out only where a mistake was noted")),
    }
}

/// A text that no room knows as its own: what cannot be read of it and, unless that may be why, `whose`.
#[must_use]
pub fn of_nobody(text: &str, path: &Path, whose: String) -> Mistakes {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let syntax = syntax_errors(text, tree.get_ref(), &errors);
    let notes = Notes::new(text);
    notes.lacking(0, whose);
    notes.finish(path.to_owned(), syntax).expect("with no other mistake, the one that was noted stays")
}

/// A mistake at the first string of a text that `is_it` knows; at the beginning if there is none.
#[must_use]
pub fn at_string(text: &str, is_it: impl Fn(&str) -> bool, message: String) -> Mistake {
    let (tree, _) = DeTable::parse_recoverable(text);
    let mut places = Vec::new();
    walk(tree.get_ref(), |value| {
        if value.get_ref().as_str().is_some_and(&is_it) {
            places.push(value.span().start);
        }
    });
    Notes::new(text).mistake(places.into_iter().min().unwrap_or(0), message)
}

fn syntax_errors(text: &str, tree: &DeTable<'_>, errors: &[toml::de::Error]) -> Vec<SyntaxError> {
    if errors.is_empty() {
        return Vec::new();
    }
    let scalars = scalars(tree);
    errors
        .iter()
        .map(|error| {
            let span = error.span().unwrap_or(0..0);
            let span = span.start.min(text.len())..span.end.min(text.len());
            let twice = error.message().starts_with("duplicate key");
            let contained = twice || scalars.iter().any(|s| s.start <= span.start && span.end <= s.end);
            let advice = if twice { "; a key is given once, a [table] too" } else { "" };
            SyntaxError { span, contained, message: format!("not TOML: {}{advice}", error.message()) }
        })
        .collect()
}

/// Where the plain values are, in no order.
fn scalars(tree: &DeTable<'_>) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    walk(tree, |value| spans.push(value.span()));
    spans
}

/// Visits the plain values, in no order.
fn walk<'a>(tree: &'a DeTable<'_>, mut visit: impl FnMut(&'a Spanned<DeValue<'_>>)) {
    let mut left: Vec<_> = tree.values().collect();
    while let Some(value) = left.pop() {
        match value.get_ref() {
            DeValue::Table(table) => left.extend(table.values()),
            DeValue::Array(array) => left.extend(array.iter()),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => visit(value),
        }
    }
}
